//! TensorBoard's event files: TFRecords of protobuf `Event`s, written by hand as there are only three kinds.
//!
//! Input: scalars with tags and steps. Output: a file that TensorBoard reads. Invariant: every record carries
//! masked CRC-32C sums of its length and of its content.

use crate::{Result, TrainError};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that grows.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`; where a run goes on, `purge` tells readers to forget steps from there on.
    pub fn create(folder: &Path, purge: Option<i64>) -> Result<EventFile> {
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let now = wall_time();
        let name = format!("events.out.tfevents.{now:.6}.thalweg.{}", std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut events = EventFile { file: file.map_err(TrainError::io("create", &path))?, path };
        // Event { wall_time = 1, file_version = 3 }
        events.append(&[double(1, now), bytes(3, b"brain.Event:2")].concat())?;
        if let Some(step) = purge {
            // Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START = 1 } }
            events.append(&[double(1, now), varint(2, step as u64), bytes(7, &varint(1, 1))].concat())?;
        }
        Ok(events)
    }

    /// Adds a number.
    pub fn scalar(&mut self, tag: &str, step: i64, value: f32) -> Result<()> {
        // Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }
        let value = [bytes(1, tag.as_bytes()), float(2, value)].concat();
        let summary = bytes(1, &value);
        self.append(&[double(1, wall_time()), varint(2, step as u64), bytes(5, &summary)].concat())
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        let record = record(event);
        let needed = record.len() as u64;
        // One write per record: a reader sees whole ones.
        self.file.write_all(&record).map_err(|source| TrainError::Write {
            path: self.path.clone(),
            needed,
            source,
        })
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// A TFRecord: length, its sum, content, its sum.
fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), content, &masked(content)].concat()
}

/// The masked CRC-32C of the TFRecord format.
fn masked(content: &[u8]) -> [u8; 4] {
    crc32c::crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Field numbers and wire types of protobuf.
fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

fn varint(field: u8, value: u64) -> Vec<u8> {
    [vec![key(field, 0)], raw_varint(value)].concat()
}

fn raw_varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[key(field, 1)][..], &value.to_le_bytes()].concat()
}

fn float(field: u8, value: f32) -> Vec<u8> {
    [&[key(field, 5)][..], &value.to_le_bytes()].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[key(field, 2)][..], &raw_varint(value.len() as u64), value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        assert_eq!(raw_varint(0), [0]);
        assert_eq!(raw_varint(300), [0xac, 2]);
        assert_eq!(raw_varint(u64::MAX).len(), 10);
    }

    /// 0xe3069283 is the published check value of CRC-32C.
    #[test]
    fn sums_are_masked() {
        let crc = 0xe306_9283u32;
        assert_eq!(crc32c::crc32c(b"123456789"), crc);
        let unmasked = u32::from_le_bytes(masked(b"123456789")).wrapping_sub(0xa282_ead8);
        assert_eq!(unmasked.rotate_left(15), crc);
    }

    #[test]
    fn records_chain() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), Some(3)).unwrap();
        file.scalar("epoch_loss", 3, 0.5).unwrap();
        let all = fs::read(&file.path).unwrap();
        let (mut rest, mut events) = (all.as_slice(), Vec::new());
        while !rest.is_empty() {
            let n = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]));
            assert_eq!(rest[12 + n..16 + n], masked(&rest[12..12 + n]));
            events.push(rest[12..12 + n].to_vec());
            rest = &rest[16 + n..];
        }
        assert_eq!(events.len(), 3);
        assert!(events[0].ends_with(b"brain.Event:2"));
        assert!(events[2].ends_with(&[&b"epoch_loss\x15"[..], &0.5f32.to_le_bytes()].concat()));
    }
}
