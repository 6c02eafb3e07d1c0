//! What callbacks and the training loop work on together: the model, kept weights, files, words to the observer.
//!
//! Input: requests of callbacks ([`Training`]) and of the loop. Output: changed weights and rates, files, events.
//! Invariant: kept weights are on the host, so that checkpoints hold them too.

use crate::callbacks::Training;
use crate::events::{Event, Observer};
use crate::model::Model;
use crate::report::RunFolder;
use crate::step::{ITERATION, RATE_SCALE};
use crate::{Logs, Result, Tensor, TrainError};
use std::collections::BTreeMap;
use std::path::Path;
use thalweg_data::detection::{Detection, DetectionSet};

/// The model in training.
pub(crate) struct Desk<'m> {
    pub model: &'m mut Model,
    pub observer: Option<Box<dyn Observer>>,
    pub folder: Option<RunFolder>,
    /// Weights that callbacks keep, by slot.
    pub kept: BTreeMap<String, Vec<Tensor>>,
    /// What the present weights make of the validation data, once that was found and until the weights change.
    pub judged: Option<Logs>,
}

impl Desk<'_> {
    pub fn tell(&mut self, event: &Event<'_>) {
        if let Some(observer) = &mut self.observer {
            observer.event(event);
        }
    }

    /// The schedule's rate at the next step, without the scale.
    fn scheduled(&mut self) -> Result<f64> {
        let iteration = self.model.session()?.read_scalar(ITERATION)?;
        Ok(self.model.compiled()?.compile.optimizer.learning_rate.at(iteration as u64))
    }
}

impl Training for Desk<'_> {
    fn learning_rate(&mut self) -> Result<f64> {
        Ok(self.scheduled()? * self.model.session()?.read_scalar(RATE_SCALE)?)
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        let scheduled = self.scheduled()?;
        if !(rate.is_finite() && rate >= 0.0) || scheduled == 0.0 {
            return Err(TrainError::argument(format!(
                "the learning rate cannot become {rate}: it must be a number from 0, and the schedule's rate \
                 ({scheduled}) not 0"
            )));
        }
        self.model.session()?.write_scalar(RATE_SCALE, rate / scheduled)
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        self.model.save(path)?;
        self.tell(&Event::Saved { path, checkpoint: false });
        Ok(())
    }

    fn save_weights(&mut self, path: &Path) -> Result<()> {
        self.model.save_weights(path)?;
        self.tell(&Event::Saved { path, checkpoint: false });
        Ok(())
    }

    fn keep_weights(&mut self, slot: &str) -> Result<()> {
        let weights = self.model.read_weights()?;
        self.kept.insert(slot.to_owned(), weights);
        Ok(())
    }

    fn restore_weights(&mut self, slot: &str) -> Result<bool> {
        match self.kept.get(slot) {
            Some(weights) => {
                self.judged = None;
                self.model.set_weights(weights).map(|()| true)
            }
            None => Ok(false),
        }
    }

    fn detect(&mut self, data: &DetectionSet) -> Result<Vec<Vec<Detection>>> {
        self.model.detect(data)
    }

    fn note(&mut self, line: String) {
        if let Some(folder) = &self.folder {
            folder.log(&line);
        }
        self.tell(&Event::Note { line: &line });
    }
}
