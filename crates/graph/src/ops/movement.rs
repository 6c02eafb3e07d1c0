//! Movement without arithmetic: reshape, transpose, broadcast, flip.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, ReduceKind, Type, ops};

pub fn infer(op: &Op, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: String| Err(GraphError::operands(ops::name(op), inputs, problem));
    let [x] = inputs else { return bad("takes one operand".into()) };
    let shape = match op {
        Op::Reshape(shape) => {
            if shape.iter().product::<usize>() != x.len() {
                return bad(format!("{} elements cannot take shape {shape:?}", x.len()));
            }
            shape.clone()
        }
        Op::Transpose(perm) => {
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().ne(0..x.rank()) {
                return bad(format!("{perm:?} is not a permutation of its axes"));
            }
            perm.iter().map(|&p| x.shape[p]).collect()
        }
        Op::Broadcast(shape) => {
            if shape.len() != x.rank()
                || shape.iter().zip(&x.shape).any(|(&to, &from)| from != to && from != 1)
            {
                return bad(format!(
                    "cannot repeat to {shape:?}: same rank, and only axes of extent 1 repeat"
                ));
            }
            shape.clone()
        }
        Op::Flip(axes) => {
            if axes.iter().any(|&a| a >= x.rank()) {
                return bad(format!("flips axis {axes:?} of {}", x.rank()));
            }
            x.shape.clone()
        }
        other => unreachable!("{other:?} is not a movement"),
    };
    Ok(Type { dtype: x.dtype, shape })
}

pub fn gradient(g: &mut Graph, op: &Op, x: NodeId, dy: NodeId) -> NodeId {
    let shape = g.shape(x).to_vec();
    match op {
        Op::Reshape(_) => g.reshape(dy, &shape),
        Op::Transpose(perm) => {
            let mut inverse = vec![0; perm.len()];
            for (i, &p) in perm.iter().enumerate() {
                inverse[p] = i;
            }
            g.transpose(dy, &inverse)
        }
        Op::Broadcast(to) => {
            let axes: Vec<usize> = (0..to.len()).filter(|&i| shape[i] == 1 && to[i] != 1).collect();
            g.reduce_keep(ReduceKind::Sum, dy, &axes)
        }
        Op::Flip(axes) => g.op(Op::Flip(axes.clone()), &[dy]),
        other => unreachable!("{other:?} is not a movement"),
    }
}

pub fn reference(op: &Op, ty: &Type, x: &Tensor) -> Tensor {
    let mut source = vec![0; x.shape.len()];
    match op {
        Op::Reshape(shape) => Tensor::new(shape, x.data.clone()),
        _ => Tensor::generate(&ty.shape, |i| {
            for a in 0..source.len() {
                match op {
                    Op::Transpose(perm) => source[perm[a]] = i[a],
                    Op::Broadcast(_) => source[a] = if x.shape[a] == 1 { 0 } else { i[a] },
                    Op::Flip(axes) => {
                        source[a] = if axes.contains(&a) { x.shape[a] - 1 - i[a] } else { i[a] }
                    }
                    other => unreachable!("{other:?} is not a movement"),
                }
            }
            x.at(&source)
        }),
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Op::Reshape(vec![4, 15]), &[&[3, 4, 5]]),
        Case::new(Op::Transpose(vec![2, 0, 1]), &[&[3, 4, 5]]),
        Case::new(Op::Transpose(vec![1, 0]), &[&[33, 17]]),
        Case::new(Op::Broadcast(vec![3, 4, 5]), &[&[3, 1, 5]]),
        Case::new(Op::Broadcast(vec![7, 20]), &[&[1, 1]]),
        Case::new(Op::Flip(vec![0, 2]), &[&[3, 4, 5]]),
    ]
}
