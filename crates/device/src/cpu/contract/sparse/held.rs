//! The micro-kernel of sparse gradients: rows of floats held in registers over a list of live elements.
//!
//! `to[r][..] += sum over live of value * from[at + r * from_step ..]`. Fused multiply-adds take a few cycles: where a
//! block has few registers, several live elements are worked on side by side, each into sums of its own that are
//! added at the end. Invariant: the order of a sum depends on the list and the block alone.

use super::super::vector::Vector;
use std::num::NonZeroU64;

/// Live elements in order.
pub(super) trait Live: Copy {
    /// How many.
    fn count(&self) -> usize;
    /// The next one: where what it meets begins (floats), and its value.
    ///
    /// # Safety
    /// There is a next one.
    unsafe fn next(&mut self) -> (usize, f32);
}

/// As a list.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub at: *const u32,
    pub values: *const f32,
    pub count: usize,
    /// Of which so many were taken.
    pub taken: usize,
}

impl Live for List {
    #[inline(always)]
    fn count(&self) -> usize {
        self.count
    }
    #[inline(always)]
    unsafe fn next(&mut self) -> (usize, f32) {
        let i = self.taken;
        self.taken += 1;
        // SAFETY: the list has a next place.
        unsafe { (*self.at.add(i) as usize, *self.values.add(i)) }
    }
}

/// As bits: those that are set of 64 values, which meet what lies `pitch` floats apart.
#[derive(Clone, Copy)]
pub(super) struct Bits {
    pub bits: u64,
    pub values: *const f32,
    pub pitch: usize,
}

impl Live for Bits {
    #[inline(always)]
    fn count(&self) -> usize {
        self.bits.count_ones() as usize
    }
    #[inline(always)]
    unsafe fn next(&mut self) -> (usize, f32) {
        // SAFETY: there is a next one, so a bit is set.
        let i = unsafe { NonZeroU64::new_unchecked(self.bits) }.trailing_zeros() as usize;
        self.bits &= self.bits.wrapping_sub(1);
        // SAFETY: bits are set where there are values.
        (i * self.pitch, unsafe { *self.values.add(i) })
    }
}

/// What is summed: `height` rows of `row` floats.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub height: usize,
    pub row: usize,
    /// First operand row and floats between its rows.
    pub from: *const f32,
    pub from_step: usize,
    /// Sums, in place.
    pub to: *mut f32,
    pub to_step: usize,
}

/// Registers of a row up to which three rows are held at once.
pub(super) const fn held_row<V: Vector>() -> usize {
    if V::REGISTERS == 32 { 6 } else { 4 }
}

/// Adds the live elements' rows to the sums, as many vectors at a time as registers hold.
///
/// # Safety
/// Every row of every live element is readable and every row of `to` writable, for `row` floats.
#[inline(always)]
pub(super) unsafe fn rows<V: Vector, L: Live>(live: L, rows: Rows) {
    let vectors = rows.row.div_ceil(V::LANES);
    // SAFETY: as for this function.
    unsafe {
        if rows.height == 3 {
            match vectors {
                1 => return held::<V, L, 3, 1, 4>(live, rows, 0),
                2 => return held::<V, L, 3, 2, 2>(live, rows, 0),
                3 if V::REGISTERS == 32 => return held::<V, L, 3, 3, 2>(live, rows, 0),
                3 => return held::<V, L, 3, 3, 1>(live, rows, 0),
                4 => return held::<V, L, 3, 4, 1>(live, rows, 0),
                5 if V::REGISTERS == 32 => return held::<V, L, 3, 5, 1>(live, rows, 0),
                6 if V::REGISTERS == 32 => return held::<V, L, 3, 6, 1>(live, rows, 0),
                _ => {}
            }
        }
        for r in 0..rows.height {
            let one = Rows {
                from: rows.from.wrapping_add(r * rows.from_step),
                to: rows.to.wrapping_add(r * rows.to_step),
                ..rows
            };
            let mut v = 0;
            while v < vectors {
                let skip = v * V::LANES;
                v += match vectors - v {
                    12.. => (held::<V, L, 1, 12, 1>(live, one, skip), 12).1,
                    8..12 => (held::<V, L, 1, 8, 1>(live, one, skip), 8).1,
                    6..8 => (held::<V, L, 1, 6, 2>(live, one, skip), 6).1,
                    4..6 => (held::<V, L, 1, 4, 2>(live, one, skip), 4).1,
                    2..4 => (held::<V, L, 1, 2, 4>(live, one, skip), 2).1,
                    _ => (held::<V, L, 1, 1, 4>(live, one, skip), 1).1,
                };
            }
        }
    }
}

/// `R` rows of `N` vectors in registers, `U` live elements side by side, from float `skip` of the rows on; the last
/// vector may be partial.
#[inline(always)]
unsafe fn held<V: Vector, L: Live, const R: usize, const N: usize, const U: usize>(
    live: L,
    rows: Rows,
    skip: usize,
) {
    // Floats in the last vector.
    let last = (rows.row - skip - (N - 1) * V::LANES).min(V::LANES);
    // SAFETY: as for this function.
    unsafe {
        if last == V::LANES {
            block::<V, L, R, N, U, true>(live, rows, skip, last);
        } else {
            block::<V, L, R, N, U, false>(live, rows, skip, last);
        }
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "constant indices, so that sums stay in registers")]
unsafe fn block<V: Vector, L: Live, const R: usize, const N: usize, const U: usize, const WHOLE: bool>(
    mut live: L,
    rows: Rows,
    skip: usize,
    last: usize,
) {
    // SAFETY: the caller vouches for the rows; partial registers at their ends.
    unsafe {
        let mut sum = [[[V::zero(); N]; R]; U];
        for r in 0..R {
            for n in 0..N {
                let at = rows.to.add(r * rows.to_step + skip + n * V::LANES);
                sum[0][r][n] = load::<V>(at, WHOLE || n + 1 < N, last);
            }
        }
        let from = rows.from.wrapping_add(skip);
        let count = live.count();
        for _ in 0..count / U {
            for u in 0..U {
                let (at, value) = live.next();
                let (at, value) = (from.wrapping_add(at), V::splat(value));
                for r in 0..R {
                    for n in 0..N {
                        let at = at.wrapping_add(r * rows.from_step + n * V::LANES);
                        sum[u][r][n] = V::fma(value, load::<V>(at, WHOLE || n + 1 < N, last), sum[u][r][n]);
                    }
                }
            }
        }
        for _ in 0..count % U {
            let (at, value) = live.next();
            let (at, value) = (from.wrapping_add(at), V::splat(value));
            for r in 0..R {
                for n in 0..N {
                    let at = at.wrapping_add(r * rows.from_step + n * V::LANES);
                    sum[0][r][n] = V::fma(value, load::<V>(at, WHOLE || n + 1 < N, last), sum[0][r][n]);
                }
            }
        }
        for r in 0..R {
            for n in 0..N {
                let mut total = sum[0][r][n];
                for u in 1..U {
                    total = V::add(total, sum[u][r][n]);
                }
                let at = rows.to.add(r * rows.to_step + skip + n * V::LANES);
                if WHOLE || n + 1 < N {
                    V::store(total, at);
                } else {
                    V::store_part(total, at, last);
                }
            }
        }
    }
}

/// A whole register, or its first `last` lanes.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, whole: bool, last: usize) -> V {
    // SAFETY: as the caller vouches.
    unsafe { if whole { V::load(from) } else { V::load_part(from, last) } }
}
