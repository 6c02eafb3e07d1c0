//! Crossentropy between target and predicted distributions.

use super::{Cost, EPSILON, Logits, Target, like};
use crate::table::{Config, fraction};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId, ReduceKind};

/// `-sum(t log p)` over the last axis: targets and predictions [n, .., c].
///
/// Probabilities are divided by their sum, then clipped to [1e-7, 1 - 1e-7].
/// Source: keras.io/api/losses/probabilistic_losses.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CategoricalCrossentropy {
    /// Whether predictions are logits rather than probabilities. Default false.
    pub from_logits: bool,
    /// s in [0, 1]: targets become `t (1 - s) + s / c` (Szegedy et al. 2016). Default 0.
    pub label_smoothing: f64,
}

impl Config for CategoricalCrossentropy {
    fn validate(&self) -> Result<(), String> {
        fraction("label_smoothing", self.label_smoothing)
    }
}

impl Cost for CategoricalCrossentropy {
    const LOGITS: Option<Logits> = Some(Logits::Softmax);

    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId {
        let last = g.shape(y_pred).len() - 1;
        let classes = g.shape(y_pred)[last] as f64;
        let mut t = like(g, y_true, y_pred);
        if self.label_smoothing > 0.0 {
            t = g.scale(t, 1.0 - self.label_smoothing);
            t = g.offset(t, self.label_smoothing / classes);
        }
        let log_p = if from_logits {
            g.log_softmax(y_pred, last)
        } else {
            let sum = g.reduce_keep(ReduceKind::Sum, y_pred, &[last]);
            let p = g.div(y_pred, sum);
            let p = g.clip(p, EPSILON, 1.0 - EPSILON);
            g.log(p)
        };
        let terms = g.mul(t, log_p);
        let sum = g.reduce(ReduceKind::Sum, terms, &[last]);
        g.negate(sum)
    }

    fn target(&self) -> Target {
        Target::Distribution
    }

    fn given_logits(&self) -> bool {
        self.from_logits
    }
}
