//! How each scalar operation, conversion and constant is spelled in WGSL.

use thalweg_base::{DType, ScalarOp};

/// An operation of the scalar table on operands of that type (of the last operand's, for `select`).
pub fn scalar(op: ScalarOp, dtype: DType, a: &[String]) -> String {
    let float = dtype.is_float();
    let call = |name: &str| format!("{name}({})", a.join(", "));
    let infix = |sign: &str| format!("{} {sign} {}", a[0], a[1]);
    match op {
        ScalarOp::Neg => format!("-({})", a[0]),
        ScalarOp::Abs => call("abs"),
        ScalarOp::Exp => call("exp_"),
        ScalarOp::Log => call("log_"),
        ScalarOp::Sqrt => call("sqrt_"),
        ScalarOp::Floor => call("floor"),
        ScalarOp::Cos => call("cos_"),
        ScalarOp::Tanh => call("tanh_"),
        ScalarOp::Sigmoid => call("sigmoid_"),
        ScalarOp::Erf => call("erf_"),
        ScalarOp::Add => infix("+"),
        ScalarOp::Sub => infix("-"),
        ScalarOp::Mul => infix("*"),
        ScalarOp::Div => infix("/"),
        ScalarOp::Max if float => call("max_"),
        ScalarOp::Min if float => call("min_"),
        ScalarOp::Max => call("max"),
        ScalarOp::Min => call("min"),
        ScalarOp::Pow => call("pow_"),
        ScalarOp::Lt => infix("<"),
        ScalarOp::Eq => infix("=="),
        ScalarOp::And => infix("&&"),
        ScalarOp::Select => format!("select({}, {}, {})", a[2], a[1], a[0]),
    }
}

/// A conversion, as [`DType::round`] means it.
pub fn cast(from: DType, to: DType, x: &str) -> String {
    match (from, to) {
        // In a register a float of 16 bits is an f32.
        (DType::F16 | DType::BF16, _) if from == to => x.into(),
        (DType::F16 | DType::BF16, _) => cast(DType::F32, to, x),
        (_, DType::F16) => format!("from_f16(to_f16({}))", cast(from, DType::F32, x)),
        (_, DType::BF16) => format!("bitcast<f32>(to_bf16({}) << 16u)", cast(from, DType::F32, x)),
        (_, DType::Bool) => match from {
            DType::Bool => x.into(),
            DType::F16 | DType::BF16 | DType::F32 => format!("({x} != 0.0)"),
            DType::I32 => format!("({x} != 0i)"),
            DType::U8 | DType::U32 => format!("({x} != 0u)"),
        },
        (_, DType::F32) => format!("f32({x})"),
        (DType::F32, DType::I32) => format!("to_i32({x})"),
        (DType::F32, DType::U32) => format!("to_u32({x})"),
        (DType::F32, DType::U8) => format!("min(to_u32({x}), 255u)"),
        (DType::I32, DType::U32) => format!("u32(max({x}, 0i))"),
        (DType::I32, DType::U8) => format!("u32(clamp({x}, 0i, 255i))"),
        (DType::U32, DType::U8) => format!("min({x}, 255u)"),
        (DType::U32, DType::I32) => format!("i32(min({x}, 2147483647u))"),
        (DType::Bool | DType::U8, DType::I32) => format!("i32({x})"),
        (DType::Bool | DType::U8, DType::U32) | (DType::Bool, DType::U8) => format!("u32({x})"),
        (DType::I32, DType::I32) | (DType::U32, DType::U32) | (DType::U8, DType::U8) => x.into(),
    }
}

/// A constant of that type and bits.
pub fn constant(dtype: DType, bits: u32) -> String {
    match dtype {
        DType::Bool => (bits != 0).to_string(),
        DType::U8 | DType::U32 => format!("{bits}u"),
        DType::I32 if bits == i32::MIN as u32 => "(-2147483647i - 1i)".into(),
        DType::I32 if (bits as i32) < 0 => format!("({}i)", bits as i32),
        DType::I32 => format!("{}i", bits as i32),
        DType::F16 | DType::BF16 | DType::F32 => {
            let x = f32::from_bits(bits);
            match x.is_finite() {
                true if x.is_sign_negative() => format!("({x:e}f)"),
                true => format!("{x:e}f"),
                false => format!("bitcast<f32>(r.zero | {bits}u)"),
            }
        }
    }
}
