//! The command as scripts and people run it: the real binary, on tiny data, in folders of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod detection;
#[cfg(unix)]
mod interruption;
mod life;
mod mistakes;
mod support;
mod tuning;
