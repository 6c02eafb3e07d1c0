//! What training tells whoever watches from outside: a progress bar, a JSON stream, a test.
//!
//! Input: moments of training. Output: [`Event`]s to an [`Observer`]. Invariant: progress comes at most about
//! ten times a second, whatever a step takes; epochs and steps count from 0.

use crate::Logs;
use std::path::Path;
use std::time::Duration;

/// Progress is reported at most this often.
pub(crate) const REPORT_EVERY: Duration = Duration::from_millis(100);

/// A moment of training.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Everything is compiled and loaded.
    TrainBegin {
        /// Examples to learn from.
        examples: usize,
        /// Examples to judge by.
        validation_examples: usize,
        /// Epochs in all.
        epochs: usize,
        /// The first epoch of this run.
        initial_epoch: usize,
        /// Steps of a whole epoch.
        steps: usize,
        /// Examples in a step.
        batch_size: usize,
        /// The device's name.
        device: &'a str,
        /// Whether the training data are in its memory.
        data_there: bool,
        /// Elements of all weights.
        parameters: usize,
        /// Those that learn.
        trainable_parameters: usize,
        /// Bytes that plans take on the device.
        planned_bytes: usize,
        /// Seconds that compiling and loading took.
        compile_seconds: f64,
        /// Whether the run goes on from a checkpoint.
        resumed: bool,
    },
    /// An epoch begins.
    EpochBegin {
        /// Which.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Steps of a whole epoch.
        steps: usize,
        /// Steps of this epoch that were done before an interruption.
        done: usize,
    },
    /// Some steps were done.
    Progress {
        /// Which epoch.
        epoch: usize,
        /// Steps done in it.
        step: usize,
        /// Steps of a whole epoch.
        steps: usize,
        /// Examples a second since the last report.
        images_per_second: f64,
        /// Means over the epoch so far.
        logs: &'a Logs,
    },
    /// Evaluation goes on, of the validation data or by itself.
    Evaluating {
        /// Batches done.
        step: usize,
        /// All batches.
        steps: usize,
    },
    /// An epoch has ended, with its validation.
    EpochEnd {
        /// Which.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Seconds it took, with validation.
        seconds: f64,
        /// Examples a second, without validation.
        images_per_second: f64,
        /// Its logs.
        logs: &'a Logs,
    },
    /// A file was written.
    Saved {
        /// Which.
        path: &'a Path,
        /// Whether training can go on from it.
        checkpoint: bool,
    },
    /// A line for people: what a callback did, what was found.
    Note {
        /// The line.
        line: &'a str,
    },
    /// Training ends before its last epoch.
    Stopped {
        /// Why.
        reason: &'a str,
    },
    /// Training was interrupted from outside.
    Interrupted {
        /// From where it can go on, if a checkpoint is kept.
        checkpoint: Option<&'a Path>,
    },
    /// The last event of a training that was not interrupted.
    TrainEnd {
        /// Seconds of training in all, those before an interruption included.
        seconds: f64,
    },
}

/// Whoever watches.
pub trait Observer: Send {
    /// Takes an event; must return soon, as training waits.
    fn event(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>) + Send> Observer for F {
    fn event(&mut self, event: &Event<'_>) {
        self(event);
    }
}
