//! What can go wrong between a model and its training, in the user's words.
//!
//! Input: the place of the fault (file, tensor, argument, record). Output: [`TrainError`], one line that says
//! what is wrong, where, and what to do about it. Invariant: numbers in a message are those that were found.

use std::io;
use std::path::{Path, PathBuf};

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The operating system refused to read, create or list something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written whole. What was there before is still there.
    #[error(
        "cannot write {} ({needed} bytes): {source}; what was there before is unchanged; free some space or \
         choose another folder",
        path.display()
    )]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// Bytes that were to be written.
        needed: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// A model or checkpoint file that cannot be used.
    #[error("{}: {what}; {fix}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
        /// What to do.
        fix: String,
    },
    /// An argument that cannot be meant.
    #[error("{what}")]
    Argument {
        /// What is wrong and how to put it right.
        what: String,
    },
    /// A label that names no class.
    #[error(
        "{dataset}: example {record} has the label {label}, but output '{output}' has {classes} classes (0 to {}); \
         correct the label, or give the last layer as many units as there are classes",
        classes.saturating_sub(1)
    )]
    Label {
        /// The data set, in words.
        dataset: String,
        /// The example, counted from 0 in that data set.
        record: usize,
        /// What was found.
        label: i64,
        /// The output it is compared with.
        output: String,
        /// Classes that output has.
        classes: usize,
    },
    /// The loss stopped being a number. The weights are those from before the step that failed.
    #[error(
        "the loss or its gradient is not finite at step {step} (epoch {epoch}, batch {batch}): {origin}; the weights are those \
         from before this step; try a smaller learning rate, clip gradients with clipnorm, or look at that data"
    )]
    NotFinite {
        /// Optimizer steps done before.
        step: usize,
        /// The epoch, counted from 1 as it is shown.
        epoch: usize,
        /// The batch of the epoch, counted from 1 as it is shown.
        batch: usize,
        /// The first place where a value was not finite.
        origin: String,
    },
    /// A checkpoint of another run than the one that is to be resumed.
    #[error(
        "{} cannot be resumed: it was made with {what} {found}, and now {what} is {expected}; use the same \
         settings, or start a new run",
        path.display()
    )]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// Which setting.
        what: &'static str,
        /// Its value in the checkpoint.
        found: String,
        /// Its value now.
        expected: String,
    },
    /// From the data set.
    #[error(transparent)]
    Data(#[from] thalweg_data::DataError),
    /// From the device.
    #[error(transparent)]
    Device(#[from] thalweg_device::DeviceError),
    /// A program needs more memory than the device has.
    #[error("{error}: batches of {batch} do not fit, {}", match fits {
        Some(n) => format!("batches of {n} do"),
        None => "nor does one example".into(),
    })]
    Memory {
        /// The device's error.
        error: thalweg_device::DeviceError,
        /// Examples in a batch.
        batch: usize,
        /// Examples that would fit, found by halving.
        fits: Option<usize>,
    },
    /// From the model's config.
    #[error(transparent)]
    Model(#[from] thalweg_nn::NnError),
    /// From the graph.
    #[error(transparent)]
    Graph(#[from] thalweg_graph::GraphError),
}

impl TrainError {
    /// Whether a device has no room.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(
            self,
            TrainError::Memory { .. } | TrainError::Device(thalweg_device::DeviceError::OutOfMemory { .. })
        )
    }

    /// For `map_err` on file operations: `fs::read(p).map_err(TrainError::io("read", p))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.to_path_buf();
        move |source| TrainError::Io { action, path, source }
    }

    /// An argument error from its sentence.
    pub(crate) fn argument<S: Into<String>>(what: S) -> TrainError {
        TrainError::Argument { what: what.into() }
    }

    /// A file error. What came from the file is stripped of line breaks and terminal codes.
    pub(crate) fn file(path: &Path, what: impl Into<String>, fix: impl Into<String>) -> TrainError {
        let what = what.into().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        TrainError::File { path: path.to_path_buf(), what, fix: fix.into() }
    }
}

/// Results of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
