//! Indices of the largest elements along the last axis, best first: sorting, and choosing from a sorted list.
//!
//! Ties go to the lower index. NaN is below everything, so that a list that has become NaN never hides what has not.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, GraphError, Op, Type};
use std::cmp::Ordering;

pub fn infer(k: usize, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("top_k", inputs, problem));
    let [x] = inputs else { return bad("takes one operand") };
    let Some((n, kept)) = x.shape.split_last().filter(|_| x.dtype.is_float()) else {
        return bad("needs a float operand with an axis to sort along");
    };
    if k == 0 || k > *n {
        return bad("needs k from 1 to the extent of the last axis");
    }
    Ok(Type::new(DType::I32, &[kept, &[k]].concat()))
}

/// The order of a row: larger first, NaN last; what is equal (0 and -0 too) is left in its order.
pub fn before(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

pub fn reference(k: usize, ty: &Type, x: &Tensor) -> Tensor {
    let n = x.shape[x.shape.len() - 1];
    let mut out = Vec::with_capacity(ty.len());
    for row in x.data.chunks_exact(n) {
        let mut order: Vec<usize> = (0..n).collect();
        // Stable, so equal values stay in the order of their indices.
        order.sort_by(|&a, &b| before(row[a], row[b]));
        out.extend(order[..k].iter().map(|&i| i as f64));
    }
    Tensor::new(&ty.shape, out)
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Op::TopK(5), &[&[6, 40]]).discrete(),
        Case::new(Op::TopK(1), &[&[3, 2, 17]]).discrete(),
        Case::new(Op::TopK(33), &[&[33]]).discrete(),
        // More than a group of threads looks at once.
        Case::new(Op::TopK(12), &[&[2, 700]]).discrete(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index_and_nan_is_last() {
        let x = Tensor::new(&[6], vec![1.0, f64::NAN, 2.0, f64::NEG_INFINITY, 2.0, f64::NAN]);
        let ty = infer(6, &[&Type::f32(&[6])]).expect("a type");
        assert_eq!(reference(6, &ty, &x).data, [2.0, 4.0, 0.0, 3.0, 1.0, 5.0]);
        let zeros = Tensor::new(&[2], vec![-0.0, 0.0]);
        assert_eq!(reference(2, &Type::new(DType::I32, &[2]), &zeros).data, [0.0, 1.0]);
    }
}
