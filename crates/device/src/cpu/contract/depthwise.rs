//! Depthwise convolution (one filter per channel), vectorised over channels.
//!
//! The three directions share the row and segment tables of the dense kernels: a segment is one tap, its `b`
//! the tap's number. Invariant: channels lie at the same place in image, filter and result.

use super::tile::{Row, Seg, Store};
use super::vector::{Job, Vector};

/// Pixels worked on together: each tap's filter is loaded once for them.
const PIXELS: usize = 6;
/// Registers of channels worked on together.
const WIDE: usize = 2;

/// A depthwise convolution or its input gradient: for each row and channel, the sum over the taps.
pub(super) struct Taps<'a> {
    pub channels: usize,
    pub rows: &'a [Row],
    pub taps: &'a [Seg],
    pub a: *const f32,
    pub filter: *const f32,
    pub c: *mut f32,
    pub store: Store,
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
        let mut k = 0;
        // SAFETY: partial registers at the last channels; the caller vouches for the rest.
        unsafe {
            while self.channels - k >= WIDE * V::LANES {
                self.lanes::<V, N, WIDE, false>(rows, k, V::LANES);
                k += WIDE * V::LANES;
            }
            while self.channels - k >= V::LANES {
                self.lanes::<V, N, 1, false>(rows, k, V::LANES);
                k += V::LANES;
            }
            if k < self.channels {
                self.lanes::<V, N, 1, true>(rows, k, self.channels - k);
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    unsafe fn lanes<V: Vector, const N: usize, const W: usize, const PART: bool>(
        &self,
        rows: &[Row; N],
        k: usize,
        n: usize,
    ) {
        // SAFETY: as for `pixels`.
        unsafe {
            let load = |p: *const f32| if PART { V::load_part(p, n) } else { V::load(p) };
            let mut acc = [[V::zero(); W]; N];
            let mut base = [self.a; N];
            for i in 0..N {
                base[i] = self.a.wrapping_offset(rows[i].a + k as isize);
            }
            for tap in self.taps {
                let from = self.filter.wrapping_add(tap.b * self.channels + k);
                let mut w = [V::zero(); W];
                for v in 0..W {
                    w[v] = load(from.wrapping_add(v * V::LANES));
                }
                for i in 0..N {
                    for v in 0..W {
                        let x = base[i].wrapping_offset(tap.a).wrapping_add(v * V::LANES);
                        acc[i][v] = V::fma(load(x), w[v], acc[i][v]);
                    }
                }
            }
            let last = if PART { n } else { V::LANES };
            self.store.from(k).finish::<V, N, W>(&mut acc, last, |i| rows[i].c);
            for v in 0..W {
                for i in 0..N {
                    let to = self.c.add(rows[i].c + k + v * V::LANES);
                    if PART { V::store_part(acc[i][v], to, n) } else { V::store(acc[i][v], to) }
                }
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

/// Pixels summed apart, so that sums do not wait for each other; joined at the end of a cut.
const APART: usize = 4;

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
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    unsafe fn block<V: Vector, const W: usize, const PART: bool>(&self, k: usize, n: usize) {
        // SAFETY: as for `run`.
        unsafe {
            let load = |p: *const f32| if PART { V::load_part(p, n) } else { V::load(p) };
            let mut acc = [[V::zero(); W]; APART];
            for seg in self.segs {
                let mut a = self.a.wrapping_offset(seg.a + k as isize);
                let mut dy = self.dy.wrapping_add(seg.b * self.channels + k);
                let mut left = seg.len;
                while left >= APART {
                    for p in 0..APART {
                        for v in 0..W {
                            let x = load(a.wrapping_add(v * V::LANES));
                            acc[p][v] = V::fma(x, load(dy.wrapping_add(v * V::LANES)), acc[p][v]);
                        }
                        a = a.wrapping_offset(self.a_j);
                        dy = dy.wrapping_add(self.channels);
                    }
                    left -= APART;
                }
                for _ in 0..left {
                    for v in 0..W {
                        let x = load(a.wrapping_add(v * V::LANES));
                        acc[0][v] = V::fma(x, load(dy.wrapping_add(v * V::LANES)), acc[0][v]);
                    }
                    a = a.wrapping_offset(self.a_j);
                    dy = dy.wrapping_add(self.channels);
                }
            }
            for v in 0..W {
                let at = k + v * V::LANES;
                let to = self.c.add(at);
                let x = V::add(V::add(acc[0][v], acc[1][v]), V::add(acc[2][v], acc[3][v]));
                let x = if self.store.accumulate { V::add(load(to), x) } else { x };
                let mut x = [[x]];
                let last = if PART { n } else { V::LANES };
                self.store.from(at).finish::<V, 1, 1>(&mut x, last, |_| 0);
                let [[x]] = x;
                if PART { V::store_part(x, to, n) } else { V::store(x, to) }
            }
        }
    }
}
