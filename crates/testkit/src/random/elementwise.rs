//! Random element-wise steps: smooth functions, arithmetic, choices, conversions, integers, normalisations.

use super::builder::Builder;
use thalweg_base::{DType, ScalarOp};
use thalweg_graph::{Graph, NodeId, Op, ReduceKind};

/// A function of one operand, at arguments where it is smooth and moderate.
pub fn unary(b: &mut Builder) {
    let x = b.any();
    let kind = b.below(11);
    let g = &mut b.graph;
    // x^2 + 1/4, for functions of positive numbers
    let positive = |g: &mut Graph| {
        let xx = g.mul(x, x);
        g.offset(xx, 0.25)
    };
    match kind {
        0 => g.negate(x),
        1 => g.abs(x),
        2 => {
            let t = g.tanh(x);
            g.exp(t)
        }
        3 => {
            let p = positive(g);
            g.log(p)
        }
        4 => {
            let p = positive(g);
            g.sqrt(p)
        }
        5 => {
            let shifted = g.scale(x, 3.0);
            g.floor(shifted)
        }
        6 => g.cos(x),
        7 => g.tanh(x),
        8 => g.sigmoid(x),
        9 => g.erf(x),
        _ => g.relu(x),
    };
}

/// Something that `x` broadcasts with: another node, a row, a scalar, a constant.
fn partner(b: &mut Builder, x: NodeId) -> NodeId {
    let shape = b.graph.shape(x).to_vec();
    let fits = |g: &Graph, id: NodeId| {
        let s = g.shape(id);
        s.len() <= shape.len() && s.iter().rev().zip(shape.iter().rev()).all(|(&a, &b)| a == b || a == 1)
    };
    match b.below(4) {
        0 => b.pick(fits),
        1 => {
            let c = b.uniform(-2.0, 2.0);
            Some(b.graph.constant(c))
        }
        2 => shape.last().map(|&n| b.fresh(&[n], 1.0)),
        _ => b.pick(|g, id| g.shape(id) == shape),
    }
    .unwrap_or_else(|| b.fresh(&shape, 1.0))
}

/// Arithmetic on two operands.
pub fn binary(b: &mut Builder) {
    let x = b.any();
    let y = partner(b, x);
    let (x, y) = if b.once_in(2) { (x, y) } else { (y, x) };
    let op = b.one_of(&[
        ScalarOp::Add,
        ScalarOp::Add,
        ScalarOp::Sub,
        ScalarOp::Mul,
        ScalarOp::Mul,
        ScalarOp::Max,
        ScalarOp::Min,
        ScalarOp::Div,
        ScalarOp::Pow,
    ]);
    let g = &mut b.graph;
    match op {
        ScalarOp::Div => {
            // Away from zero: 1/2 + |y|.
            let a = g.abs(y);
            let d = g.offset(a, 0.5);
            g.div(x, d);
        }
        ScalarOp::Pow => {
            // Base in 1/2..3/2, exponent in -1..1.
            let s = g.sigmoid(x);
            let base = g.offset(s, 0.5);
            let e = g.tanh(y);
            g.pow(base, e);
        }
        op => {
            g.scalar(op, &[x, y]);
        }
    }
}

/// A comparison and what depends on it.
pub fn choose(b: &mut Builder) {
    let x = b.any();
    let (y, z) = (partner(b, x), partner(b, x));
    let mut condition = if b.once_in(4) { b.graph.eq(x, y) } else { b.graph.lt(x, y) };
    if b.once_in(3) {
        let other = b.graph.lt(z, x);
        condition = b.graph.and(condition, other);
    }
    if b.once_in(3) {
        b.graph.cast(condition, DType::F32);
    } else {
        b.graph.select(condition, x, z);
    }
}

/// Between element types.
pub fn convert(b: &mut Builder) {
    if b.once_in(2) {
        let x = b.any();
        let to = b.one_of(&[DType::U8, DType::I32, DType::Bool]);
        let x = b.graph.scale(x, 5.0);
        b.graph.cast(x, to);
    } else if let Some(x) = b.pick_typed(|g, id| g.ty(id).dtype != DType::F32) {
        let f = b.graph.cast(x, DType::F32);
        b.graph.scale(f, 0.01);
    }
}

/// Whole numbers: counters, labels, positions.
pub fn integers(b: &mut Builder) {
    let Some(x) = b.pick_typed(|g, id| g.ty(id).dtype == DType::I32) else {
        let shape = [b.extent(), b.extent()];
        let axis = b.below(2);
        b.graph.op(Op::Iota { axis, shape: shape.to_vec() }, &[]);
        return;
    };
    let shape = b.graph.shape(x).to_vec();
    let (rank, most) = (shape.len(), b.below(5) as f64);
    let y = if rank > 0 && b.once_in(2) {
        let axis = b.below(rank);
        b.graph.op(Op::Iota { axis, shape }, &[])
    } else {
        b.graph.constant_of(DType::I32, most)
    };
    match b.below(5) {
        0 => b.graph.add(x, y),
        1 => b.graph.max(x, y),
        2 => b.graph.sub(x, y),
        3 => b.graph.lt(x, y),
        _ => {
            let same = b.graph.eq(x, y);
            b.graph.cast(same, DType::F32)
        }
    };
}

/// Softmax, or mean and variance, over one axis.
pub fn normalise(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| g.shape(id).iter().any(|&n| n > 1)) else { return };
    let wide: Vec<usize> = (0..b.graph.shape(x).len()).filter(|&a| b.graph.shape(x)[a] > 1).collect();
    let axis = b.one_of(&wide);
    let softmax = b.once_in(2);
    let g = &mut b.graph;
    if softmax {
        let top = g.reduce_keep(ReduceKind::Max, x, &[axis]);
        let d = g.sub(x, top);
        let e = g.exp(d);
        let sum = g.reduce_keep(ReduceKind::Sum, e, &[axis]);
        g.div(e, sum);
    } else {
        let mean = g.mean_keep(x, &[axis]);
        let d = g.sub(x, mean);
        let dd = g.mul(d, d);
        let variance = g.mean_keep(dd, &[axis]);
        let v = g.offset(variance, 0.125);
        let deviation = g.sqrt(v);
        g.div(d, deviation);
    }
}

/// Random numbers of this step: noise, or a dropout mask.
pub fn mask(b: &mut Builder) {
    let x = b.any();
    let step = b.step();
    let shape = b.graph.shape(x).to_vec();
    let (seed, stream) = (b.below(1 << 20) as u64 * 0x1_0000_0001, b.below(9) as u32);
    let (noise, rate) = (b.once_in(3), b.uniform(0.1, 0.9));
    let g = &mut b.graph;
    let r = g.op(Op::Random { seed, stream, shape }, &[step]);
    if noise {
        g.add(x, r);
    } else {
        let rate = g.constant(rate);
        let drop = g.lt(r, rate);
        let zero = g.constant(0.0);
        g.select(drop, zero, x);
    }
}
