//! Convolution and its input gradient, which is a convolution of the padded output gradient per phase of the
//! stride.
//!
//! Units are blocks of rows of one image's result (of few images of some channels only, so that they are even); a block's source rows are copied once into a zero-padded
//! staging area of the worker's (none where nothing is padded), so that every tap of every row is in bounds. A
//! depthwise convolution is too little work for a copy: it reads in place, and pixels at the border have fewer taps.
//! Invariant: `phases` list each pixel of a block once; row tables are relative to the block's first pixel.

use super::Desk;
use super::axis::Axis;
use super::depthwise::{Across, Line};
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg, Store};
use super::vector::lanes;
use crate::cpu::{Bases, Isa};
use crate::plan::BufferId;
use std::ops::Range;
use thalweg_base::ConvDims;

/// Pixels of the result with the same taps: those at `(row, col)` modulo the stride of an input gradient; all of
/// them for a convolution.
struct Phase {
    row: usize,
    col: usize,
    /// Pixels of a row.
    cols: usize,
    /// Of a depthwise convolution: those of a row whose taps all lie in the image.
    whole: Range<usize>,
    /// Otherwise: the block's pixels, and what each is summed over.
    rows: Vec<Row>,
    sum: Reduction,
    /// Floats of the packed filter before this phase's.
    packed: usize,
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
    /// Channels of a depthwise convolution done together; 0 for any other.
    depthwise: usize,
    /// Columns of the filter.
    filter_cols: usize,
    /// Pitch of the filter where it is used in place.
    in_place: Option<usize>,
    packed: usize,
    /// Rows of the result in a unit; such blocks of an image; images worked on together.
    block: usize,
    per_image: usize,
    group: usize,
    /// Parts of the channels, units of their own.
    parts: usize,
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
        let (cg, kg) = (d.c / d.groups, d.k / d.groups);
        let columns = match direction {
            Direction::Forward => Columns::new(isa, d.groups, kg, cg as isize, kg, 1),
            Direction::InputGrad => Columns::new(isa, d.groups, cg, kg as isize, kg, d.k),
        };
        let mut depthwise = if d.is_depthwise() { together(d, ow) } else { 0 };
        let (mut block, mut parts) = (block, 1);
        let few = d.n < 8 && unit == 1 && finish.is_direct();
        if let Some((rows, channels)) = few.then(|| even(oh, ow)).flatten() {
            block = rows;
            if depthwise > 0 {
                depthwise = depthwise.min(d.c.div_ceil(channels).next_multiple_of(lanes(isa)));
            }
            parts = channels.min(if depthwise > 0 { d.c.div_ceil(depthwise) } else { columns.blocks.len() });
            // Too few: blocks of unequal rows. One of each follow each other.
            if block == oh && parts < UNITS && PIXELS.contains(&(oh.div_ceil(2) * ow)) {
                block = oh.div_ceil(2);
            }
        }
        let per_image = oh.div_ceil(block);
        let alone = per_image > 1 || parts > 1;
        let group = if alone { 1 } else { (target / (oh * ow)).clamp(1, d.n.max(1)) };
        let (sr, sc) = (rows.reach(block), cols.reach(ow));
        let inside = |axis: &Axis, pixels: usize, n: usize| {
            axis.first >= 0 && axis.first as usize + axis.reach(pixels) <= n
        };
        // With several blocks the last one may be shorter; its rows are computed only as far as they exist.
        let in_bounds = inside(&rows, oh, h) && inside(&cols, ow, w);
        let stage = (!in_bounds && depthwise == 0).then_some(Stage { rows: sr, cols: sc });
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
            filter_cols: d.cols.size,
            in_place,
            packed: 0,
            block,
            per_image,
            group,
            parts,
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
                let cols = (self.ow - px).div_ceil(self.cols.step);
                if self.depthwise > 0 {
                    let whole = self.cols.whole(px, cols, self.w);
                    let phase = Phase { row: py, col: px, cols, whole, rows: Vec::new(), sum, packed: 0 };
                    self.phases.push(phase);
                    continue;
                }
                for ty in &self.rows.taps[py] {
                    for tx in &self.cols.taps[px] {
                        let tap = ty.filter * d.cols.size + tx.filter;
                        let a = (ty.source * pitch + tx.source * self.c) as isize;
                        sum.segs.push(Seg { a, b: sum.sources.len(), len: inner });
                        sum.sources.extend((0..inner).map(|j| tap * cg * d.k + j * element));
                    }
                }
                sum.cut(1, self.columns.depth);
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
                self.phases.push(Phase { row: py, col: px, cols, whole: 0..0, rows, sum, packed });
            }
        }
    }

    fn packs(&self) -> bool {
        self.in_place.is_none() && self.depthwise == 0
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
        self.per_image * self.parts
    }

    pub fn units(&self) -> usize {
        self.units_per_image() * self.images
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let mut unit = units.start;
        while unit < units.end {
            let images = self.group.min(units.end - unit);
            let (image, rest) = (unit / self.units_per_image(), unit % self.units_per_image());
            let (part, block) = (rest / self.per_image, rest % self.per_image);
            // SAFETY: as for this function.
            unsafe { self.unit(image, images, [block, part], desk) };
            unit += images;
        }
    }

    /// What a part has of `n`.
    fn share(&self, n: usize, part: usize) -> Range<usize> {
        part * n / self.parts..(part + 1) * n / self.parts
    }

    unsafe fn unit(&self, image: usize, images: usize, [block, part]: [usize; 2], desk: Desk) {
        let Desk { bases, worker, .. } = desk;
        let y = block * self.block;
        let height = self.block.min(self.oh - y);
        let scratch: *mut f32 = worker.cast();
        let pooled = scratch.wrapping_add(self.stage_floats());
        let tape = pooled.wrapping_add(self.pooled_floats()).cast();
        // SAFETY: the caller vouches for buffers and scratch; the tables stay within them.
        unsafe {
            let pools = self.finish.pools();
            let at = if pools { 0 } else { image * self.result_image() + y * self.ow * self.k };
            let c = if pools { pooled } else { bases.get(self.out).cast::<f32>().add(at) };
            let store = self.finish.store_at(bases, at);
            if self.depthwise > 0 {
                for i in 0..images {
                    let skip = i * self.result_image();
                    self.lines([image + i, part], y..y + height, bases, c.add(skip), store.on(skip));
                }
            } else {
                let a = self.source(image, images, y, bases, scratch);
                self.dense(a, images, [height, part], desk, (c, store));
            }
            for i in 0..images {
                let c = c.add(i * self.result_image());
                self.finish.block(bases, [image + i, y, height], [self.ow, self.k], c, tape);
            }
        }
    }

    /// A block's sums, from its source on.
    unsafe fn dense(
        &self,
        a: *const f32,
        images: usize,
        [height, part]: [usize; 2],
        Desk { bases, shared, .. }: Desk,
        (c, store): (*mut f32, Store),
    ) {
        for phase in &self.phases {
            let rows = height.saturating_sub(phase.row).div_ceil(self.rows.step) * phase.cols * images;
            // SAFETY: as for `unit`.
            unsafe {
                let b = match self.in_place {
                    Some(pitch) => Right::InPlace { ptr: bases.get(self.b).cast(), pitch },
                    None => Right::Packed(shared.cast::<f32>().add(phase.packed)),
                };
                let blocks = self.share(self.columns.blocks.len(), part);
                let next = match b {
                    Right::InPlace { .. } => std::ptr::null(),
                    Right::Packed(b) => phase.sum.panel(&self.columns, 0, blocks.start, b),
                };
                Pass {
                    reduction: &phase.sum,
                    columns: &self.columns,
                    rows: &phase.rows[..rows],
                    cuts: 0..phase.sum.cuts.len(),
                    blocks,
                    a,
                    a_j: 1,
                    b,
                    next,
                    c,
                    store,
                }
                .run();
            }
        }
    }

    /// A depthwise block: rows `ys` of an image's result, the first at `c`, in lines of pixels with the same taps.
    unsafe fn lines(
        &self,
        [image, part]: [usize; 2],
        ys: Range<usize>,
        bases: &Bases,
        c: *mut f32,
        store: Store,
    ) {
        let from = bases.get(self.a).cast::<f32>().wrapping_add(image * self.h * self.w * self.c);
        let filter: *const f32 = bases.get(self.b).cast();
        for n in self.share(self.c.div_ceil(self.depthwise), part) {
            let k = n * self.depthwise;
            for y in ys.clone() {
                let (row, i) = (y % self.rows.step, y / self.rows.step);
                let rows = self.rows.inside(row, i, self.h);
                let top = self.rows.at(i) * (self.w * self.c) as isize;
                for phase in self.phases.iter().filter(|p| p.row == row) {
                    let at = ((y - ys.start) * self.ow + phase.col) * self.k;
                    let line = Line {
                        channels: k..(k + self.depthwise).min(self.c),
                        pitch: self.c,
                        a: from.wrapping_offset(top),
                        row: self.w * self.c,
                        rows: &self.rows.taps[row][rows.clone()],
                        cols: &[],
                        filter,
                        filter_cols: self.filter_cols,
                        filter_pitch: self.c,
                        pixels: 0,
                        advance: self.cols.advance,
                        c: c.wrapping_add(at),
                        step: self.cols.step * self.k,
                        store: store.on(at),
                    };
                    let (pixels, whole) = (phase.cols, phase.whole.clone());
                    let across = Across { axis: &self.cols, phase: phase.col, pixels, whole, w: self.w };
                    // SAFETY: as for `unit`; these rows lie in the image.
                    unsafe { across.run(self.isa, &line) };
                }
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

/// Channels of a depthwise convolution that are done together: as many as leave the lines that are read for
/// several results in the first-level cache, but enough to read memory in runs.
fn together(d: &ConvDims, ow: usize) -> usize {
    let line = ow * d.cols.stride * d.rows.size * 4;
    ((24 << 10) / line / 32 * 32).max(32)
}

/// Units of few images, about, and pixels of one, so that a few workers have as much to do each: rows and columns of channels.
const UNITS: usize = 8;
const PIXELS: Range<usize> = 28..513;

/// Rows of a block and parts of the channels that make units of equal size, if rows of an image can be cut evenly.
fn even(oh: usize, ow: usize) -> Option<(usize, usize)> {
    let cut = |blocks: usize| oh.is_multiple_of(blocks) && PIXELS.contains(&(oh / blocks * ow));
    let rows = (1..=oh.div_ceil(UNITS)).map(|n| n * UNITS).find(|n| cut(*n)).map(|blocks| (blocks, 1));
    let both = || [4, 2, 1].into_iter().find(|n| cut(*n)).map(|blocks| (blocks, UNITS / blocks));
    rows.or_else(both).map(|(blocks, parts)| (oh / blocks, parts))
}
