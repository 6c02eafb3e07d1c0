//! Whether the right class is among the k with the largest scores.

use super::Measure;
use super::categorical_accuracy::first_largest;
use crate::losses::{Target, class_labels};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// How often fewer than k scores are larger than the label's: scores [n, .., c], integer labels [n, ..] or
/// [n, .., 1]. Equal scores do not count against it; a label outside of 0..c is never a hit.
/// Source: keras.io/api/metrics/accuracy_metrics (`in_top_k`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseTopKCategoricalAccuracy {
    /// At least 1. Default 5.
    pub k: u32,
}

impl Default for SparseTopKCategoricalAccuracy {
    fn default() -> Self {
        SparseTopKCategoricalAccuracy { k: 5 }
    }
}

impl Config for SparseTopKCategoricalAccuracy {
    fn validate(&self) -> Result<(), String> {
        at_least_one(self.k)
    }
}

impl Measure for SparseTopKCategoricalAccuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let labels = class_labels(g, y_true, y_pred);
        in_top_k(g, labels, y_pred, self.k)
    }

    fn target(&self) -> Target {
        Target::Classes
    }
}

/// As [`SparseTopKCategoricalAccuracy`], with one-hot targets [n, .., c].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TopKCategoricalAccuracy {
    /// At least 1. Default 5.
    pub k: u32,
}

impl Default for TopKCategoricalAccuracy {
    fn default() -> Self {
        TopKCategoricalAccuracy { k: 5 }
    }
}

impl Config for TopKCategoricalAccuracy {
    fn validate(&self) -> Result<(), String> {
        at_least_one(self.k)
    }
}

impl Measure for TopKCategoricalAccuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let labels = first_largest(g, y_true, y_pred);
        in_top_k(g, labels, y_pred, self.k)
    }

    fn target(&self) -> Target {
        Target::Distribution
    }
}

fn at_least_one(k: u32) -> Result<(), String> {
    if k == 0 { Err("k must be >= 1; got 0".into()) } else { Ok(()) }
}

/// 1 where fewer than k scores are larger than the label's, else 0: f32 [n, ..].
fn in_top_k(g: &mut Graph, labels: NodeId, scores: NodeId, k: u32) -> NodeId {
    let shape = g.shape(scores).to_vec();
    let last = shape.len() - 1;
    let column = [&shape[..last], &[1]].concat();
    let labels = g.reshape(labels, &column);
    let labels = g.broadcast_to(labels, &shape);
    let classes = g.op(Op::Iota { axis: last, shape: shape.clone() }, &[]);
    let hit = g.eq(classes, labels);
    let zero = g.constant(0.0);
    let own = g.select(hit, scores, zero);
    let own = g.reduce_keep(ReduceKind::Sum, own, &[last]);
    let larger = g.lt(own, scores);
    let larger = g.cast(larger, DType::F32);
    let rank = g.reduce(ReduceKind::Sum, larger, &[last]);
    let hit = g.cast(hit, DType::F32);
    let known = g.reduce(ReduceKind::Max, hit, &[last]);
    let k = g.constant(f64::from(k));
    let inside = g.lt(rank, k);
    g.select(inside, known, zero)
}
