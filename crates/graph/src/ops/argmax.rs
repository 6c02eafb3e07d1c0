//! Index of the first maximum.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, GraphError, Op, Type};

pub fn infer(axis: usize, inputs: &[&Type]) -> Result<Type, GraphError> {
    let [x] = inputs else { return Err(GraphError::operands("argmax", inputs, "takes one operand")) };
    if axis >= x.rank() || x.shape[axis] == 0 || !x.dtype.is_float() {
        return Err(GraphError::operands("argmax", inputs, "needs a non-empty axis of a float operand"));
    }
    let mut shape = x.shape.clone();
    shape.remove(axis);
    Ok(Type::new(DType::I32, &shape))
}

pub fn reference(axis: usize, ty: &Type, x: &Tensor) -> Tensor {
    Tensor::generate(&ty.shape, |i| {
        let mut index = i.to_vec();
        index.insert(axis, 0);
        let mut best = (0, f64::NEG_INFINITY);
        for k in 0..x.shape[axis] {
            index[axis] = k;
            let v = x.at(&index);
            if v > best.1 {
                best = (k, v);
            }
        }
        best.0 as f64
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Op::ArgMax(1), &[&[6, 10]]).discrete(),
        Case::new(Op::ArgMax(0), &[&[6, 10]]).discrete(),
        Case::new(Op::ArgMax(1), &[&[2, 33, 5]]).discrete(),
    ]
}
