//! Random steps that move elements, and reductions.

use super::builder::{Builder, MOST};
use thalweg_base::Scalar;
use thalweg_graph::{NodeId, Op, ReduceKind, Span};

/// Any node, most often f32.
fn any_typed(b: &mut Builder) -> NodeId {
    if b.once_in(5)
        && let Some(id) = b.pick_typed(|_, _| true)
    {
        return id;
    }
    b.any()
}

/// Flattens, joins two axes, splits one, or adds one of extent 1.
pub fn reshape(b: &mut Builder) {
    let x = any_typed(b);
    let mut shape = b.graph.shape(x).to_vec();
    match b.below(4) {
        0 => shape = vec![shape.iter().product()],
        1 if shape.len() >= 2 => {
            let at = b.below(shape.len() - 1);
            shape[at] *= shape.remove(at + 1);
        }
        2 if !shape.is_empty() && shape.len() < 5 => {
            let at = b.below(shape.len());
            let divisors: Vec<usize> = (1..=shape[at]).filter(|d| shape[at].is_multiple_of(*d)).collect();
            let d = b.one_of(&divisors);
            shape[at] /= d;
            shape.insert(at + 1, d);
        }
        _ if shape.len() < 5 => shape.insert(b.below(shape.len() + 1), 1),
        _ => return,
    }
    b.graph.reshape(x, &shape);
}

/// Any permutation.
pub fn transpose(b: &mut Builder) {
    let x = any_typed(b);
    let mut perm: Vec<usize> = (0..b.graph.shape(x).len()).collect();
    for i in (1..perm.len()).rev() {
        perm.swap(i, b.below(i + 1));
    }
    b.graph.transpose(x, &perm);
}

/// Repeats a new or existing axis of extent 1.
pub fn broadcast(b: &mut Builder) {
    let x = any_typed(b);
    let mut shape = b.graph.shape(x).to_vec();
    let ones: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] == 1).collect();
    let axis = match ones.is_empty() {
        false => b.one_of(&ones),
        true if shape.len() < 5 => {
            let at = b.below(shape.len() + 1);
            shape.insert(at, 1);
            at
        }
        true => return,
    };
    let times = 2 + b.below(3);
    if shape.iter().product::<usize>() * times <= MOST {
        let x = b.graph.reshape(x, &shape);
        shape[axis] = times;
        b.graph.op(Op::Broadcast(shape), &[x]);
    }
}

/// A strided part.
pub fn slice(b: &mut Builder) {
    let x = any_typed(b);
    let spans: Vec<Span> = b
        .graph
        .shape(x)
        .to_vec()
        .into_iter()
        .map(|n| {
            if b.once_in(2) {
                return Span { start: 0, stop: n, step: 1 };
            }
            let start = b.below(n);
            let stop = start + 1 + b.below(n - start);
            Span { start, stop, step: 1 + b.below(3) }
        })
        .collect();
    b.graph.op(Op::Slice(spans), &[x]);
}

/// Padding before, after and between.
pub fn pad(b: &mut Builder) {
    let x = b.any();
    let shape = b.graph.shape(x).to_vec();
    let mut axes = vec![(0, 0, 0); shape.len()];
    for a in &mut axes {
        if b.once_in(2) {
            *a = (b.below(3), b.below(3), if b.once_in(3) { 1 + b.below(2) } else { 0 });
        }
    }
    let size: usize = shape.iter().zip(&axes).map(|(n, a)| a.0 + n + (n - 1) * a.2 + a.1).product();
    if size <= MOST {
        let value = Scalar::f32(b.one_of(&[0.0, 0.0, -1.5]));
        b.graph.op(Op::Pad { axes, value }, &[x]);
    }
}

/// With another node that fits, or with itself.
pub fn concat(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| !g.shape(id).is_empty()) else { return };
    let shape = b.graph.shape(x).to_vec();
    let axis = b.below(shape.len());
    let fits = |s: &[usize]| s.len() == shape.len() && (0..s.len()).all(|a| a == axis || s[a] == shape[a]);
    let y = b.pick(|g, id| fits(g.shape(id))).unwrap_or(x);
    if b.graph.ty(x).len() + b.graph.ty(y).len() <= MOST {
        b.graph.op(Op::Concat(axis), &[x, y]);
    }
}

/// Some axes backwards.
pub fn flip(b: &mut Builder) {
    let x = any_typed(b);
    let axes: Vec<usize> = (0..b.graph.shape(x).len()).filter(|_| b.once_in(2)).collect();
    if !axes.is_empty() {
        b.graph.op(Op::Flip(axes), &[x]);
    }
}

/// A mean or a maximum over some axes, which go or stay.
pub fn reduce(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| !g.shape(id).is_empty()) else { return };
    let rank = b.graph.shape(x).len();
    let mut axes: Vec<usize> = (0..rank).filter(|_| b.once_in(2)).collect();
    if axes.is_empty() {
        axes.push(b.below(rank));
    }
    let kind = b.one_of(&[ReduceKind::Sum, ReduceKind::Sum, ReduceKind::Max]);
    let count: usize = axes.iter().map(|&a| b.graph.shape(x)[a]).product();
    let y = if b.once_in(2) { b.graph.reduce(kind, x, &axes) } else { b.graph.reduce_keep(kind, x, &axes) };
    if kind == ReduceKind::Sum {
        b.graph.scale(y, 1.0 / count as f64);
    }
}

/// The place of the maximum, perhaps made a one-hot mask again.
pub fn argmax(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| !g.shape(id).is_empty()) else { return };
    let shape = b.graph.shape(x).to_vec();
    let axis = b.below(shape.len());
    let at = b.graph.op(Op::ArgMax(axis), &[x]);
    if b.once_in(2) {
        let mut kept = shape.clone();
        kept[axis] = 1;
        let at = b.graph.reshape(at, &kept);
        let at = b.graph.broadcast_to(at, &shape);
        let index = b.graph.op(Op::Iota { axis, shape }, &[]);
        let hit = b.graph.eq(at, index);
        let other = b.graph.tanh(x);
        b.graph.select(hit, x, other);
    }
}
