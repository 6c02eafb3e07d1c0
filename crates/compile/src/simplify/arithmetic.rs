//! Constant folding and arithmetic identities.

use super::splat;
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind, ScalarOp, Type};

/// Operations on constants only.
pub fn fold(g: &mut Graph, op: ScalarOp, inputs: &[NodeId]) -> Option<NodeId> {
    let args: Vec<_> = inputs.iter().map(|&i| splat(g, i)).collect::<Option<_>>()?;
    let values: Vec<f64> = args.iter().map(|c| c.value()).collect();
    let dtypes: Vec<DType> = args.iter().map(|c| c.dtype()).collect();
    let ty = Type { dtype: op.infer(&dtypes)?, shape: g.shape(inputs[0]).to_vec() };
    Some(g.full(&ty, op.eval_in(ty.dtype, &values)))
}

/// `x * 1`, `x + 0`, `select(c, x, x)` and the like. Not `x * 0`: it would hide a NaN. `x - x` is 0: it is written
/// where only a gradient is meant, beside a value that has the same NaN (`with_gradient_of`).
pub fn identity(g: &mut Graph, op: ScalarOp, x: &[NodeId]) -> Option<NodeId> {
    let is = |g: &Graph, i: usize, value: f64| splat(g, x[i]).is_some_and(|c| c.value() == value);
    match op {
        ScalarOp::Add if is(g, 1, 0.0) => Some(x[0]),
        ScalarOp::Add if is(g, 0, 0.0) => Some(x[1]),
        ScalarOp::Sub if is(g, 1, 0.0) => Some(x[0]),
        ScalarOp::Sub if x[0] == x[1] => {
            let ty = g.ty(x[0]).clone();
            Some(g.full(&ty, 0.0))
        }
        ScalarOp::Mul if is(g, 1, 1.0) => Some(x[0]),
        ScalarOp::Mul if is(g, 0, 1.0) => Some(x[1]),
        ScalarOp::Mul if is(g, 1, -1.0) => Some(g.negate(x[0])),
        ScalarOp::Mul if is(g, 0, -1.0) => Some(g.negate(x[1])),
        ScalarOp::Div if is(g, 1, 1.0) => Some(x[0]),
        ScalarOp::Pow if is(g, 1, 1.0) => Some(x[0]),
        ScalarOp::Pow if is(g, 1, 2.0) => Some(g.mul(x[0], x[0])),
        ScalarOp::Neg => match g.node(x[0]).op {
            Op::Scalar(ScalarOp::Neg) => Some(g.node(x[0]).inputs[0]),
            _ => None,
        },
        ScalarOp::And if x[0] == x[1] => Some(x[0]),
        ScalarOp::And if is(g, 0, 1.0) => Some(x[1]),
        ScalarOp::And if is(g, 1, 1.0) => Some(x[0]),
        ScalarOp::Select if x[1] == x[2] => Some(x[1]),
        ScalarOp::Select => splat(g, x[0]).map(|c| if c.value() != 0.0 { x[1] } else { x[2] }),
        _ => None,
    }
}

/// Casts of constants, to the same type, and of a value that was just widened from the wanted type.
pub fn cast(g: &mut Graph, dtype: DType, x: NodeId) -> Option<NodeId> {
    if g.ty(x).dtype == dtype {
        return Some(x);
    }
    if let Some(c) = splat(g, x) {
        let ty = Type { dtype, shape: g.shape(x).to_vec() };
        return Some(g.full(&ty, dtype.round(c.value())));
    }
    let Op::Cast(wide) = g.node(x).op else { return None };
    let inner = g.node(x).inputs[0];
    let exact = matches!(
        (g.ty(inner).dtype, wide),
        (DType::Bool | DType::U8, DType::I32 | DType::U32 | DType::F32)
            | (DType::Bool, DType::U8)
            | (DType::F16 | DType::BF16, DType::F32)
    );
    exact.then(|| g.cast(inner, dtype))
}

/// Reductions of constants and over axes of extent 1.
pub fn reduce(g: &mut Graph, kind: ReduceKind, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let shape = g.shape(x).to_vec();
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
    if axes.iter().all(|&a| shape[a] == 1) {
        return Some(g.reshape(x, &kept));
    }
    let c = splat(g, x)?;
    let count: usize = axes.iter().map(|&a| shape[a]).product();
    let value = match kind {
        ReduceKind::Sum => c.value() * count as f64,
        ReduceKind::Max => c.value(),
    };
    Some(g.full(&Type { dtype: c.dtype(), shape: kept }, value))
}
