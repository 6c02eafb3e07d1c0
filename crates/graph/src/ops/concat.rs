//! Concatenation.

use super::Grads;
use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, Type};

pub fn infer(axis: usize, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("concat", inputs, problem));
    let Some((first, rest)) = inputs.split_first() else { return bad("takes at least one operand") };
    if axis >= first.rank() {
        return bad("the axis does not exist");
    }
    let mut out = (*first).clone();
    for x in rest {
        let fits = x.dtype == first.dtype
            && x.rank() == first.rank()
            && (0..x.rank()).all(|a| a == axis || x.shape[a] == first.shape[a]);
        if !fits {
            return bad("operands may differ only along the joined axis");
        }
        out.shape[axis] += x.shape[axis];
    }
    Ok(out)
}

pub fn gradient(g: &mut Graph, axis: usize, x: &[NodeId], dy: NodeId) -> Grads {
    let mut at = 0;
    x.iter()
        .map(|&x| {
            let n = g.shape(x)[axis];
            at += n;
            Some(g.slice(dy, axis, at - n, at))
        })
        .collect()
}

pub fn reference(axis: usize, ty: &Type, args: &[&Tensor]) -> Tensor {
    Tensor::generate(&ty.shape, |i| {
        let mut index = i.to_vec();
        for x in args {
            if index[axis] < x.shape[axis] {
                return x.at(&index);
            }
            index[axis] -= x.shape[axis];
        }
        unreachable!("index past the operands")
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Op::Concat(1), &[&[2, 3, 5], &[2, 1, 5]]),
        Case::new(Op::Concat(2), &[&[2, 3, 5], &[2, 3, 17], &[2, 3, 1]]),
        Case::new(Op::Concat(0), &[&[2, 3], &[4, 3]]),
    ]
}
