//! The distribution focal loss: a number learned as a distribution over whole numbers.

use super::{Cost, Target};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// `-((i + 1 - t) log p_i + (t - i) log p_(i+1))`, where the target `t` lies between the bins `i` and `i + 1`: predictions are
/// logits [n, .., bins], targets numbers [n, ..] in 0..=bins-1 (taken to the nearest end where they are not).
///
/// Source: Li et al. 2020, "Generalized focal loss", eq. 6.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributionFocal {}

impl Config for DistributionFocal {}

impl Cost for DistributionFocal {
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
        let shape = Target::Numbers.shape(g.shape(y_pred));
        let t = g.cast(y_true, DType::F32);
        let t = g.reshape(t, &shape);
        distribution_focal(g, t, y_pred)
    }

    fn target(&self) -> Target {
        Target::Numbers
    }
}

/// Costs `[..]` of targets f32 `[..]` and logits `[.., bins]`.
pub(super) fn distribution_focal(g: &mut Graph, t: NodeId, logits: NodeId) -> NodeId {
    let shape = g.shape(logits).to_vec();
    let last = shape.len() - 1;
    let t = g.clip(t, 0.0, (shape[last] - 1) as f64);
    let t = g.reshape(t, &[&shape[..last], &[1]].concat());
    let bin = g.op(Op::Iota { axis: last, shape }, &[]);
    let bin = g.cast(bin, DType::F32);
    // Of the two bins beside t, each weighs 1 less its distance; all others nothing.
    let away = g.sub(bin, t);
    let away = g.abs(away);
    let one = g.constant(1.0);
    let weight = g.sub(one, away);
    let weight = g.relu(weight);
    let log = g.log_softmax(logits, last);
    let terms = g.mul(weight, log);
    let sum = g.reduce(ReduceKind::Sum, terms, &[last]);
    g.negate(sum)
}
