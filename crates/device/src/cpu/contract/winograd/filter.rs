//! The filter gradient by F(4x4, 3x3): `G' [sum over tiles of (B' d B) * (A dy A')] G`, per frequency a product of
//! [channels, tiles] and [tiles, output channels].
//!
//! A block of the result, some channels by some output channels, keeps its sums at all frequencies in the second-level
//! cache while the tiles of all images go by, some at a time. Units are blocks; a partial result is all blocks over
//! its images. Invariant: tiles are grouped from a part's first image, so a result depends on the part's images but
//! not on how units are cut.

use super::super::finish::Finish;
use super::super::product::{Columns, Pass, Reduction, Right};
use super::super::tile::{Row, Seg, Store};
use super::super::vector::{Job, Vector, dispatch};
use super::tiles::{Gather, Grid, Planes, rolled};
use super::transform::{FREQUENCIES, IN, OUT, filter_gradient};
use crate::cpu::{Bases, Isa};
use crate::plan::BufferId;
use std::ops::Range;
use thalweg_base::ConvDims;

/// Channels and output channels of a block, and tiles that are summed in registers.
const BLOCK: usize = 64;
const TILES: usize = 32;

/// A filter gradient.
pub(in super::super) struct WinogradFilter {
    isa: Isa,
    d: ConvDims,
    a: BufferId,
    dy: BufferId,
    out: BufferId,
    parts: usize,
    image: Grid,
    output: Grid,
    /// Channels and output channels of a block.
    block: [usize; 2],
    columns: Columns,
    /// By the number of tiles less one.
    sums: Vec<Reduction>,
    rows: Vec<Row>,
    finish: Finish,
}

impl WinogradFilter {
    pub fn new(d: &ConvDims, buffers: [BufferId; 3], parts: usize, finish: Finish, isa: Isa) -> Self {
        let (th, tw) = (d.oh.div_ceil(OUT), d.ow.div_ceil(OUT));
        let (top, left) = (-(d.rows.lo as isize), -(d.cols.lo as isize));
        let image = Grid { h: d.h, w: d.w, c: d.c, th, tw, top, left };
        let output = Grid { h: d.oh, w: d.ow, c: d.k, th, tw, top: 0, left: 0 };
        let part = |n: usize, most: usize| n.div_ceil(n.div_ceil(most)).next_multiple_of(16);
        let mut block = [part(d.c, BLOCK), part(d.k, BLOCK)];
        if parts == 1 && d.c.div_ceil(block[0]) * d.k.div_ceil(block[1]) < 8 {
            block[0] = part(d.c, BLOCK / 2); // units for a few workers
        }
        let columns = Columns::new(isa, 1, block[1], 0, 0, 1);
        let source = block[0] + 16;
        let sum = |tiles: usize| {
            let segs = vec![Seg { a: 0, b: 0, len: tiles }];
            let mut sum = Reduction { segs, ..Reduction::default() };
            sum.cut(source as isize, tiles);
            sum
        };
        let tiles = TILES.min(d.n * th * tw);
        let row = |c: usize| Row { a: c as isize, c: c * (block[1] + 16) };
        Self {
            isa,
            d: *d,
            a: buffers[0],
            dy: buffers[1],
            out: buffers[2],
            parts,
            image,
            output,
            sums: (1..=tiles).map(sum).collect(),
            rows: (0..block[0]).map(row).collect(),
            block,
            columns,
            finish,
        }
    }

    /// Floats of the planes: of the image, of the output's gradient, and of the sums.
    fn floats(&self) -> [usize; 3] {
        let [c, k] = self.block.map(|b| b + 16);
        [self.sums.len() * c, self.sums.len() * k, self.block[0] * k].map(|plane| plane * FREQUENCIES)
    }

    pub fn worker_bytes(&self) -> usize {
        self.floats().into_iter().sum::<usize>() * 4 + self.finish.scratch()
    }

    fn blocks(&self) -> usize {
        self.d.c.div_ceil(self.block[0]) * self.d.k.div_ceil(self.block[1])
    }

    pub fn units(&self) -> usize {
        if self.parts > 1 { self.parts } else { self.blocks() }
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, worker: *mut u8) {
        let n = self.d.n;
        for unit in units {
            // SAFETY: as for this function.
            unsafe {
                if self.parts > 1 {
                    let images = unit * n / self.parts..(unit + 1) * n / self.parts;
                    self.run_part(unit, images, bases, worker);
                } else {
                    self.sum(unit, 0..n, bases, bases.get(self.out).cast(), worker);
                }
            }
        }
    }

    /// # Safety
    /// As for `Prepared::run_part`.
    pub unsafe fn run_part(&self, part: usize, images: Range<usize>, bases: &Bases, worker: *mut u8) {
        let len = self.d.filter().iter().product::<usize>();
        // SAFETY: as for this function.
        unsafe {
            let out = bases.get(self.out).cast::<f32>().add(part * len);
            if images.is_empty() {
                out.write_bytes(0, len);
                return;
            }
            for block in 0..self.blocks() {
                self.sum(block, images.clone(), bases, out, worker);
            }
        }
    }

    /// A block, over some images.
    unsafe fn sum(&self, block: usize, images: Range<usize>, bases: &Bases, out: *mut f32, worker: *mut u8) {
        let across = self.d.k.div_ceil(self.block[1]);
        let part = |i: usize, size: usize, n: usize| i * size..((i + 1) * size).min(n);
        let channels = part(block / across, self.block[0], self.d.c);
        let outputs = part(block % across, self.block[1], self.d.k);
        let [x, y, _] = self.floats();
        let planes = |at: usize, n: usize, pitch: usize| Planes {
            at: worker.cast::<f32>().wrapping_add(at),
            pitch,
            plane: n * pitch,
        };
        let [source, result] = self.block.map(|b| b + 16);
        let image = planes(0, self.sums.len(), source);
        let output = planes(x, self.sums.len(), result);
        let sums = planes(x + y, self.block[0], result);
        let per_image = self.image.th * self.image.tw;
        let end = images.end * per_image;
        let mut tile = images.start * per_image;
        let mut accumulate = false;
        while tile < end {
            let tiles = tile..(tile + self.sums.len()).min(end);
            // SAFETY: the caller vouches for the buffers; the planes have room for the tiles of a block.
            unsafe {
                let from = bases.get(self.a).cast();
                let (grid, channels) = (&self.image, channels.clone());
                let gather = Gather::<IN> { grid, tiles: tiles.clone(), channels, from, to: image };
                dispatch(self.isa, gather);
                let from = bases.get(self.dy).cast();
                let (grid, channels) = (&self.output, outputs.clone());
                let gather = Gather::<OUT> { grid, tiles: tiles.clone(), channels, from, to: output };
                dispatch(self.isa, gather);
                self.multiply([image, output, sums], tiles.len(), accumulate);
            }
            (tile, accumulate) = (tiles.end, true);
        }
        // SAFETY: as above; the sums are complete.
        unsafe {
            let store = if self.parts == 1 { self.finish.store(bases) } else { Store::plain(false) };
            let (channels, outputs) = (channels.clone(), outputs.clone());
            dispatch(
                self.isa,
                Fold { channels, outputs, from: sums, size: [self.d.c, self.d.k], store, out },
            );
        }
        if self.parts == 1 {
            let tape = worker.wrapping_add(self.floats().into_iter().sum::<usize>() * 4);
            for (tap, c) in (0..9).flat_map(|tap| channels.clone().map(move |c| (tap, c))) {
                let at = out.wrapping_add((tap * self.d.c + c) * self.d.k + outputs.start);
                let origin = [tap / 3, tap % 3, c, outputs.start];
                // SAFETY: the values were just written.
                unsafe { self.finish.apply(bases, origin, [1, outputs.len()], (at, self.d.k), tape) };
            }
        }
    }

    /// Adds the products of some tiles. What the planes hold behind the last channels only reaches sums of none.
    unsafe fn multiply(&self, [image, output, sums]: [Planes; 3], tiles: usize, accumulate: bool) {
        let reduction = &self.sums[tiles - 1];
        for f in 0..FREQUENCIES {
            // SAFETY: as for `sum`.
            unsafe {
                Pass {
                    reduction,
                    columns: &self.columns,
                    cuts: 0..reduction.cuts.len(),
                    blocks: 0..self.columns.blocks.len(),
                    rows: &self.rows,
                    a: image.at.add(f * image.plane),
                    a_j: image.pitch as isize,
                    b: Right::InPlace { ptr: output.at.add(f * output.plane), pitch: output.pitch },
                    next: std::ptr::null(),
                    c: sums.at.add(f * sums.plane),
                    store: Store::plain(accumulate),
                }
                .run();
            }
        }
    }
}

/// Sums at all frequencies to the nine taps.
struct Fold {
    channels: Range<usize>,
    outputs: Range<usize>,
    /// By channel.
    from: Planes,
    size: [usize; 2],
    store: Store,
    out: *mut f32,
}

impl Job for Fold {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let [c, k] = self.size;
        for (n, channel) in self.channels.clone().enumerate() {
            for column in self.outputs.clone().step_by(V::LANES) {
                let cols = V::LANES.min(self.outputs.end - column);
                // SAFETY: the caller vouches for the planes and the result.
                unsafe {
                    let from = self.from.at.add(n * self.from.pitch + column - self.outputs.start);
                    let bias = match self.store.bias.is_null() {
                        true => V::zero(),
                        false => V::load_part(self.store.bias.add(column), cols),
                    };
                    let mut half = [[V::zero(); IN]; 3];
                    for s in 0..rolled(IN) {
                        let from = from.wrapping_add(s * self.from.plane);
                        let mut m = [V::zero(); IN];
                        for (r, m) in m.iter_mut().enumerate() {
                            *m = V::load(from.wrapping_add(r * IN * self.from.plane));
                        }
                        for (i, v) in filter_gradient(m).into_iter().enumerate() {
                            half[i][s % IN] = v;
                        }
                    }
                    for (r, half) in half.into_iter().enumerate() {
                        for (s, v) in filter_gradient(half).into_iter().enumerate() {
                            let v = V::add(v, bias);
                            let v = if self.store.relu { V::relu(v) } else { v };
                            let to = self.out.add(((3 * r + s) * c + channel) * k + column);
                            if cols == V::LANES { V::store(v, to) } else { V::store_part(v, to, cols) }
                        }
                    }
                }
            }
        }
    }
}
