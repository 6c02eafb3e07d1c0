//! EarlyStopping: ends training when a log has stopped improving.

use super::callback::{Callback, EpochContext, TrainContext};
use super::monitor::Mode;
use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thalweg_base::counted;

/// Ends training when a watched log has not improved for `patience` epochs. Keras' names and defaults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlyStopping {
    monitor: String,
    min_delta: f64,
    patience: usize,
    mode: Mode,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
    #[serde(skip)]
    progress: Progress,
}

/// What survives an interruption.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    wait: usize,
    best: Option<f64>,
    best_epoch: usize,
    kept: bool,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        EarlyStopping {
            monitor: "val_loss".into(),
            min_delta: 0.0,
            patience: 0,
            mode: Mode::Auto,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            progress: Progress::default(),
        }
    }
}

impl EarlyStopping {
    /// Watches `monitor`.
    pub fn new(monitor: &str) -> Self {
        EarlyStopping { monitor: monitor.into(), ..Self::default() }
    }
    /// Changes smaller than this are no improvement.
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.min_delta = delta;
        self
    }
    /// Epochs without improvement after which training ends.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }
    /// Whether less or more is better.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
    /// Waiting only starts anew when the log beats this too.
    pub fn baseline(mut self, value: f64) -> Self {
        self.baseline = Some(value);
        self
    }
    /// Goes back to the weights of the best epoch at the end.
    pub fn restore_best_weights(mut self, yes: bool) -> Self {
        self.restore_best_weights = yes;
        self
    }
    /// Epochs before this one are not watched.
    pub fn start_from_epoch(mut self, epoch: usize) -> Self {
        self.start_from_epoch = epoch;
        self
    }

    /// Name of the remembered weights: several callbacks may remember.
    fn slot(&self) -> String {
        format!("early_stopping-{}-{:?}", self.monitor, self.mode).to_lowercase()
    }

    fn improved(&self, value: f64, over: Option<f64>) -> Result<bool> {
        let mode = self.mode.resolve("EarlyStopping", &self.monitor)?;
        Ok(over.is_none_or(|best| mode.better(value, best, self.min_delta.abs())))
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> String {
        "EarlyStopping".into()
    }

    fn monitor(&self) -> Option<&str> {
        Some(&self.monitor)
    }

    fn on_train_begin(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.mode.resolve("EarlyStopping", &self.monitor)?;
        if !context.resumed {
            self.progress = Progress::default();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        let Some(value) = c.logs.get(&self.monitor).filter(|_| c.epoch >= self.start_from_epoch) else {
            return Ok(());
        };
        if self.restore_best_weights && !self.progress.kept {
            // Without a best yet, the present weights are the best.
            c.training.keep_weights(&self.slot())?;
            (self.progress.kept, self.progress.best_epoch) = (true, c.epoch);
        }
        self.progress.wait += 1;
        // NaN as the first value must not become a best that nothing beats.
        if !value.is_nan() && self.improved(value, self.progress.best)? {
            (self.progress.best, self.progress.best_epoch) = (Some(value), c.epoch);
            if self.restore_best_weights {
                c.training.keep_weights(&self.slot())?;
            }
            if self.baseline.is_none() || self.improved(value, self.baseline)? {
                self.progress.wait = 0;
            }
        } else if self.progress.wait >= self.patience && c.epoch > 0 {
            *c.stop = Some(format!(
                "EarlyStopping: '{}' has not improved for {}; the best was epoch {}",
                self.monitor,
                counted(self.progress.wait, "epoch"),
                self.progress.best_epoch + 1
            ));
        }
        Ok(())
    }

    fn on_train_end(&mut self, c: &mut TrainContext<'_>) -> Result<()> {
        if self.restore_best_weights && self.progress.kept && c.training.restore_weights(&self.slot())? {
            let epoch = self.progress.best_epoch + 1;
            c.training.note(format!("EarlyStopping: back to the weights of epoch {epoch}"));
        }
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.progress).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.progress = Progress::deserialize(state)
            .map_err(|e| TrainError::argument(format!("EarlyStopping: its saved state is damaged: {e}")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsal;
    use super::*;

    /// Expected numbers are what Keras 3.15.1's own callback did with the same values; only the last case is
    /// ours: there NaN in the first epoch becomes a best that nothing beats, and Keras stops after epoch 2.
    #[test]
    fn stops_as_keras_does() {
        let epochs = |c: EarlyStopping, v: &[f64]| Rehearsal::new("val_loss", v).run(Box::new(c)).epochs;
        let loss = || EarlyStopping::new("val_loss");
        // Patience 0 stops at the first epoch that does not improve; never at epoch 0.
        assert_eq!(epochs(loss(), &[1.0, 0.9, 0.9, 0.8]), 3);
        assert_eq!(epochs(loss().patience(2), &[1.0, 1.1, 1.2, 0.1]), 3);
        assert_eq!(epochs(loss().patience(3), &[1.0, 1.1, 1.2, 0.1]), 4);
        // Improvements of min_delta or less do not count.
        assert_eq!(epochs(loss().min_delta(0.1).patience(1), &[1.0, 0.95, 0.5]), 2);
        // Improvement that stays above the baseline does not restart waiting.
        assert_eq!(epochs(loss().baseline(0.5).patience(2), &[1.0, 0.9, 0.9, 0.9]), 3);
        assert_eq!(epochs(loss().baseline(0.5).patience(2), &[1.0, 0.4, 0.9, 0.9, 0.9]), 4);
        // Epochs before start_from_epoch are not watched.
        assert_eq!(epochs(loss().start_from_epoch(3), &[1.0, 2.0, 3.0, 4.0, 5.0]), 5);
        assert_eq!(epochs(loss().mode(Mode::Max), &[1.0, 2.0, 3.0, 2.0, 5.0]), 4);
        assert_eq!(epochs(loss().patience(1), &[f64::NAN, 1.0, 0.5, 0.6]), 4);
    }

    #[test]
    fn the_best_weights_come_back() {
        let callback = EarlyStopping::new("val_loss").patience(2).restore_best_weights(true);
        let done = Rehearsal::new("val_loss", &[1.0, 0.5, 0.7, 0.8, 0.1]).run(Box::new(callback));
        assert_eq!((done.epochs, done.weights), (4, 1));
        assert!(done.stopped.unwrap().contains("the best was epoch 2"));
        // Also when training was not stopped early, as in Keras 3.
        let callback = EarlyStopping::new("val_loss").patience(5).restore_best_weights(true);
        let done = Rehearsal::new("val_loss", &[1.0, 0.5, 0.7]).run(Box::new(callback));
        assert_eq!((done.epochs, done.weights), (3, 1));
    }

    /// Two may watch different logs; each goes back to its own best.
    #[test]
    fn each_has_its_own_weights() {
        let (a, b) = (EarlyStopping::new("val_loss"), EarlyStopping::new("val_accuracy"));
        assert_ne!(a.slot(), b.slot());
        assert_ne!(a.slot(), a.clone().mode(Mode::Max).slot());
    }

    #[test]
    fn state_survives() {
        let values = [1.0, 0.9, 0.95, 0.96, 0.1];
        let make = || Box::new(EarlyStopping::new("val_loss").patience(2)) as Box<dyn Callback>;
        let whole = Rehearsal::new("val_loss", &values).run(make()).epochs;
        for cut in 1..4 {
            assert_eq!(Rehearsal::new("val_loss", &values).interrupted(cut, make).epochs, whole, "{cut}");
        }
    }
}
