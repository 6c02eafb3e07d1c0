//! ModelCheckpoint: a model file after every epoch, or after those that are the best so far.

use super::callback::{Callback, EpochContext, TrainContext};
use super::monitor::Mode;
use super::template;
use crate::{Logs, Result, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Saves the model at the end of epochs. Keras' names and defaults; the file may contain `{epoch:02d}` and logs
/// such as `{val_loss:.2f}`. (To go on after an interruption needs none of this: `Fit` checkpoints by itself.)
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCheckpoint {
    filepath: String,
    monitor: String,
    save_best_only: bool,
    mode: Mode,
    initial_value_threshold: Option<f64>,
    #[serde(skip)]
    best: Option<f64>,
}

impl Default for ModelCheckpoint {
    fn default() -> Self {
        ModelCheckpoint {
            filepath: String::new(),
            monitor: "val_loss".into(),
            save_best_only: false,
            mode: Mode::Auto,
            initial_value_threshold: None,
            best: None,
        }
    }
}

impl ModelCheckpoint {
    /// Saves to `filepath`.
    pub fn new(filepath: &str) -> Self {
        ModelCheckpoint { filepath: filepath.into(), ..Self::default() }
    }
    /// The log that decides which epoch is the best.
    pub fn monitor(mut self, name: &str) -> Self {
        self.monitor = name.into();
        self
    }
    /// Saves only an epoch that is better than all before.
    pub fn save_best_only(mut self, yes: bool) -> Self {
        self.save_best_only = yes;
        self
    }
    /// Whether less or more is better.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
    /// What the first epoch must beat.
    pub fn initial_value_threshold(mut self, value: f64) -> Self {
        self.initial_value_threshold = Some(value);
        self
    }
}

impl Callback for ModelCheckpoint {
    fn name(&self) -> String {
        format!("ModelCheckpoint({})", self.filepath)
    }

    fn monitor(&self) -> Option<&str> {
        self.save_best_only.then_some(self.monitor.as_str())
    }

    fn on_train_begin(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        if !self.filepath.ends_with(".safetensors") {
            return Err(TrainError::argument(format!(
                "ModelCheckpoint: the filepath '{}' must end in .safetensors, as in \
                 \"best-{{epoch:02d}}.safetensors\"",
                self.filepath
            )));
        }
        if self.save_best_only {
            self.mode.resolve("ModelCheckpoint", &self.monitor)?;
        }
        // A wrong template must fail now and not after the first epoch.
        let logs: Logs = context.log_names.iter().map(|n| (n.as_str(), 0.0)).collect();
        template::fill(&self.filepath, 1, &logs).map_err(|e| argument(&e))?;
        if !context.resumed {
            self.best = self.initial_value_threshold;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        if self.save_best_only {
            let Some(value) = c.logs.get(&self.monitor) else { return Ok(()) };
            let mode = self.mode.resolve("ModelCheckpoint", &self.monitor)?;
            if value.is_nan() || self.best.is_some_and(|best| !mode.better(value, best, 0.0)) {
                return Ok(());
            }
            self.best = Some(value);
        }
        let path =
            PathBuf::from(template::fill(&self.filepath, c.epoch + 1, c.logs).map_err(|e| argument(&e))?);
        c.training.save(&path)
    }

    fn state(&self) -> Value {
        self.best.map_or(Value::Null, Value::from)
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.best = state.as_f64();
        Ok(())
    }
}

fn argument(what: &str) -> TrainError {
    TrainError::argument(format!("ModelCheckpoint: {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsal;
    use super::*;

    fn saved(callback: ModelCheckpoint, values: &[f64]) -> Vec<String> {
        let done = Rehearsal::new("val_loss", values).run(Box::new(callback));
        done.saved.iter().map(|p| p.display().to_string()).collect()
    }

    #[test]
    fn saves_as_keras_does() {
        let values = [0.5, 0.7, 0.25, f64::NAN];
        let every = ModelCheckpoint::new("m{epoch:02d}.safetensors");
        let names = ["m01.safetensors", "m02.safetensors", "m03.safetensors", "m04.safetensors"];
        assert_eq!(saved(every, &values), names);
        let best = ModelCheckpoint::new("{epoch}-{val_loss:.2f}.safetensors").save_best_only(true);
        assert_eq!(saved(best.clone(), &values), ["1-0.50.safetensors", "3-0.25.safetensors"]);
        assert_eq!(saved(best.clone().initial_value_threshold(0.3), &values), ["3-0.25.safetensors"]);
        let most = ["1-0.50.safetensors", "2-0.70.safetensors"];
        assert_eq!(saved(best.mode(Mode::Max), &values), most);
    }

    #[test]
    fn state_survives() {
        let make = || {
            let callback = ModelCheckpoint::new("m{epoch}.safetensors").save_best_only(true);
            Box::new(callback) as Box<dyn Callback>
        };
        for cut in 1..4 {
            let done = Rehearsal::new("val_loss", &[0.5, 0.4, 0.45, 0.3]).interrupted(cut, make);
            assert_eq!(done.saved.len(), 3, "{cut}");
        }
    }
}
