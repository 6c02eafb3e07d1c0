//! What can go wrong with a data set, in the user's words.
//!
//! Input: the place of the fault (file, record, field). Output: [`DataError`], whose message says what is
//! wrong, where, and what to do about it. Invariant: no variant is built from a guess; the numbers in it are
//! those that were found.

use crate::detection::Problem;
use std::io;
use std::path::{Path, PathBuf};
use thalweg_base::suggest;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read, write or rename a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of a data set is not there.
    #[error("{} is not there; {fix}", path.display())]
    Missing {
        /// The file or folder that was looked for.
        path: PathBuf,
        /// How to get it.
        fix: String,
    },
    /// A file holds too few or too many bytes.
    #[error("{} has {found} bytes where {expected} were expected; {fix}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size it should have, in words.
        expected: String,
        /// What to do.
        fix: &'static str,
    },
    /// A file does not have the format its name promises.
    #[error("{}: {what}; {fix}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// A label that names no class.
    #[error(
        "{}, record {record}: the label is {found}, but there are {classes} classes (0 to {}); \
         the file is damaged or of another data set",
        path.display(), classes.saturating_sub(1)
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The record in that file, counted from 0.
        record: usize,
        /// The label that was found.
        found: i64,
        /// The number of classes.
        classes: usize,
    },
    /// An image that cannot be decoded.
    #[error("{}: not a readable image ({what}); remove it or convert it to JPEG, PNG or WebP", path.display())]
    Image {
        /// The file, or the name the caller gave to bytes.
        path: PathBuf,
        /// The decoder's reason.
        what: String,
    },
    /// An image whose header announces more pixels than may be decoded.
    #[error(
        "{}: the header announces {width} x {height} pixels, more than the limit of {limit}; \
         scale the image down, or raise `max_pixels` if it is to be trusted",
        path.display()
    )]
    TooManyPixels {
        /// The file, or the name the caller gave to bytes.
        path: PathBuf,
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// The limit in pixels.
        limit: u64,
    },
    /// An image folder without class folders, or a class folder without images.
    #[error("{}: {what}; expected <folder>/<class>/*.jpg, .jpeg, .png or .webp", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Arrays, subsets, splits or loaders that cannot be built from what was given.
    #[error("{what}")]
    Argument {
        /// What is wrong and how to put it right.
        what: String,
    },
    /// An example that does not exist.
    #[error("example {index} was asked for, but {of} has {len} (0 to {})", len.saturating_sub(1))]
    Index {
        /// The index that was asked for.
        index: usize,
        /// The number of examples.
        len: usize,
        /// The data set, in words.
        of: String,
    },
    /// A caller of `read` gave slices that do not fit the fields.
    #[error("reading example {index}: {what}; give one slice of exactly shape x dtype bytes per field")]
    Buffer {
        /// The example.
        index: usize,
        /// Which slice does not fit.
        what: String,
    },
    /// Annotations that are wrong where none may be.
    #[error(
        "{first}{}; correct the files, or set bad_annotations = \"drop\" to go on without them",
        match more { 0 => String::new(), 1 => " (and 1 more problem)".into(), n => format!(" (and {n} more problems)") }
    )]
    Annotations {
        /// The first problem.
        first: Box<Problem>,
        /// How many there are beyond it.
        more: usize,
    },
    /// A name that is no known data set.
    #[error(
        "'{}' is not a known data set; {}; for your own images give a folder",
        suggest::plain(name),
        suggest::among(name, &["cifar10", "cifar100", "mnist"])
    )]
    UnknownName {
        /// The name that was given.
        name: String,
    },
    /// A download that did not succeed.
    #[error("cannot download {url}: {why}; {fix}")]
    Download {
        /// The address.
        url: String,
        /// The reason, in words.
        why: String,
        /// What to do.
        fix: String,
    },
    /// A file that is whole but not the one that was expected.
    #[error("{} has MD5 {found}, expected {expected}; it has not been used: try again, or fetch it by hand", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The sum that was found.
        found: String,
        /// The published sum.
        expected: String,
    },
}

impl DataError {
    /// For `map_err` on file operations: `fs::read(p).map_err(DataError::io("read", p))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
        let path = path.to_path_buf();
        move |source| DataError::Io { action, path, source }
    }

    /// An argument error from its sentence.
    pub(crate) fn argument(what: impl Into<String>) -> DataError {
        DataError::Argument { what: what.into() }
    }
}

/// Results of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;
