//! Strided slices.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, Span, Type};
use thalweg_base::Scalar;

pub fn infer(spans: &[Span], inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("slice", inputs, problem));
    let [x] = inputs else { return bad("takes one operand") };
    if spans.len() != x.rank() {
        return bad("needs one span per axis");
    }
    if spans.iter().zip(&x.shape).any(|(s, &n)| s.step == 0 || s.start >= s.stop || s.stop > n) {
        return bad("each span needs start < stop <= extent and step >= 1");
    }
    Ok(Type { dtype: x.dtype, shape: spans.iter().map(Span::count).collect() })
}

pub fn gradient(g: &mut Graph, spans: &[Span], x: NodeId, dy: NodeId) -> NodeId {
    let axes = spans
        .iter()
        .zip(g.shape(x))
        .map(|(s, &n)| {
            let last = s.start + (s.count() - 1) * s.step;
            (s.start, n - 1 - last, s.step - 1)
        })
        .collect();
    g.op(Op::Pad { axes, value: Scalar::new(g.ty(dy).dtype, 0.0) }, &[dy])
}

pub fn reference(spans: &[Span], ty: &Type, x: &Tensor) -> Tensor {
    let mut source = vec![0; x.shape.len()];
    Tensor::generate(&ty.shape, |i| {
        for (a, s) in spans.iter().enumerate() {
            source[a] = s.start + i[a] * s.step;
        }
        x.at(&source)
    })
}

pub fn cases() -> Vec<Case> {
    let span = |start, stop, step| Span { start, stop, step };
    vec![
        Case::new(Op::Slice(vec![span(1, 3, 1), span(0, 9, 2)]), &[&[4, 9]]),
        Case::new(Op::Slice(vec![span(0, 2, 1), span(1, 8, 3), span(2, 3, 1)]), &[&[2, 8, 5]]),
    ]
}
