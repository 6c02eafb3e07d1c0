//! Random steps that choose elements: the best of a list, by index, by greedy suppression.

use super::builder::{Builder, MOST};
use thalweg_graph::{DType, Op, ReduceKind};

/// The best of the last axis, gathered: a sorted part of it.
pub fn best(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| !g.shape(id).is_empty()) else { return };
    let last = b.graph.shape(x).len() - 1;
    let n = b.graph.shape(x)[last];
    let k = 1 + b.below(n.min(12));
    let at = b.graph.top_k(x, k);
    b.graph.gather(x, last, at);
}

/// Rows by an index that was computed, some of them outside.
pub fn rows(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| !g.shape(id).is_empty()) else { return };
    let shape = b.graph.shape(x).to_vec();
    let axis = b.below(shape.len());
    let count = b.extent();
    let places = [&shape[..axis], &[count]].concat();
    if places.iter().product::<usize>() * shape[axis + 1..].iter().product::<usize>() > MOST {
        return;
    }
    let counted = b.below(places.len());
    let at = b.graph.op(Op::Iota { axis: counted, shape: places }, &[]);
    let by = b.below(3) as f64 - 1.0;
    let outside = b.graph.constant_of(DType::I32, by);
    let at = b.graph.add(at, outside);
    b.graph.gather(x, axis, at);
}

/// What is left of a list where neighbours in value rule each other out; the rest becomes zero.
pub fn suppress(b: &mut Builder) {
    let fits = |shape: &[usize]| shape.last().is_some_and(|n| n * shape.iter().product::<usize>() <= MOST);
    let Some(x) = b.pick(|g, id| fits(g.shape(id))) else { return };
    let shape = b.graph.shape(x).to_vec();
    let (&n, kept) = shape.split_last().unwrap_or((&1, &[]));
    let row = b.graph.reshape(x, &[kept, &[n, 1]].concat());
    let column = b.graph.reshape(x, &[kept, &[1, n]].concat());
    let apart = b.graph.sub(row, column);
    let apart = b.graph.abs(apart);
    let near = b.one_of(&[0.1, 0.3]);
    let near = b.graph.constant(near);
    let conflict = b.graph.lt(apart, near);
    let left = b.graph.op(Op::Suppress, &[conflict]);
    let zero = b.graph.constant(0.0);
    let y = b.graph.select(left, x, zero);
    if b.once_in(3) {
        let last = shape.len() - 1;
        b.graph.reduce(ReduceKind::Max, y, &[last]);
    }
}
