//! Accuracy of yes-or-no predictions.

use super::Measure;
use crate::losses::{Target, like, mean_last};
use crate::table::{Config, fraction};
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId};

/// How often `prediction > threshold` equals the target (0 or 1), mean over the last axis: targets and
/// predictions [n, .., c] (targets of [n, 1] also as `[n]`). Source: keras.io/api/metrics/accuracy_metrics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryAccuracy {
    /// In [0, 1]. Default 0.5.
    pub threshold: f64,
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        BinaryAccuracy { threshold: 0.5 }
    }
}

impl Config for BinaryAccuracy {
    fn validate(&self) -> Result<(), String> {
        fraction("threshold", self.threshold)
    }
}

impl Measure for BinaryAccuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let t = like(g, y_true, y_pred);
        let threshold = g.constant(self.threshold);
        let yes = g.lt(threshold, y_pred);
        let yes = g.cast(yes, DType::F32);
        let same = g.eq(yes, t);
        let same = g.cast(same, DType::F32);
        mean_last(g, same)
    }

    fn target(&self) -> Target {
        Target::Binary
    }
}
