//! Data types of tensors, and scalar constants.

use crate::half;
use std::fmt;
use std::str::FromStr;

/// Element type of a tensor. All are stored little-endian; `Bool` is one byte, 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned byte: raw image data, pool arguments.
    U8,
    /// Unsigned 32-bit integer: random bits.
    U32,
    /// Signed 32-bit integer: labels, counters.
    I32,
    /// IEEE 754 half precision: what `mixed_float16` computes in.
    F16,
    /// The upper half of an f32, rounded: what `mixed_bfloat16` computes in.
    BF16,
    /// IEEE 754 single precision: everything that is learned.
    F32,
}

impl DType {
    /// Every type, in order of promotion.
    pub const ALL: [DType; 7] =
        [DType::Bool, DType::U8, DType::U32, DType::I32, DType::F16, DType::BF16, DType::F32];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
        }
    }

    /// Whether the type carries gradients.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32)
    }

    /// Whether it is a float of 16 bits: stored so, computed with in f32 and rounded.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// The name used in text forms and files.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
        }
    }

    /// What storing `x` in this type and reading it back gives: the cast, as every device must do it.
    /// Float to integer truncates toward zero and saturates; NaN becomes 0; anything but 0 is true. To a float of 16 bits
    /// rounds to the nearest, ties to even.
    pub fn round(self, x: f64) -> f64 {
        match self {
            DType::Bool => f64::from(u8::from(x != 0.0)),
            DType::U8 => f64::from(x as u8),
            DType::U32 => f64::from(x as u32),
            DType::I32 => f64::from(x as i32),
            DType::F16 => half::round_f16(x),
            DType::BF16 => half::round_bf16(x),
            DType::F32 => x,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        DType::ALL
            .into_iter()
            .find(|d| d.name() == s)
            .ok_or_else(|| format!("'{s}' is not a data type; known: bool, u8, u32, i32, f16, bf16, f32"))
    }
}

/// A typed constant, comparable and hashable by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scalar {
    dtype: DType,
    bits: u32,
}

impl Scalar {
    /// `value` rounded to `dtype`.
    pub fn new(dtype: DType, value: f64) -> Self {
        let bits = match dtype {
            DType::Bool => u32::from(value != 0.0),
            DType::U8 => u32::from(value as u8),
            DType::U32 => value as u32,
            DType::I32 => (value as i32) as u32,
            DType::F16 | DType::BF16 | DType::F32 => (dtype.round(value) as f32).to_bits(),
        };
        Scalar { dtype, bits }
    }

    /// An f32 constant.
    pub fn f32(value: f32) -> Self {
        Scalar { dtype: DType::F32, bits: value.to_bits() }
    }

    /// Its type.
    pub const fn dtype(self) -> DType {
        self.dtype
    }

    /// Its value; exact, as every type fits in f64.
    pub fn value(self) -> f64 {
        match self.dtype {
            DType::Bool | DType::U8 | DType::U32 => f64::from(self.bits),
            DType::I32 => f64::from(self.bits as i32),
            DType::F16 | DType::BF16 | DType::F32 => f64::from(f32::from_bits(self.bits)),
        }
    }

    /// The 32-bit lane that holds it on a device (f32 bits for any float, or the integer).
    pub const fn bits(self) -> u32 {
        self.bits
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F16 | DType::BF16 | DType::F32 => write!(f, "{:?}", f32::from_bits(self.bits)),
            _ => write!(f, "{}", self.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_truncate_and_saturate() {
        assert_eq!(DType::U8.round(300.7), 255.0);
        assert_eq!(DType::I32.round(-2.9), -2.0);
        assert_eq!(DType::I32.round(f64::NAN), 0.0);
        assert_eq!(DType::Bool.round(-0.5), 1.0);
        assert_eq!(DType::BF16.round(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(DType::F16.round(1e5), f64::INFINITY);
    }

    #[test]
    fn scalars_compare_by_bits() {
        assert_eq!(Scalar::new(DType::F32, 0.1), Scalar::f32(0.1));
        assert_ne!(Scalar::f32(0.0), Scalar::f32(-0.0));
        assert_eq!(Scalar::new(DType::I32, -3.0).value(), -3.0);
        assert_eq!("i32".parse::<DType>(), Ok(DType::I32));
    }
}
