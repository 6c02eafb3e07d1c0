//! What does not vary over the axes of a sum comes out of it, and what repeats is computed before it is repeated.
//!
//! Batch normalisation's gradients are full of both: a channel's scale inside of a sum over all pixels, and sums of
//! a tensor and its negative. Neither rule keeps every bit: a factor rounds once, not once per term.

use super::splat;
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind, ScalarOp, Type};

/// `sum(-x)` is `-sum(x)`; `sum(x * f)` is `sum(x) * f` if `f` is the same along the axes.
pub fn out_of_sum(g: &mut Graph, kind: ReduceKind, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let node = g.node(x).clone();
    if kind != ReduceKind::Sum || node.ty.dtype != DType::F32 {
        return None;
    }
    match node.op {
        Op::Scalar(ScalarOp::Neg) => {
            let sum = g.reduce(kind, node.inputs[0], axes);
            Some(g.negate(sum))
        }
        Op::Scalar(ScalarOp::Mul) => {
            let (at, factor) = (0..2).find_map(|i| Some((i, along(g, node.inputs[i], axes)?)))?;
            let sum = g.reduce(kind, node.inputs[1 - at], axes);
            Some(g.mul(sum, factor))
        }
        _ => None,
    }
}

/// The node without these axes, if it is a repetition along all of them.
fn along(g: &mut Graph, id: NodeId, axes: &[usize]) -> Option<NodeId> {
    let node = g.node(id).clone();
    let kept = |shape: &[usize]| -> Vec<usize> {
        (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect()
    };
    let shape = kept(&node.ty.shape);
    if let Some(c) = splat(g, id) {
        return Some(g.full(&Type::new(c.dtype(), &shape), c.value()));
    }
    let Op::Broadcast(_) = node.op else { return None };
    let from = g.shape(node.inputs[0]).to_vec();
    if axes.iter().any(|&a| from[a] != 1) {
        return None;
    }
    let inner = g.reshape(node.inputs[0], &kept(&from));
    Some(g.broadcast_to(inner, &shape))
}

/// `x * f + x * f` is `x * 2f` where `f` repeats: half of the gradient of a square.
pub fn twice(g: &mut Graph, op: ScalarOp, x: &[NodeId]) -> Option<NodeId> {
    if op != ScalarOp::Add || x[0] != x[1] || g.ty(x[0]).dtype != DType::F32 {
        return None;
    }
    let product = g.node(x[0]).clone();
    let Op::Scalar(ScalarOp::Mul) = product.op else { return None };
    let repeats = |&i: &usize| matches!(g.node(product.inputs[i]).op, Op::Broadcast(_));
    let at = (0..2).find(repeats)?;
    let factor = g.node(product.inputs[at]).clone();
    // Doubling is exact.
    let double = g.add(factor.inputs[0], factor.inputs[0]);
    let double = g.op(factor.op, &[double]);
    Some(g.mul(product.inputs[1 - at], double))
}

/// Where `max(low, x)` is clipped from above, too: `low < max(low, x)` is `low < min(high, max(low, x))`, so that a
/// clipped activation's gradient needs only what the next layer needs anyway.
pub fn mask_of_clip(g: &mut Graph, op: ScalarOp, x: &[NodeId]) -> Option<NodeId> {
    if op != ScalarOp::Lt || g.node(x[1]).op != Op::Scalar(ScalarOp::Max) {
        return None;
    }
    let low = splat(g, x[0])?.value();
    let clipped = |id: &NodeId| {
        let node = g.node(*id);
        let high = |i: usize| splat(g, node.inputs[i]).is_some_and(|c| c.value() > low);
        node.op == Op::Scalar(ScalarOp::Min)
            && (node.inputs[1] == x[1] && high(0) || node.inputs[0] == x[1] && high(1))
    };
    let clip = g.ids().find(clipped)?;
    Some(g.lt(x[0], clip))
}
