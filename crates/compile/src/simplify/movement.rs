//! Movement of movement, and movement of constants.

use super::splat;
use thalweg_graph::{Graph, NodeId, Op, Span, Type};

/// Reshape, transpose, broadcast and flip.
pub fn rewrite(g: &mut Graph, op: &Op, x: NodeId) -> Option<NodeId> {
    let inner = g.node(x).clone();
    match (op, &inner.op) {
        (Op::Reshape(shape), _) if *shape == inner.ty.shape => Some(x),
        (Op::Broadcast(shape), _) if *shape == inner.ty.shape => Some(x),
        (Op::Transpose(perm), _) if perm.iter().enumerate().all(|(i, &p)| i == p) => Some(x),
        (Op::Reshape(shape), Op::Reshape(_)) => Some(g.reshape(inner.inputs[0], shape)),
        (Op::Broadcast(shape), Op::Broadcast(_)) => {
            Some(g.op(Op::Broadcast(shape.clone()), &[inner.inputs[0]]))
        }
        (Op::Transpose(outer), Op::Transpose(perm)) => {
            let both: Vec<usize> = outer.iter().map(|&o| perm[o]).collect();
            Some(g.transpose(inner.inputs[0], &both))
        }
        (Op::Reshape(shape), Op::Broadcast(_)) => constant(g, shape, x),
        (Op::Transpose(perm), Op::Broadcast(_)) => {
            let shape: Vec<usize> = perm.iter().map(|&p| inner.ty.shape[p]).collect();
            constant(g, &shape, x)
        }
        (Op::Flip(_), _) => splat(g, x).map(|_| x),
        _ => None,
    }
}

/// A constant moved is the constant in another shape.
fn constant(g: &mut Graph, shape: &[usize], x: NodeId) -> Option<NodeId> {
    let c = splat(g, x)?;
    Some(g.full(&Type::new(c.dtype(), shape), c.value()))
}

/// Slices of everything, of slices, of constants.
pub fn slice(g: &mut Graph, spans: &[Span], x: NodeId) -> Option<NodeId> {
    let inner = g.node(x).clone();
    let whole = spans.iter().zip(&inner.ty.shape).all(|(s, &n)| s.start == 0 && s.stop == n && s.step == 1);
    if whole {
        return Some(x);
    }
    if let Op::Slice(first) = &inner.op {
        let both = first
            .iter()
            .zip(spans)
            .map(|(a, b)| Span {
                start: a.start + b.start * a.step,
                stop: a.start + (b.start + (b.count() - 1) * b.step) * a.step + 1,
                step: a.step * b.step,
            })
            .collect();
        return Some(g.op(Op::Slice(both), &[inner.inputs[0]]));
    }
    let shape: Vec<usize> = spans.iter().map(Span::count).collect();
    constant(g, &shape, x)
}

/// A product of a transposed matrix reads it transposed.
pub fn dot(g: &mut Graph, ta: bool, tb: bool, inputs: &[NodeId]) -> Option<NodeId> {
    let swapped = |g: &Graph, x: NodeId| {
        let node = g.node(x);
        let Op::Transpose(perm) = &node.op else { return None };
        let r = perm.len();
        let swaps = perm[r - 2] == r - 1 && perm[r - 1] == r - 2 && (0..r - 2).all(|i| perm[i] == i);
        swaps.then(|| node.inputs[0])
    };
    match (swapped(g, inputs[0]), swapped(g, inputs[1])) {
        (None, None) => None,
        (a, b) => {
            let (ta, tb) = (ta ^ a.is_some(), tb ^ b.is_some());
            Some(g.dot(a.unwrap_or(inputs[0]), b.unwrap_or(inputs[1]), ta, tb))
        }
    }
}
