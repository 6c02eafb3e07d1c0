//! A depthwise convolution whose image is made as needed, by a convolution of 1 x 1.
//!
//! The image is the largest thing of such a pair: written and read as a whole it goes through the slow caches, or another
//! core's. A unit makes some rows of it, of one block of channels, in the worker's scratch, and takes its own results from there.
//! Units overlap by the rows that both need. Invariant: every sum is the one that the two convolutions apart give, to the
//! bit (if filters are finite: in the padding they are multiplied by zero).

use super::Desk;
use super::axis::Axis;
use super::depthwise::Line;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg};
use super::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Expansion};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Bytes of the image that a unit makes, about: they stay in the second-level cache, beside what they are made of.
const BYTES: usize = 192 << 10;
/// Units, at least, so that a few workers have about as much to do each.
const UNITS: usize = 8;
/// Rows of the result that a unit has then: fewer would make too much of the image twice.
const ROWS: usize = 7;

/// Such a pair.
pub(super) struct Expanded {
    isa: Isa,
    d: ConvDims,
    channels: usize,
    a: BufferId,
    /// The filters of the expansion and of the convolution.
    filters: [BufferId; 2],
    out: BufferId,
    rows: Axis,
    cols: Axis,
    /// Columns of the scratch: what the taps of a row's pixels span.
    width: usize,
    /// Columns of it before the image's first.
    before: usize,
    /// Of the expansion: what a pixel is summed over; the pixels of a unit; blocks of channels.
    sum: Reduction,
    pixels: Vec<Row>,
    columns: Columns,
    /// Floats between pixels of the scratch, whose rows have zeros where taps leave the image.
    pitch: usize,
    /// Rows of the result in a unit, and of the image in its scratch; such units of an image.
    block: usize,
    height: usize,
    bands: usize,
    /// What is done to the image, and to the result.
    expanded: Finish,
    finish: Finish,
}

impl Expanded {
    /// `buffers`: what the image is made of, the convolution's filter, the result.
    pub fn new(d: &ConvDims, x: &Expansion, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> Expanded {
        let [a, b, out] = buffers;
        let columns = Columns::new(isa, 1, d.c, 0, 0, 1);
        let expanded = Finish::new(x.epilogue.as_ref(), &d.image(), out, isa).in_registers_elsewhere();
        let (rows, cols) = (Axis::forward(&d.rows), Axis::forward(&d.cols));
        let pitch = columns.blocks.iter().map(|b| b.vectors).max().unwrap_or(1) * lanes(isa);
        // Taps may leave columns at the end unread.
        let before = d.cols.lo.min(cols.reach(d.ow));
        let width = cols.reach(d.ow).max(before + d.w);
        let needed = |block: usize| rows.reach(block).min(d.h);
        let fits = |bands: &usize| {
            let small = needed(d.oh.div_ceil(*bands)) * width * pitch * 4 <= BYTES;
            small && (d.n * bands * columns.blocks.len() >= UNITS || bands * ROWS >= d.oh)
        };
        let bands = (1..=d.oh).find(fits).unwrap_or(d.oh);
        let block = d.oh.div_ceil(bands);
        let height = needed(block);
        let mut sum = Reduction { segs: vec![Seg { a: 0, b: 0, len: x.channels }], ..Reduction::default() };
        sum.sources = (0..x.channels).map(|j| j * d.c).collect();
        sum.cut(1, columns.depth);
        let pixel =
            |p: usize| Row { a: (p * x.channels) as isize, c: (p / d.w * width + before + p % d.w) * pitch };
        Expanded {
            isa,
            d: *d,
            channels: x.channels,
            a,
            filters: [x.b, b],
            out,
            width,
            before,
            rows,
            cols,
            sum,
            pixels: (0..height * d.w).map(pixel).collect(),
            columns,
            pitch,
            block,
            height,
            bands: d.oh.div_ceil(block),
            expanded,
            finish: finish.in_registers(),
        }
    }

    pub fn shared_bytes(&self) -> usize {
        self.channels * self.columns.width * 4
    }

    pub fn pack_units(&self) -> usize {
        self.sum.panels(&self.columns)
    }

    /// # Safety
    /// The expansion's filter is complete; `shared` has `shared_bytes()`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        for unit in units {
            // SAFETY: as for this function.
            unsafe { self.sum.pack(unit, &self.columns, bases.get(self.filters[0]).cast(), shared.cast()) };
        }
    }

    fn image_floats(&self) -> usize {
        (self.height * self.width * self.pitch).next_multiple_of(16)
    }

    pub fn worker_bytes(&self) -> usize {
        self.image_floats() * 4 + self.expanded.scratch().max(self.finish.scratch())
    }

    pub fn units_per_image(&self) -> usize {
        self.bands * self.columns.blocks.len()
    }

    pub fn units(&self) -> usize {
        self.d.n * self.units_per_image()
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        for unit in units {
            let (band, block) = (unit / self.columns.blocks.len(), unit % self.columns.blocks.len());
            // SAFETY: as for this function.
            unsafe { self.unit(band / self.bands, band % self.bands, block, desk) };
        }
    }

    unsafe fn unit(&self, image: usize, band: usize, block: usize, desk: Desk) {
        let Desk { bases, shared, worker } = desk;
        let d = &self.d;
        let ys = band * self.block..((band + 1) * self.block).min(d.oh);
        let top = self.rows.at(ys.start).max(0) as usize;
        let below = self.rows.at(ys.end - 1) + self.rows.reach(1) as isize;
        let height = (below.max(0) as usize).min(d.h).saturating_sub(top);
        let column = &self.columns.blocks[block];
        let (first, channels) = (column.at, column.cols);
        let scratch: *mut f32 = worker.cast();
        let tape = scratch.wrapping_add(self.image_floats()).cast();
        let next = self.sum.panel(&self.columns, 0, (block + 1) % self.columns.blocks.len(), shared.cast());
        // SAFETY: the caller vouches for buffers and scratch, which has room for the rows; the tables stay within them.
        unsafe {
            Pass {
                reduction: &self.sum,
                columns: &self.columns,
                cuts: 0..self.sum.cuts.len(),
                blocks: block..block + 1,
                rows: &self.pixels[..height * d.w],
                a: bases.get(self.a).cast::<f32>().wrapping_add((image * d.h + top) * d.w * self.channels),
                a_j: 1,
                b: Right::Packed(shared.cast()),
                next,
                c: scratch.wrapping_sub(first),
                store: self.expanded.store(bases),
            }
            .run();
            for y in 0..height {
                let row = scratch.add(y * self.width * self.pitch);
                let (image_at, end) = (row.add(self.before * self.pitch), self.before + d.w);
                row.write_bytes(0, self.before * self.pitch);
                row.add(end * self.pitch).write_bytes(0, (self.width - end) * self.pitch);
                let origin = [image, top + y, 0, first];
                self.expanded.apply(bases, origin, [d.w, channels], (image_at, self.pitch), tape);
            }
            let results = Results { of: self, image, ys: ys.clone(), top, first, channels, scratch, bases };
            dispatch(self.isa, results);
            for y in ys {
                let c = bases.get(self.out).cast::<f32>().add(((image * d.oh + y) * d.ow) * d.k + first);
                self.finish.apply(bases, [image, y, 0, first], [d.ow, channels], (c, d.k), tape);
            }
        }
    }
}

/// Rows of results, of an image whose rows are in the scratch from `top` on.
struct Results<'a> {
    of: &'a Expanded,
    image: usize,
    ys: Range<usize>,
    top: usize,
    /// First channel, and how many.
    first: usize,
    channels: usize,
    scratch: *const f32,
    bases: &'a Bases,
}

impl Job for Results<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let x = self.of;
        let (d, first) = (&x.d, self.first);
        let pitch = x.width * x.pitch;
        for y in self.ys {
            let at = (self.image * d.oh + y) * d.ow * d.k;
            let above = x.rows.at(y) - self.top as isize;
            // SAFETY: the caller vouches for buffers and scratch; taps outside the image's rows are left out.
            unsafe {
                let line = Line {
                    channels: 0..self.channels,
                    pitch: x.pitch,
                    a: self.scratch.wrapping_offset(above * pitch as isize),
                    row: pitch,
                    rows: &x.rows.taps[0][x.rows.inside(0, y, d.h)],
                    cols: &x.cols.taps[0],
                    filter: self.bases.get(x.filters[1]).cast::<f32>().add(first),
                    filter_cols: d.cols.size,
                    filter_pitch: d.c,
                    pixels: d.ow,
                    advance: x.cols.advance,
                    c: self.bases.get(x.out).cast::<f32>().add(at + first),
                    step: d.k,
                    store: x.finish.store_at(self.bases, at).from(first),
                };
                line.run::<V>();
            }
        }
    }
}
