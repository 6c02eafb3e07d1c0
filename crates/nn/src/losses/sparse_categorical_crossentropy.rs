//! Crossentropy between class indices and predicted distributions.

use super::{Cost, EPSILON, Logits, Target, class_labels};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// `-log p[label]`: predictions [n, .., c], integer labels [n, ..] or [n, .., 1] in 0..c.
///
/// Probabilities are clipped to [1e-7, 1 - 1e-7] and then taken to add up to 1. A label outside of 0..c costs
/// nothing. Source: keras.io/api/losses/probabilistic_losses, TensorFlow backend.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseCategoricalCrossentropy {
    /// Whether predictions are logits rather than probabilities. Default false.
    pub from_logits: bool,
    /// A label whose elements do not count (the "void" of a segmentation). Default none.
    pub ignore_class: Option<i32>,
}

impl Config for SparseCategoricalCrossentropy {}

impl Cost for SparseCategoricalCrossentropy {
    const LOGITS: Option<Logits> = Some(Logits::Softmax);

    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId {
        let shape = g.shape(y_pred).to_vec();
        let last = shape.len() - 1;
        let labels = class_labels(g, y_true, y_pred);
        // log p up to a constant per row: the normalisation takes care of the rest.
        let scores = if from_logits {
            y_pred
        } else {
            let p = g.clip(y_pred, EPSILON, 1.0 - EPSILON);
            g.log(p)
        };
        let log_p = g.log_softmax(scores, last);
        let classes = g.op(Op::Iota { axis: last, shape: shape.clone() }, &[]);
        let column = g.shape(labels).iter().copied().chain([1]).collect::<Vec<_>>();
        let labels_column = g.reshape(labels, &column);
        let hit = g.eq(classes, labels_column);
        let zero = g.constant(0.0);
        let picked = g.select(hit, log_p, zero);
        let picked = g.reduce(ReduceKind::Sum, picked, &[last]);
        let costs = g.negate(picked);
        match self.ignore_class {
            None => costs,
            Some(class) => mean_over_valid(g, costs, labels, class),
        }
    }

    fn target(&self) -> Target {
        Target::Classes
    }

    fn given_logits(&self) -> bool {
        self.from_logits
    }
}

/// Zero where the label is `class`; elsewhere times count / count of the others (Keras' `apply_mask`).
fn mean_over_valid(g: &mut Graph, costs: NodeId, labels: NodeId, class: i32) -> NodeId {
    let total: usize = g.shape(costs).iter().product();
    let class = g.constant_of(DType::I32, f64::from(class));
    let void = g.eq(labels, class);
    let (zero, one) = (g.constant(0.0), g.constant(1.0));
    let valid = g.select(void, zero, one);
    let count = g.sum_all(valid);
    // No valid element: every cost is zero, whatever the divisor.
    let count = g.max(count, one);
    let all = g.constant(total as f64);
    let scale = g.div(all, count);
    let scaled = g.mul(costs, scale);
    g.select(void, zero, scaled)
}
