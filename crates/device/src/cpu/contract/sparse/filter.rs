//! The filter gradient: `dW[r][row] of a channel += value * patch`, over the channel's live elements.
//!
//! Per image and block of channels, the live elements of a stretch of windows are listed channel by channel
//! (gradients and positions transposed, then compacted in registers), and each channel's sums are held in registers
//! over its list. Where rows are short (few input channels), the patches of the stretch are first copied, each as one
//! long row that fills its registers; where that row is short too, there are no lists ([`patches`](super::patches)).

use super::held::{List, Rows, rows};
use super::patches::{Every, FEW, copy};
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
/// Bytes of copied patches, at most.
const PATCHES: usize = 20 << 10;

/// What is summed for a channel: `height` rows of `row` floats, `pitch` apart.
#[derive(Clone, Copy)]
struct Sums {
    height: usize,
    row: usize,
    pitch: usize,
}

impl Sums {
    /// Floats of a channel.
    fn channel(&self) -> usize {
        self.height * self.pitch
    }
}

/// The filter gradient.
pub(in super::super) struct SparseFilter {
    g: Geometry,
    image: BufferId,
    dy: BufferId,
    arg: BufferId,
    out: BufferId,
    parts: usize,
    sums: Sums,
    /// Whether patches are copied.
    copies: bool,
}

impl SparseFilter {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], parts: usize, isa: Isa) -> SparseFilter {
        let [image, dy, out] = buffers;
        let g = Geometry::new(d, &u.dims, isa);
        let (height, long) = (d.rows.size, d.rows.size * g.row);
        let vectors = |floats: usize| floats.div_ceil(lanes(isa));
        let copies = height * vectors(g.row) > vectors(long);
        let sums = if copies {
            Sums { height: 1, row: long, pitch: long.next_multiple_of(lanes(isa)) }
        } else {
            Sums { height, row: g.row, pitch: g.pitch }
        };
        SparseFilter { g, image, dy, arg: u.arg, out, parts, sums, copies }
    }

    /// Whether all elements are multiplied, without lists.
    fn few(&self) -> bool {
        self.copies && self.sums.pitch <= FEW * lanes(self.g.isa)
    }

    /// Channels worked on together.
    fn together(&self) -> usize {
        if self.parts > 1 { self.g.d.k } else { CHANNELS.min(self.g.d.k) }
    }

    /// Windows of a stretch: about equally many in each, whole registers if they are listed.
    fn stretch(&self) -> usize {
        let (windows, lanes) = (self.g.windows(), if self.few() { 1 } else { lanes(self.g.isa) });
        let patches = PATCHES / (4 * self.g.positions() * self.sums.pitch) / lanes * lanes;
        let most = if self.copies { patches.clamp(lanes, STRETCH) } else { STRETCH };
        windows.div_ceil(windows.div_ceil(most)).next_multiple_of(lanes)
    }

    /// Places of a channel's list: a stretch, and what compacting writes behind its end.
    fn room(&self) -> usize {
        self.stretch() + lanes(self.g.isa)
    }

    /// Bytes of the copied patches of a stretch, and what is written behind the last.
    fn patches(&self) -> usize {
        let floats = self.stretch() * self.g.positions() * self.sums.pitch + self.g.pitch;
        if self.copies { lines(floats * 4) } else { 0 }
    }

    /// Bytes of the lists of a block of channels: first all `at`, then all values.
    fn lists(&self) -> usize {
        lines(2 * lanes(self.g.isa) * self.room() * 4)
    }

    /// Bytes of a block of windows x channels, for four of them.
    fn blocks(&self) -> usize {
        lines(4 * lanes(self.g.isa).pow(2) * 4)
    }

    fn summed(&self) -> usize {
        lines(self.together() * self.sums.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.lists() + self.blocks() + self.patches() + self.summed() + stage
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
            let patches = blocks.add(self.blocks());
            let sums = patches.add(self.patches()).cast::<f32>();
            let stage = patches.add(self.patches() + self.summed()).cast::<f32>();
            let mut from = images.start;
            loop {
                let to = (from + IMAGES).min(images.end);
                sums.write_bytes(0, channels.len() * self.sums.channel());
                for image in from..to {
                    let x = bases.get(self.image).cast::<f32>().add(image * g.d.h * g.d.w * g.d.c);
                    let at = image * g.windows() * g.d.k;
                    let (dy, arg) = (bases.get(self.dy).cast::<f32>().add(at), bases.get(self.arg).add(at));
                    let (image, channels) = (g.stage(x, stage), channels.clone());
                    if self.few() {
                        let (stretch, pitch) = (self.stretch(), self.sums.pitch);
                        let (at, patches) = (worker.cast(), patches.cast());
                        dispatch(
                            g.isa,
                            Every { g, channels, stretch, pitch, dy, arg, image, at, patches, sums },
                        );
                        continue;
                    }
                    let job = Gather {
                        of: self,
                        channels,
                        dy,
                        arg,
                        image,
                        at: worker.cast(),
                        values: worker.cast::<f32>().add(lanes(g.isa) * self.room()),
                        room: self.room(),
                        blocks: blocks.cast(),
                        patches: patches.cast(),
                        sums,
                    };
                    dispatch(g.isa, job);
                }
                let job = AddTo {
                    of: self.sums,
                    k: g.d.k,
                    channels: channels.clone(),
                    sums,
                    blocks: blocks.cast(),
                    out,
                    more: from > images.start,
                };
                dispatch(g.isa, job);
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
    of: &'a SparseFilter,
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
    patches: *mut f32,
    sums: *mut f32,
}

impl Job for Gather<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, sums) = (&self.of.g, self.of.sums);
        let (windows, stretch) = (g.windows(), self.of.stretch());
        for from in (0..windows).step_by(stretch) {
            let stretch = from..(from + stretch).min(windows);
            let mut steps = g.steps;
            if self.of.copies {
                (0..g.positions()).for_each(|p| steps[p] = (p * sums.pitch) as u32);
                // SAFETY: there is room for the patches of a stretch.
                unsafe { copy::<V>(g, self.image, stretch.clone(), sums.pitch, self.patches) };
            }
            let image = if self.of.copies { self.patches.cast_const() } else { self.image };
            for channel in self.channels.clone().step_by(V::LANES) {
                let count = V::LANES.min(self.channels.end - channel);
                let mut counts = [0usize; 16];
                // SAFETY: lists have room for a stretch; patches lie in the (padded) image.
                unsafe {
                    for w in stretch.clone().step_by(V::LANES) {
                        let some = w..(w + V::LANES).min(stretch.end);
                        self.list::<V>(channel..channel + count, some, (stretch.start, &steps), &mut counts);
                    }
                    for (c, &n) in counts[..count].iter().enumerate() {
                        let list = c * self.room;
                        let live =
                            List { at: self.at.add(list), values: self.values.add(list), count: n, taken: 0 };
                        let of_channel = (channel - self.channels.start + c) * sums.channel();
                        rows::<V, _>(
                            live,
                            Rows {
                                height: sums.height,
                                row: sums.row,
                                from: image,
                                from_step: g.step(),
                                to: self.sums.add(of_channel),
                                to_step: sums.pitch,
                            },
                        );
                    }
                }
            }
        }
    }
}

impl Gather<'_> {
    /// Appends the live elements of at most LANES windows, of the stretch from `start`, to the lists of `channels`.
    #[inline(always)]
    unsafe fn list<V: Vector>(
        &self,
        channels: Range<usize>,
        windows: Range<usize>,
        (start, steps): (usize, &[u32; POSITIONS]),
        counts: &mut [usize; 16],
    ) {
        let (channel, count) = (channels.start, channels.len());
        let (g, k, square) = (&self.of.g, self.of.g.d.k, V::LANES * V::LANES);
        let copied = (g.positions() * self.of.sums.pitch) as u32;
        let [found, values, found_t, values_t] = [0, 1, 2, 3].map(|b| self.blocks.wrapping_add(b * square));
        let whole = count == V::LANES && windows.len() == V::LANES;
        let copies = self.of.copies;
        // SAFETY: elements of these windows and channels; blocks hold LANES x LANES.
        unsafe {
            let dy = self.dy.add(windows.start * k + channel);
            if !whole {
                values.write_bytes(0, square);
            }
            for (i, w) in windows.clone().enumerate() {
                let arg = self.arg.add(w * k + channel);
                let base = if copies { (w - start) as u32 * copied } else { g.window(w) };
                let to = found.add(i * V::LANES).cast::<u32>();
                if count == V::LANES {
                    V::look_up(arg, steps, base, to);
                } else {
                    for c in 0..count {
                        *to.add(c) = steps[*arg.add(c) as usize % POSITIONS] + base;
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
                *n += V::compact(values_t.add(block), at, to_at, to_values);
            }
        }
    }
}

/// Sums of some channels to their places in the gradient, where earlier ones may be.
struct AddTo {
    of: Sums,
    /// Output channels of the filter.
    k: usize,
    channels: Range<usize>,
    /// `[channel][row of the filter][pitch]`.
    sums: *const f32,
    blocks: *mut f32,
    /// `[row of the filter][float of the row][channel]`.
    out: *mut f32,
    more: bool,
}

impl Job for AddTo {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (of, k, count) = (self.of, self.k, self.channels.len());
        // SAFETY: every filter element of these channels has its place in both; whole blocks are transposed, what
        // is left over is not read past a channel's pitch.
        unsafe {
            for r in 0..of.height {
                for c in (0..count).step_by(V::LANES) {
                    for j in (0..of.row).step_by(V::LANES) {
                        let from = self.sums.add(c * of.channel() + r * of.pitch + j);
                        let to = self.out.add((r * of.row + j) * k + self.channels.start + c);
                        if c + V::LANES <= count {
                            V::transpose(from, of.channel(), self.blocks, V::LANES);
                            for i in 0..V::LANES.min(of.row - j) {
                                let sum = V::load(self.blocks.add(i * V::LANES));
                                let to = to.add(i * k);
                                V::store(if self.more { V::add(V::load(to), sum) } else { sum }, to);
                            }
                            continue;
                        }
                        for i in 0..V::LANES.min(of.row - j) {
                            for c in 0..count - c {
                                let (to, sum) = (to.add(i * k + c), *from.add(c * of.channel() + i));
                                *to = if self.more { *to + sum } else { sum };
                            }
                        }
                    }
                }
            }
        }
    }
}
