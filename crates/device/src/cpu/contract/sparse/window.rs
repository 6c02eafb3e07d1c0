//! The input gradient's most usual case: 3 x 3 filters in steps of one behind a 2 x 2 max pooling.
//!
//! The patches of a window's four positions lie in 4 x 4 pixels: a register of the channels of each is held over all
//! live elements of the window, so that each is read and written once, not once for each position.

use super::Geometry;
use super::held::{Bits, Live};
use crate::cpu::contract::vector::Vector;
use thalweg_base::Window;

/// Pixels of a side.
const SIDE: usize = 4;
/// Taps of a side of the filter.
const TAPS: usize = 3;

/// Whether windows of this geometry can be held.
pub(super) fn holds<V: Vector>(g: &Geometry) -> bool {
    let filter = |w: &Window| w.size == TAPS && w.stride == 1 && w.dilation == 1;
    let pool = |w: &Window| w.size == 2 && w.dilation == 1;
    let small = [g.d.rows, g.d.cols].iter().all(filter) && [g.pool.rows, g.pool.cols].iter().all(pool);
    small && g.d.c.is_multiple_of(V::LANES) && V::REGISTERS > SIDE * SIDE + 2
}

/// Floats of a packed filter: a register a tap.
pub(super) const fn filter<V: Vector>() -> usize {
    TAPS * TAPS * V::LANES
}

/// Adds the live elements of a window, of each position those whose bits are set, to its pixels.
///
/// # Safety
/// There are bits for four positions, and values and packed filters for the bits; the window's pixels lie in the image,
/// `line` floats a line, `pixel` floats a pixel.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "constant indices, so that sums stay in registers")]
pub(super) unsafe fn window<V: Vector>(
    bits: *const u64,
    values: *const f32,
    filters: *const f32,
    target: *mut f32,
    (line, pixel): (usize, usize),
) {
    // SAFETY: as for this function.
    unsafe {
        let mut sum = [[V::zero(); SIDE]; SIDE];
        for y in 0..SIDE {
            for x in 0..SIDE {
                sum[y][x] = V::load(target.add(y * line + x * pixel));
            }
        }
        position::<V, 0, 0>(*bits, values, filters, &mut sum);
        position::<V, 0, 1>(*bits.add(1), values, filters, &mut sum);
        position::<V, 1, 0>(*bits.add(2), values, filters, &mut sum);
        position::<V, 1, 1>(*bits.add(3), values, filters, &mut sum);
        for y in 0..SIDE {
            for x in 0..SIDE {
                V::store(sum[y][x], target.add(y * line + x * pixel));
            }
        }
    }
}

/// The elements of the position `Y`, `X`.
#[inline(always)]
unsafe fn position<V: Vector, const Y: usize, const X: usize>(
    bits: u64,
    values: *const f32,
    filters: *const f32,
    sum: &mut [[V; SIDE]; SIDE],
) {
    let mut live = Bits { bits, values, pitch: filter::<V>() };
    // SAFETY: as for `window`.
    unsafe {
        while live.bits != 0 {
            let (at, value) = live.next();
            let (filter, value) = (filters.add(at), V::splat(value));
            for r in 0..TAPS {
                for s in 0..TAPS {
                    let tap = V::load(filter.add((r * TAPS + s) * V::LANES));
                    sum[Y + r][X + s] = V::fma(value, tap, sum[Y + r][X + s]);
                }
            }
        }
    }
}
