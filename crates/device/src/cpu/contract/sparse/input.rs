//! The input gradient: `dX patch += value * W[channel]`, over the live elements of each position of each window.
//!
//! The live elements of a few rows of windows are listed, position by position, then each list is added to its patch,
//! which is held in registers. Where all filters do not fit the first-level cache, one filter row after the other is
//! gone through for the same lists.

use super::super::finish::Finish;
use super::held::{Live, Rows, rows};
use super::{Geometry, POSITIONS, lines};
use crate::cpu::contract::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Unpooled};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Bytes of filters that stay in the first-level cache beside lists and patches.
const FILTERS: usize = 25 << 10;
/// Live elements that are listed together, at most (but at least those of a row of windows).
const LISTED: usize = 2560;

/// The input gradient.
pub(in super::super) struct SparseInput {
    g: Geometry,
    dy: BufferId,
    arg: BufferId,
    filter: BufferId,
    out: BufferId,
    finish: Finish,
    /// Where each channel's packed filter begins, as many as whole registers hold.
    channels: Vec<u32>,
    /// Rows of windows that are listed together.
    block: usize,
}

impl SparseInput {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> SparseInput {
        let [dy, filter, out] = buffers;
        let g = Geometry::new(d, &u.dims, isa);
        let channels = (0..d.k.next_multiple_of(lanes(isa))).map(|c| (c * g.channel()) as u32).collect();
        let block = (LISTED / (g.pool.ow * d.k)).clamp(1, g.pool.oh);
        SparseInput { g, dy, arg: u.arg, filter, out, finish, channels, block }
    }

    pub fn shared_bytes(&self) -> usize {
        lines(self.g.d.k * self.g.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.starts() + 2 * self.list() + stage + self.finish.scratch()
    }

    /// Bytes of where the lists of a block begin.
    fn starts(&self) -> usize {
        lines((self.block * self.g.pool.ow * self.g.positions() + 1) * 4)
    }

    /// Bytes of all `at` (or all values) of a block, and what compacting writes behind the end.
    fn list(&self) -> usize {
        lines((self.block * self.g.pool.ow * self.g.d.k + lanes(self.g.isa)) * 4)
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
            dispatch(self.g.isa, Pack { g: &self.g, units, from, to });
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
                let lists = worker.add(self.starts());
                let rest = lists.add(2 * self.list());
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
                    starts: worker.cast(),
                    at: lists.cast(),
                    values: lists.add(self.list()).cast(),
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

/// `to[channel][row of the filter][pitch] = from[row of the filter][float of the row][channel]`, zero at the ends.
struct Pack<'a> {
    g: &'a Geometry,
    units: Range<usize>,
    from: *const f32,
    to: *mut f32,
}

impl Job for Pack<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, k) = (self.g, self.g.d.k);
        for c in self.units.map(|u| u * V::LANES) {
            for r in 0..g.d.rows.size {
                for j in (0..g.row).step_by(V::LANES) {
                    // SAFETY: the elements are the filter's; a channel's pitch is whole registers.
                    unsafe {
                        let from = self.from.add((r * g.row + j) * k + c);
                        let to = self.to.add(c * g.channel() + r * g.pitch + j);
                        if c + V::LANES <= k && j + V::LANES <= g.row {
                            V::transpose(from, k, to, g.channel());
                            continue;
                        }
                        for c in 0..V::LANES.min(k - c) {
                            for i in 0..V::LANES {
                                *to.add(c * g.channel() + i) =
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
    starts: *mut u32,
    at: *mut u32,
    values: *mut f32,
}

impl Job for Scatter<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let g = &self.of.g;
        let (ow, oh) = (g.pool.ow, g.pool.oh);
        for y in (0..oh).step_by(self.of.block) {
            let windows = y * ow..(y + self.of.block).min(oh) * ow;
            // SAFETY: lists have room for a block; patches lie in the (padded) image; packed rows are whole vectors.
            unsafe {
                self.list::<V>(windows.clone());
                let shares = (g.d.k * g.channel() * 4).div_ceil(FILTERS);
                let share = g.row.div_ceil(shares).next_multiple_of(V::LANES);
                for from in (0..g.row).step_by(share) {
                    self.add::<V>(windows.clone(), from, share.min(g.row - from));
                }
            }
        }
    }
}

impl Scatter<'_> {
    /// Lists the live elements of some windows: of each window, of each position, by channel.
    #[inline(always)]
    unsafe fn list<V: Vector>(&self, windows: Range<usize>) {
        let (g, k) = (&self.of.g, self.of.g.d.k);
        let (mut list, mut count) = (0, 0);
        for w in windows {
            for p in 0..g.positions() as u8 {
                // SAFETY: the elements are those of the window; the lists have room for all of them and a register.
                unsafe {
                    *self.starts.add(list) = count as u32;
                    list += 1;
                    for c in (0..k).step_by(V::LANES) {
                        let channels = self.of.channels.as_ptr().add(c);
                        let (to_at, to_values) = (self.at.add(count), self.values.add(count));
                        let (mut dy, mut arg) = (self.dy.add(w * k + c), self.arg.add(w * k + c));
                        let (mut values, mut bytes) = ([0.0; 16], [0; 16]);
                        if c + V::LANES > k {
                            dy.copy_to_nonoverlapping(values.as_mut_ptr(), k - c);
                            arg.copy_to_nonoverlapping(bytes.as_mut_ptr(), k - c);
                            (dy, arg) = (values.as_ptr(), bytes.as_ptr());
                        }
                        count += V::compact(dy, channels, Some((arg, p)), to_at, to_values);
                    }
                }
            }
        }
        // SAFETY: there is one place more than there are lists.
        unsafe { *self.starts.add(list) = count as u32 }
    }

    /// Adds `row` floats from float `skip` of each filter row of the listed elements to the patches of their windows.
    #[inline(always)]
    unsafe fn add<V: Vector>(&self, windows: Range<usize>, skip: usize, row: usize) {
        let g = &self.of.g;
        let mut list = 0;
        for w in windows {
            let window = g.window(w) as usize;
            for p in 0..g.positions() {
                // SAFETY: as for `run`.
                unsafe {
                    let from = *self.starts.add(list) as usize;
                    let count = *self.starts.add(list + 1) as usize - from;
                    list += 1;
                    if count == 0 {
                        continue;
                    }
                    let live = Live { at: self.at.add(from), values: self.values.add(from), count };
                    let patch = window + g.steps[p] as usize + skip;
                    rows::<V>(
                        live,
                        Rows {
                            height: g.d.rows.size,
                            row,
                            from: self.filter.add(skip),
                            from_step: g.pitch,
                            to: self.target.add(patch),
                            to_step: g.step(),
                        },
                    );
                }
            }
        }
    }
}

const _: () = assert!(POSITIONS <= u8::MAX as usize);
