//! Matrix products.
//!
//! Units are rows of the result, or pieces of rows where there are few, so that a slice of a batch is a range of
//! units. The left operand is read in place through strides; the right one too where its rows lie well, else it
//! is packed into panels.

use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, DotDims};
use std::ops::Range;

/// Rows that share a panel while it is in the first-level cache.
const BLOCK: usize = 224;
/// From so many rows on, packing the right operand pays.
const PACK: usize = 64;
/// Column blocks of a unit where rows are few.
const PIECE: usize = 4;

/// A matrix product.
pub(super) struct Dot {
    isa: Isa,
    d: DotDims,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    rows: Vec<Row>,
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
        let columns = Columns::new(isa, 1, d.n, 0, 0, if d.tb { d.k } else { 1 });
        let segs = vec![Seg { a: 0, b: 0, len: d.k }];
        let packs = d.tb || (d.m >= PACK && d.n > 64);
        let source = |j: usize| if d.tb { j } else { j * d.n };
        let sources = if packs { (0..d.k).map(source).collect() } else { Vec::new() };
        let mut sum = Reduction { segs, sources, ..Reduction::default() };
        sum.cut(strides(&d).1, columns.depth);
        let row = |r: usize| Row { a: r as isize * a_m, c: r * d.n };
        let pieces = if d.batch * d.m < 8 { columns.blocks.len().div_ceil(PIECE) } else { 1 };
        Dot {
            isa,
            d,
            a: buffers[0],
            b: buffers[1],
            out: buffers[2],
            rows: (0..d.m.min(BLOCK)).map(row).collect(),
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

    pub fn worker_bytes(&self) -> usize {
        self.finish.scratch()
    }

    pub fn units_per_image(&self) -> usize {
        if self.d.batch == 1 { self.pieces } else { self.d.m * self.pieces }
    }

    pub fn units(&self) -> usize {
        self.d.batch * self.d.m * self.pieces
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, shared: *const u8, worker: *mut u8) {
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
            unsafe { self.block(batch, row..row + rows, blocks, bases, shared, worker) };
            unit += rows * pieces;
        }
    }

    unsafe fn block(
        &self,
        batch: usize,
        rows: Range<usize>,
        blocks: Range<usize>,
        bases: &Bases,
        shared: *const u8,
        worker: *mut u8,
    ) {
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
            Pass {
                isa: self.isa,
                reduction: &self.sum,
                columns: &self.columns,
                blocks: blocks.clone(),
                rows: &self.rows[..rows.len()],
                a: a.offset(rows.start as isize * a_m),
                a_j,
                b,
                c,
                store: self.finish.store(bases),
            }
            .run();
            let cols = &self.columns.blocks[blocks];
            let (Some(first), Some(last)) = (cols.first(), cols.last()) else { return };
            let width = last.at + last.cols - first.at;
            let origin = [batch, rows.start, first.at];
            self.finish.apply(bases, origin, [rows.len(), width], (c.add(first.at), d.n), worker);
        }
    }
}

/// Elements between rows of the left operand, and between elements of its reduction.
fn strides(d: &DotDims) -> (isize, isize) {
    if d.ta { (1, d.m as isize) } else { (d.k as isize, 1) }
}
