//! Crossentropy of a sigmoid's logits, and advice on last activations that do not suit a loss.

use crate::activations::Logits;
use thalweg_graph::{Graph, NodeId};

/// `-z log s(x) - (1 - z) log(1 - s(x))` with s the sigmoid: `max(x, 0) - x z + log(1 + e^-|x|)`.
///
/// Source: tf.nn.sigmoid_cross_entropy_with_logits, whose branches give the gradient s(x) - z at x = 0 too.
pub(super) fn sigmoid_crossentropy(g: &mut Graph, z: NodeId, x: NodeId) -> NodeId {
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

/// A line where the last activation does not give what the loss expects.
pub(super) fn advice(
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
            "{loss} was given from_logits=true, but the last layer is a {activation}; the logits before it \
             are used, and from_logits can be left out"
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
