//! A ReLU's mask before a max pooling's gradient, instead of behind it.

use super::splat;
use thalweg_graph::{Graph, NodeId, Op, PoolKind, ReduceKind, ScalarOp};

/// `select(0 < y, unpool(argpool(y), dy), 0)` is `unpool(argpool(y), select(0 < pool(y), dy, 0))`: only the
/// maximum's position carries a gradient, and there y is the pooled value. Then nothing needs y itself, and
/// the convolution that made it need not store it.
pub fn mask_before_unpool(g: &mut Graph, op: ScalarOp, inputs: &[NodeId]) -> Option<NodeId> {
    if op != ScalarOp::Select || splat(g, inputs[2])?.value() != 0.0 {
        return None;
    }
    let condition = g.node(inputs[0]).clone();
    let unpool = g.node(inputs[1]).clone();
    let (Op::Scalar(ScalarOp::Lt), Op::Unpool(d)) = (&condition.op, &unpool.op) else { return None };
    let zero = splat(g, condition.inputs[0])?.value() == 0.0;
    let y = condition.inputs[1];
    let position = g.node(unpool.inputs[0]).clone();
    let d = *d;
    let of_y = position.op == Op::ArgPool(d) && position.inputs[0] == y;
    // A position that two windows share would be masked twice or not at all; it is the same y, so that is right.
    if !zero || !of_y {
        return None;
    }
    let pooled = g.op(Op::Pool(PoolKind::Max, d), &[y]);
    let zero = g.constant(0.0);
    let alive = g.lt(zero, pooled);
    let dy = g.select(alive, unpool.inputs[1], zero);
    Some(g.op(Op::Unpool(d), &[unpool.inputs[0], dy]))
}

/// The sum of an unpooled image over batch, rows and columns is that of what was put there: where windows have no
/// padding, every position of a maximum is in the image; only the zeros between are left out of the sum. (A bias's
/// gradient behind a max pooling.)
pub fn sum_of_unpool(g: &mut Graph, kind: ReduceKind, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let node = g.node(x).clone();
    let whole = kind == ReduceKind::Sum && [0, 1, 2].iter().all(|a| axes.contains(a));
    let Op::Unpool(d) = node.op else { return None };
    let inside =
        g.node(node.inputs[0]).op == Op::ArgPool(d) && [d.rows, d.cols].iter().all(|w| w.lo + w.hi == 0);
    (whole && inside).then(|| g.reduce(kind, node.inputs[1], axes))
}
