//! What a callback is, and what it may ask of the training that it watches.
//!
//! Input: the moments of training. Output: files, a changed learning rate, an early end. Invariant: a callback
//! that keeps something between epochs gives it out as JSON, so that a resumed run goes on as if never stopped.

use crate::{Logs, Result};
use serde_json::Value;
use std::path::Path;
use thalweg_data::detection::{Detection, DetectionSet};

/// What a callback may ask of the training.
pub trait Training {
    /// The learning rate of the next step.
    fn learning_rate(&mut self) -> Result<f64>;
    /// Scales the schedule so that the next step has this learning rate.
    fn set_learning_rate(&mut self, rate: f64) -> Result<()>;
    /// Writes a model file.
    fn save(&mut self, path: &Path) -> Result<()>;
    /// Writes a file of the weights alone.
    fn save_weights(&mut self, path: &Path) -> Result<()>;
    /// Remembers the weights as they are now under a name; checkpoints hold them too.
    fn keep_weights(&mut self, slot: &str) -> Result<()>;
    /// Goes back to remembered weights; says whether there were any.
    fn restore_weights(&mut self, slot: &str) -> Result<bool>;
    /// A line for the log.
    fn note(&mut self, line: String);
    /// What the model detects in every picture of a set, in the pixels of the pictures.
    fn detect(&mut self, data: &DetectionSet) -> Result<Vec<Vec<Detection>>>;
}

/// The beginning or the end of training.
pub struct TrainContext<'a> {
    /// The first epoch of this run, from 0; above 0 where a run goes on.
    pub initial_epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Whether this run goes on from a checkpoint.
    pub resumed: bool,
    /// Names of the logs that every epoch will have.
    pub log_names: &'a [String],
    /// The training.
    pub training: &'a mut dyn Training,
}

/// The end of a step that a callback asked for.
pub struct StepContext<'a> {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step in that epoch, from 0.
    pub batch: usize,
    /// Means over the epoch so far.
    pub logs: &'a Logs,
    /// The training.
    pub training: &'a mut dyn Training,
}

/// The end of an epoch.
pub struct EpochContext<'a> {
    /// The epoch, from 0.
    pub epoch: usize,
    /// What it logged; a callback may add.
    pub logs: &'a mut Logs,
    /// Set to a reason to end training after this epoch.
    pub stop: &'a mut Option<String>,
    /// The training.
    pub training: &'a mut dyn Training,
}

/// Watches training. Every method has a default that does nothing.
pub trait Callback: Send {
    /// Its name: for messages, and to find its state in a checkpoint.
    fn name(&self) -> String;

    /// The log that it watches; training refuses to start without it.
    fn monitor(&self) -> Option<&str> {
        None
    }

    /// The logs that it adds to those of an epoch.
    fn log_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether at the end of an epoch, validation and all callbacks see the optimizer's means of the weights.
    fn judges_averages(&self) -> bool {
        false
    }

    /// Whether training ends quietly, and not with an error, when the loss is not finite.
    fn ends_on_nan(&self) -> bool {
        false
    }

    /// Before the first step.
    fn on_train_begin(&mut self, _context: &mut TrainContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Before the first step of an epoch (counted from 0).
    fn on_epoch_begin(&mut self, _epoch: usize) -> Result<()> {
        Ok(())
    }

    /// Now and then after a step (counted from 0 in the epoch), when progress is reported, with the means so far.
    fn on_batch_end(&mut self, _batch: usize, _logs: &Logs) -> Result<()> {
        Ok(())
    }

    /// After how many steps [`Callback::on_step_end`] is due, counted from the first step of epoch 0.
    fn every_steps(&self) -> Option<usize> {
        None
    }

    /// After every [`Callback::every_steps`] steps.
    fn on_step_end(&mut self, _context: &mut StepContext<'_>) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its validation.
    fn on_epoch_end(&mut self, _context: &mut EpochContext<'_>) -> Result<()> {
        Ok(())
    }

    /// After the last step. Not called when training ended with an error or was interrupted.
    fn on_train_end(&mut self, _context: &mut TrainContext<'_>) -> Result<()> {
        Ok(())
    }

    /// What must survive an interruption.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Takes back what `state` gave.
    fn restore(&mut self, _state: &Value) -> Result<()> {
        Ok(())
    }
}
