//! Elements along an axis by index. The axes before it are a batch: each has its own indices.
//!
//! `y[b.., j, e..] = x[b.., at[b.., j], e..]`, and zero where the index is outside the axis: a list padded with -1 gives
//! rows of zeros.

use super::Grads;
use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, Graph, GraphError, NodeId, Op, Type};

pub fn infer(axis: usize, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands("gather", inputs, problem));
    let [x, at] = inputs else { return bad("takes the elements and their indices") };
    if axis >= x.rank() {
        return bad("the axis does not exist");
    }
    if at.dtype != DType::I32 || at.rank() != axis + 1 || at.shape[..axis] != x.shape[..axis] {
        return bad("needs i32 indices with the axes before the gathered one, and one more");
    }
    let shape = [&at.shape, &x.shape[axis + 1..]].concat();
    Ok(Type { dtype: x.dtype, shape })
}

/// The gradient of the elements: what each was gathered to, added up. As the product of a one-hot matrix with `dy`,
/// so that the order of the sum is fixed and devices need nothing new.
pub fn gradient(g: &mut Graph, axis: usize, x: &[NodeId], dy: NodeId) -> Grads {
    let (shape, count) = (g.shape(x[0]).to_vec(), g.shape(x[1])[axis]);
    let (outer, n) = (shape[..axis].iter().product::<usize>(), shape[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    let at = g.reshape(x[1], &[outer, count, 1]);
    let at = g.broadcast_to(at, &[outer, count, n]);
    let index = g.op(Op::Iota { axis: 2, shape: vec![outer, count, n] }, &[]);
    let hit = g.eq(at, index);
    let hit = g.cast(hit, g.ty(dy).dtype);
    let dy = g.reshape(dy, &[outer, count, inner]);
    let dx = g.dot(hit, dy, true, false);
    vec![Some(g.reshape(dx, &shape)), None]
}

pub fn reference(axis: usize, ty: &Type, args: &[&Tensor]) -> Tensor {
    let (x, at) = (args[0], args[1]);
    Tensor::generate(&ty.shape, |i| {
        let chosen = at.at(&i[..=axis]);
        if chosen < 0.0 || chosen >= x.shape[axis] as f64 {
            return 0.0;
        }
        let mut source = i.to_vec();
        source[axis] = chosen as usize;
        x.at(&source)
    })
}

pub fn cases() -> Vec<Case> {
    let case = |axis, x: Type, at: &[usize], low: f64, high: f64| {
        let types = vec![x, Type::new(DType::I32, at)];
        Case::new(Op::Gather(axis), &[]).types(types).range(low, high)
    };
    vec![
        // Some indices are outside.
        case(1, Type::f32(&[3, 5, 4]), &[3, 7], -1.0, 7.0),
        case(0, Type::f32(&[6]), &[9], 0.0, 6.0),
        case(2, Type::f32(&[2, 3, 8]), &[2, 3, 5], 0.0, 8.0),
        case(0, Type::f32(&[4, 2, 33]), &[300], 0.0, 4.0),
        case(1, Type::new(DType::I32, &[2, 6]), &[2, 3], 0.0, 6.0).discrete(),
        case(1, Type::new(DType::U8, &[2, 6, 3]), &[2, 4], 0.0, 6.0).discrete(),
        // Pieces of whole words.
        case(0, Type::new(DType::U8, &[6, 3, 4]), &[9], -1.0, 7.0).discrete(),
    ]
}
