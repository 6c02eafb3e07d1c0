//! Depthwise convolution (one filter per channel), vectorised over channels.
//!
//! The three directions share the row and segment tables of the dense kernels: a segment is one tap, its `b`
//! the tap's number. Invariant: channels lie at the same place in image, filter and result.

use super::tile::{Row, Seg, Store};
use super::vector::{Job, Vector};

/// Pixels worked on together: each tap's filter is loaded once for them.
const PIXELS: usize = 6;

/// A depthwise convolution or its input gradient.
pub(super) struct Depthwise {
    pub channels: usize,
}

impl Depthwise {
    /// The work on some rows.
    pub fn job<'a>(
        &self,
        rows: &'a [Row],
        taps: &'a [Seg],
        a: *const f32,
        filter: *const f32,
        c: *mut f32,
        store: Store,
    ) -> Taps<'a> {
        Taps { channels: self.channels, rows, taps, a, filter, c, store }
    }
}

/// For each row and channel, the sum over the taps.
pub(super) struct Taps<'a> {
    channels: usize,
    rows: &'a [Row],
    taps: &'a [Seg],
    a: *const f32,
    filter: *const f32,
    c: *mut f32,
    store: Store,
}

impl Job for Taps<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller vouches for tables and operands.
        unsafe {
            let (blocks, rest) = self.rows.as_chunks::<PIXELS>();
            for rows in blocks {
                self.pixels::<V, PIXELS>(rows);
            }
            for row in rest {
                self.pixels::<V, 1>(&[*row]);
            }
        }
    }
}

impl Taps<'_> {
    #[inline(always)]
    unsafe fn pixels<V: Vector, const N: usize>(&self, rows: &[Row; N]) {
        for k in (0..self.channels).step_by(V::LANES) {
            let n = V::LANES.min(self.channels - k);
            // SAFETY: partial registers at the last channels; the caller vouches for the rest.
            unsafe {
                if n == V::LANES {
                    self.lanes::<V, N, false>(rows, k, n);
                } else {
                    self.lanes::<V, N, true>(rows, k, n);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn lanes<V: Vector, const N: usize, const PART: bool>(&self, rows: &[Row; N], k: usize, n: usize) {
        // SAFETY: as for `pixels`.
        unsafe {
            let load = |p: *const f32| if PART { V::load_part(p, n) } else { V::load(p) };
            let mut acc = [V::zero(); N];
            for tap in self.taps {
                let w = load(self.filter.add(tap.b * self.channels + k));
                let a = self.a.wrapping_offset(tap.a + k as isize);
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = V::fma(load(a.wrapping_offset(row.a)), w, *acc);
                }
            }
            if !self.store.bias.is_null() {
                let bias = load(self.store.bias.add(k));
                for x in &mut acc {
                    *x = V::add(*x, bias);
                }
            }
            for (x, row) in acc.into_iter().zip(rows) {
                let x = if self.store.relu { V::relu(x) } else { x };
                let to = self.c.add(row.c + k);
                if PART { V::store_part(x, to, n) } else { V::store(x, to) }
            }
        }
    }
}

/// Depthwise filter gradient of some channels: for each tap, the sum over pixels of image times output gradient.
pub(super) struct Gradient<'a> {
    pub channels: usize,
    /// Channels to do.
    pub from: usize,
    pub to: usize,
    /// Where each tap's rows of pixels lie (`a` in elements of the image, `b` pixels of the output gradient).
    pub segs: &'a [Seg],
    /// Elements between neighbouring pixels of the image.
    pub a_j: isize,
    /// Image and output gradient.
    pub a: *const f32,
    pub dy: *const f32,
    /// One row of the result, all channels.
    pub c: *mut f32,
    pub store: Store,
}

/// Registers of channels worked on together, so that sums do not wait for each other.
const WIDE: usize = 4;

impl Job for Gradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut k = self.from;
        // SAFETY: the caller vouches for tables and operands; partial registers at the last channels.
        unsafe {
            while self.to - k >= WIDE * V::LANES {
                self.block::<V, WIDE, false>(k, V::LANES);
                k += WIDE * V::LANES;
            }
            while self.to - k >= V::LANES {
                self.block::<V, 1, false>(k, V::LANES);
                k += V::LANES;
            }
            if k < self.to {
                self.block::<V, 1, true>(k, self.to - k);
            }
        }
    }
}

impl Gradient<'_> {
    #[inline(always)]
    unsafe fn block<V: Vector, const N: usize, const PART: bool>(&self, k: usize, n: usize) {
        // SAFETY: as for `run`.
        unsafe {
            let load = |p: *const f32| if PART { V::load_part(p, n) } else { V::load(p) };
            let mut acc = [V::zero(); N];
            for seg in self.segs {
                let mut a = self.a.wrapping_offset(seg.a + k as isize);
                let mut dy = self.dy.wrapping_add(seg.b * self.channels + k);
                for _ in 0..seg.len {
                    for (v, acc) in acc.iter_mut().enumerate() {
                        let at = v * V::LANES;
                        *acc = V::fma(load(a.wrapping_add(at)), load(dy.wrapping_add(at)), *acc);
                    }
                    a = a.wrapping_offset(self.a_j);
                    dy = dy.wrapping_add(self.channels);
                }
            }
            for (v, x) in acc.into_iter().enumerate() {
                let to = self.c.add(k + v * V::LANES);
                let x = if self.store.accumulate { V::add(load(to), x) } else { x };
                let bias = self.store.bias;
                let x = if bias.is_null() { x } else { V::add(x, load(bias.add(k + v * V::LANES))) };
                let x = if self.store.relu { V::relu(x) } else { x };
                if PART { V::store_part(x, to, n) } else { V::store(x, to) }
            }
        }
    }
}
