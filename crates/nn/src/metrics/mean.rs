//! The state of a metric: a running weighted mean.

use crate::losses::{align, mean_over_rest};
use thalweg_graph::{Graph, NodeId};

/// (total, count) after a batch: `total + sum(value * weight)` and `count + sum(weight)`.
///
/// `values` are `[n]` or [n, ..], of which each example counts once (the mean over its elements); weights as
/// in [`crate::losses::reduce`], 1 where none are given. total and count are f32 scalars (counts are exact up to
/// 2^24 examples). Source: `keras.metrics.Mean`.
pub fn accumulate(
    g: &mut Graph,
    total: NodeId,
    count: NodeId,
    values: NodeId,
    weight: Option<NodeId>,
) -> (NodeId, NodeId) {
    let examples = g.shape(values).first().copied().unwrap_or(1);
    let (values, more) = match weight {
        None => (values, g.constant(examples as f64)),
        Some(w) => {
            let w = align(g, w, values);
            let weighted = g.mul(values, w);
            let w = mean_over_rest(g, w);
            (weighted, g.sum_all(w))
        }
    };
    let values = mean_over_rest(g, values);
    let sum = g.sum_all(values);
    (g.add(total, sum), g.add(count, more))
}

/// total / count on the host, 0 before the first example (as Keras' `divide_no_nan`).
pub fn result(total: f64, count: f64) -> f64 {
    if count == 0.0 { 0.0 } else { total / count }
}
