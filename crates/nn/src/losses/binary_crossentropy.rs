//! Crossentropy of independent yes-or-no predictions.

use super::logits::sigmoid_crossentropy;
use super::{Cost, EPSILON, Logits, Target, like, target};
use crate::table::{Config, fraction};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `-t log p - (1 - t) log(1 - p)`, mean over the last axis: targets and predictions [n, .., c] (targets of
/// [n, 1] also as `[n]`).
///
/// Probabilities are clipped to [1e-7, 1 - 1e-7]. Source: keras.io/api/losses/probabilistic_losses.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryCrossentropy {
    /// Whether predictions are logits rather than probabilities. Default false.
    pub from_logits: bool,
    /// s in [0, 1]: targets become `t (1 - s) + s / 2`. Default 0.
    pub label_smoothing: f64,
}

impl Config for BinaryCrossentropy {
    fn validate(&self) -> Result<(), String> {
        fraction("label_smoothing", self.label_smoothing)
    }
}

impl Cost for BinaryCrossentropy {
    const LOGITS: Option<Logits> = Some(Logits::Sigmoid);

    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId {
        let t = like(g, y_true, y_pred);
        let t = smooth(g, t, self.label_smoothing);
        let costs =
            if from_logits { sigmoid_crossentropy(g, t, y_pred) } else { of_probability(g, t, y_pred) };
        target::mean_last(g, costs)
    }

    fn target(&self) -> Target {
        Target::Binary
    }

    fn given_logits(&self) -> bool {
        self.from_logits
    }
}

/// `t (1 - s) + s / 2`.
pub(super) fn smooth(g: &mut Graph, t: NodeId, smoothing: f64) -> NodeId {
    if smoothing == 0.0 {
        return t;
    }
    let t = g.scale(t, 1.0 - smoothing);
    g.offset(t, 0.5 * smoothing)
}

/// 1 - p is clipped on its own: `1 - (1 - 1e-7)` is 19% off in f32.
pub(super) fn of_probability(g: &mut Graph, t: NodeId, p: NodeId) -> NodeId {
    let one = g.constant(1.0);
    let q = g.sub(one, p);
    let p = g.clip(p, EPSILON, 1.0 - EPSILON);
    let q = g.clip(q, EPSILON, 1.0 - EPSILON);
    let (log_p, log_q) = (g.log(p), g.log(q));
    let rest = g.sub(one, t);
    let (yes, no) = (g.mul(t, log_p), g.mul(rest, log_q));
    let sum = g.add(yes, no);
    g.negate(sum)
}
