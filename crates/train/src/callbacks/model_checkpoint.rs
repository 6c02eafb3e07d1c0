//! ModelCheckpoint: a model file after every epoch or so many steps, or only where it is the best so far.

use super::callback::{Callback, EpochContext, StepContext, TrainContext, Training};
use super::monitor::Mode;
use super::template;
use crate::{Logs, Result, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// When [`ModelCheckpoint`] saves: Keras' `save_freq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum SaveFreq {
    /// At the end of every epoch.
    #[default]
    Epoch,
    /// After so many steps, epochs being counted through.
    Steps(usize),
}

impl TryFrom<Value> for SaveFreq {
    type Error = String;

    fn try_from(value: Value) -> Result<SaveFreq, String> {
        let steps = || value.as_u64().filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok());
        match value.as_str() {
            Some("epoch") => Ok(SaveFreq::Epoch),
            _ => steps().map(SaveFreq::Steps).ok_or_else(|| {
                format!("save_freq must be \"epoch\" or a number of steps from 1, not {value}")
            }),
        }
    }
}

impl From<SaveFreq> for Value {
    fn from(freq: SaveFreq) -> Value {
        match freq {
            SaveFreq::Epoch => "epoch".into(),
            SaveFreq::Steps(n) => n.into(),
        }
    }
}

/// Saves the model as training goes on. Keras' names and defaults; the file may contain `{epoch:02d}` and logs
/// such as `{val_loss:.2f}`, and by steps `{batch:04d}`. (To go on after an interruption needs none of this: `Fit` checkpoints by itself.)
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCheckpoint {
    filepath: String,
    monitor: String,
    save_best_only: bool,
    save_weights_only: bool,
    mode: Mode,
    save_freq: SaveFreq,
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
            save_weights_only: false,
            mode: Mode::Auto,
            save_freq: SaveFreq::Epoch,
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
    /// Saves the weights alone, for [`crate::Model::load_weights`], and not a whole model.
    pub fn save_weights_only(mut self, yes: bool) -> Self {
        self.save_weights_only = yes;
        self
    }
    /// When to save.
    pub fn save_freq(mut self, freq: SaveFreq) -> Self {
        self.save_freq = freq;
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

impl ModelCheckpoint {
    /// Saves, if it is due by these logs. `epoch` is from 1.
    fn save(&mut self, epoch: usize, logs: &Logs, training: &mut dyn Training) -> Result<()> {
        if self.save_best_only {
            let Some(value) = logs.get(&self.monitor) else { return Ok(()) };
            let mode = self.mode.resolve("ModelCheckpoint", &self.monitor)?;
            if value.is_nan() || self.best.is_some_and(|best| !mode.better(value, best, 0.0)) {
                return Ok(());
            }
            self.best = Some(value);
        }
        let path = PathBuf::from(template::fill(&self.filepath, epoch, logs).map_err(|e| argument(&e))?);
        if self.save_weights_only { training.save_weights(&path) } else { training.save(&path) }
    }

    /// Names of the logs that there are when it saves.
    fn known(&self, log_names: &[String]) -> Vec<String> {
        match self.save_freq {
            SaveFreq::Epoch => log_names.to_vec(),
            SaveFreq::Steps(_) => {
                let own = |n: &&String| !n.starts_with("val_") && *n != "learning_rate";
                std::iter::once("batch".to_owned()).chain(log_names.iter().filter(own).cloned()).collect()
            }
        }
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
        let known = self.known(context.log_names);
        if self.save_best_only && !known.contains(&self.monitor) {
            return Err(argument(&format!(
                "'{}' is known at the end of an epoch only, so save_freq must be \"epoch\"; logs by steps are: {}",
                self.monitor,
                known.join(", ")
            )));
        }
        // A wrong template must fail now and not after the first epoch.
        let logs: Logs = known.iter().map(|n| (n.as_str(), 0.0)).collect();
        template::fill(&self.filepath, 1, &logs).map_err(|e| argument(&e))?;
        if !context.resumed {
            self.best = self.initial_value_threshold;
        }
        Ok(())
    }

    fn every_steps(&self) -> Option<usize> {
        match self.save_freq {
            SaveFreq::Epoch => None,
            SaveFreq::Steps(n) => Some(n),
        }
    }

    fn on_step_end(&mut self, c: &mut StepContext<'_>) -> Result<()> {
        let mut logs: Logs = [("batch", (c.batch + 1) as f64)].into_iter().collect();
        c.logs.iter().for_each(|(name, value)| logs.set(name, value));
        self.save(c.epoch + 1, &logs, c.training)
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        match self.save_freq {
            SaveFreq::Epoch => self.save(c.epoch + 1, c.logs, c.training),
            SaveFreq::Steps(_) => Ok(()),
        }
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
    fn weights_only_and_bad_frequencies() {
        let weights = ModelCheckpoint::new("m{epoch}.safetensors").save_weights_only(true);
        assert_eq!(saved(weights, &[0.5, 0.7]), ["m1.weights", "m2.weights"]);
        let read = |text: &str| serde_json::from_str::<SaveFreq>(text).map_err(|e| e.to_string());
        assert_eq!((read("\"epoch\""), read("7")), (Ok(SaveFreq::Epoch), Ok(SaveFreq::Steps(7))));
        for wrong in ["0", "-1", "\"batch\"", "1.5"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("save_freq must be \"epoch\" or a number of steps"), "{error}");
        }
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
