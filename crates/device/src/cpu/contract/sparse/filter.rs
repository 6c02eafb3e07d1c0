//! The filter gradient: `dW[r][row] of a channel += value * patch`, over the channel's live elements.
//!
//! Per image and block of channels, the live elements of a stretch of windows are listed channel by channel
//! (gradients and positions transposed, then compacted in registers), and each channel's sums are held in registers
//! over its list.

use super::held::{Live, Rows, rows};
use super::{Geometry, POSITIONS, lines};
use crate::cpu::contract::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Unpooled};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Output channels of a unit where the gradient is not in parts.
const CHANNELS: usize = 16;
/// Images that are summed on their own and then added, so that the error of long f32 sums stays small.
const IMAGES: usize = 16;
/// Windows of a stretch, at most: the lists of a block of channels stay in the first-level cache.
const STRETCH: usize = 240;

/// The filter gradient.
pub(in super::super) struct SparseFilter {
    g: Geometry,
    image: BufferId,
    dy: BufferId,
    arg: BufferId,
    out: BufferId,
    parts: usize,
}

impl SparseFilter {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], parts: usize, isa: Isa) -> SparseFilter {
        let [image, dy, out] = buffers;
        SparseFilter { g: Geometry::new(d, &u.dims, isa), image, dy, arg: u.arg, out, parts }
    }

    /// Channels worked on together.
    fn together(&self) -> usize {
        if self.parts > 1 { self.g.d.k } else { CHANNELS.min(self.g.d.k) }
    }

    /// Places of a channel's list: a stretch, and what compacting writes behind its end.
    fn room(&self) -> usize {
        (self.g.windows().min(STRETCH) + lanes(self.g.isa)).next_multiple_of(16)
    }

    /// Bytes of the lists of a block of channels: first all `at`, then all values.
    fn lists(&self) -> usize {
        lines(2 * lanes(self.g.isa) * self.room() * 4)
    }

    /// Bytes of a block of windows x channels, for four of them.
    fn blocks(&self) -> usize {
        lines(4 * lanes(self.g.isa).pow(2) * 4)
    }

    fn sums(&self) -> usize {
        lines(self.together() * self.g.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.lists() + self.blocks() + self.sums() + stage
    }

    pub fn units(&self) -> usize {
        if self.parts > 1 { self.parts } else { self.g.d.k.div_ceil(CHANNELS) }
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, worker: *mut u8) {
        let (n, k) = (self.g.d.n, self.g.d.k);
        for unit in units {
            // SAFETY: as for this function.
            unsafe {
                if self.parts > 1 {
                    self.run_part(unit, unit * n / self.parts..(unit + 1) * n / self.parts, bases, worker);
                } else {
                    let channels = unit * CHANNELS..((unit + 1) * CHANNELS).min(k);
                    self.sum(channels, 0..n, bases, bases.get(self.out).cast(), worker);
                }
            }
        }
    }

    /// # Safety
    /// As for `Prepared::run_part`.
    pub unsafe fn run_part(&self, part: usize, images: Range<usize>, bases: &Bases, worker: *mut u8) {
        let len = self.g.d.filter().iter().product::<usize>();
        // SAFETY: as for this function; partial results follow each other.
        unsafe {
            let out = bases.get(self.out).cast::<f32>().add(part * len);
            self.sum(0..self.g.d.k, images, bases, out, worker);
        }
    }

    /// The gradient of these output channels over these images.
    unsafe fn sum(
        &self,
        channels: Range<usize>,
        images: Range<usize>,
        bases: &Bases,
        out: *mut f32,
        worker: *mut u8,
    ) {
        let g = &self.g;
        // SAFETY: as for `run`; the worker's scratch is laid out as `worker_bytes` says.
        unsafe {
            let blocks = worker.add(self.lists());
            let sums = blocks.add(self.blocks()).cast::<f32>();
            let stage = blocks.add(self.blocks() + self.sums()).cast::<f32>();
            let mut from = images.start;
            loop {
                let to = (from + IMAGES).min(images.end);
                sums.write_bytes(0, channels.len() * g.channel());
                for image in from..to {
                    let x = bases.get(self.image).cast::<f32>().add(image * g.d.h * g.d.w * g.d.c);
                    let at = image * g.windows() * g.d.k;
                    let job = Gather {
                        g,
                        channels: channels.clone(),
                        dy: bases.get(self.dy).cast::<f32>().add(at),
                        arg: bases.get(self.arg).add(at),
                        image: g.stage(x, stage),
                        at: worker.cast(),
                        values: worker.cast::<f32>().add(lanes(g.isa) * self.room()),
                        room: self.room(),
                        blocks: blocks.cast(),
                        sums,
                    };
                    dispatch(g.isa, job);
                }
                let more = from > images.start;
                dispatch(
                    g.isa,
                    AddTo { g, channels: channels.clone(), sums, blocks: blocks.cast(), out, more },
                );
                from = to;
                if from >= images.end {
                    break;
                }
            }
        }
    }
}

/// Adds `value * patch` of every live element of one image to its channel's sums.
struct Gather<'a> {
    g: &'a Geometry,
    channels: Range<usize>,
    dy: *const f32,
    arg: *const u8,
    image: *const f32,
    /// Lists of LANES channels, `room` places each.
    at: *mut u32,
    values: *mut f32,
    room: usize,
    /// Scratch of four blocks of LANES x LANES.
    blocks: *mut f32,
    sums: *mut f32,
}

impl Job for Gather<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let g = self.g;
        let windows = g.windows();
        let stretch = windows.div_ceil(windows.div_ceil(STRETCH)).next_multiple_of(V::LANES).min(windows);
        for from in (0..windows).step_by(stretch) {
            for channel in self.channels.clone().step_by(V::LANES) {
                let count = V::LANES.min(self.channels.end - channel);
                let mut counts = [0usize; 16];
                // SAFETY: lists have room for a stretch; patches lie in the (padded) image.
                unsafe {
                    for w in (from..(from + stretch).min(windows)).step_by(V::LANES) {
                        self.list::<V>(channel, count, w..(w + V::LANES).min(windows), &mut counts);
                    }
                    for (c, &n) in counts[..count].iter().enumerate() {
                        let list = c * self.room;
                        let live = Live { at: self.at.add(list), values: self.values.add(list), count: n };
                        let sums = self.sums.add((channel - self.channels.start + c) * g.channel());
                        rows::<V>(
                            live,
                            Rows {
                                height: g.d.rows.size,
                                row: g.row,
                                from: self.image,
                                from_step: g.step(),
                                to: sums,
                                to_step: g.pitch,
                            },
                        );
                    }
                }
            }
        }
    }
}

impl Gather<'_> {
    /// Appends the live elements of at most LANES windows to the lists of `count` channels from `channel`.
    #[inline(always)]
    unsafe fn list<V: Vector>(
        &self,
        channel: usize,
        count: usize,
        windows: Range<usize>,
        counts: &mut [usize; 16],
    ) {
        let (g, k, square) = (self.g, self.g.d.k, V::LANES * V::LANES);
        let [found, values, found_t, values_t] = [0, 1, 2, 3].map(|b| self.blocks.wrapping_add(b * square));
        let whole = count == V::LANES && windows.len() == V::LANES;
        // SAFETY: elements of these windows and channels; blocks hold LANES x LANES.
        unsafe {
            let dy = self.dy.add(windows.start * k + channel);
            if !whole {
                values.write_bytes(0, square);
            }
            for (i, w) in windows.clone().enumerate() {
                let arg = self.arg.add(w * k + channel);
                let (to, base) = (found.add(i * V::LANES).cast::<u32>(), g.window(w));
                if count == V::LANES {
                    V::look_up(arg, &g.steps, base, to);
                } else {
                    for c in 0..count {
                        *to.add(c) = g.steps[*arg.add(c) as usize % POSITIONS] + base;
                    }
                }
                if !whole {
                    values.add(i * V::LANES).copy_from_nonoverlapping(dy.add(i * k), count);
                }
            }
            V::transpose(found, V::LANES, found_t, V::LANES);
            let (from, pitch) = if whole { (dy, k) } else { (values.cast_const(), V::LANES) };
            V::transpose(from, pitch, values_t, V::LANES);
            for (c, n) in counts[..count].iter_mut().enumerate() {
                let (list, block) = (c * self.room + *n, c * V::LANES);
                let at = found_t.add(block).cast::<u32>();
                let (to_at, to_values) = (self.at.add(list), self.values.add(list));
                *n += V::compact(values_t.add(block), at, None, to_at, to_values);
            }
        }
    }
}

/// Sums of some channels to their places in the gradient, where earlier ones may be.
struct AddTo<'a> {
    g: &'a Geometry,
    channels: Range<usize>,
    /// `[channel][row of the filter][pitch]`.
    sums: *const f32,
    blocks: *mut f32,
    /// `[row of the filter][float of the row][channel]`.
    out: *mut f32,
    more: bool,
}

impl Job for AddTo<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, count) = (self.g, self.channels.len());
        // SAFETY: every filter element of these channels has its place in both; whole blocks are transposed, what
        // is left over is not read past a channel's pitch.
        unsafe {
            for r in 0..g.d.rows.size {
                for c in (0..count).step_by(V::LANES) {
                    for j in (0..g.row).step_by(V::LANES) {
                        let from = self.sums.add(c * g.channel() + r * g.pitch + j);
                        let to = self.out.add((r * g.row + j) * g.d.k + self.channels.start + c);
                        if c + V::LANES <= count {
                            V::transpose(from, g.channel(), self.blocks, V::LANES);
                            for i in 0..V::LANES.min(g.row - j) {
                                let sum = V::load(self.blocks.add(i * V::LANES));
                                let to = to.add(i * g.d.k);
                                V::store(if self.more { V::add(V::load(to), sum) } else { sum }, to);
                            }
                            continue;
                        }
                        for i in 0..V::LANES.min(g.row - j) {
                            for c in 0..count - c {
                                let (to, sum) = (to.add(i * g.d.k + c), *from.add(c * g.channel() + i));
                                *to = if self.more { *to + sum } else { sum };
                            }
                        }
                    }
                }
            }
        }
    }
}
