//! Constants, counters and random numbers.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{GraphError, Op, Type, ops};
use thalweg_base::{DType, Scalar, philox};

pub fn infer(op: &Op, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: &str| Err(GraphError::operands(ops::name(op), inputs, problem));
    match op {
        Op::Const(c) if inputs.is_empty() => Ok(Type::new(c.dtype(), &[])),
        Op::Iota { axis, shape } if inputs.is_empty() => {
            if *axis >= shape.len() {
                return bad("the axis is not one of the shape's");
            }
            Ok(Type::new(DType::I32, shape))
        }
        Op::Random { shape, .. } => match inputs {
            [step] if **step == Type::new(DType::I32, &[]) => Ok(Type::f32(shape)),
            _ => bad("takes the step, an i32 scalar"),
        },
        _ => bad("takes no operands"),
    }
}

pub fn reference(op: &Op, ty: &Type, args: &[&Tensor]) -> Tensor {
    match op {
        Op::Const(c) => Tensor::scalar(c.value()),
        Op::Iota { axis, shape } => Tensor::generate(shape, |i| i[*axis] as f64),
        Op::Random { seed, stream, .. } => {
            let step = args[0].data[0] as i32 as u32;
            let data = (0..ty.len() as u32)
                .map(|e| f64::from(philox::unit(philox::word(*seed, *stream, step, e))))
                .collect();
            Tensor::new(&ty.shape, data)
        }
        other => unreachable!("{other:?} is not a leaf"),
    }
}

pub fn cases() -> Vec<Case> {
    let step = vec![Type::new(DType::I32, &[])];
    vec![
        Case::new(Op::Const(Scalar::f32(2.5)), &[]).discrete(),
        Case::new(Op::Iota { axis: 1, shape: vec![2, 5, 3] }, &[]).discrete(),
        Case::new(Op::Random { seed: 0x1234_5678_9abc, stream: 3, shape: vec![3, 7] }, &[])
            .types(step.clone())
            .range(0.0, 100.0)
            .discrete(),
        Case::new(Op::Random { seed: 1, stream: 0, shape: vec![70] }, &[])
            .types(step)
            .range(0.0, 9.0)
            .discrete(),
    ]
}
