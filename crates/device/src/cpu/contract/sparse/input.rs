//! The input gradient: `dX patch += value * W[channel]`, over the live elements of each position of each window.
//!
//! Which elements of a window are live is one bit each, for each position and 64 channels. They are added to the position's
//! patch, which is held in registers. Filters are gone through in blocks that fit the first-level cache, for the same
//! bits: some channels, and of the filter rows a share.

use super::super::finish::Finish;
use super::super::tile::LINE;
use super::held::{Bits, Rows, held_row, rows};
use super::window::{filter, holds, window};
use super::{Geometry, POSITIONS, lines};
use crate::cpu::contract::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Unpooled};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Bytes of filters that stay in the first-level cache beside gradients and patches, of 32 KiB and of 48 KiB: most
/// processors with AVX-512 have the latter.
const FILTERS: [usize; 2] = [25 << 10, 37 << 10];
/// Elements that are gone through together, at most (but at least those of a row of windows).
const TOGETHER: usize = 2560;
/// Channels of a word of bits.
const WORD: usize = u64::BITS as usize;

/// The input gradient.
pub(in super::super) struct SparseInput {
    g: Geometry,
    dy: BufferId,
    arg: BufferId,
    filter: BufferId,
    out: BufferId,
    finish: Finish,
    /// Rows of windows that are gone through together.
    block: usize,
}

impl SparseInput {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> SparseInput {
        let [dy, filter, out] = buffers;
        let g = Geometry::new(d, &u.dims, isa);
        let block = (TOGETHER / (g.pool.ow * d.k)).clamp(1, g.pool.oh);
        SparseInput { g, dy, arg: u.arg, filter, out, finish, block }
    }

    pub fn shared_bytes(&self) -> usize {
        lines(self.g.d.k * self.g.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.bits() + stage + self.finish.scratch()
    }

    fn cache(&self) -> usize {
        FILTERS[usize::from(lanes(self.g.isa) == 16)]
    }

    /// Floats of a share of the filter rows, whole registers, and the channels of a block, a part of a word's.
    fn block_of<V: Vector>(&self) -> (usize, usize) {
        let (g, height) = (&self.g, self.g.d.rows.size);
        let shares = match height {
            // Whole filters' shares are held in registers, however few channels are left then.
            3 => g.row.div_ceil(held_row::<V>() * V::LANES),
            _ => (WORD.min(g.d.k) * g.channel() * 4).div_ceil(self.cache()),
        };
        let share = g.row.div_ceil(shares).next_multiple_of(V::LANES);
        let fits = |channels: &usize| channels * height * share * 4 <= self.cache();
        (share, [WORD, WORD / 2].into_iter().find(fits).unwrap_or(WORD / 4))
    }

    /// Where float `j` of row `r` of the first channel's filter is in the packed ones, and the floats to the next
    /// channel's.
    fn place<V: Vector>(&self, r: usize, j: usize) -> (usize, usize) {
        let (g, height) = (&self.g, self.g.d.rows.size);
        if holds::<V>(g) {
            let (tap, c) = (r * g.d.cols.size + j / g.d.c, j % g.d.c);
            return ((c / V::LANES * g.d.k) * filter::<V>() + tap * V::LANES, filter::<V>());
        }
        let share = self.block_of::<V>().0;
        let skip = j / share * share;
        let width = share.min(g.pitch - skip);
        (height * g.d.k * skip + r * width + j - skip, height * width)
    }

    /// Words of bits of a position.
    fn words(&self) -> usize {
        self.g.d.k.div_ceil(WORD)
    }

    /// Bytes of the bits of a block.
    fn bits(&self) -> usize {
        lines(self.block * self.g.pool.ow * self.g.positions() * self.words() * 8)
    }

    /// One unit per register of output channels.
    pub fn pack_units(&self) -> usize {
        self.g.d.k.div_ceil(lanes(self.g.isa))
    }

    /// # Safety
    /// As for `Prepared::pack`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        // SAFETY: both buffers hold the whole filter; units write their own channels.
        unsafe {
            let (from, to) = (bases.get(self.filter).cast::<f32>(), shared.cast::<f32>());
            dispatch(self.g.isa, Pack { of: self, units, from, to });
        }
    }

    /// One unit per image.
    pub fn units(&self) -> usize {
        self.g.d.n
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, images: Range<usize>, bases: &Bases, shared: *const u8, worker: *mut u8) {
        let g = &self.g;
        let size = g.d.h * g.d.w * g.d.c;
        for image in images {
            // SAFETY: as for this function; the worker's scratch is laid out as `worker_bytes` says.
            unsafe {
                let out = bases.get(self.out).cast::<f32>().add(image * size);
                let rest = worker.add(self.bits());
                let padded = g.padded();
                let target = if padded { rest.cast::<f32>() } else { out };
                let scratch = if padded { rest.add(lines(g.floats * 4)) } else { rest };
                target.write_bytes(0, g.floats);
                let at = image * g.windows() * g.d.k;
                let job = Scatter {
                    of: self,
                    dy: bases.get(self.dy).cast::<f32>().add(at),
                    arg: bases.get(self.arg).add(at),
                    filter: shared.cast(),
                    target,
                    bits: worker.cast(),
                };
                dispatch(g.isa, job);
                if padded {
                    let line = g.d.w * g.d.c;
                    for y in 0..g.d.h {
                        let from = ((y + g.d.rows.lo) * g.width + g.d.cols.lo) * g.d.c;
                        out.add(y * line).copy_from_nonoverlapping(target.add(from), line);
                    }
                }
                self.finish.image(bases, image, [g.d.h, g.d.w, g.d.c], out, scratch);
            }
        }
    }
}

/// Puts `from[row of the filter][float of the row][channel]` into its place, zero at the ends of rows: `[share][channel]
/// [row of the filter][float]`, or where windows are held `[register of the image's channels][channel][tap]`.
struct Pack<'a> {
    of: &'a SparseInput,
    units: Range<usize>,
    from: *const f32,
    to: *mut f32,
}

impl Job for Pack<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, k) = (&self.of.g, self.of.g.d.k);
        for c in self.units.map(|u| u * V::LANES) {
            for r in 0..g.d.rows.size {
                for j in (0..g.row).step_by(V::LANES) {
                    let (place, channel) = self.of.place::<V>(r, j);
                    // SAFETY: the elements are the filter's; a share is whole registers.
                    unsafe {
                        let from = self.from.add((r * g.row + j) * k + c);
                        let to = self.to.add(place + c * channel);
                        if c + V::LANES <= k && j + V::LANES <= g.row {
                            V::transpose(from, k, to, channel);
                            continue;
                        }
                        for c in 0..V::LANES.min(k - c) {
                            for i in 0..V::LANES {
                                *to.add(c * channel + i) =
                                    if j + i < g.row { *from.add(i * k + c) } else { 0.0 };
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adds `value * filter row` of every live element to its patch, for one image.
struct Scatter<'a> {
    of: &'a SparseInput,
    dy: *const f32,
    arg: *const u8,
    filter: *const f32,
    target: *mut f32,
    /// `[word][window of the block][position]`.
    bits: *mut u64,
}

impl Job for Scatter<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let g = &self.of.g;
        let (ow, oh) = (g.pool.ow, g.pool.oh);
        let (share, channels) = self.of.block_of::<V>();
        for y in (0..oh).step_by(self.of.block) {
            let windows = y * ow..(y + self.of.block).min(oh) * ow;
            // SAFETY: bits have room for a block; patches lie in the (padded) image; packed rows are whole vectors.
            unsafe {
                self.find::<V>(windows.clone());
                if holds::<V>(g) {
                    for skip in (0..g.d.c).step_by(V::LANES) {
                        for word in 0..self.of.words() {
                            self.add_held::<V>(windows.clone(), word, skip);
                        }
                    }
                    continue;
                }
                for skip in (0..g.row).step_by(share) {
                    for c in (0..g.d.k).step_by(channels) {
                        let width = share.min(g.pitch - skip);
                        self.add::<V>(windows.clone(), (c, channels), (skip, width));
                    }
                }
            }
        }
    }
}

impl Scatter<'_> {
    /// Finds the live elements of some windows.
    #[inline(always)]
    unsafe fn find<V: Vector>(&self, windows: Range<usize>) {
        let g = &self.of.g;
        let (k, positions) = (g.d.k, g.positions());
        let mut to = self.bits;
        for word in 0..self.of.words() {
            let count = WORD.min(k - word * WORD);
            for w in windows.clone() {
                let at = w * k + word * WORD;
                // SAFETY: the elements are those of the window, the words those of its positions.
                unsafe {
                    let (dy, arg) = (self.dy.add(at), self.arg.add(at));
                    let next = g.windows() * k;
                    V::prefetch(arg.wrapping_add(next).cast());
                    for c in (0..count).step_by(LINE) {
                        V::prefetch(dy.wrapping_add(next + c));
                    }
                    let mut live = 0;
                    for c in (0..count).step_by(V::LANES) {
                        live |= V::live(dy.add(c), V::LANES.min(count - c)) << c;
                    }
                    for p in 0..positions {
                        *to.add(p) = live & V::equal(arg, count, p as u8);
                    }
                }
                to = to.wrapping_add(positions);
            }
        }
    }

    /// Adds to the channels of the image from `skip` on, a register of them, the live elements of a word.
    #[inline(always)]
    unsafe fn add_held<V: Vector>(&self, windows: Range<usize>, word: usize, skip: usize) {
        let (g, k, ow) = (&self.of.g, self.of.g.d.k, self.of.g.pool.ow);
        let filters = self.filter.wrapping_add((skip / V::LANES * k + word * WORD) * filter::<V>());
        let next = g.pool.cols.stride * g.d.c;
        let mut bits = self.bits.cast_const().wrapping_add(word * windows.len() * g.positions());
        let mut values = self.dy.wrapping_add(windows.start * k + word * WORD);
        // Whole rows of windows.
        for first in windows.step_by(ow) {
            let mut target = self.target.wrapping_add(g.window(first) as usize + skip);
            for _ in 0..ow {
                // SAFETY: as for `run`.
                unsafe { window::<V>(bits, values, filters, target, (g.step(), g.d.c)) };
                (bits, values) = (bits.wrapping_add(g.positions()), values.wrapping_add(k));
                target = target.wrapping_add(next);
            }
        }
    }

    /// Adds the share of `width` floats from float `skip` of each filter row of the live elements to the patches of
    /// their windows, for some channels from `first` on.
    #[inline(always)]
    unsafe fn add<V: Vector>(
        &self,
        windows: Range<usize>,
        (first, channels): (usize, usize),
        (skip, width): (usize, usize),
    ) {
        let (g, step) = (&self.of.g, self.of.g.step());
        let (k, height, positions) = (g.d.k, g.d.rows.size, g.positions());
        let row = width.min(g.row - skip);
        let from = self.filter.wrapping_add((k * skip + first * width) * height);
        let (shift, these) = (first % WORD, u64::MAX >> (WORD - channels));
        let mut bits = self.bits.cast_const().wrapping_add(first / WORD * windows.len() * positions);
        for w in windows {
            let target = self.target.wrapping_add(g.window(w) as usize + skip);
            let values = self.dy.wrapping_add(w * k + first);
            for &position in &g.steps[..positions] {
                // SAFETY: as for `run`.
                unsafe {
                    let live = Bits { bits: *bits >> shift & these, values, pitch: height * width };
                    bits = bits.add(1);
                    if live.bits == 0 {
                        continue;
                    }
                    let to = target.add(position as usize);
                    rows::<V, _>(live, Rows { height, row, from, from_step: width, to, to_step: step });
                }
            }
        }
    }
}

const _: () = assert!(POSITIONS <= u8::MAX as usize);
