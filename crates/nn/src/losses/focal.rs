//! Crossentropies of yes-or-no predictions that weigh down what is easy: focal and varifocal.

use super::logits::sigmoid_crossentropy;
use super::{Cost, Logits, Target, binary_crossentropy, like, target};
use crate::table::{Config, fraction, not_negative};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `(1 - p_t)^gamma` times the crossentropy, where `p_t` is the probability given to the truth; mean over the last
/// axis: targets and predictions [n, .., c].
///
/// With `apply_class_balancing` times `alpha` for ones, `1 - alpha` for zeros: the focal loss of Lin et al. 2017 ("Focal
/// loss for dense object detection"). Source: keras.io/api/losses/probabilistic_losses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryFocalCrossentropy {
    /// Whether ones and zeros have weights of their own. Default false.
    pub apply_class_balancing: bool,
    /// The weight of ones, in [0, 1]. Default 0.25.
    pub alpha: f64,
    /// How much what is easy is weighed down; at least 0. Default 2.
    pub gamma: f64,
    /// Whether predictions are logits rather than probabilities. Default false.
    pub from_logits: bool,
    /// s in [0, 1]: targets become `t (1 - s) + s / 2`. Default 0.
    pub label_smoothing: f64,
}

impl Default for BinaryFocalCrossentropy {
    fn default() -> Self {
        BinaryFocalCrossentropy {
            apply_class_balancing: false,
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        }
    }
}

impl Config for BinaryFocalCrossentropy {
    fn validate(&self) -> Result<(), String> {
        fraction("alpha", self.alpha)?;
        not_negative("gamma", self.gamma)?;
        fraction("label_smoothing", self.label_smoothing)
    }
}

/// The crossentropy of targets `t`, and the probability, of predictions that may be logits.
fn crossentropy(g: &mut Graph, t: NodeId, pred: NodeId, from_logits: bool) -> (NodeId, NodeId) {
    match from_logits {
        true => (sigmoid_crossentropy(g, t, pred), g.sigmoid(pred)),
        false => (binary_crossentropy::of_probability(g, t, pred), pred),
    }
}

impl Cost for BinaryFocalCrossentropy {
    const LOGITS: Option<Logits> = Some(Logits::Sigmoid);

    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId {
        let t = like(g, y_true, y_pred);
        let t = binary_crossentropy::smooth(g, t, self.label_smoothing);
        let (costs, p) = crossentropy(g, t, y_pred, from_logits);
        // 1 - p_t = t (1 - p) + (1 - t) p
        let one = g.constant(1.0);
        let (q, other) = (g.sub(one, p), g.sub(one, t));
        let (a, b) = (g.mul(t, q), g.mul(other, p));
        let miss = g.add(a, b);
        let factor = g.power(miss, self.gamma);
        let mut costs = g.mul(costs, factor);
        if self.apply_class_balancing {
            let (a, b) = (g.scale(t, self.alpha), g.scale(other, 1.0 - self.alpha));
            let weight = g.add(a, b);
            costs = g.mul(costs, weight);
        }
        target::mean_last(g, costs)
    }

    fn target(&self) -> Target {
        Target::Binary
    }

    fn given_logits(&self) -> bool {
        self.from_logits
    }
}

/// The crossentropy of a quality `q` in [0, 1] (how well a detection fits; 0: nothing there), times `q` where there is
/// something, and `alpha p^gamma` where there is nothing; mean over the last axis: targets and predictions [n, .., c].
///
/// Source: Zhang et al. 2021, "VarifocalNet", eq. 2.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Varifocal {
    /// The weight of what is not there, at least 0. Default 0.75.
    pub alpha: f64,
    /// How much what is easily seen not to be there is weighed down; at least 0. Default 2.
    pub gamma: f64,
    /// Whether predictions are logits rather than probabilities. Default false.
    pub from_logits: bool,
}

impl Default for Varifocal {
    fn default() -> Self {
        Varifocal { alpha: 0.75, gamma: 2.0, from_logits: false }
    }
}

impl Config for Varifocal {
    fn validate(&self) -> Result<(), String> {
        not_negative("alpha", self.alpha)?;
        not_negative("gamma", self.gamma)
    }
}

impl Varifocal {
    /// Costs of each element.
    pub(super) fn elements(&self, g: &mut Graph, q: NodeId, pred: NodeId, from_logits: bool) -> NodeId {
        let (costs, p) = crossentropy(g, q, pred, from_logits);
        let zero = g.constant(0.0);
        let there = g.lt(zero, q);
        let absent = g.power(p, self.gamma);
        let absent = g.scale(absent, self.alpha);
        let weight = g.select(there, q, absent);
        g.mul(costs, weight)
    }
}

impl Cost for Varifocal {
    const LOGITS: Option<Logits> = Some(Logits::Sigmoid);

    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId {
        let q = like(g, y_true, y_pred);
        let costs = self.elements(g, q, y_pred, from_logits);
        target::mean_last(g, costs)
    }

    fn target(&self) -> Target {
        Target::Binary
    }

    fn given_logits(&self) -> bool {
        self.from_logits
    }
}
