//! Depthwise convolution (one filter per channel), vectorised over channels.
//!
//! Forward and input gradient go line by line: pixels of a row that have the same taps. The filter gradient shares
//! the segment tables of the dense kernels. Invariant: channels lie at the same place in image, filter and result.

use super::axis::{Axis, Tap};
use super::tile::{Seg, Store};
use super::vector::{Job, Vector, dispatch};
use crate::cpu::Isa;
use std::ops::Range;

/// Registers of channels worked on together in a filter gradient.
const WIDE: usize = 2;

/// The pixels of a row that have the same place in the stride, and their taps by column.
pub(super) struct Across<'a> {
    pub axis: &'a Axis,
    pub phase: usize,
    pub pixels: usize,
    /// Those whose taps all lie in the image: [`Axis::whole`].
    pub whole: Range<usize>,
    /// Columns of the image.
    pub w: usize,
}

impl Across<'_> {
    /// Runs all pixels. `line`: as for all of them, if column 0 of the image were tap position 0 of the first.
    ///
    /// # Safety
    /// The processor has `isa`; the line's rows lie in the image, and its results are nobody else's.
    pub unsafe fn run(&self, isa: Isa, line: &Line<'_>) {
        let run = |pixels: Range<usize>, taps: Range<usize>| {
            let at = pixels.start * line.step;
            let line = Line {
                channels: line.channels.clone(),
                a: line.a.wrapping_offset(self.axis.at(pixels.start) * line.pitch as isize),
                cols: &self.axis.taps[self.phase][taps],
                pixels: pixels.len(),
                c: line.c.wrapping_add(at),
                store: line.store.on(at),
                ..*line
            };
            // SAFETY: as for this function; these taps of these pixels lie in the image.
            unsafe { dispatch(isa, line) };
        };
        let inside = |x: usize| self.axis.inside(self.phase, x, self.w);
        let whole = self.whole.clone();
        (0..whole.start).for_each(|x| run(x..x + 1, inside(x)));
        if !whole.is_empty() {
            run(whole.clone(), 0..self.axis.taps[self.phase].len());
        }
        (whole.end..self.pixels).for_each(|x| run(x..x + 1, inside(x)));
    }
}

/// Neighbouring pixels of a row of a depthwise convolution or its input gradient: for each pixel and channel, the
/// sum over the taps.
pub(super) struct Line<'a> {
    /// Channels to do, of `pitch`.
    pub channels: Range<usize>,
    pub pitch: usize,
    /// Where tap position 0 of the first pixel reads.
    pub a: *const f32,
    /// Elements between rows of the image.
    pub row: usize,
    /// Taps, all inside the image for all pixels.
    pub rows: &'a [Tap],
    pub cols: &'a [Tap],
    pub filter: *const f32,
    pub filter_cols: usize,
    /// Elements between the filter's taps.
    pub filter_pitch: usize,
    pub pixels: usize,
    /// Pixels of the image between what neighbours read.
    pub advance: usize,
    /// The first pixel's result; elements to the next.
    pub c: *mut f32,
    pub step: usize,
    pub store: Store,
}

impl Job for Line<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let neighbours = self.cols.windows(2).all(|t| t[0].source + 1 == t[1].source);
        let advance = if self.pixels == 1 { 1 } else { self.advance };
        // SAFETY: the caller vouches for tables and operands.
        unsafe {
            match (self.cols.len(), advance) {
                (3, 1) if neighbours => self.line::<V, 3, 1>(),
                (3, 2) if neighbours => self.line::<V, 3, 2>(),
                (2, 1) if neighbours => self.line::<V, 2, 1>(),
                (1, 1) => self.line::<V, 1, 1>(),
                _ => self.line::<V, 0, 0>(),
            }
        }
    }
}

impl Line<'_> {
    /// `S` neighbouring taps in a row, `STEP` pixels between those of neighbours; 0: any.
    #[inline(always)]
    unsafe fn line<V: Vector, const S: usize, const STEP: usize>(&self) {
        let mut p = 0;
        // SAFETY: as for `run`. A group that begins before the last pixel's end does some pixels again, to the same end.
        unsafe {
            while p < self.pixels {
                let left = self.pixels - p;
                if left > 4 && self.pixels >= 8 {
                    self.pixels::<V, 8, S, STEP>(p.min(self.pixels - 8));
                    p += 8;
                } else if self.pixels >= 4 {
                    self.pixels::<V, 4, S, STEP>(p.min(self.pixels - 4));
                    p += 4;
                } else {
                    self.pixels::<V, 1, S, STEP>(p);
                    p += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn pixels<V: Vector, const N: usize, const S: usize, const STEP: usize>(&self, p: usize) {
        let Range { start: mut k, end } = self.channels;
        // SAFETY: partial registers at the last channels; the caller vouches for the rest.
        unsafe {
            // A single pixel is too few sums to keep the units busy.
            while N == 1 && end - k >= 4 * V::LANES {
                self.lanes::<V, N, 4, S, STEP, false>(p, k, V::LANES);
                k += 4 * V::LANES;
            }
            while end - k >= V::LANES {
                self.lanes::<V, N, 1, S, STEP, false>(p, k, V::LANES);
                k += V::LANES;
            }
            if k < end {
                self.lanes::<V, N, 1, S, STEP, true>(p, k, end - k);
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    unsafe fn lanes<
        V: Vector,
        const N: usize,
        const W: usize,
        const S: usize,
        const STEP: usize,
        const PART: bool,
    >(
        &self,
        p: usize,
        k: usize,
        n: usize,
    ) {
        // SAFETY: as for `pixels`.
        unsafe {
            let load = |p: *const f32| if PART { V::load_part(p, n) } else { V::load(p) };
            let mut acc = [[V::zero(); W]; N];
            let a = self.a.wrapping_add(p * self.advance * self.pitch + k);
            for row in self.rows {
                let a = a.wrapping_add(row.source * self.row);
                let filter = self.filter.wrapping_add(row.filter * self.filter_cols * self.filter_pitch + k);
                if S == 0 {
                    for tap in self.cols {
                        for v in 0..W {
                            let w = load(filter.wrapping_add(tap.filter * self.filter_pitch + v * V::LANES));
                            for i in 0..N {
                                let x = a.wrapping_add((i * self.advance + tap.source) * self.pitch);
                                acc[i][v] = V::fma(load(x.wrapping_add(v * V::LANES)), w, acc[i][v]);
                            }
                        }
                    }
                } else {
                    // What neighbours share is loaded once.
                    let a = a.wrapping_add(self.cols[0].source * self.pitch);
                    for s in 0..S {
                        for v in 0..W {
                            let w = load(
                                filter.wrapping_add(self.cols[s].filter * self.filter_pitch + v * V::LANES),
                            );
                            for i in 0..N {
                                let x = a.wrapping_add((i * STEP + s) * self.pitch + v * V::LANES);
                                acc[i][v] = V::fma(load(x), w, acc[i][v]);
                            }
                        }
                    }
                }
            }
            let last = if PART { n } else { V::LANES };
            self.store.from(k).finish::<V, N, W>(&mut acc, last, |i| (p + i) * self.step);
            for i in 0..N {
                for v in 0..W {
                    let to = self.c.add((p + i) * self.step + k + v * V::LANES);
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
