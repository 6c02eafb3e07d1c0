//! Convolution and its input gradient, which is a convolution of the padded output gradient per phase of the
//! stride.
//!
//! Units are blocks of rows of one image's result; a block's source rows are copied once into a zero-padded
//! staging area of the worker's (none where nothing is padded), so that every tap of every row is in bounds.
//! Invariant: `phases` list each pixel of a block once; row tables are relative to the block's first pixel.

use super::Desk;
use super::depthwise::Taps;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg};
use super::vector::dispatch;
use crate::cpu::{Bases, Isa};
use crate::plan::BufferId;
use std::ops::Range;
use thalweg_base::{ConvDims, Window};

/// Pixels of the result with the same taps: those at `(row, col)` modulo the stride of an input gradient; all of
/// them for a convolution.
struct Phase {
    row: usize,
    cols: usize,
    rows: Vec<Row>,
    sum: Reduction,
    /// Floats of the packed filter before this phase's.
    packed: usize,
}

/// A tap of one axis: source index relative to the pixel's, and the filter's index.
#[derive(Clone, Copy)]
struct Tap {
    source: usize,
    filter: usize,
}

/// One axis of the result against the source.
struct Axis {
    /// Phases: step of result pixels, and taps of each.
    step: usize,
    taps: Vec<Vec<Tap>>,
    /// Source elements between neighbouring pixels of a phase.
    advance: usize,
    /// Source index of tap position 0 for pixel 0: negative in the padding.
    first: isize,
    /// Source elements that one pixel's taps span.
    span: usize,
}

impl Axis {
    fn forward(w: &Window) -> Axis {
        let taps = (0..w.size).map(|k| Tap { source: k * w.dilation, filter: k }).collect();
        Axis { step: 1, taps: vec![taps], advance: w.stride, first: -(w.lo as isize), span: w.span() }
    }

    /// Pixel `p + stride * i` gets tap `k` from output `i + (p + lo - k * dilation) / stride` where that divides.
    fn gradient(w: &Window) -> Axis {
        let stride = w.stride as isize;
        let shift = |p: usize, k: usize| {
            let at = (p + w.lo) as isize - (k * w.dilation) as isize;
            (at % stride == 0).then_some(at / stride)
        };
        let all = (0..w.stride).flat_map(|p| (0..w.size).filter_map(move |k| shift(p, k)));
        let (low, high) = all.fold((isize::MAX, isize::MIN), |(l, h), s| (l.min(s), h.max(s)));
        let taps = (0..w.stride).map(|p| {
            let tap = |k| shift(p, k).map(|s| Tap { source: (s - low) as usize, filter: k });
            let mut taps: Vec<Tap> = (0..w.size).filter_map(tap).collect();
            taps.sort_by_key(|t| t.source); // ascending, so that neighbours join into one segment
            taps
        });
        Axis { step: w.stride, taps: taps.collect(), advance: 1, first: low, span: (high - low + 1) as usize }
    }

    /// Source elements that `pixels` of the result span.
    fn reach(&self, pixels: usize) -> usize {
        (pixels.div_ceil(self.step) - 1) * self.advance + self.span
    }
}

/// The zero-padded copy of a block's source.
struct Stage {
    rows: usize,
    cols: usize,
}

/// A convolution-like kernel.
pub(super) struct Conv {
    isa: Isa,
    images: usize,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    /// Source: [images, h, w, c].
    h: usize,
    w: usize,
    c: usize,
    /// Result that is computed: [images, oh, ow, k] (without what a pool drops).
    oh: usize,
    k: usize,
    ow: usize,
    rows: Axis,
    cols: Axis,
    stage: Option<Stage>,
    phases: Vec<Phase>,
    columns: Columns,
    depthwise: bool,
    /// Pitch of the filter where it is used in place.
    in_place: Option<usize>,
    packed: usize,
    /// Rows of the result in a unit; units of an image; images worked on together.
    block: usize,
    per_image: usize,
    group: usize,
    finish: Finish,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    Forward,
    InputGrad,
}

impl Conv {
    pub fn new(d: &ConvDims, direction: Direction, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> Conv {
        let forward = direction == Direction::Forward;
        let finish = finish.in_registers();
        let (rows, cols) = match direction {
            Direction::Forward => (Axis::forward(&d.rows), Axis::forward(&d.cols)),
            Direction::InputGrad => (Axis::gradient(&d.rows), Axis::gradient(&d.cols)),
        };
        let (h, w, c) = if forward { (d.h, d.w, d.c) } else { (d.oh, d.ow, d.k) };
        let (oh, ow, k) = if forward { (d.oh, d.ow, d.k) } else { (d.h, d.w, d.c) };
        let (oh, ow) = finish.kept(oh, ow);
        // Blocks of about as many pixels as keep the result's rows in the second-level cache.
        let unit = finish.rows(rows.step);
        let mut target = ((32 << 10) / k).clamp(64, 512);
        if d.n < 8 {
            target = target.min((oh * ow * d.n).div_ceil(8)).max(28); // a few units for a few workers
        }
        let up = |x: usize| x.div_ceil(unit) * unit;
        let blocks = oh.div_ceil(up((target / ow).max(1)));
        let block = if blocks == 1 { oh } else { up(oh.div_ceil(blocks)).min(oh) };
        let per_image = oh.div_ceil(block);
        let group = if per_image == 1 { (target / (oh * ow)).clamp(1, d.n.max(1)) } else { 1 };
        let (sr, sc) = (rows.reach(block), cols.reach(ow));
        let inside = |axis: &Axis, pixels: usize, n: usize| {
            axis.first >= 0 && axis.first as usize + axis.reach(pixels) <= n
        };
        // With several blocks the last one may be shorter; its rows are computed only as far as they exist.
        let in_bounds = inside(&rows, oh, h) && inside(&cols, ow, w);
        let stage = (!in_bounds).then_some(Stage { rows: sr, cols: sc });
        let (cg, kg) = (d.c / d.groups, d.k / d.groups);
        let depthwise = d.groups > 1 && cg == 1 && kg == 1;
        let columns = match direction {
            Direction::Forward => Columns::new(isa, d.groups, kg, cg as isize, kg, 1),
            Direction::InputGrad => Columns::new(isa, d.groups, cg, kg as isize, kg, d.k),
        };
        let in_place = (forward && d.groups == 1 && d.k <= 64).then_some(d.k);
        let mut conv = Conv {
            isa,
            images: d.n,
            a: buffers[0],
            b: buffers[1],
            out: buffers[2],
            h,
            w,
            c,
            oh,
            k,
            ow,
            rows,
            cols,
            stage,
            phases: Vec::new(),
            columns,
            depthwise,
            in_place,
            packed: 0,
            block,
            per_image,
            group,
            finish,
        };
        conv.tabulate(d, direction);
        conv
    }

    /// Elements between rows and images of what the row tables address.
    fn pitches(&self) -> (usize, usize) {
        let cols = self.stage.as_ref().map_or(self.w, |s| s.cols);
        let rows = self.stage.as_ref().map_or(self.h, |s| s.rows);
        (cols * self.c, rows * cols * self.c)
    }

    /// Rows and images of where results go before a pool; the result's own pitch else.
    fn result_image(&self) -> usize {
        if self.finish.pools() { self.block * self.ow * self.k } else { self.oh * self.ow * self.k }
    }

    fn tabulate(&mut self, d: &ConvDims, direction: Direction) {
        let (pitch, image) = self.pitches();
        let (cg, kg) = (d.c / d.groups, d.k / d.groups);
        // Elements of the reduction per tap and where each lies in the filter.
        let inner = if direction == Direction::Forward { cg } else { kg };
        let element = if direction == Direction::Forward { d.k } else { 1 };
        for py in 0..self.rows.step.min(self.oh) {
            for px in 0..self.cols.step.min(self.ow) {
                let mut sum = Reduction::default();
                for ty in &self.rows.taps[py] {
                    for tx in &self.cols.taps[px] {
                        let tap = ty.filter * d.cols.size + tx.filter;
                        let a = (ty.source * pitch + tx.source * self.c) as isize;
                        if self.depthwise {
                            sum.segs.push(Seg { a, b: tap, len: 1 });
                        } else {
                            sum.segs.push(Seg { a, b: sum.sources.len(), len: inner });
                            sum.sources.extend((0..inner).map(|j| tap * cg * d.k + j * element));
                        }
                    }
                }
                if !self.depthwise {
                    sum.cut(1, self.columns.depth);
                }
                let cols = (self.ow - px).div_ceil(self.cols.step);
                let mut rows = Vec::new();
                for g in 0..self.group {
                    for y in (py..self.block).step_by(self.rows.step) {
                        for x in (px..self.ow).step_by(self.cols.step) {
                            let (i, j) = (y / self.rows.step, x / self.cols.step);
                            let at = i * self.rows.advance * pitch + j * self.cols.advance * self.c;
                            rows.push(Row {
                                a: (g * image + at) as isize,
                                c: g * self.result_image() + (y * self.ow + x) * self.k,
                            });
                        }
                    }
                }
                let packed = self.packed;
                self.packed += sum.sources.len() * self.columns.width;
                self.phases.push(Phase { row: py, cols, rows, sum, packed });
            }
        }
    }

    fn packs(&self) -> bool {
        self.in_place.is_none() && !self.depthwise
    }

    pub fn shared_bytes(&self) -> usize {
        if self.packs() { self.packed * 4 } else { 0 }
    }

    pub fn pack_units(&self) -> usize {
        let panels = self.phases.iter().map(|p| p.sum.panels(&self.columns)).sum();
        if self.packs() { panels } else { 0 }
    }

    /// # Safety
    /// The filter's buffer is complete; `shared` has `shared_bytes()`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        let from: *const f32 = bases.get(self.b).cast();
        for mut unit in units {
            for phase in &self.phases {
                let panels = phase.sum.panels(&self.columns);
                if unit < panels {
                    // SAFETY: as for this function.
                    unsafe {
                        let to = shared.cast::<f32>().add(phase.packed);
                        phase.sum.pack(unit, &self.columns, from, to);
                    }
                    break;
                }
                unit -= panels;
            }
        }
    }

    fn stage_floats(&self) -> usize {
        let stage = if self.stage.is_some() { self.pitches().1 * self.group } else { 0 };
        stage.next_multiple_of(16)
    }

    fn pooled_floats(&self) -> usize {
        let rows = if self.finish.pools() { self.result_image() * self.group } else { 0 };
        rows.next_multiple_of(16)
    }

    pub fn worker_bytes(&self) -> usize {
        (self.stage_floats() + self.pooled_floats()) * 4 + self.finish.scratch()
    }

    pub fn units_per_image(&self) -> usize {
        self.per_image
    }

    pub fn units(&self) -> usize {
        self.per_image * self.images
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let mut unit = units.start;
        while unit < units.end {
            let images = self.group.min(units.end - unit);
            // SAFETY: as for this function.
            unsafe { self.unit(unit / self.per_image, images, unit % self.per_image, desk) };
            unit += images;
        }
    }

    unsafe fn unit(&self, image: usize, images: usize, block: usize, desk: Desk) {
        let Desk { bases, shared, worker } = desk;
        let y = block * self.block;
        let height = self.block.min(self.oh - y);
        let scratch: *mut f32 = worker.cast();
        let pooled = scratch.wrapping_add(self.stage_floats());
        let tape = pooled.wrapping_add(self.pooled_floats()).cast();
        // SAFETY: the caller vouches for buffers and scratch; the tables stay within them.
        unsafe {
            let a = self.source(image, images, y, bases, scratch);
            let pools = self.finish.pools();
            let at = if pools { 0 } else { image * self.result_image() + y * self.ow * self.k };
            let c = if pools { pooled } else { bases.get(self.out).cast::<f32>().add(at) };
            let store = self.finish.store_at(bases, at);
            let filter: *const f32 = bases.get(self.b).cast();
            for phase in &self.phases {
                let rows = height.saturating_sub(phase.row).div_ceil(self.rows.step) * phase.cols * images;
                if self.depthwise {
                    let (rows, taps) = (&phase.rows[..rows], &phase.sum.segs[..]);
                    dispatch(self.isa, Taps { channels: self.c, rows, taps, a, filter, c, store });
                    continue;
                }
                let b = match self.in_place {
                    Some(pitch) => Right::InPlace { ptr: filter, pitch },
                    None => Right::Packed(shared.cast::<f32>().add(phase.packed)),
                };
                Pass {
                    reduction: &phase.sum,
                    columns: &self.columns,
                    rows: &phase.rows[..rows],
                    cuts: 0..phase.sum.cuts.len(),
                    blocks: 0..self.columns.blocks.len(),
                    a,
                    a_j: 1,
                    b,
                    c,
                    store,
                }
                .run();
            }
            for i in 0..images {
                let c = c.add(i * self.result_image());
                self.finish.block(bases, [image + i, y, height], [self.ow, self.k], c, tape);
            }
        }
    }

    /// The block's source, in place or staged.
    unsafe fn source(
        &self,
        image: usize,
        images: usize,
        y: usize,
        bases: &Bases,
        to: *mut f32,
    ) -> *const f32 {
        let pixel = self.c;
        let from: *const f32 = bases.get(self.a).cast();
        let top = (y / self.rows.step * self.rows.advance) as isize + self.rows.first;
        let left = self.cols.first;
        // SAFETY: only rows and columns inside the image are read; the stage has room for all of a group.
        unsafe {
            let Some(stage) = &self.stage else {
                let at = (top as usize * self.w + left as usize) * pixel;
                return from.add(image * self.h * self.w * pixel + at);
            };
            let before = (-left).clamp(0, stage.cols as isize) as usize;
            let x = left.max(0) as usize;
            let copied = self.w.saturating_sub(x).min(stage.cols - before);
            for i in 0..images {
                let from = from.add((image + i) * self.h * self.w * pixel);
                for r in 0..stage.rows {
                    let to = to.add((i * stage.rows + r) * stage.cols * pixel);
                    let y = top + r as isize;
                    if y < 0 || y >= self.h as isize {
                        to.write_bytes(0, stage.cols * pixel);
                        continue;
                    }
                    let row = from.wrapping_add((y as usize * self.w + x) * pixel);
                    to.write_bytes(0, before * pixel);
                    std::ptr::copy_nonoverlapping(row, to.add(before * pixel), copied * pixel);
                    let end = before + copied;
                    to.add(end * pixel).write_bytes(0, (stage.cols - end) * pixel);
                }
            }
            to
        }
    }
}
