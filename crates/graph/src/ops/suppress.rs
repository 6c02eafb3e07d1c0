//! Greedy suppression of a sorted list: the one step of non-maximum suppression that depends on itself.
//!
//! Of `conflict` `[.., n, n]`: element `j` of the result says that no earlier element that was itself kept conflicts with
//! it: `kept[j] = !any(i < j: kept[i] && conflict[i, j])`. What a conflict is (overlap, class, score) is graph.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, GraphError, Op, Type};

pub fn infer(inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("suppress", inputs, problem));
    let [x] = inputs else { return bad("takes one operand") };
    match x.shape.as_slice() {
        [rest @ .., a, b] if a == b && x.dtype == DType::Bool => {
            Ok(Type::new(DType::Bool, &[rest, &[*a]].concat()))
        }
        _ => bad("needs a bool operand [.., n, n]: whether i, if kept, rules out the later j"),
    }
}

pub fn reference(ty: &Type, conflict: &Tensor) -> Tensor {
    let n = conflict.shape[conflict.shape.len() - 1];
    let mut out = Vec::with_capacity(ty.len());
    for list in conflict.data.chunks_exact((n * n).max(1)) {
        let first = out.len();
        for j in 0..n {
            let ruled_out = (0..j).any(|i| out[first + i] != 0.0 && list[i * n + j] != 0.0);
            out.push(f64::from(u8::from(!ruled_out)));
        }
    }
    Tensor::new(&ty.shape, out)
}

pub fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| {
        let types = vec![Type::new(DType::Bool, shape)];
        Case::new(Op::Suppress, &[]).types(types).range(0.0, 1.0).discrete()
    };
    vec![case(&[9, 9]), case(&[3, 40, 40]), case(&[2, 1, 1]), case(&[1, 300, 300])]
}
