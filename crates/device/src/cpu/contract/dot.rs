//! Matrix products.
//!
//! Units are rows of the result, or pieces of rows where there are few, so that a slice of a batch is a range of
//! units. The left operand is read in place through strides, or through a copy of a block where its rows lie a
//! multiple of many cache sets apart; the right one in place where its rows lie well, else packed into panels.

use super::Desk;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, DotDims};
use std::ops::Range;

/// Rows that share a panel while it is in the first-level cache.
const BLOCK: usize = 104;
/// From so many rows on, packing the right operand pays.
const PACK: usize = 64;
/// Column blocks of a unit where rows are few.
const PIECE: usize = 4;

/// From so many rows of the left operand on, a block of it is read more than once or twice.
const COPY: usize = 256;
/// Column blocks whose results stay in the second-level cache while the reduction goes on.
const SPAN: usize = 8;
/// Rows of the right operand streamed side by side where they are used once.
const STREAMS: usize = 32;

/// A matrix product.
pub(super) struct Dot {
    d: DotDims,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    rows: Vec<Row>,
    /// Elements between lines of a copied block of the left operand, if it is copied.
    copy: Option<usize>,
    sum: Reduction,
    columns: Columns,
    packs: bool,
    /// Units of a row.
    pieces: usize,
    finish: Finish,
}

impl Dot {
    pub fn new(d: DotDims, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> Dot {
        let (a_m, _) = strides(&d);
        // Few rows: the right operand is streamed once, in wide blocks.
        let few = d.m <= 4 && !d.tb;
        let stride = if d.tb { d.k } else { 1 };
        let mut columns = Columns::with_width(isa, 1, d.n, [0, 0], stride, if few { 4 } else { 2 });
        if few {
            columns.depth = STREAMS;
        }
        let segs = vec![Seg { a: 0, b: 0, len: d.k }];
        let packs = d.tb || (d.m >= PACK && d.n > 64);
        let source = |j: usize| if d.tb { j } else { j * d.n };
        let sources = if packs { (0..d.k).map(source).collect() } else { Vec::new() };
        let mut sum = Reduction { segs, sources, ..Reduction::default() };
        sum.cut(strides(&d).1, columns.depth);
        // Lines 2 KiB apart fall on few cache sets and drive each other out.
        let line = if d.ta { d.m } else { d.k };
        let copied = d.m >= 8 && d.n >= COPY && d.k > 0 && line % 512 == 0;
        let block = d.m.min(BLOCK);
        let copy = copied.then(|| if d.ta { block } else { columns.depth } + 16);
        let step = match copy {
            Some(pitch) if !d.ta => pitch as isize,
            _ => a_m,
        };
        let row = |r: usize| Row { a: r as isize * step, c: r * d.n };
        let pieces = if d.batch * d.m < 8 { columns.blocks.len().div_ceil(PIECE) } else { 1 };
        Dot {
            d,
            a: buffers[0],
            b: buffers[1],
            out: buffers[2],
            rows: (0..block).map(row).collect(),
            copy,
            sum,
            columns,
            packs,
            pieces,
            finish,
        }
    }

    pub fn shared_bytes(&self) -> usize {
        if self.packs { self.d.batch * self.d.k * self.columns.width * 4 } else { 0 }
    }

    pub fn pack_units(&self) -> usize {
        if self.packs { self.d.batch * self.sum.panels(&self.columns) } else { 0 }
    }

    /// # Safety
    /// The right operand is complete; `shared` has `shared_bytes()`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        let panels = self.sum.panels(&self.columns);
        for unit in units {
            let batch = unit / panels;
            // SAFETY: as for this function.
            unsafe {
                let from = bases.get(self.b).cast::<f32>().add(batch * self.d.k * self.d.n);
                let to = shared.cast::<f32>().add(batch * self.d.k * self.columns.width);
                self.sum.pack(unit % panels, &self.columns, from, to);
            }
        }
    }

    /// Bytes of a copied block of the left operand.
    fn copied(&self) -> usize {
        let lines = if self.d.ta { self.columns.depth } else { self.rows.len() };
        self.copy.map_or(0, |pitch| (lines * pitch * 4).next_multiple_of(64))
    }

    pub fn worker_bytes(&self) -> usize {
        self.copied() + self.finish.scratch()
    }

    pub fn units_per_image(&self) -> usize {
        if self.d.batch == 1 { self.pieces } else { self.d.m * self.pieces }
    }

    pub fn units(&self) -> usize {
        self.d.batch * self.d.m * self.pieces
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let mut unit = units.start;
        let row_units = self.d.m * self.pieces;
        while unit < units.end {
            let left = units.end - unit;
            let (batch, rest) = (unit / row_units, unit % row_units);
            let (row, piece) = (rest / self.pieces, rest % self.pieces);
            let (rows, pieces) = if piece == 0 && left >= self.pieces {
                ((left / self.pieces).min(self.d.m - row).min(BLOCK), self.pieces)
            } else {
                (1, left.min(self.pieces - piece))
            };
            let blocks = if self.pieces == 1 {
                0..self.columns.blocks.len()
            } else {
                piece * PIECE..((piece + pieces) * PIECE).min(self.columns.blocks.len())
            };
            // SAFETY: as for this function.
            unsafe { self.block(batch, row..row + rows, blocks, desk) };
            unit += rows * pieces;
        }
    }

    unsafe fn block(&self, batch: usize, rows: Range<usize>, blocks: Range<usize>, desk: Desk) {
        let Desk { bases, shared, worker } = desk;
        let d = &self.d;
        let (a_m, a_j) = strides(d);
        // SAFETY: as for `run`; the rows are in the matrix.
        unsafe {
            let a = bases.get(self.a).cast::<f32>().add(batch * d.m * d.k);
            let c = bases.get(self.out).cast::<f32>().add((batch * d.m + rows.start) * d.n);
            let b = if self.packs {
                Right::Packed(shared.cast::<f32>().add(batch * d.k * self.columns.width))
            } else {
                Right::InPlace { ptr: bases.get(self.b).cast::<f32>().add(batch * d.k * d.n), pitch: d.n }
            };
            for from in blocks.clone().step_by(SPAN) {
                let pass = Pass {
                    reduction: &self.sum,
                    columns: &self.columns,
                    cuts: 0..self.sum.cuts.len(),
                    blocks: from..(from + SPAN).min(blocks.end),
                    rows: &self.rows[..rows.len()],
                    a: a.offset(rows.start as isize * a_m),
                    a_j,
                    b,
                    next: std::ptr::null(),
                    c,
                    store: self.finish.store(bases),
                };
                if let Some(pitch) = self.copy {
                    self.copied_cuts(&pass, pitch, worker.cast());
                } else {
                    pass.run();
                }
            }
            let cols = &self.columns.blocks[blocks];
            let (Some(first), Some(last)) = (cols.first(), cols.last()) else { return };
            let width = last.at + last.cols - first.at;
            let origin = [batch, rows.start, first.at];
            self.finish.apply(
                bases,
                origin,
                [rows.len(), width],
                (c.add(first.at), d.n),
                worker.add(self.copied()),
            );
        }
    }
}

impl Dot {
    /// Runs a pass cut by cut, each on a copy of its block of the left operand.
    unsafe fn copied_cuts(&self, pass: &Pass, pitch: usize, to: *mut f32) {
        for (n, cut) in self.sum.cuts.iter().enumerate() {
            let (lines, len, step) = if self.d.ta {
                (cut.rows, pass.rows.len(), self.d.m)
            } else {
                (pass.rows.len(), cut.rows, self.d.k)
            };
            let from = pass.a.wrapping_offset(cut.row as isize * pass.a_j);
            let a_j = if self.d.ta { pitch as isize } else { 1 };
            // SAFETY: as for `run`; the copy has room for a block of a cut, and segments of this cut start there.
            unsafe {
                for i in 0..lines {
                    std::ptr::copy_nonoverlapping(from.add(i * step), to.add(i * pitch), len);
                }
                let a = to.cast_const().wrapping_offset(-self.sum.segs[cut.segs.start].a);
                Pass { cuts: n..n + 1, blocks: pass.blocks.clone(), a, a_j, ..*pass }.run();
            }
        }
    }
}

/// Elements between rows of the left operand, and between elements of its reduction.
fn strides(d: &DotDims) -> (isize, isize) {
    if d.ta { (1, d.m as isize) } else { (d.k as isize, 1) }
}
