//! Whether a watched number got better.
//!
//! Input: a log's name and Keras' mode. Output: comparisons. Invariant: a direction is never guessed; a name
//! that does not tell is refused with the fix.

use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};

/// Keras' `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the name of the log.
    #[default]
    Auto,
    /// Less is better.
    Min,
    /// More is better.
    Max,
}

/// Ends of names of which more is better; all else that is known is a loss or an error.
const MORE: [&str; 13] = [
    "acc",
    "_ap",
    "ap50",
    "accuracy",
    "auc",
    "precision",
    "recall",
    "f1_score",
    "fbeta_score",
    "r2_score",
    "iou",
    "cosine_similarity",
    "map",
];
const LESS: [&str; 9] =
    ["loss", "error", "crossentropy", "mse", "mae", "mape", "msle", "divergence", "poisson"];

impl Mode {
    /// `Min` or `Max` for the log `monitor`; `owner` is for the message.
    pub fn resolve(self, owner: &str, monitor: &str) -> Result<Mode> {
        if self != Mode::Auto {
            return Ok(self);
        }
        let has = |ends: &[&str]| ends.iter().any(|e| monitor.ends_with(e));
        match (has(&MORE), has(&LESS)) {
            (true, _) => Ok(Mode::Max),
            (false, true) => Ok(Mode::Min),
            (false, false) => Err(TrainError::argument(format!(
                "{owner}: the name '{monitor}' does not tell whether more or less of it is better; \
                 set mode to \"min\" or \"max\""
            ))),
        }
    }

    /// Whether `value` is better than `best` by more than `delta`. NaN never is.
    pub fn better(self, value: f64, best: f64, delta: f64) -> bool {
        match self {
            Mode::Max => value - delta > best,
            Mode::Min | Mode::Auto => value + delta < best,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_direction() {
        let auto = |m| Mode::Auto.resolve("X", m).ok();
        assert_eq!(auto("val_loss"), Some(Mode::Min));
        assert_eq!(auto("val_sparse_categorical_accuracy"), Some(Mode::Max));
        assert_eq!(auto("mean_squared_error"), Some(Mode::Min));
        assert_eq!(auto("val_something"), None);
        assert_eq!(Mode::Max.resolve("X", "val_loss").unwrap(), Mode::Max);
    }

    #[test]
    fn nan_is_never_better() {
        assert!(!Mode::Min.better(f64::NAN, 1.0, 0.0));
        assert!(!Mode::Max.better(f64::NAN, f64::NEG_INFINITY, 0.0));
        assert!(Mode::Min.better(0.5, 1.0, 0.1) && !Mode::Min.better(0.95, 1.0, 0.1));
    }
}
