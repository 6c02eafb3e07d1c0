//! ReduceLROnPlateau: a smaller learning rate when a log has stopped improving.

use super::callback::{Callback, EpochContext, TrainContext};
use super::monitor::Mode;
use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Multiplies the learning rate by `factor` when a watched log has not improved for `patience` epochs. Keras'
/// names and defaults. With a schedule, the whole schedule is scaled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ReduceLROnPlateau {
    monitor: String,
    factor: f64,
    patience: usize,
    mode: Mode,
    min_delta: f64,
    cooldown: usize,
    min_lr: f64,
    #[serde(skip)]
    progress: Progress,
}

/// What survives an interruption.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    wait: usize,
    cooling: usize,
    best: Option<f64>,
}

impl Default for ReduceLROnPlateau {
    fn default() -> Self {
        ReduceLROnPlateau {
            monitor: "val_loss".into(),
            factor: 0.1,
            patience: 10,
            mode: Mode::Auto,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
            progress: Progress::default(),
        }
    }
}

impl ReduceLROnPlateau {
    /// Watches `monitor`.
    pub fn new(monitor: &str) -> Self {
        ReduceLROnPlateau { monitor: monitor.into(), ..Self::default() }
    }
    /// What the learning rate is multiplied by, below 1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }
    /// Epochs without improvement after which it is.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }
    /// Whether less or more is better.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
    /// Changes smaller than this are no improvement.
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.min_delta = delta;
        self
    }
    /// Epochs after a reduction in which nothing is watched.
    pub fn cooldown(mut self, epochs: usize) -> Self {
        self.cooldown = epochs;
        self
    }
    /// The learning rate does not go below this.
    pub fn min_lr(mut self, rate: f64) -> Self {
        self.min_lr = rate;
        self
    }
}

impl Callback for ReduceLROnPlateau {
    fn name(&self) -> String {
        "ReduceLROnPlateau".into()
    }

    fn monitor(&self) -> Option<&str> {
        Some(&self.monitor)
    }

    fn on_train_begin(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.mode.resolve("ReduceLROnPlateau", &self.monitor)?;
        if !(0.0..1.0).contains(&self.factor) {
            return Err(TrainError::argument(format!(
                "ReduceLROnPlateau: a factor of {} does not reduce; use one from 0 to below 1",
                self.factor
            )));
        }
        if !context.resumed {
            self.progress = Progress::default();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        let rate = c.training.learning_rate()?;
        c.logs.set("learning_rate", rate);
        let Some(value) = c.logs.get(&self.monitor) else { return Ok(()) };
        let mode = self.mode.resolve("ReduceLROnPlateau", &self.monitor)?;
        let p = &mut self.progress;
        if p.cooling > 0 {
            (p.cooling, p.wait) = (p.cooling - 1, 0);
        }
        if !value.is_nan() && p.best.is_none_or(|best| mode.better(value, best, self.min_delta)) {
            (p.best, p.wait) = (Some(value), 0);
        } else if p.cooling == 0 {
            p.wait += 1;
            if p.wait >= self.patience && rate > self.min_lr {
                let reduced = (rate * self.factor).max(self.min_lr);
                c.training.set_learning_rate(reduced)?;
                c.training.note(format!("ReduceLROnPlateau: the learning rate is now {reduced:.4e}"));
                (p.cooling, p.wait) = (self.cooldown, 0);
            }
        }
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.progress).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.progress = Progress::deserialize(state).map_err(|e| {
            TrainError::argument(format!("ReduceLROnPlateau: its saved state is damaged: {e}"))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsal;
    use super::*;

    /// Expected rates are what Keras 3.15.1's own callback did with the same values.
    #[test]
    fn reduces_as_keras_does() {
        let rates = |c: ReduceLROnPlateau, v: &[f64]| Rehearsal::new("val_loss", v).run(Box::new(c)).rates;
        let half = || ReduceLROnPlateau::new("val_loss").factor(0.5);
        assert_eq!(rates(half().patience(2), &[1.0, 1.0, 1.0, 1.0, 1.0]), [1.0, 1.0, 1.0, 0.5, 0.5]);
        // The epoch in which the cooldown ends is watched again.
        let cool = half().patience(1).cooldown(2);
        assert_eq!(rates(cool, &[1.0; 6]), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        assert_eq!(rates(half().patience(1).min_lr(0.4), &[1.0; 4]), [1.0, 1.0, 0.5, 0.4]);
        assert_eq!(rates(half().patience(1), &[1.0, 0.99995, 0.9]), [1.0, 1.0, 0.5]);
    }

    #[test]
    fn state_survives() {
        let make = || {
            let callback = ReduceLROnPlateau::new("val_loss").factor(0.5).patience(2).cooldown(1);
            Box::new(callback) as Box<dyn Callback>
        };
        let whole = Rehearsal::new("val_loss", &[1.0; 9]).run(make()).rates;
        for cut in 1..9 {
            assert_eq!(Rehearsal::new("val_loss", &[1.0; 9]).interrupted(cut, make).rates, whole, "{cut}");
        }
    }
}
