//! Batched matrix product.

use super::Grads;
use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, Type};

pub fn infer(ta: bool, tb: bool, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("dot", inputs, problem));
    let [a, b] = inputs else { return bad("takes two operands") };
    if !a.dtype.is_float() || a.dtype != b.dtype {
        return bad("operands must be floats of one type");
    }
    let r = a.rank();
    if r < 2 || b.rank() != r || a.shape[..r - 2] != b.shape[..r - 2] {
        return bad("operands need the same rank, at least 2, and the same leading (batch) axes");
    }
    let (m, ka) = if ta { (a.shape[r - 1], a.shape[r - 2]) } else { (a.shape[r - 2], a.shape[r - 1]) };
    let (kb, n) = if tb { (b.shape[r - 1], b.shape[r - 2]) } else { (b.shape[r - 2], b.shape[r - 1]) };
    if ka != kb {
        return bad("the contracted extents differ");
    }
    let mut shape = a.shape[..r - 2].to_vec();
    shape.extend([m, n]);
    Ok(Type { dtype: a.dtype, shape })
}

pub fn gradient(g: &mut Graph, ta: bool, tb: bool, x: &[NodeId], dy: NodeId, needed: &[bool]) -> Grads {
    let (a, b) = (x[0], x[1]);
    // C = A B: dA = dC B^T, dB = A^T dC; a stored transpose swaps the product's order.
    let da = needed[0].then(|| if ta { g.dot(b, dy, tb, true) } else { g.dot(dy, b, false, !tb) });
    let db = needed[1].then(|| if tb { g.dot(dy, a, true, ta) } else { g.dot(a, dy, !ta, false) });
    vec![da, db]
}

pub fn reference(ta: bool, tb: bool, ty: &Type, args: &[&Tensor]) -> Tensor {
    let (a, b) = (args[0], args[1]);
    let r = ty.rank();
    let (m, n) = (ty.shape[r - 2], ty.shape[r - 1]);
    let k = if ta { a.shape[r - 2] } else { a.shape[r - 1] };
    let mut out = Vec::with_capacity(ty.len());
    for batch in 0..ty.len() / (m * n).max(1) {
        let (a, b) = (&a.data[batch * m * k..], &b.data[batch * k * n..]);
        for i in 0..m {
            for j in 0..n {
                let term = |l: usize| {
                    a[if ta { l * m + i } else { i * k + l }] * b[if tb { j * k + l } else { l * n + j }]
                };
                out.push((0..k).map(term).sum());
            }
        }
    }
    Tensor::new(&ty.shape, out)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let (m, k, n) = (13, 21, 35);
        let a = if ta { [k, m] } else { [m, k] };
        let b = if tb { [n, k] } else { [k, n] };
        cases.push(Case::new(Op::Dot { ta, tb }, &[&a, &b]));
    }
    cases.push(Case::new(Op::Dot { ta: false, tb: false }, &[&[3, 4, 5], &[3, 5, 7]]));
    cases.push(Case::new(Op::Dot { ta: false, tb: false }, &[&[1, 50], &[50, 3]]));
    cases
}
