//! Padding before, after and between elements.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, Span, Type};
use thalweg_base::Scalar;

/// Extent of a padded axis.
fn padded(n: usize, (lo, hi, between): (usize, usize, usize)) -> usize {
    lo + n + (n - 1) * between + hi
}

pub fn infer(axes: &[(usize, usize, usize)], value: Scalar, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("pad", inputs, problem));
    let [x] = inputs else { return bad("takes one operand") };
    if axes.len() != x.rank() || x.is_empty() {
        return bad("needs one (before, after, between) per axis, and no empty axis");
    }
    if value.dtype() != x.dtype {
        return bad("the padding value must have the operand's type");
    }
    Ok(Type { dtype: x.dtype, shape: x.shape.iter().zip(axes).map(|(&n, &a)| padded(n, a)).collect() })
}

pub fn gradient(g: &mut Graph, axes: &[(usize, usize, usize)], x: NodeId, dy: NodeId) -> NodeId {
    let spans = axes
        .iter()
        .zip(g.shape(x))
        .map(|(&(lo, _, between), &n)| Span {
            start: lo,
            stop: lo + (n - 1) * (between + 1) + 1,
            step: between + 1,
        })
        .collect();
    g.op(Op::Slice(spans), &[dy])
}

pub fn reference(axes: &[(usize, usize, usize)], value: Scalar, ty: &Type, x: &Tensor) -> Tensor {
    let mut source = vec![0; x.shape.len()];
    Tensor::generate(&ty.shape, |i| {
        for (a, &(lo, _, between)) in axes.iter().enumerate() {
            match i[a].checked_sub(lo) {
                Some(p) if p % (between + 1) == 0 && p / (between + 1) < x.shape[a] => {
                    source[a] = p / (between + 1);
                }
                _ => return value.value(),
            }
        }
        x.at(&source)
    })
}

pub fn cases() -> Vec<Case> {
    let value = Scalar::f32(0.25);
    vec![
        Case::new(Op::Pad { axes: vec![(1, 2, 0), (0, 3, 0)], value }, &[&[3, 5]]),
        Case::new(Op::Pad { axes: vec![(0, 0, 0), (1, 0, 2), (2, 1, 1)], value }, &[&[2, 3, 4]]),
    ]
}
