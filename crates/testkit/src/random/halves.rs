//! Random steps in 16 bits, between a cast there and a cast back.
//!
//! They begin with short numbers (multiples of 1/8), so that what is rounded is mostly exact before, whoever adds it up in
//! which order; what is not is thrown away (`robust.rs`). So devices are held to the very rounding.

use super::builder::{Builder, MOST};
use super::contractions::geometry;
use super::windows;
use thalweg_base::{DType, ScalarOp};
use thalweg_graph::{Graph, NodeId, Op, PoolKind, ReduceKind};

/// Multiples of 1/8 in -1..1 that depend on `x`, in that type.
fn short(g: &mut Graph, x: NodeId, half: DType) -> NodeId {
    let t = g.tanh(x);
    let eighths = g.scale(t, 8.0);
    let whole = g.floor(eighths);
    let y = g.scale(whole, 0.125);
    g.cast(y, half)
}

/// A chain of operations.
pub fn chain(b: &mut Builder) {
    let half = b.one_of(&[DType::F16, DType::BF16]);
    let image = b.once_in(2);
    let x = if image { b.image() } else { b.any() };
    let mut y = short(&mut b.graph, x, half);
    for _ in 0..1 + b.below(4) {
        y = step(b, y, half);
    }
    let wide = b.graph.cast(y, DType::F32);
    b.graph.scale(wide, 0.25);
}

fn fresh(b: &mut Builder, shape: &[usize], half: DType) -> NodeId {
    let w = b.fresh(shape, 1.0);
    short(&mut b.graph, w, half)
}

fn step(b: &mut Builder, x: NodeId, half: DType) -> NodeId {
    let shape = b.graph.shape(x).to_vec();
    let rank = shape.len();
    match b.below(10) {
        0 => b.graph.relu(x),
        1..=2 => {
            let other = match rank {
                0 => x,
                _ => fresh(b, &shape[rank - 1..], half),
            };
            let op = b.one_of(&[ScalarOp::Add, ScalarOp::Sub, ScalarOp::Mul, ScalarOp::Max, ScalarOp::Min]);
            b.graph.scalar(op, &[x, other])
        }
        3 => {
            let (zero, minus) = (b.graph.constant(0.25), b.graph.negate(x));
            let below = b.graph.lt(x, zero);
            b.graph.select(below, minus, x)
        }
        4 if rank > 0 => {
            let axis = b.below(rank);
            let kind = b.one_of(&[ReduceKind::Sum, ReduceKind::Max]);
            b.graph.reduce_keep(kind, x, &[axis])
        }
        5 if rank >= 2 => dense(b, x, half),
        6..=7 if rank == 4 => conv(b, x, half),
        8 if rank == 4 => windows::geometry(b, &shape).map_or(x, |d| {
            let kind = b.one_of(&[PoolKind::Max, PoolKind::Max, PoolKind::Sum]);
            b.graph.op(Op::Pool(kind, d), &[x])
        }),
        9 if rank >= 2 => {
            let perm: Vec<usize> = (0..rank).rev().collect();
            b.graph.transpose(x, &perm)
        }
        _ => b.graph.abs(x),
    }
}

/// A matrix product, with what a fuser looks for behind it.
fn dense(b: &mut Builder, x: NodeId, half: DType) -> NodeId {
    let (rows, k) = (b.graph.shape(x)[0], b.graph.ty(x).len() / b.graph.shape(x)[0]);
    let n = b.extent();
    if k * n > MOST || rows * n > MOST {
        return x;
    }
    let flat = b.graph.reshape(x, &[rows, k]);
    let w = fresh(b, &[k, n], half);
    let y = b.graph.dot(flat, w, false, false);
    behind(b, y, half)
}

fn conv(b: &mut Builder, x: NodeId, half: DType) -> NodeId {
    let shape = b.graph.shape(x).to_vec();
    let Some(d) = geometry(b, &shape) else { return x };
    let w = fresh(b, &d.filter(), half);
    let y = b.graph.op(Op::Conv(d), &[x, w]);
    behind(b, y, half)
}

fn behind(b: &mut Builder, y: NodeId, half: DType) -> NodeId {
    let n = b.graph.shape(y).last().copied().unwrap_or(1);
    let y = if b.once_in(2) {
        let bias = fresh(b, &[n], half);
        b.graph.add(y, bias)
    } else {
        y
    };
    if b.once_in(2) { b.graph.relu(y) } else { y }
}
