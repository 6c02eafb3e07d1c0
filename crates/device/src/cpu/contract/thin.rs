//! A convolution of few input channels with a 2 x 2 max pooling behind it: the first layer of many networks.
//!
//! Its reduction is so short that storing results, reading them again and pooling them would cost as much as the
//! products. So a tile is the pixels of some windows, and what leaves the registers is a window's maximum and its
//! position. Units are rows of windows. Invariant: each sum runs over rows, columns and channels of the filter in
//! order, whatever the tile.

use super::Desk;
use super::finish::Finish;
use super::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::Isa;
use crate::plan::{BufferId, PoolEpilogue};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Products of a sum, at most: its part of the filter stays in the first-level cache.
const LONGEST: usize = 128;
/// Pixels of a window.
const WINDOW: usize = 4;

/// Such a convolution.
pub(super) struct Thin {
    isa: Isa,
    d: ConvDims,
    pool: PoolEpilogue,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    finish: Finish,
    /// Rows and columns of the source that a row of windows reads, padding included.
    rows: usize,
    cols: usize,
}

impl Thin {
    /// Whether a convolution is one.
    pub fn fits(d: &ConvDims, finish: &Finish, isa: Isa) -> bool {
        finish.windows().is_some()
            && d.groups == 1
            && d.cols.dilation == 1
            && d.k.is_multiple_of(lanes(isa))
            && d.rows.size * d.cols.size * d.c <= LONGEST
    }

    pub fn new(d: &ConvDims, pool: PoolEpilogue, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> Thin {
        let [a, b, out] = buffers;
        let rows = d.rows.stride + d.rows.span();
        let cols = (2 * pool.dims.ow - 1) * d.cols.stride + d.cols.span();
        Thin { isa, d: *d, pool, a, b, out, finish, rows, cols }
    }

    fn padded(&self) -> bool {
        [self.d.rows, self.d.cols].iter().any(|w| w.lo + w.hi > 0)
    }

    pub fn worker_bytes(&self) -> usize {
        if self.padded() { (self.rows * self.cols * self.d.c * 4).next_multiple_of(64) } else { 0 }
    }

    pub fn units_per_image(&self) -> usize {
        self.pool.dims.oh
    }

    pub fn units(&self) -> usize {
        self.d.n * self.units_per_image()
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, Desk { bases, worker, .. }: Desk) {
        let (d, pool) = (&self.d, &self.pool.dims);
        for unit in units {
            let (image, y) = (unit / pool.oh, unit % pool.oh);
            // SAFETY: the caller vouches for the buffers; windows lie in the result, what they read in the source
            // or, padded, in its copy.
            unsafe {
                let source = bases.get(self.a).cast::<f32>().add(image * d.h * d.w * d.c);
                let top = (2 * y * d.rows.stride) as isize - d.rows.lo as isize;
                let (from, pitch) = if self.padded() {
                    self.stage(source, top, worker.cast());
                    (worker.cast::<f32>().cast_const(), self.cols * d.c)
                } else {
                    (source.add(top as usize * d.w * d.c).cast_const(), d.w * d.c)
                };
                let at = unit * pool.ow * d.k;
                let store = self.finish.store(bases);
                let line = Line {
                    of: self,
                    from,
                    pitch,
                    filter: bases.get(self.b).cast(),
                    bias: store.bias,
                    relu: store.relu,
                    out: bases.get(self.out).cast::<f32>().add(at),
                    arg: self.pool.arg.map(|b| bases.get(b).add(at)),
                };
                dispatch(self.isa, line);
            }
        }
    }

    /// Copies the rows that a row of windows reads, zero where they leave the image.
    unsafe fn stage(&self, image: *const f32, top: isize, to: *mut f32) {
        let (d, line) = (&self.d, self.cols * self.d.c);
        let before = d.cols.lo.min(self.cols);
        let copied = d.w.min(self.cols - before);
        for r in 0..self.rows {
            let y = top + r as isize;
            // SAFETY: the copy has room for every row; rows and columns inside the image are read.
            unsafe {
                let to = to.add(r * line);
                if y < 0 || y >= d.h as isize {
                    to.write_bytes(0, line);
                    continue;
                }
                to.write_bytes(0, before * d.c);
                let row = image.add(y as usize * d.w * d.c);
                to.add(before * d.c).copy_from_nonoverlapping(row, copied * d.c);
                let end = (before + copied) * d.c;
                to.add(end).write_bytes(0, line - end);
            }
        }
    }
}

/// A row of windows.
struct Line<'a> {
    of: &'a Thin,
    from: *const f32,
    /// Floats between source rows.
    pitch: usize,
    filter: *const f32,
    bias: *const f32,
    relu: bool,
    out: *mut f32,
    arg: Option<*mut u8>,
}

impl Job for Line<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (k, windows) = (self.of.d.k, self.of.pool.dims.ow);
        // Two windows of two registers of channels, or three of one: with what pooling needs, more do not fit.
        let wide = if V::REGISTERS == 32 { 2 * V::LANES } else { V::LANES };
        let mut col = 0;
        while col < k {
            let two = wide > V::LANES && col + wide <= k;
            let mut x = 0;
            while x < windows {
                // SAFETY: as for `Thin::run`; the channels are whole registers.
                unsafe {
                    x += match (windows - x, two) {
                        (2.., true) => self.tile::<V, 8, 2>(x, col),
                        (1, true) => self.tile::<V, 4, 2>(x, col),
                        (3.., false) => self.tile::<V, 12, 1>(x, col),
                        (2, false) => self.tile::<V, 8, 1>(x, col),
                        _ => self.tile::<V, 4, 1>(x, col),
                    };
                }
            }
            col += if two { wide } else { V::LANES };
        }
    }
}

impl Line<'_> {
    /// The windows from `x` on that `MR` pixels are, `NV` registers of channels from `col` on; how many windows.
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    #[inline(always)]
    unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(&self, x: usize, col: usize) -> usize {
        let d = &self.of.d;
        let (k, row) = (d.k, d.cols.size * d.c);
        let (down, right) = (d.rows.stride * self.pitch, d.cols.stride * d.c);
        let mut base = [self.from; MR];
        for m in 0..MR {
            let (window, p) = (x + m / WINDOW, m % WINDOW);
            base[m] = self.from.wrapping_add(p / 2 * down + (2 * window + p % 2) * right);
        }
        // SAFETY: as for `Thin::run`.
        unsafe {
            let mut acc = [[V::zero(); NV]; MR];
            let mut b = self.filter.add(col);
            for r in 0..d.rows.size {
                let first = r * d.rows.dilation * self.pitch;
                for at in first..first + row {
                    let mut bv = [V::zero(); NV];
                    for v in 0..NV {
                        bv[v] = V::load(b.add(v * V::LANES));
                    }
                    for m in 0..MR {
                        let a = V::splat(*base[m].add(at));
                        for v in 0..NV {
                            acc[m][v] = V::fma(a, bv[v], acc[m][v]);
                        }
                    }
                    b = b.wrapping_add(k);
                }
            }
            if !self.bias.is_null() {
                for v in 0..NV {
                    let bias = V::load(self.bias.add(col + v * V::LANES));
                    for m in 0..MR {
                        acc[m][v] = V::add(acc[m][v], bias);
                    }
                }
            }
            if self.relu {
                for m in 0..MR {
                    for v in 0..NV {
                        acc[m][v] = V::relu(acc[m][v]);
                    }
                }
            }
            for w in 0..MR / WINDOW {
                for v in 0..NV {
                    let pixel = |p: usize| acc[w * WINDOW + p][v];
                    let (best, position) = V::first_greatest([pixel(0), pixel(1), pixel(2), pixel(3)]);
                    let at = (x + w) * k + col + v * V::LANES;
                    V::store(best, self.out.add(at));
                    if let Some(arg) = self.arg {
                        V::store_bytes(position, arg.add(at), V::LANES);
                    }
                }
            }
        }
        MR / WINDOW
    }
}
