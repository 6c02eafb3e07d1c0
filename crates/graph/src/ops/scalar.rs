//! Element-wise operations and casts.

use super::Grads;
use crate::cases::Case;
use crate::reference::Tensor;
use crate::{Graph, GraphError, NodeId, Op, ScalarOp, Type};
use thalweg_base::DType;

pub fn infer(op: ScalarOp, inputs: &[&Type]) -> Result<Type, GraphError> {
    let dtypes: Vec<DType> = inputs.iter().map(|t| t.dtype).collect();
    if inputs.len() != op.arity() {
        return Err(GraphError::operands(op.name(), inputs, format!("takes {} operands", op.arity())));
    }
    let Some(dtype) = op.infer(&dtypes) else {
        return Err(GraphError::operands(
            op.name(),
            inputs,
            "not defined on these element types; cast first",
        ));
    };
    if inputs.iter().any(|t| t.shape != inputs[0].shape) {
        return Err(GraphError::operands(op.name(), inputs, "operands must have one shape; broadcast first"));
    }
    Ok(Type { dtype, shape: inputs[0].shape.clone() })
}

pub fn infer_cast(dtype: DType, inputs: &[&Type]) -> Result<Type, GraphError> {
    match inputs {
        [x] => Ok(Type { dtype, shape: x.shape.clone() }),
        _ => Err(GraphError::operands("cast", inputs, "takes one operand")),
    }
}

/// The gradient table. `y` is the operation's own node: many derivatives are cheapest in terms of it.
pub fn gradient(g: &mut Graph, op: ScalarOp, y: NodeId, x: &[NodeId], dy: NodeId, needed: &[bool]) -> Grads {
    let one = match op {
        ScalarOp::Neg => g.negate(dy),
        ScalarOp::Abs => {
            // sign(x), 0 at 0
            let zero = g.constant(0.0);
            let minus = g.negate(dy);
            let negative = g.lt(x[0], zero);
            let positive = g.lt(zero, x[0]);
            let below = g.select(negative, minus, zero);
            g.select(positive, dy, below)
        }
        ScalarOp::Exp => g.mul(dy, y),
        ScalarOp::Log => g.div(dy, x[0]),
        ScalarOp::Sqrt => {
            let half = g.scale(dy, 0.5);
            g.div(half, y)
        }
        ScalarOp::Floor => return vec![None],
        ScalarOp::Cos => {
            // -sin x = cos(x + pi/2)
            let shifted = g.offset(x[0], std::f64::consts::FRAC_PI_2);
            let c = g.cos(shifted);
            g.mul(dy, c)
        }
        ScalarOp::Tanh => {
            let yy = g.mul(y, y);
            let one = g.constant(1.0);
            let d = g.sub(one, yy);
            g.mul(dy, d)
        }
        ScalarOp::Sigmoid => {
            let one = g.constant(1.0);
            let rest = g.sub(one, y);
            let d = g.mul(y, rest);
            g.mul(dy, d)
        }
        ScalarOp::Erf => {
            let xx = g.mul(x[0], x[0]);
            let m = g.negate(xx);
            let e = g.exp(m);
            let d = g.scale(e, std::f64::consts::FRAC_2_SQRT_PI);
            g.mul(dy, d)
        }
        ScalarOp::Lt | ScalarOp::Eq | ScalarOp::And => return vec![None, None],
        ScalarOp::Add
        | ScalarOp::Sub
        | ScalarOp::Mul
        | ScalarOp::Div
        | ScalarOp::Max
        | ScalarOp::Min
        | ScalarOp::Pow => return binary(g, op, y, x, dy, needed),
        ScalarOp::Select => {
            let zero = g.constant(0.0);
            return vec![None, Some(g.select(x[0], dy, zero)), Some(g.select(x[0], zero, dy))];
        }
    };
    vec![Some(one)]
}

fn binary(g: &mut Graph, op: ScalarOp, y: NodeId, x: &[NodeId], dy: NodeId, needed: &[bool]) -> Grads {
    let (a, b) = (x[0], x[1]);
    match op {
        ScalarOp::Add => vec![Some(dy), Some(dy)],
        ScalarOp::Sub => vec![Some(dy), needed[1].then(|| g.negate(dy))],
        ScalarOp::Mul => vec![needed[0].then(|| g.mul(dy, b)), needed[1].then(|| g.mul(dy, a))],
        ScalarOp::Div => {
            let da = g.div(dy, b);
            let db = needed[1].then(|| {
                let t = g.mul(da, y);
                g.negate(t)
            });
            vec![Some(da), db]
        }
        // In terms of the result, so that a ReLU's backward pass needs only its output. Ties go to `a`.
        ScalarOp::Max | ScalarOp::Min => {
            let b_wins = if op == ScalarOp::Max { g.lt(a, y) } else { g.lt(y, a) };
            let zero = g.constant(0.0);
            vec![needed[0].then(|| g.select(b_wins, zero, dy)), needed[1].then(|| g.select(b_wins, dy, zero))]
        }
        ScalarOp::Pow => {
            let da = needed[0].then(|| {
                let lower = g.offset(b, -1.0);
                let p = g.pow(a, lower);
                let t = g.mul(b, p);
                g.mul(dy, t)
            });
            let db = needed[1].then(|| {
                let l = g.log(a);
                let t = g.mul(y, l);
                g.mul(dy, t)
            });
            vec![da, db]
        }
        other => unreachable!("{} is not binary", other.name()),
    }
}

pub fn reference(op: ScalarOp, ty: &Type, args: &[&Tensor]) -> Tensor {
    let data = (0..ty.len())
        .map(|i| {
            let a: Vec<f64> = args.iter().map(|t| t.data[i]).collect();
            op.eval_in(ty.dtype, &a)
        })
        .collect();
    Tensor::new(&ty.shape, data)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for op in ScalarOp::ALL {
        let shape: &[usize] = &[3, 37];
        let case = Case::new(Op::Scalar(op), &vec![shape; op.arity()]);
        cases.push(match op {
            ScalarOp::Log | ScalarOp::Sqrt | ScalarOp::Div | ScalarOp::Pow => case.range(0.5, 2.0),
            ScalarOp::Exp | ScalarOp::Tanh | ScalarOp::Sigmoid | ScalarOp::Erf | ScalarOp::Cos => {
                case.range(-4.0, 4.0)
            }
            ScalarOp::Floor | ScalarOp::Lt | ScalarOp::Eq => case.discrete(),
            ScalarOp::And => case.types(vec![Type::new(DType::Bool, shape); 2]).range(0.0, 1.0).discrete(),
            ScalarOp::Select => {
                case.types(vec![Type::new(DType::Bool, shape), Type::f32(shape), Type::f32(shape)])
            }
            ScalarOp::Neg
            | ScalarOp::Abs
            | ScalarOp::Add
            | ScalarOp::Sub
            | ScalarOp::Mul
            | ScalarOp::Max
            | ScalarOp::Min => case,
        });
    }
    let ints = |dtype| vec![Type::new(dtype, &[19]); 2];
    for op in [ScalarOp::Add, ScalarOp::Mul, ScalarOp::Max, ScalarOp::Lt, ScalarOp::Eq] {
        cases.push(Case::new(Op::Scalar(op), &[]).types(ints(DType::I32)).range(-9.0, 9.0).discrete());
    }
    for (from, to) in [
        (DType::U8, DType::F32),
        (DType::F32, DType::U8),
        (DType::F32, DType::I32),
        (DType::I32, DType::F32),
        (DType::Bool, DType::F32),
        (DType::F32, DType::Bool),
        (DType::U32, DType::F32),
        (DType::U8, DType::I32),
    ] {
        let types = vec![Type::new(from, &[2, 21])];
        cases.push(Case::new(Op::Cast(to), &[]).types(types).range(-3.0, 200.0).discrete());
    }
    cases
}
