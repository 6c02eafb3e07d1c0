//! Constants, scalar operations and conversions in CUDA C: a table each.
//!
//! Meaning as in `crates/base/src/scalar.rs`: integers wrap (computed unsigned, as a signed overflow is undefined in C),
//! the larger of a NaN and a number is the NaN, conversions saturate and make 0 of a NaN.

use thalweg_base::{DType, ScalarOp};

/// A constant of these bits.
pub fn constant(dtype: DType, bits: u32) -> String {
    match dtype {
        DType::Bool => (bits != 0).to_string(),
        DType::U8 | DType::U32 => format!("{bits}u"),
        DType::I32 => match bits as i32 {
            // C has no literal for it: 2147483648 is not an int.
            i32::MIN => "(-2147483647 - 1)".to_owned(),
            i if i < 0 => format!("({i})"),
            i => i.to_string(),
        },
        DType::F16 | DType::BF16 | DType::F32 => float(f32::from_bits(bits)),
    }
}

/// In decimal where that is exact in few digits; otherwise as bits, which no compiler can round.
fn float(x: f32) -> String {
    let decimal = format!("{x:?}");
    let exact = decimal.parse::<f64>().is_ok_and(|d| d == f64::from(x));
    match exact && x.is_finite() && decimal.len() <= 8 {
        true if x.is_sign_negative() => format!("({decimal}f)"),
        true => format!("{decimal}f"),
        false => format!("__uint_as_float(0x{:08x}u)", x.to_bits()),
    }
}

/// An operation on arguments whose first is of that type (whose second is, for `select`).
pub fn scalar(op: ScalarOp, dtype: DType, args: &[String]) -> String {
    let [a, b, c] = [0, 1, 2].map(|i| args.get(i).map_or("", String::as_str));
    let is_float = dtype.is_float();
    let wrapping = |symbol: &str| match dtype {
        DType::I32 => format!("(int)((unsigned){a} {symbol} (unsigned){b})"),
        DType::Bool | DType::U8 | DType::U32 | DType::F16 | DType::BF16 | DType::F32 => {
            format!("{a} {symbol} {b}")
        }
    };
    match op {
        ScalarOp::Neg if is_float => format!("-{a}"),
        ScalarOp::Neg => format!("(int)(0u - (unsigned){a})"),
        ScalarOp::Abs if is_float => format!("fabsf({a})"),
        ScalarOp::Abs => format!("{a} < 0 ? (int)(0u - (unsigned){a}) : {a}"),
        ScalarOp::Exp => format!("expf({a})"),
        ScalarOp::Log => format!("logf({a})"),
        ScalarOp::Sqrt => format!("__fsqrt_rn({a})"),
        ScalarOp::Floor => format!("floorf({a})"),
        ScalarOp::Cos => format!("cosf({a})"),
        ScalarOp::Tanh => format!("tanhf({a})"),
        ScalarOp::Sigmoid => format!("1.0f / (1.0f + expf(-{a}))"),
        ScalarOp::Erf => format!("erff({a})"),
        ScalarOp::Add => wrapping("+"),
        ScalarOp::Sub => wrapping("-"),
        ScalarOp::Mul => wrapping("*"),
        ScalarOp::Div => format!("{a} / {b}"),
        ScalarOp::Max if is_float => format!("thalweg_max({a}, {b})"),
        ScalarOp::Max => format!("{a} > {b} ? {a} : {b}"),
        ScalarOp::Min if is_float => format!("thalweg_min({a}, {b})"),
        ScalarOp::Min => format!("{a} < {b} ? {a} : {b}"),
        ScalarOp::Pow => format!("powf({a}, {b})"),
        ScalarOp::Lt => format!("{a} < {b}"),
        ScalarOp::Eq => format!("{a} == {b}"),
        ScalarOp::And => format!("{a} && {b}"),
        ScalarOp::Select => format!("{a} ? {b} : {c}"),
    }
}

/// Conversion of `x`. The instructions from floats to integers saturate and make 0 of a NaN by themselves; C's casts
/// would be undefined there.
pub fn cast(from: DType, to: DType, x: &str) -> String {
    match (from, to) {
        // In a register a float of 16 bits is an f32.
        (DType::F16 | DType::BF16, _) if from == to => x.to_owned(),
        (DType::F16 | DType::BF16, _) => cast(DType::F32, to, x),
        (_, DType::F16 | DType::BF16) => round(to, &cast(from, DType::F32, x)),
        (DType::Bool, DType::Bool)
        | (DType::U8, DType::U8 | DType::U32)
        | (DType::U32, DType::U32)
        | (DType::I32, DType::I32)
        | (DType::F32, DType::F32) => x.to_owned(),
        (DType::Bool, DType::U8 | DType::U32) => format!("{x} ? 1u : 0u"),
        (DType::Bool, DType::I32) => format!("{x} ? 1 : 0"),
        (DType::Bool, DType::F32) => format!("{x} ? 1.0f : 0.0f"),
        (DType::U8 | DType::U32, DType::Bool) => format!("{x} != 0u"),
        (DType::U8, DType::I32) => format!("(int){x}"),
        (DType::U8 | DType::U32, DType::F32) => format!("__uint2float_rn({x})"),
        (DType::U32, DType::U8) => format!("min({x}, 255u)"),
        (DType::U32, DType::I32) => format!("(int)min({x}, 2147483647u)"),
        (DType::I32, DType::Bool) => format!("{x} != 0"),
        (DType::I32, DType::U8) => format!("(unsigned)min(max({x}, 0), 255)"),
        (DType::I32, DType::U32) => format!("(unsigned)max({x}, 0)"),
        (DType::I32, DType::F32) => format!("__int2float_rn({x})"),
        (DType::F32, DType::Bool) => format!("{x} != 0.0f"),
        (DType::F32, DType::U8) => format!("min(__float2uint_rz({x}), 255u)"),
        (DType::F32, DType::U32) => format!("__float2uint_rz({x})"),
        (DType::F32, DType::I32) => format!("__float2int_rz({x})"),
    }
}

/// An f32 rounded to a float of 16 bits, as an f32 again.
fn round(to: DType, x: &str) -> String {
    widened(to, &narrowed(to, x))
}

/// An f32 from what memory has of it.
pub fn widened(dtype: DType, element: &str) -> String {
    match dtype {
        DType::F16 => format!("thalweg_from_f16({element})"),
        _ => format!("__uint_as_float((unsigned)({element}) << 16)"),
    }
}

/// What memory has of an f32.
pub fn narrowed(dtype: DType, x: &str) -> String {
    match dtype {
        DType::F16 => format!("thalweg_to_f16({x})"),
        _ => format!("thalweg_to_bf16({x})"),
    }
}

/// The same bits as another type.
pub fn bits(from: DType, to: DType, x: &str) -> String {
    let register = |d: DType| if d.is_half() { DType::F32 } else { d };
    match (register(from), register(to)) {
        (DType::F32, DType::I32) => format!("__float_as_int({x})"),
        (DType::F32, DType::U8 | DType::U32) => format!("__float_as_uint({x})"),
        (DType::I32, DType::F32) => format!("__int_as_float({x})"),
        (DType::U8 | DType::U32, DType::F32) => format!("__uint_as_float({x})"),
        (DType::F16 | DType::BF16, _) | (_, DType::F16 | DType::BF16) => unreachable!("held as f32"),
        (DType::Bool | DType::U8 | DType::U32 | DType::I32, _) | (DType::F32, DType::F32 | DType::Bool) => {
            format!("({}){x}", super::in_register(to))
        }
    }
}
