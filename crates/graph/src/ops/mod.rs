//! The primitives: each file holds type rule, gradient, f64 reference and test cases of one concept; the
//! matches below are the registry.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, Graph, GraphError, NodeId, Op, Type};

mod argmax;
mod concat;
mod conv;
mod dot;
mod gather;
mod leaf;
mod movement;
mod pad;
mod pool;
mod reduce;
mod scalar;
mod slice;
mod suppress;
mod top_k;
pub use top_k::before;

/// Gradients of an operation's operands, `None` where none is needed or none flows.
pub type Grads = Vec<Option<NodeId>>;

/// The operation's name in text forms and messages.
pub fn name(op: &Op) -> &'static str {
    match op {
        Op::Input(_) => "input",
        Op::State(_) => "state",
        Op::Const(_) => "const",
        Op::Iota { .. } => "iota",
        Op::Random { .. } => "random",
        Op::Scalar(s) => s.name(),
        Op::Cast(_) => "cast",
        Op::Reshape(_) => "reshape",
        Op::Transpose(_) => "transpose",
        Op::Broadcast(_) => "broadcast",
        Op::Slice(_) => "slice",
        Op::Pad { .. } => "pad",
        Op::Concat(_) => "concat",
        Op::Flip(_) => "flip",
        Op::Reduce(crate::ReduceKind::Sum, _) => "reduce_sum",
        Op::Reduce(crate::ReduceKind::Max, _) => "reduce_max",
        Op::ArgMax(_) => "argmax",
        Op::TopK(_) => "top_k",
        Op::Gather(_) => "gather",
        Op::Suppress => "suppress",
        Op::Dot { .. } => "dot",
        Op::Conv(_) => "conv",
        Op::ConvInputGrad(_) => "conv_input_grad",
        Op::ConvFilterGrad(_) => "conv_filter_grad",
        Op::Pool(crate::PoolKind::Max, _) => "pool_max",
        Op::Pool(crate::PoolKind::Sum, _) => "pool_sum",
        Op::ArgPool(_) => "argpool",
        Op::Unpool(_) => "unpool",
    }
}

/// The type of the result, or what does not fit.
pub fn infer(op: &Op, inputs: &[&Type]) -> Result<Type, GraphError> {
    match op {
        Op::Input(_) | Op::State(_) => {
            Err(GraphError::operands(name(op), inputs, "inputs and states are declared, not computed"))
        }
        Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => leaf::infer(op, inputs),
        Op::Scalar(s) => scalar::infer(*s, inputs),
        Op::Cast(dtype) => scalar::infer_cast(*dtype, inputs),
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Flip(_) => movement::infer(op, inputs),
        Op::Slice(spans) => slice::infer(spans, inputs),
        Op::Pad { axes, value } => pad::infer(axes, *value, inputs),
        Op::Concat(axis) => concat::infer(*axis, inputs),
        Op::Reduce(_, axes) => reduce::infer(op, axes, inputs),
        Op::ArgMax(axis) => argmax::infer(*axis, inputs),
        Op::TopK(k) => top_k::infer(*k, inputs),
        Op::Gather(axis) => gather::infer(*axis, inputs),
        Op::Suppress => suppress::infer(inputs),
        Op::Dot { ta, tb } => dot::infer(*ta, *tb, inputs),
        Op::Conv(d) | Op::ConvInputGrad(d) | Op::ConvFilterGrad(d) => conv::infer(op, d, inputs),
        Op::Pool(_, d) | Op::ArgPool(d) | Op::Unpool(d) => pool::infer(op, d, inputs),
    }
}

/// The operands' gradients, given the gradient of the result of node `id`. `needed` says which are wanted.
pub fn gradient(g: &mut Graph, id: NodeId, dy: NodeId, needed: &[bool]) -> Result<Grads, GraphError> {
    let node = g.node(id).clone();
    let x = &node.inputs;
    Ok(match &node.op {
        Op::Input(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => {
            vec![None; x.len()]
        }
        Op::Scalar(s) => scalar::gradient(g, *s, id, x, dy, needed),
        // A cast to the type it has is `stop_gradient`.
        Op::Cast(to) => {
            let from = g.ty(x[0]).dtype;
            vec![(to.is_float() && from.is_float() && from != *to).then(|| g.cast(dy, from))]
        }
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Flip(_) => {
            vec![Some(movement::gradient(g, &node.op, x[0], dy))]
        }
        Op::Slice(spans) => vec![Some(slice::gradient(g, spans, x[0], dy))],
        Op::Pad { axes, .. } => vec![Some(pad::gradient(g, axes, x[0], dy))],
        Op::Concat(axis) => concat::gradient(g, *axis, x, dy),
        Op::Reduce(kind, axes) => vec![Some(reduce::gradient(g, *kind, axes, id, x[0], dy))],
        Op::ArgMax(_) | Op::ArgPool(_) | Op::TopK(_) | Op::Suppress => vec![None],
        Op::Gather(axis) => gather::gradient(g, *axis, x, dy),
        Op::Dot { ta, tb } => dot::gradient(g, *ta, *tb, x, dy, needed),
        Op::Conv(d) | Op::ConvInputGrad(d) | Op::ConvFilterGrad(d) => {
            conv::gradient(g, &node.op, d, x, dy, needed)
        }
        Op::Pool(kind, d) => vec![Some(pool::gradient(g, *kind, d, x[0], dy))],
        Op::Unpool(_) => {
            let scope = g.scope_of(id).to_string();
            return Err(GraphError::NoGradient { op: "unpool", node: id.index(), scope });
        }
    })
}

/// The value in f64; of a 16-bit type rounded once, after all that is added up.
pub fn reference(op: &Op, ty: &Type, args: &[&Tensor]) -> Tensor {
    let value = exact(op, ty, args);
    if ty.dtype.is_half() { crate::reference::round_all(ty.dtype, value) } else { value }
}

fn exact(op: &Op, ty: &Type, args: &[&Tensor]) -> Tensor {
    match op {
        Op::Input(_) | Op::State(_) => unreachable!("inputs and states are fed"),
        Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => leaf::reference(op, ty, args),
        Op::Scalar(s) => scalar::reference(*s, ty, args),
        Op::Cast(dtype) => crate::reference::round_all(*dtype, args[0].clone()),
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Flip(_) => {
            movement::reference(op, ty, args[0])
        }
        Op::Slice(spans) => slice::reference(spans, ty, args[0]),
        Op::Pad { axes, value } => pad::reference(axes, *value, ty, args[0]),
        Op::Concat(axis) => concat::reference(*axis, ty, args),
        Op::Reduce(kind, axes) => reduce::reference(*kind, axes, ty, args[0]),
        Op::ArgMax(axis) => argmax::reference(*axis, ty, args[0]),
        Op::TopK(k) => top_k::reference(*k, ty, args[0]),
        Op::Gather(axis) => gather::reference(*axis, ty, args),
        Op::Suppress => suppress::reference(ty, args[0]),
        Op::Dot { ta, tb } => dot::reference(*ta, *tb, ty, args),
        Op::Conv(d) | Op::ConvInputGrad(d) | Op::ConvFilterGrad(d) => conv::reference(op, d, args),
        Op::Pool(_, d) | Op::ArgPool(d) | Op::Unpool(d) => pool::reference(op, d, args),
    }
}

/// Every primitive's test cases, and each that works on f32 in one of the 16-bit types as well.
pub fn cases() -> Vec<Case> {
    let own = own_cases();
    let halves: Vec<Case> = (own.iter().zip([DType::F16, DType::BF16].into_iter().cycle()))
        .filter_map(|(case, half)| case.in_half(half))
        .collect();
    [own, halves].concat()
}

fn own_cases() -> Vec<Case> {
    [
        leaf::cases(),
        scalar::cases(),
        movement::cases(),
        slice::cases(),
        pad::cases(),
        concat::cases(),
        reduce::cases(),
        argmax::cases(),
        top_k::cases(),
        gather::cases(),
        suppress::cases(),
        dot::cases(),
        conv::cases(),
        pool::cases(),
    ]
    .concat()
}
