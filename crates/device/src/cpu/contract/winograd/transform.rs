//! The one-dimensional transforms of F(4, 3): four outputs of a three-tap filter from six inputs by six products
//! instead of twelve, `y = A' [(G g) * (B' d)]`; two passes make the two-dimensional F(4x4, 3x3).
//!
//! Polynomials are interpolated at 0, +a, -a, +b, -b and infinity: a pair of opposite points shares its even and
//! odd halves. Rounding grows with the points' powers and their inverses, so a and b lie on both sides of 1. Relative
//! errors in f32 (root mean square; greatest by the greatest result), 64 channels after a ReLU, random filters, of a
//! model of this arithmetic, not of the kernels:
//!
//! | a, b | r.m.s. | greatest |
//! | --- | ---: | ---: |
//! | 1, 2 (the usual) | 1.5e-6 | 7.8e-6 |
//! | 1, 1/2 | 1.4e-6 | 5.0e-6 |
//! | 1/2, 3/2 | 7.6e-7 | 2.1e-6 |
//! | sqrt(1/2), sqrt(2) | 6.7e-7 | 1.3e-6 |
//! | 2/3, 3/2 | 5.8e-7 | 1.5e-6 |
//! | 5/8, 3/2 (here) | 6.2e-7 | 1.4e-6 |
//! | 0, 1, -1, 1/2, -2 (no second pair) | 1.0e-6 | 2.2e-6 |
//!
//! Those of 5/8 and 3/2 are as good as any, and all their powers are exact in f32. F(2, 3), whose transforms of inputs and
//! outputs only add, serves along rows where channels are few. Invariant: every transform is
//! linear without a constant, so that zeros give exact zeros.

use super::super::vector::Vector;

/// Outputs of a tile along an axis; its inputs; its frequencies in both axes.
pub(super) const OUT: usize = 4;
pub(super) const IN: usize = 6;
pub(super) const FREQUENCIES: usize = IN * IN;

const A: f32 = 0.625;
const B: f32 = 1.5;
/// Squares, cubes, and what the filter is divided by at 0, at a and at b.
const A2: f32 = A * A;
const B2: f32 = B * B;
const A3: f32 = A * A * A;
const B3: f32 = B * B * B;
const AT_0: f32 = 1.0 / (A2 * B2);
const AT_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const AT_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// `x * c`.
#[inline(always)]
unsafe fn times<V: Vector>(c: f32, x: V) -> V {
    // SAFETY: the caller vouches for the features.
    unsafe { V::fma(V::splat(c), x, V::zero()) }
}

/// `x * c + y`.
#[inline(always)]
unsafe fn plus<V: Vector>(c: f32, x: V, y: V) -> V {
    // SAFETY: the caller vouches for the features.
    unsafe { V::fma(V::splat(c), x, y) }
}

/// `B' d`.
#[inline(always)]
pub(super) unsafe fn input<V: Vector>(d: [V; IN]) -> [V; IN] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (even_a, odd_a) = (plus(-B2, d[2], d[4]), plus(-B2, d[1], d[3]));
        let (even_b, odd_b) = (plus(-A2, d[2], d[4]), plus(-A2, d[1], d[3]));
        [
            plus(A2 * B2, d[0], plus(-(A2 + B2), d[2], d[4])),
            plus(A, odd_a, even_a),
            plus(-A, odd_a, even_a),
            plus(B, odd_b, even_b),
            plus(-B, odd_b, even_b),
            plus(A2 * B2, d[1], plus(-(A2 + B2), d[3], d[5])),
        ]
    }
}

/// `G g`.
#[inline(always)]
pub(super) unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; IN] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let even_a = plus(A2 * AT_A, g[2], times(AT_A, g[0]));
        let even_b = plus(B2 * AT_B, g[2], times(AT_B, g[0]));
        [
            times(AT_0, g[0]),
            plus(A * AT_A, g[1], even_a),
            plus(-A * AT_A, g[1], even_a),
            plus(B * AT_B, g[1], even_b),
            plus(-B * AT_B, g[1], even_b),
            g[2],
        ]
    }
}

/// `A' m`.
#[inline(always)]
pub(super) unsafe fn output<V: Vector>(m: [V; IN]) -> [V; OUT] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (even_a, odd_a) = (V::add(m[1], m[2]), V::sub(m[1], m[2]));
        let (even_b, odd_b) = (V::add(m[3], m[4]), V::sub(m[3], m[4]));
        [
            V::add(m[0], V::add(even_a, even_b)),
            plus(A, odd_a, times(B, odd_b)),
            plus(A2, even_a, times(B2, even_b)),
            plus(A3, odd_a, plus(B3, odd_b, m[5])),
        ]
    }
}

/// `A y`: the output's transform backwards, for the filter's gradient.
#[inline(always)]
pub(super) unsafe fn output_gradient<V: Vector>(y: [V; OUT]) -> [V; IN] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (even_a, odd_a) = (plus(A2, y[2], y[0]), plus(A3, y[3], times(A, y[1])));
        let (even_b, odd_b) = (plus(B2, y[2], y[0]), plus(B3, y[3], times(B, y[1])));
        [
            y[0],
            V::add(even_a, odd_a),
            V::sub(even_a, odd_a),
            V::add(even_b, odd_b),
            V::sub(even_b, odd_b),
            y[3],
        ]
    }
}

/// `G' m`: the filter's transform backwards.
#[inline(always)]
pub(super) unsafe fn filter_gradient<V: Vector>(m: [V; IN]) -> [V; 3] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (even_a, odd_a) = (V::add(m[1], m[2]), V::sub(m[1], m[2]));
        let (even_b, odd_b) = (V::add(m[3], m[4]), V::sub(m[3], m[4]));
        [
            plus(AT_0, m[0], plus(AT_A, even_a, times(AT_B, even_b))),
            plus(A * AT_A, odd_a, times(B * AT_B, odd_b)),
            plus(A2 * AT_A, even_a, plus(B2 * AT_B, even_b, m[5])),
        ]
    }
}

/// `B' d` of F(2, 3): two outputs of a three-tap filter from four inputs by four products, at 0, 1, -1 and infinity.
#[inline(always)]
pub(super) unsafe fn pair_input<V: Vector>(d: [V; 4]) -> [V; 4] {
    // SAFETY: the caller vouches for the features.
    unsafe { [V::sub(d[0], d[2]), V::add(d[1], d[2]), V::sub(d[2], d[1]), V::sub(d[3], d[1])] }
}

/// `G g` of F(2, 3).
#[inline(always)]
pub(super) unsafe fn pair_filter<V: Vector>(g: [V; 3]) -> [V; 4] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let even = times(0.5, V::add(g[0], g[2]));
        [g[0], plus(0.5, g[1], even), plus(-0.5, g[1], even), g[2]]
    }
}

/// `A' m` of F(2, 3) of the second and third frequency; the first is to be added to the first output, the last to the second.
#[inline(always)]
pub(super) unsafe fn pair_output<V: Vector>(m: [V; 2]) -> [V; 2] {
    // SAFETY: the caller vouches for the features.
    unsafe { [V::add(m[0], m[1]), V::sub(m[0], m[1])] }
}
