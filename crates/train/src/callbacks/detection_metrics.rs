//! `DetectionMetrics`: epochs of a detector are judged by COCO's average precision.
//!
//! Input: annotated pictures. Output: the logs `val_ap` (overlaps .50 to .95) and `val_ap50` of every epoch.

use super::callback::{Callback, EpochContext};
use crate::Result;
use crate::detection::evaluator;
use std::sync::Arc;
use thalweg_data::detection::DetectionSet;

const LOGS: [(&str, &str); 2] = [("val_ap", "AP"), ("val_ap50", "AP50")];

/// Judges a detector after every epoch.
pub struct DetectionMetrics {
    data: Arc<DetectionSet>,
}

impl DetectionMetrics {
    /// By these pictures.
    pub fn new(data: Arc<DetectionSet>) -> DetectionMetrics {
        DetectionMetrics { data }
    }
}

impl Callback for DetectionMetrics {
    fn name(&self) -> String {
        "DetectionMetrics".into()
    }

    fn log_names(&self) -> Vec<String> {
        LOGS.iter().map(|(log, _)| (*log).to_owned()).collect()
    }

    fn on_epoch_end(&mut self, context: &mut EpochContext<'_>) -> Result<()> {
        let found = context.training.detect(&self.data)?;
        let summary = evaluator(self.data.annotations(), &found)?.summary();
        for (log, number) in LOGS {
            // A set without objects has no precision; 0 is what a monitor can do something with.
            context.logs.set(log, summary.get(number).unwrap_or(0.0));
        }
        Ok(())
    }
}
