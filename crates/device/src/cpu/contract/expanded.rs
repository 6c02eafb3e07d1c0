//! A depthwise convolution whose image is made as needed, by a convolution of 1 x 1.
//!
//! The image is the largest thing of such a pair: written and read as a whole it goes through the slow caches, or another
//! core's. A unit makes some rows of it, of one block of channels, in the worker's scratch, and takes its own results from there.
//! Units overlap by the rows that both need. Invariant: every sum is the one that the two convolutions apart give, to the
//! bit.

use super::Desk;
use super::axis::Axis;
use super::depthwise::{Across, Line};
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg};
use super::vector::lanes;
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Expansion};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Bytes of the image that a unit makes, about: they stay in the second-level cache, beside what they are made of.
const BYTES: usize = 192 << 10;
/// Units of an image, at least, so that a few workers have about as much to do each.
const UNITS: usize = 8;
/// Registers of a block of channels.
const WIDE: usize = 2;

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
    /// Pixels of a row whose taps all lie in the image.
    whole: Range<usize>,
    /// Of the expansion: what a pixel is summed over; the pixels of a unit; blocks of channels.
    sum: Reduction,
    pixels: Vec<Row>,
    columns: Columns,
    /// Floats between pixels of the scratch.
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
        let expanded = Finish::new(x.epilogue.as_ref(), &d.image(), out, isa).in_registers();
        let (rows, cols) = (Axis::forward(&d.rows), Axis::forward(&d.cols));
        let pitch = WIDE * lanes(isa);
        let needed = |block: usize| rows.reach(block).min(d.h);
        let fits = |bands: &usize| {
            let small = needed(d.oh.div_ceil(*bands)) * d.w * pitch * 4 <= BYTES;
            small && bands * columns.blocks.len() >= UNITS
        };
        let bands = (1..=d.oh).find(fits).unwrap_or(d.oh);
        let block = d.oh.div_ceil(bands);
        let height = needed(block);
        let mut sum = Reduction { segs: vec![Seg { a: 0, b: 0, len: x.channels }], ..Reduction::default() };
        sum.sources = (0..x.channels).map(|j| j * d.c).collect();
        sum.cut(1, columns.depth);
        let pixel = |p: usize| Row { a: (p * x.channels) as isize, c: p * pitch };
        Expanded {
            isa,
            d: *d,
            channels: x.channels,
            a,
            filters: [x.b, b],
            out,
            whole: cols.whole(0, d.ow, d.w),
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
        self.height * self.d.w * self.pitch
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
        // SAFETY: the caller vouches for buffers and scratch, which has room for the rows; the tables stay within them.
        unsafe {
            Pass {
                reduction: &self.sum,
                columns: &self.columns,
                cuts: 0..self.sum.cuts.len(),
                blocks: block..block + 1,
                rows: &self.pixels[..height * d.w],
                a: bases.get(self.a).cast::<f32>().add((image * d.h + top) * d.w * self.channels),
                a_j: 1,
                b: Right::Packed(shared.cast()),
                next: std::ptr::null(),
                c: scratch.wrapping_sub(first),
                store: self.expanded.store(bases),
            }
            .run();
            for y in 0..height {
                let row = (scratch.add(y * d.w * self.pitch), self.pitch);
                self.expanded.apply(bases, [image, top + y, 0, first], [d.w, channels], row, tape);
            }
            for y in ys {
                let at = (image * d.oh + y) * d.ow * d.k + first;
                let c = bases.get(self.out).cast::<f32>().add(at);
                let taps = &self.rows.taps[0][self.rows.inside(0, y, d.h)];
                let line = Line {
                    channels: 0..channels,
                    pitch: self.pitch,
                    a: scratch.wrapping_offset(
                        (self.rows.at(y) - top as isize) * (d.w * self.pitch) as isize,
                    ),
                    row: d.w * self.pitch,
                    rows: taps,
                    cols: &[],
                    filter: bases.get(self.filters[1]).cast::<f32>().add(first),
                    filter_cols: d.cols.size,
                    filter_pitch: d.c,
                    pixels: 0,
                    advance: self.cols.advance,
                    c,
                    step: d.k,
                    store: self.finish.store_at(bases, at - first).from(first),
                };
                let whole = self.whole.clone();
                Across { axis: &self.cols, phase: 0, pixels: d.ow, whole, w: d.w }.run(self.isa, &line);
                self.finish.apply(bases, [image, y, 0, first], [d.ow, channels], (c, d.k), tape);
            }
        }
    }
}
