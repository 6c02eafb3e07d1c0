//! Logits: what a softmax or sigmoid is taken of, and the stable functions of them that losses use.

use crate::activations::Logits;
use thalweg_graph::{Graph, NodeId, ReduceKind};

/// (x, log sum exp x), both less the same shift near the maximum over the last axis, so that nothing
/// overflows: [.., c] and [.., 1]. Their difference is -log softmax(x).
pub(crate) fn shifted_logsumexp(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let last = g.shape(x).len() - 1;
    let top = g.reduce_keep(ReduceKind::Max, x, &[last]);
    // The shift cancels, whatever it is: the floor of the maximum does as well, and has no gradient.
    let shift = g.floor(top);
    let shifted = g.sub(x, shift);
    let e = g.exp(shifted);
    let sum = g.reduce_keep(ReduceKind::Sum, e, &[last]);
    (shifted, g.log(sum))
}

/// `-z log s(x) - (1 - z) log(1 - s(x))` with s the sigmoid: `max(x, 0) - x z + log(1 + e^-|x|)`.
///
/// Source: tf.nn.sigmoid_cross_entropy_with_logits, whose branches give the gradient s(x) - z at x = 0 too.
pub(crate) fn sigmoid_crossentropy(g: &mut Graph, z: NodeId, x: NodeId) -> NodeId {
    let zero = g.constant(0.0);
    let negative = g.lt(x, zero);
    let minus = g.negate(x);
    let positive_part = g.select(negative, zero, x);
    let below = g.select(negative, x, minus);
    let xz = g.mul(x, z);
    let linear = g.sub(positive_part, xz);
    let e = g.exp(below);
    let e1 = g.offset(e, 1.0);
    let l = g.log(e1);
    g.add(linear, l)
}

pub(crate) fn advice(
    loss: &str,
    expected: Logits,
    from_logits: bool,
    last: Option<Logits>,
) -> Option<String> {
    let name = |kind| match kind {
        Logits::Softmax => "softmax",
        Logits::Sigmoid => "sigmoid",
    };
    let activation = name(expected);
    match last {
        Some(kind) if kind == expected && from_logits => Some(format!(
            "{loss} was given from_logits=true, but the last layer is a {activation}; the logits before it are \
             used, and from_logits can be left out"
        )),
        Some(kind) if kind != expected => Some(format!(
            "{loss} expects a {activation}, but the last layer is a {}; use activation=\"{activation}\"",
            name(kind)
        )),
        None if !from_logits => Some(format!(
            "{loss} expects probabilities, but the last layer has no {activation}; add \
             activation=\"{activation}\" to it or from_logits=true to the loss"
        )),
        _ => None,
    }
}
