//! From costs to the scalar that is minimised: Keras' `sum_over_batch_size`.

use thalweg_graph::{Graph, NodeId, ReduceKind};

/// Mean over the axes after the first: [n, ..] to `[n]`.
pub fn mean_over_rest(g: &mut Graph, x: NodeId) -> NodeId {
    let shape = g.shape(x).to_vec();
    let axes: Vec<usize> = (1..shape.len()).collect();
    let count: usize = shape.iter().skip(1).product();
    let sum = g.reduce(ReduceKind::Sum, x, &axes);
    if count == 1 { sum } else { g.scale(sum, 1.0 / count as f64) }
}

/// The scalar loss of costs [n, ..]: `sum(cost * weight) / number of costs`, weights 1 where none are given.
///
/// Weights are `[n]`, or have one axis for each of the costs' leading axes (an axis of 1 more is dropped).
/// The divisor does not depend on the weights. Source: `keras.losses.Loss`, reduction "sum_over_batch_size".
pub fn reduce(g: &mut Graph, costs: NodeId, sample_weight: Option<NodeId>) -> NodeId {
    let count: usize = g.shape(costs).iter().product();
    let weighted = match sample_weight {
        None => costs,
        Some(w) => {
            let w = align(g, w, costs);
            g.mul(costs, w)
        }
    };
    let sum = g.sum_all(weighted);
    g.scale(sum, 1.0 / count as f64)
}

/// Weights `[n]`, [n, d..] or [n, d.., 1] repeated to the shape of `values` [n, d.., e..].
pub(crate) fn align(g: &mut Graph, weight: NodeId, values: NodeId) -> NodeId {
    let shape = g.shape(values).to_vec();
    let mut own = g.shape(weight).to_vec();
    if own.len() > shape.len() && own.last() == Some(&1) {
        own.pop();
    }
    own.resize(shape.len().max(own.len()), 1);
    let w = g.reshape(weight, &own);
    g.broadcast_to(w, &shape)
}
