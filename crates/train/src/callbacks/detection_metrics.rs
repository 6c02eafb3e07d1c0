//! `DetectionMetrics`: epochs of a detector are judged by COCO's average precision.
//!
//! Input: annotated pictures. Output: the logs `val_ap` (overlaps .50 to .95) and `val_ap50`. Invariant: in epochs
//! between two judgements the last numbers stand, so that every epoch has the same logs.

use super::callback::{Callback, EpochContext, TrainContext};
use crate::Result;
use crate::detection::evaluator;
use serde_json::{Value, json};
use std::sync::Arc;
use thalweg_data::detection::DetectionSet;

const LOGS: [(&str, &str); 2] = [("val_ap", "AP"), ("val_ap50", "AP50")];

/// Judges a detector after epochs.
pub struct DetectionMetrics {
    data: Arc<DetectionSet>,
    every: usize,
    epochs: usize,
    last: [f64; 2],
}

impl DetectionMetrics {
    /// By these pictures, after every epoch.
    pub fn new(data: Arc<DetectionSet>) -> DetectionMetrics {
        DetectionMetrics { data, every: 1, epochs: 0, last: [0.0; 2] }
    }

    /// After every so many epochs, and the last.
    pub fn every(mut self, epochs: usize) -> DetectionMetrics {
        self.every = epochs.max(1);
        self
    }
}

impl Callback for DetectionMetrics {
    fn name(&self) -> String {
        "DetectionMetrics".into()
    }

    fn log_names(&self) -> Vec<String> {
        LOGS.iter().map(|(log, _)| (*log).to_owned()).collect()
    }

    fn on_train_begin(&mut self, context: &mut TrainContext<'_>) -> Result<()> {
        self.epochs = context.epochs;
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut EpochContext<'_>) -> Result<()> {
        let done = context.epoch + 1;
        if done.is_multiple_of(self.every) || done == self.epochs {
            let found = context.training.detect(&self.data)?;
            let summary = evaluator(self.data.annotations(), &found)?.summary();
            // A set without objects has no precision; 0 is what a monitor can do something with.
            self.last = LOGS.map(|(_, number)| summary.get(number).unwrap_or(0.0));
        }
        LOGS.iter().zip(self.last).for_each(|((log, _), value)| context.logs.set(log, value));
        Ok(())
    }

    fn state(&self) -> Value {
        json!(self.last)
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.last = serde_json::from_value(state.clone()).unwrap_or(self.last);
        Ok(())
    }
}
