//! The two 16-bit floats as bits: IEEE 754 half precision, and the upper half of an f32.
//!
//! In: f32, f64. Out: bits, rounded to nearest, ties to even. Invariant: no branches in the conversions of f32, so that
//! loops over them vectorise; not-a-number stays so.

/// Bits of infinity, and of a quiet not-a-number, in half precision.
const F16_INFINITY: u32 = 0x7c00;
const F16_NAN: u32 = 0x7e00;
/// What the exponents' biases differ by, in f32's bits.
const REBIAS: u32 = (127 - 15) << 23;

/// The upper half, rounded.
#[inline(always)]
pub const fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

/// Exact.
#[inline(always)]
pub const fn from_bf16(x: u16) -> f32 {
    f32::from_bits((x as u32) << 16)
}

/// Half precision, rounded; beyond 65519 infinity.
#[inline(always)]
pub const fn to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    let normal = size.wrapping_add(0xfff + (size >> 13 & 1)).wrapping_sub(REBIAS) >> 13;
    // Below 2^-14 the unit is 2^-24: that of an f32 in 0.5..1.
    let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if size < 0x3880_0000 { small } else { normal };
    let most = if finite > F16_INFINITY { F16_INFINITY } else { finite };
    (sign | if size > 0x7f80_0000 { F16_NAN } else { most }) as u16
}

/// Exact.
#[inline(always)]
pub const fn from_f16(x: u16) -> f32 {
    let (sign, size) = ((x as u32 & 0x8000) << 16, x as u32 & 0x7fff);
    let normal = (size << 13) + REBIAS;
    // Infinity and not-a-number keep their exponent's ones.
    let wide = if size >= F16_INFINITY { normal + REBIAS } else { normal };
    let small = (size as f32 * (1.0 / (1 << 24) as f32)).to_bits();
    f32::from_bits(sign | if size < 0x400 { small } else { wide })
}

/// `x` to so many bits of mantissa (the leading one counted), with that least exponent and largest value.
fn round(x: f64, bits: i32, least: i32, largest: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(least);
    let unit = 2f64.powi(exponent - (bits - 1));
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() > largest { f64::INFINITY.copysign(x) } else { rounded.copysign(x) }
}

/// The nearest number that half precision has.
pub fn round_f16(x: f64) -> f64 {
    round(x, 11, -14, 65504.0)
}

/// The nearest number that the upper half of an f32 has.
pub fn round_bf16(x: f64) -> f64 {
    round(x, 8, -126, f64::from(from_bf16(0x7f7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back() {
        for bits in 0..=u16::MAX {
            let (wide, upper) = (from_f16(bits), from_bf16(bits));
            let same = |back: u16, wide: f32| back == bits || wide.is_nan() && back & 0x7fff > 0x7c00;
            assert!(same(to_f16(wide), wide), "{bits:#x} is {wide} is {:#x}", to_f16(wide));
            assert!(same(to_bf16(upper), upper), "{bits:#x} is {upper}");
            for (value, round) in [(wide, round_f16 as fn(f64) -> f64), (upper, round_bf16)] {
                let value = f64::from(value);
                assert!(round(value) == value || value.is_nan(), "{value}");
            }
        }
        assert_eq!([from_f16(0x3c00), from_f16(0x0001), from_f16(0xfbff)], [1.0, 2f32.powi(-24), -65504.0]);
        assert_eq!(from_f16(0x7c00), f32::INFINITY);
        assert!(from_f16(0x7e00).is_nan());
    }

    /// Halfway between neighbours, just below and just above, over all exponents of both.
    #[test]
    fn ties_go_to_even_and_the_rest_to_the_nearest() {
        for low in 0..0x7bff_u16 {
            for (from, to, round) in [
                (from_f16 as fn(u16) -> f32, to_f16 as fn(f32) -> u16, round_f16 as fn(f64) -> f64),
                (from_bf16, to_bf16, round_bf16),
            ] {
                let (a, b) = (f64::from(from(low)), f64::from(from(low + 1)));
                let middle = (a + b) / 2.0;
                let even = low + (low & 1);
                for (x, want) in [(middle, even), (-middle, even | 0x8000)] {
                    // What f32 cannot hold is a subnormal of the upper half.
                    if f64::from(x as f32) == x {
                        assert_eq!(to(x as f32), want, "{x}");
                    }
                    assert_eq!(round(x), f64::from(from(want)), "{x}");
                }
                let (below, above) = ((middle as f32).next_down(), (middle as f32).next_up());
                if f64::from(below) > a && f64::from(above) < b {
                    assert_eq!([to(below), to(above)], [low, low + 1], "around {middle}");
                    assert_eq!([round(f64::from(below)), round(f64::from(above))], [a, b]);
                }
            }
        }
        assert_eq!([to_f16(65519.0), to_f16(65520.0), to_f16(-1e30)], [0x7bff, 0x7c00, 0xfc00]);
        assert_eq!([round_f16(65519.0), round_f16(65520.0)], [65504.0, f64::INFINITY]);
        assert_eq!([to_bf16(f32::MAX), to_bf16(f32::NEG_INFINITY)], [0x7f80, 0xff80]);
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan() && from_f16(to_f16(-f32::NAN)).is_nan());
    }
}
