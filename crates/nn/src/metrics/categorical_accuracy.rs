//! Accuracy of the class with the largest score.

use super::Measure;
use crate::losses::{Target, class_labels, like};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId, Op};

/// How often the first largest score is at the label: scores [n, .., c] (probabilities or logits), integer
/// labels [n, ..] or [n, .., 1]. Source: keras.io/api/metrics/accuracy_metrics.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SparseCategoricalAccuracy {}

impl Config for SparseCategoricalAccuracy {}

impl Measure for SparseCategoricalAccuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let labels = class_labels(g, y_true, y_pred);
        hits(g, labels, y_pred)
    }

    fn target(&self) -> Target {
        Target::Classes
    }
}

/// How often the first largest score is where the first largest target is: both [n, .., c].
/// Source: keras.io/api/metrics/accuracy_metrics.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CategoricalAccuracy {}

impl Config for CategoricalAccuracy {}

impl Measure for CategoricalAccuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let labels = first_largest(g, y_true, y_pred);
        hits(g, labels, y_pred)
    }

    fn target(&self) -> Target {
        Target::Distribution
    }
}

/// Class indices i32 [n, ..] of one-hot targets for scores of the same shape.
pub(super) fn first_largest(g: &mut Graph, one_hot: NodeId, scores: NodeId) -> NodeId {
    let t = like(g, one_hot, scores);
    let last = g.shape(t).len() - 1;
    g.op(Op::ArgMax(last), &[t])
}

fn hits(g: &mut Graph, labels: NodeId, scores: NodeId) -> NodeId {
    let last = g.shape(scores).len() - 1;
    let best = g.op(Op::ArgMax(last), &[scores]);
    let same = g.eq(best, labels);
    g.cast(same, DType::F32)
}
