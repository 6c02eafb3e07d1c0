//! Training without a model, for the tests of callbacks: it plays given values of one log, epoch by epoch.
//!
//! The "weights" are the number of the epoch they come from.

use super::callback::{Callback, EpochContext, TrainContext, Training};
use crate::{Logs, Result};
use std::path::{Path, PathBuf};
use thalweg_data::detection::{Detection, DetectionSet};

/// A play of values.
pub struct Rehearsal {
    monitor: &'static str,
    values: Vec<f64>,
    names: Vec<String>,
    stage: Stage,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Done {
    /// Epochs played.
    pub epochs: usize,
    /// Learning rate in each epoch.
    pub rates: Vec<f64>,
    /// The epoch the final weights are from.
    pub weights: usize,
    /// Files saved.
    pub saved: Vec<PathBuf>,
    /// Why it ended early.
    pub stopped: Option<String>,
}

struct Stage {
    rate: f64,
    weights: usize,
    kept: Option<usize>,
    saved: Vec<PathBuf>,
}

impl Training for Stage {
    fn learning_rate(&mut self) -> Result<f64> {
        Ok(self.rate)
    }
    fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        self.rate = rate;
        Ok(())
    }
    fn save(&mut self, path: &Path) -> Result<()> {
        self.saved.push(path.to_path_buf());
        Ok(())
    }
    fn save_weights(&mut self, path: &Path) -> Result<()> {
        self.saved.push(path.with_extension("weights"));
        Ok(())
    }
    fn detect(&mut self, _data: &DetectionSet) -> Result<Vec<Vec<Detection>>> {
        Ok(Vec::new())
    }
    fn keep_weights(&mut self, _slot: &str) -> Result<()> {
        self.kept = Some(self.weights);
        Ok(())
    }
    fn restore_weights(&mut self, _slot: &str) -> Result<bool> {
        self.weights = self.kept.unwrap_or(self.weights);
        Ok(self.kept.is_some())
    }
    fn note(&mut self, _line: String) {}
}

impl Rehearsal {
    pub fn new(monitor: &'static str, values: &[f64]) -> Rehearsal {
        let stage = Stage { rate: 1.0, weights: 0, kept: None, saved: Vec::new() };
        let names = vec!["loss".to_owned(), monitor.to_owned()];
        Rehearsal { monitor, values: values.to_vec(), names, stage }
    }

    /// Plays all.
    pub fn run(mut self, mut callback: Box<dyn Callback>) -> Done {
        let epochs = self.values.len();
        self.play(&mut *callback, 0, epochs, false)
    }

    /// Plays to `cut`, then goes on with a new callback that takes the state of the first.
    pub fn interrupted(mut self, cut: usize, make: impl Fn() -> Box<dyn Callback>) -> Done {
        let mut first = make();
        let before = self.play_epochs(&mut *first, 0, cut, false);
        if before.stopped.is_some() {
            return before;
        }
        let state = first.state().to_string();
        let mut second = make();
        second.restore(&serde_json::from_str(&state).unwrap()).unwrap();
        let after = self.play(&mut *second, cut, self.values.len(), true);
        Done { rates: [before.rates, after.rates].concat(), ..after }
    }

    fn play(&mut self, callback: &mut dyn Callback, from: usize, to: usize, resumed: bool) -> Done {
        let mut done = self.play_epochs(callback, from, to, resumed);
        callback.on_train_end(&mut self.context(from, resumed)).unwrap();
        done.weights = self.stage.weights;
        done
    }

    fn context(&mut self, initial_epoch: usize, resumed: bool) -> TrainContext<'_> {
        TrainContext {
            initial_epoch,
            epochs: self.values.len(),
            resumed,
            log_names: &self.names,
            training: &mut self.stage,
        }
    }

    fn play_epochs(&mut self, callback: &mut dyn Callback, from: usize, to: usize, resumed: bool) -> Done {
        callback.on_train_begin(&mut self.context(from, resumed)).unwrap();
        let (mut stop, mut rates, mut epoch) = (None, Vec::new(), from);
        while epoch < to && stop.is_none() {
            self.stage.weights = epoch;
            rates.push(self.stage.rate);
            callback.on_epoch_begin(epoch).unwrap();
            let mut logs: Logs = [("loss", 9.0), (self.monitor, self.values[epoch])].into_iter().collect();
            let training = &mut self.stage;
            let mut context = EpochContext { epoch, logs: &mut logs, stop: &mut stop, training };
            callback.on_epoch_end(&mut context).unwrap();
            epoch += 1;
        }
        let Stage { weights, saved, .. } = &self.stage;
        Done { epochs: epoch, rates, weights: *weights, saved: saved.clone(), stopped: stop }
    }
}
