//! What `get` tells while it works.
//!
//! Input: events. Output: data for a progress bar, or a line of text by `Display`. Invariant: `done` never
//! shrinks within one download unless the server made it start anew, which is a `Connecting` of its own.

use std::fmt;
use std::path::PathBuf;

/// One event of [`crate::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The data set is there already.
    Present {
        /// Its folder.
        dir: PathBuf,
    },
    /// Another process is getting the same data set; this one waits.
    Waiting {
        /// The file that both lock.
        lock: PathBuf,
    },
    /// A request is sent.
    Connecting {
        /// The address.
        url: String,
        /// Bytes that are there from an earlier attempt.
        have: u64,
    },
    /// Bytes have arrived.
    Downloading {
        /// The file's name.
        file: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all, when the server says so.
        total: Option<u64>,
    },
    /// A source did not work and another one is tried.
    Unreachable {
        /// The address that did not work.
        url: String,
        /// The reason.
        why: String,
        /// What is tried now.
        instead: String,
    },
    /// Another program is at work.
    Running {
        /// The command line.
        command: String,
        /// For how long.
        seconds: u64,
    },
    /// A file is being unpacked or converted.
    Unpacking {
        /// The file's name.
        file: String,
    },
    /// A file's checksum is being computed.
    Verifying {
        /// The file's name.
        file: String,
    },
    /// The data set is whole and in place.
    Done {
        /// Its folder.
        dir: PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MB: f64 = 1e6;
        match self {
            Progress::Present { dir } => write!(f, "already there: {}", dir.display()),
            Progress::Waiting { lock } => {
                write!(f, "waiting for another process that holds {}", lock.display())
            }
            Progress::Connecting { url, have: 0 } => write!(f, "downloading {url}"),
            Progress::Connecting { url, have } => {
                write!(f, "downloading {url}, going on after {:.1} MB", *have as f64 / MB)
            }
            Progress::Downloading { file, done, total: Some(total) } => write!(
                f,
                "{file}: {:.1} of {:.1} MB ({:.0}%)",
                *done as f64 / MB,
                *total as f64 / MB,
                100.0 * *done as f64 / (*total).max(1) as f64
            ),
            Progress::Downloading { file, done, total: None } => {
                write!(f, "{file}: {:.1} MB", *done as f64 / MB)
            }
            Progress::Unreachable { url, why, instead } => {
                write!(f, "cannot use {url} ({why}); taking {instead} instead")
            }
            Progress::Running { command, seconds } => write!(f, "running {command} ({seconds} s)"),
            Progress::Unpacking { file } => write!(f, "unpacking {file}"),
            Progress::Verifying { file } => write!(f, "verifying {file}"),
            Progress::Done { dir } => write!(f, "ready: {}", dir.display()),
        }
    }
}
