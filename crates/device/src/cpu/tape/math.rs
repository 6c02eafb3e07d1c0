//! Elementary functions on one f32 lane, without branches, so that loops over them vectorise.
//!
//! Accurate to about 2 ulp (relative error below 3e-7) on the whole range, right at 0, infinities and NaN.
//! Denormals count as zero, as on the workers (see `cpu/workers.rs`). `FMA`: whether the instruction set has
//! a fused multiply-add; without one, `mul_add` would be a library call.

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's scheme, highest coefficient first.
#[inline(always)]
fn horner<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut r = coefficients[0];
    let mut i = 1;
    while i < N {
        r = fma::<FMA>(r, x, coefficients[i]);
        i += 1;
    }
    r
}

/// ln 2 in two parts, the first exact in products with small integers.
const LN2_HI: f32 = 355.0 / 512.0;
const LN2_LO: f32 = -2.121_944_4e-4;
/// 1.5 * 2^23: adding it rounds to an integer and leaves that in the low bits.
const ROUND: f32 = 12_582_912.0;

/// e^x. Below -87.3 the result would be denormal: 0.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // Clamped so that the integer part fits; a NaN passes both comparisons and stays.
    let c = if x > 89.0 { 89.0 } else { x };
    let c = if c < -104.0 { -104.0 } else { c };
    let t = fma::<FMA>(c, std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = fma::<FMA>(n, -LN2_HI, c);
    let r = fma::<FMA>(n, -LN2_LO, r);
    // Minimax on [-ln2/2, ln2/2] (Cephes): e^r = 1 + r + r^2 P(r).
    let p = horner::<FMA, 6>(
        r,
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5],
    );
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    // 2^n in two factors, each a normal number for n in -151..=129.
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
    p * power(half) * power(n.wrapping_sub(half))
}

/// Natural logarithm; -inf at 0, NaN below.
#[inline(always)]
pub fn log<const FMA: bool>(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    // x = m 2^e with m in [sqrt(1/2), sqrt 2).
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3) as u32);
    let f = m - 1.0;
    let z = f * f;
    // Cephes: ln(1 + f) = f - f^2/2 + f^3 P(f).
    let p = horner::<FMA, 9>(
        f,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let y = fma::<FMA>(p * z, f, e * LN2_LO);
    let y = fma::<FMA>(z, -0.5, y);
    let r = fma::<FMA>(e, LN2_HI, f + y);
    let r = if x == f32::INFINITY { x } else { r };
    let r = if x < f32::MIN_POSITIVE { f32::NEG_INFINITY } else { r };
    let r = if x < 0.0 { f32::NAN } else { r };
    if x.is_nan() { x } else { r }
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    // Cephes: a polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
    let p =
        horner::<FMA, 5>(z, [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1]);
    let near = fma::<FMA>(p * z, x, x);
    let far = (1.0 - 2.0 / (exp::<FMA>(a + a) + 1.0)).copysign(x);
    if a < 0.625 { near } else { far }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The error function (after N. Juffa's two-interval minimax fit).
#[inline(always)]
pub fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let t = if a > 4.0 { 4.0 } else { a }; // 1 - erf(4) is below half an ulp of 1; a NaN stays.
    let s = t * t;
    let far = fma::<FMA>(-1.728_534_7e-5, t, 3.831_971_3e-4);
    let u = fma::<FMA>(-3.883_964_4e-3, t, 2.425_462_2e-2);
    let far = fma::<FMA>(far, s, u);
    let far = horner_from::<FMA, 3>(far, t, [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1]);
    let far = fma::<FMA>(far, t, -t);
    let far = (1.0 - exp::<FMA>(far)).copysign(x);
    let near = horner::<FMA, 6>(
        s,
        [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1],
    );
    let near = fma::<FMA>(near, x, x);
    if a > 0.927_734_4 { far } else { near }
}

/// Horner's scheme from a first value.
#[inline(always)]
fn horner_from<const FMA: bool, const N: usize>(first: f32, x: f32, coefficients: [f32; N]) -> f32 {
    let mut r = first;
    let mut i = 0;
    while i < N {
        r = fma::<FMA>(r, x, coefficients[i]);
        i += 1;
    }
    r
}

/// Up to here [`cos_reduced`] holds.
pub const COS_LIMIT: f32 = 1.0e7;

/// Cosine for |x| up to [`COS_LIMIT`], through f64.
#[inline(always)]
pub fn cos_reduced(x: f32) -> f32 {
    let x = f64::from(x);
    // 1.5 * 2^52 rounds to an integer, as ROUND does for f32.
    let round = 6_755_399_441_055_744.0_f64;
    let t = x * std::f64::consts::FRAC_2_PI + round;
    let n = t - round;
    let quadrant = t.to_bits() as u32;
    let r = x - n * std::f64::consts::FRAC_PI_2; // error below 1e7 * 2^-53 * pi/2, some 2e-9 absolute
    let r = r - n * 6.123_233_995_736_766e-17;
    let z = r * r;
    let sin = r
        * (1.0
            + z * (-1.666_666_666_666_6e-1
                + z * (8.333_333_333e-3 + z * (-1.984_126_98e-4 + z * (2.755_73e-6 + z * -2.505_2e-8)))));
    let cos = 1.0
        + z * (-0.5
            + z * (4.166_666_666_666e-2
                + z * (-1.388_888_888_9e-3 + z * (2.480_158_7e-5 + z * (-2.755_73e-7 + z * 2.087_6e-9)))));
    let value = if quadrant & 1 == 0 { cos } else { sin };
    let negative = quadrant.wrapping_add(1) & 2 != 0;
    (if negative { -value } else { value }) as f32
}

/// Cosine anywhere; slower.
pub fn cos_any(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

/// Power, with C's special cases.
pub fn pow(x: f32, y: f32) -> f32 {
    x.powf(y)
}

/// Maximum; NaN if either is.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    let m = if a > b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// Minimum; NaN if either is.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    let m = if a < b { a } else { b };
    if a.is_nan() { a } else { m }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_base::ScalarOp;

    fn sweep<const FMA: bool>(op: ScalarOp, f: fn(f32) -> f32) {
        let mut worst = (0.0, 0.0);
        // Every 4093rd float: all exponents, both signs.
        for bits in (0..=u32::MAX).step_by(4093) {
            let x = f32::from_bits(bits);
            if x.is_nan() || x.abs() < f32::MIN_POSITIVE {
                continue;
            }
            let want = op.eval(&[f64::from(x)]);
            let got = f64::from(f(x));
            if want.is_nan() {
                assert!(got.is_nan(), "{} {x}: {got}", op.name());
                continue;
            }
            let rounded = f64::from(want as f32);
            if rounded.is_infinite() || rounded.abs() < 1.2e-38 {
                assert!(
                    got == rounded || got.abs() < 1.2e-38 || got.is_infinite(),
                    "{} {x}: {got} {want}",
                    op.name()
                );
                continue;
            }
            let error = (got - want).abs() / want.abs();
            if error > worst.0 {
                worst = (error, f64::from(x));
            }
        }
        assert!(worst.0 < 3e-7, "{} (fma {FMA}): relative error {:e} at {:?}", op.name(), worst.0, worst.1);
        for x in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0, -1.0] {
            let want = op.eval(&[f64::from(x)]) as f32;
            let got = f(x);
            assert!(
                want == got || (want.is_nan() && got.is_nan()) || (want - got).abs() <= 2e-7 * want.abs(),
                "{} {x}: {got}, not {want}",
                op.name()
            );
        }
    }

    #[test]
    fn elementary_functions_are_accurate() {
        sweep::<true>(ScalarOp::Exp, exp::<true>);
        sweep::<false>(ScalarOp::Exp, exp::<false>);
        sweep::<true>(ScalarOp::Log, log::<true>);
        sweep::<false>(ScalarOp::Log, log::<false>);
        sweep::<true>(ScalarOp::Tanh, tanh::<true>);
        sweep::<false>(ScalarOp::Tanh, tanh::<false>);
        sweep::<true>(ScalarOp::Sigmoid, sigmoid::<true>);
        sweep::<false>(ScalarOp::Sigmoid, sigmoid::<false>);
        sweep::<true>(ScalarOp::Erf, erf::<true>);
        sweep::<false>(ScalarOp::Erf, erf::<false>);
    }

    #[test]
    fn cosine_near_and_far() {
        for i in -200_000..200_000 {
            let x = i as f32 * 0.037;
            assert!((f64::from(cos_reduced(x)) - f64::from(x).cos()).abs() < 1e-7, "{x}");
        }
        for x in [1.0e6_f32, 9.9e6, -8.123e6] {
            assert!((f64::from(cos_reduced(x)) - f64::from(x).cos()).abs() < 1e-7, "{x}");
        }
        assert!(cos_reduced(f32::INFINITY).is_nan() && cos_reduced(f32::NAN).is_nan());
    }
}
