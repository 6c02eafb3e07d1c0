//! Sum and maximum over axes.

use crate::cases::Case;
use crate::reference::{Tensor, advance};
use crate::{Graph, GraphError, NodeId, Op, ReduceKind, Type, ops};

pub fn infer(op: &Op, axes: &[usize], inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands(ops::name(op), inputs, problem));
    let [x] = inputs else { return bad("takes one operand") };
    if !x.dtype.is_float() {
        return bad("reduces floats only; cast first");
    }
    if axes.is_empty() || axes.windows(2).any(|w| w[0] >= w[1]) || axes.iter().any(|&a| a >= x.rank()) {
        return bad("needs ascending axes of the operand");
    }
    let shape = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.shape[a]).collect();
    Ok(Type { dtype: x.dtype, shape })
}

pub fn gradient(g: &mut Graph, kind: ReduceKind, axes: &[usize], y: NodeId, x: NodeId, dy: NodeId) -> NodeId {
    let shape = g.shape(x).to_vec();
    let mut kept = shape.clone();
    for &a in axes {
        kept[a] = 1;
    }
    let spread = |g: &mut Graph, v: NodeId| {
        let v = g.reshape(v, &kept);
        g.broadcast_to(v, &shape)
    };
    let d = spread(g, dy);
    match kind {
        ReduceKind::Sum => d,
        ReduceKind::Max => {
            // Shared equally among the elements that attain the maximum, as TensorFlow does.
            let top = spread(g, y);
            let hit = g.eq(x, top);
            let hit = g.cast(hit, g.ty(x).dtype);
            let count = g.reduce(ReduceKind::Sum, hit, axes);
            let count = spread(g, count);
            let share = g.div(hit, count);
            g.mul(share, d)
        }
    }
}

pub fn reference(kind: ReduceKind, axes: &[usize], ty: &Type, x: &Tensor) -> Tensor {
    let start = match kind {
        ReduceKind::Sum => 0.0,
        ReduceKind::Max => f64::NEG_INFINITY,
    };
    let mut out = Tensor::new(&ty.shape, vec![start; ty.len()]);
    let mut index = vec![0; x.shape.len()];
    for &v in &x.data {
        let kept: Vec<usize> = (0..index.len()).filter(|a| !axes.contains(a)).map(|a| index[a]).collect();
        let at = out.linear(&kept);
        match kind {
            ReduceKind::Sum => out.data[at] += v,
            ReduceKind::Max if v.is_nan() || out.data[at].is_nan() => out.data[at] = f64::NAN,
            ReduceKind::Max => out.data[at] = out.data[at].max(v),
        }
        advance(&mut index, &x.shape);
    }
    out
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [ReduceKind::Sum, ReduceKind::Max] {
        cases.push(Case::new(Op::Reduce(kind, vec![1]), &[&[5, 37]]));
        cases.push(Case::new(Op::Reduce(kind, vec![0]), &[&[41, 19]]));
        cases.push(Case::new(Op::Reduce(kind, vec![0, 1, 2]), &[&[3, 4, 5]]));
        cases.push(Case::new(Op::Reduce(kind, vec![0, 2]), &[&[3, 4, 5]]));
        cases.push(Case::new(Op::Reduce(kind, vec![1, 2]), &[&[3, 4, 5, 18]]));
    }
    cases
}
