//! Unpacks the wanted files of a gzipped tar.
//!
//! Input: an archive. Output: its wanted files, flat in one folder. Invariant: only files whose last name is
//! asked for are written, under that name alone, so no entry can point outside; a file whose size is known
//! is not written beyond it.

use super::catalogue::Piece;
use super::progress::Progress;
use crate::error::{DataError, Result};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// No extra file and no file of unknown size may be larger.
const UNKNOWN_SIZE: u64 = 256 << 20;

/// Writes the pieces and extras found in `archive` into `to`; missing pieces are an error.
pub(super) fn unpack(
    archive: &Path,
    pieces: &[Piece],
    extras: &[String],
    to: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<()> {
    let unreadable = |e: io::Error| DataError::Format {
        path: archive.to_path_buf(),
        what: format!("not a readable tar.gz ({e})"),
        fix: "delete it and try again",
    };
    let file = File::open(archive).map_err(DataError::io("open", archive))?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut missing: Vec<&str> = pieces.iter().map(|p| p.name.as_str()).collect();
    for entry in tar.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let piece = pieces.iter().find(|p| p.name == name);
        if !entry.header().entry_type().is_file() || (piece.is_none() && !extras.iter().any(|e| e == name)) {
            continue;
        }
        report(Progress::Unpacking { file: name.to_owned() });
        let limit = piece.and_then(|p| p.size).unwrap_or(UNKNOWN_SIZE);
        let target = to.join(name);
        let mut out = File::create(&target).map_err(DataError::io("create", &target))?;
        let written =
            io::copy(&mut entry.take(limit + 1), &mut out).map_err(DataError::io("unpack", &target))?;
        if written > limit {
            return Err(DataError::Size {
                path: target,
                found: written,
                expected: format!("at most {limit} bytes"),
                fix: "the archive is not the expected one: report it, or fetch the set by hand",
            });
        }
        missing.retain(|m| *m != name);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::Format {
        path: archive.to_path_buf(),
        what: format!("holds no {}", missing.join(", ")),
        fix: "the archive is not the expected one: report it, or fetch the set by hand",
    })
}
