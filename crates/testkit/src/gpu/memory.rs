//! Memory that notices races: per byte, who wrote and who read it last, and when.
//!
//! "When" is a number that grows with every stage of launches (global memory) or barrier (shared memory); of accesses at the
//! same time, a write excludes all other threads.

/// Nobody; and more than one thread.
const NOBODY: u32 = u32::MAX;
const MANY: u32 = u32::MAX - 1;
/// All calls of a stage, as far as they share: they run one after another.
pub const CALLS: u32 = u32::MAX - 2;

/// An access: when, and by which thread.
#[derive(Clone, Copy)]
struct Stamp {
    time: u64,
    thread: u32,
}

const NEVER: Stamp = Stamp { time: 0, thread: NOBODY };

/// Bytes with stamps.
#[derive(Clone)]
pub struct Memory {
    /// What is stored.
    pub bytes: Vec<u8>,
    written: Vec<Stamp>,
    read: Vec<Stamp>,
}

/// A part of a memory that a parameter may touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Which memory.
    pub memory: usize,
    /// First byte.
    pub first: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Memory {
    /// Of these bytes.
    pub fn new(bytes: Vec<u8>) -> Memory {
        let n = bytes.len();
        Memory { bytes, written: vec![NEVER; n], read: vec![NEVER; n] }
    }

    /// Reads `size` bytes at a place, as a number.
    pub fn load(&mut self, at: usize, size: usize, time: u64, thread: u32) -> Result<u32, String> {
        let mut word = [0; 4];
        for (i, byte) in word.iter_mut().enumerate().take(size) {
            let b = at + i;
            let w = self.written[b];
            if w.time == time && w.thread != thread {
                return Err(format!(
                    "thread {thread} reads what thread {} writes at the same time",
                    w.thread
                ));
            }
            let r = &mut self.read[b];
            let other = r.time == time && r.thread != thread;
            *r = Stamp { time, thread: if other { MANY } else { thread } };
            *byte = self.bytes[b];
        }
        Ok(u32::from_le_bytes(word))
    }

    /// Writes `size` bytes at a place.
    pub fn store(
        &mut self,
        at: usize,
        size: usize,
        value: u32,
        time: u64,
        thread: u32,
    ) -> Result<(), String> {
        for (i, byte) in value.to_le_bytes().into_iter().enumerate().take(size) {
            let b = at + i;
            for (stamp, does) in [(self.written[b], "writes"), (self.read[b], "reads")] {
                if stamp.time == time && stamp.thread != thread && stamp.thread != NOBODY {
                    let who = if stamp.thread == MANY { "another".into() } else { stamp.thread.to_string() };
                    return Err(format!("thread {thread} writes what thread {who} {does} at the same time"));
                }
            }
            self.written[b] = Stamp { time, thread };
            self.bytes[b] = byte;
        }
        Ok(())
    }

    /// Whether a byte was written at that time or later.
    pub fn is_set(&self, at: usize, since: u64) -> bool {
        self.written[at].time >= since
    }
}
