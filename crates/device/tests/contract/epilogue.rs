//! What follows a product: as a plan has it, and as loops in f64.

use crate::{BIAS, RESIDUAL};
use thalweg_base::{DType, PoolDims, Scalar, ScalarOp};
use thalweg_device::plan::{Access, Body, Epilogue, Expr, PoolEpilogue};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Then {
    Nothing,
    Bias,
    BiasRelu,
    BiasResidualRelu,
    /// (acc - mean) * scale + bias, then min(3, max(0, .)).
    NormRelu3,
    /// (acc - mean) * scale + bias + residual.
    NormResidual,
    /// max(0, 2 * (acc + bias)): on the tape, as no kernel knows it.
    DoubleRelu,
}

pub const ALL: [Then; 7] = [
    Then::Nothing,
    Then::Bias,
    Then::BiasRelu,
    Then::BiasResidualRelu,
    Then::NormRelu3,
    Then::NormResidual,
    Then::DoubleRelu,
];

impl Then {
    pub fn norm(self) -> bool {
        matches!(self, Then::NormRelu3 | Then::NormResidual)
    }

    pub fn residual(self) -> bool {
        matches!(self, Then::BiasResidualRelu | Then::NormResidual)
    }

    pub fn relu(self) -> bool {
        !matches!(self, Then::Nothing | Then::Bias | Then::NormResidual)
    }
}

pub fn epilogue(then: Then, space: &[usize], pool: Option<PoolEpilogue>) -> Option<Epilogue> {
    if then == Then::Nothing && pool.is_none() {
        return None;
    }
    let mut body = Body::new();
    let mut value = body.push(Expr::Acc, DType::F32);
    let mut strides = vec![0; space.len()];
    if then.norm() {
        strides[space.len() - 1] = 1;
        let mut column = |offset| {
            let access = Access { buffer: BIAS, offset, strides: strides.clone() };
            body.push(Expr::Load(access), DType::F32)
        };
        let (mean, scale) = (column(2), column(3));
        value = body.push(Expr::Op(ScalarOp::Sub, vec![value, mean]), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Mul, vec![scale, value]), DType::F32);
    }
    if then != Then::Nothing {
        strides[space.len() - 1] = 1;
        let access = Access { buffer: BIAS, offset: 1, strides: strides.clone() };
        let bias = body.push(Expr::Load(access), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Add, vec![value, bias]), DType::F32);
    }
    if then == Then::DoubleRelu {
        let two = body.push(Expr::Const(Scalar::f32(2.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Mul, vec![two, value]), DType::F32);
    }
    if then.residual() {
        let mut step = 1;
        for (s, &n) in strides.iter_mut().zip(space).rev() {
            *s = step;
            step *= n as isize;
        }
        let residual = body.push(Expr::Load(Access { buffer: RESIDUAL, offset: 0, strides }), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Add, vec![residual, value]), DType::F32);
    }
    if then.relu() {
        let zero = body.push(Expr::Const(Scalar::f32(0.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Max, vec![zero, value]), DType::F32);
    }
    if then == Then::NormRelu3 {
        let three = body.push(Expr::Const(Scalar::f32(3.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Min, vec![three, value]), DType::F32);
    }
    Some(Epilogue { body, value, pool })
}

/// The naive epilogue; then the pool's values and positions.
pub fn finish(values: &mut [f64], then: Then, cols: usize, bias: &[f32], residual: &[f32]) {
    for (i, v) in values.iter_mut().enumerate() {
        let column = |offset: usize| f64::from(bias[offset + i % cols]);
        if then.norm() {
            *v = (*v - column(2)) * column(3);
        }
        if then != Then::Nothing {
            *v += column(1);
        }
        if then == Then::DoubleRelu {
            *v *= 2.0;
        }
        if then.residual() {
            *v += f64::from(residual[i]);
        }
        if then.relu() {
            *v = v.max(0.0);
        }
        if then == Then::NormRelu3 {
            *v = v.min(3.0);
        }
    }
}

pub fn pooled(d: &PoolDims, x: &[f64]) -> (Vec<f64>, Vec<u8>) {
    let len = d.n * d.oh * d.ow * d.c;
    let (mut best, mut at) = (vec![f64::NEG_INFINITY; len], vec![0; len]);
    for o in 0..len {
        let (c, ox, oy, n) = (o % d.c, o / d.c % d.ow, o / d.c / d.ow % d.oh, o / d.c / d.ow / d.oh);
        for r in 0..d.rows.size {
            for s in 0..d.cols.size {
                let (y, xx) = (oy * d.rows.stride + r, ox * d.cols.stride + s);
                let v = x[((n * d.h + y) * d.w + xx) * d.c + c];
                if v > best[o] {
                    (best[o], at[o]) = (v, (r * d.cols.size + s) as u8);
                }
            }
        }
    }
    (best, at)
}

/// The value at a position in window `o` of a pooling.
pub fn at_position(d: &PoolDims, x: &[f64], o: usize, position: u8) -> f64 {
    let (c, ox, oy, n) = (o % d.c, o / d.c % d.ow, o / d.c / d.ow % d.oh, o / d.c / d.ow / d.oh);
    let (r, s) = (usize::from(position) / d.cols.size, usize::from(position) % d.cols.size);
    assert!(r < d.rows.size, "a position beyond its window");
    x[((n * d.h + oy * d.rows.stride + r) * d.w + ox * d.cols.stride + s) * d.c + c]
}
