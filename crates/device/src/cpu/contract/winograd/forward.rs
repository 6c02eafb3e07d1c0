//! Convolution and its input gradient by F(4x4, 3x3), fused from the source's pixels to the pooled result.
//!
//! Work is counted in rows of tiles, numbered through all images. A piece is some rows of about as many tiles as
//! keep their frequencies in the second-level cache: its source is transformed, multiplied with the filter one
//! block of columns and one frequency at a time, and transformed back. Units are some rows, and where those are few
//! also some columns. Invariant: a tile's result does not depend on which tiles it is worked on with.

use super::super::Desk;
use super::super::conv::Direction;
use super::super::finish::Finish;
use super::super::product::{Columns, Pass, Reduction, Right};
use super::super::tile::{Row, Seg, Store, table};
use super::super::vector::dispatch;
use super::pack::{Pack, packed, plane};
use super::tiles::{Ask, Gather, Grid, Place, Planes, Scatter};
use super::transform::{FREQUENCIES, IN, OUT};
use crate::cpu::{Bases, Isa};
use crate::plan::BufferId;
use std::ops::Range;
use thalweg_base::ConvDims;

/// Columns multiplied before they are transformed back: a tile's source frequencies are read that much less often.
const COLUMNS: usize = 128;

/// Bytes of a packed filter that may stay in the second-level cache.
const NEAR: usize = 512 << 10;

/// Tiles worked on together: as few as possible, for the cache, but the more the further away the filter must be.
fn together(filter_bytes: usize, isa: Isa) -> usize {
    match filter_bytes >> 20 {
        // Processors of no wider registers have smaller caches.
        0 if isa == Isa::Avx2 => 18,
        0 => 39,
        1..16 => 52,
        _ => 78,
    }
}

/// A convolution-like kernel.
pub(in super::super) struct Winograd {
    isa: Isa,
    images: usize,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    grid: Grid,
    /// Result that is computed: [images, oh, ow, k].
    oh: usize,
    ow: usize,
    k: usize,
    filter: [usize; 2],
    turned: bool,
    sum: Reduction,
    columns: Columns,
    /// One per tile worked on together.
    rows: Vec<Row>,
    /// Floats between tiles and between frequencies: of the source, and of the result.
    source: [usize; 2],
    result: [usize; 2],
    /// Column blocks multiplied before they are transformed back.
    blocks: usize,
    /// Rows of tiles in a piece and in a unit; parts of the columns.
    piece: usize,
    unit: usize,
    parts: usize,
    finish: Finish,
}

impl Winograd {
    pub fn new(d: &ConvDims, direction: Direction, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> Self {
        let forward = direction == Direction::Forward;
        let (h, w, c) = if forward { (d.h, d.w, d.c) } else { (d.oh, d.ow, d.k) };
        let (oh, ow, k) = if forward { (d.oh, d.ow, d.k) } else { (d.h, d.w, d.c) };
        let finish = finish.in_registers();
        let (oh, ow) = finish.kept(oh, ow);
        let before = |lo: usize| if forward { -(lo as isize) } else { lo as isize - 2 };
        let (th, tw) = (oh.div_ceil(OUT), ow.div_ceil(OUT));
        let grid = Grid { h, w, c, th, tw, top: before(d.rows.lo), left: before(d.cols.lo) };
        let columns = Columns::new(isa, 1, k, 0, 0, 1);
        let mut sum = Reduction { segs: vec![Seg { a: 0, b: 0, len: c }], ..Reduction::default() };
        sum.cut(1, columns.depth);

        let vectors = columns.blocks[0].vectors;
        let high = table(isa, false)[vectors - 1].len();
        let pitch = c.next_multiple_of(16) + 16;
        let tiles = together(packed(c, &columns) * 4, isa).next_multiple_of(high);
        let tiles = tiles.min(d.n * th * tw);
        let piece = (tiles / tw).max(1);
        let blocks = (COLUMNS / columns.blocks[0].cols).clamp(1, columns.blocks.len());
        // A pool that is not in registers reads all columns of what was stored.
        let apart = finish.pools() && finish.windows().is_none();
        let steps = if apart { 1 } else { columns.blocks.len().div_ceil(blocks) };
        let (unit, parts) = cut(d.n * th, piece, steps);
        let wide = blocks * vectors * super::super::vector::lanes(isa);
        let source = [FREQUENCIES * pitch, pitch];
        let result = [FREQUENCIES * (wide + 16), wide + 16];
        let row = |t: usize| Row { a: (t * source[0]) as isize, c: t * result[0] };
        Winograd {
            isa,
            images: d.n,
            a: buffers[0],
            b: buffers[1],
            out: buffers[2],
            grid,
            oh,
            ow,
            k,
            filter: [d.c, d.k],
            turned: !forward,
            sum,
            rows: (0..tiles).map(row).collect(),
            columns,
            source,
            result,
            blocks,
            piece,
            unit,
            parts,
            finish,
        }
    }

    pub fn shared_bytes(&self) -> usize {
        packed(self.grid.c, &self.columns) * 4
    }

    pub fn pack_units(&self) -> usize {
        self.sum.panels(&self.columns)
    }

    /// # Safety
    /// The filter's buffer is complete; `shared` has `shared_bytes()`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        for panel in units {
            let pack = Pack {
                sum: &self.sum,
                columns: &self.columns,
                panel,
                from: bases.get(self.b).cast(),
                channels: self.filter,
                turned: self.turned,
                to: shared.cast(),
                plane: plane(self.grid.c, &self.columns),
            };
            // SAFETY: as for this function.
            unsafe { dispatch(self.isa, pack) };
        }
    }

    /// Floats of pixels that are pooled only when their rows are complete.
    fn pooled_floats(&self) -> usize {
        let apart = self.finish.pools() && self.finish.windows().is_none();
        if apart { (self.piece * OUT * self.ow * self.k).next_multiple_of(16) } else { 0 }
    }

    pub fn worker_bytes(&self) -> usize {
        let floats = self.rows.len() * (self.source[0] + self.result[0]) + self.pooled_floats();
        floats * 4 + self.finish.scratch()
    }

    pub fn units(&self) -> usize {
        (self.images * self.grid.th).div_ceil(self.unit) * self.parts
    }

    /// Units: rows of the first part of the columns, then of the next.
    ///
    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let (all, per) = (self.images * self.grid.th, self.units() / self.parts);
        let steps = self.columns.blocks.len().div_ceil(self.blocks);
        for part in 0..self.parts {
            let (from, to) = (units.start.max(part * per), units.end.min((part + 1) * per));
            if from < to {
                let rows = (from - part * per) * self.unit..((to - part * per) * self.unit).min(all);
                let cut = |p: usize| p * steps / self.parts;
                // SAFETY: as for this function.
                unsafe { self.rows(rows, cut(part)..cut(part + 1), desk) };
            }
        }
    }

    /// All of some images.
    ///
    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run_images(&self, images: Range<usize>, desk: Desk) {
        let steps = self.columns.blocks.len().div_ceil(self.blocks);
        // SAFETY: as for this function.
        unsafe { self.rows(images.start * self.grid.th..images.end * self.grid.th, 0..steps, desk) };
    }

    /// Rows of tiles, in some steps of `blocks` column blocks.
    unsafe fn rows(&self, rows: Range<usize>, steps: Range<usize>, desk: Desk) {
        let pieces = rows.len().div_ceil(self.piece);
        for p in 0..pieces {
            let cut = |p: usize| rows.start + p * rows.len() / pieces;
            let piece = cut(p)..cut(p + 1);
            let tiles = piece.start * self.grid.tw..piece.end * self.grid.tw;
            let scratch: *mut f32 = desk.worker.cast();
            let apart = scratch.wrapping_add(self.rows.len() * (self.source[0] + self.result[0]));
            let place = self.place(piece.start, apart, desk.bases);
            let chunks = tiles.len().div_ceil(self.rows.len());
            for n in 0..chunks {
                let cut = |n: usize| tiles.start + n * tiles.len() / chunks;
                // SAFETY: as for `run`.
                unsafe { self.tiles(cut(n)..cut(n + 1), steps.clone(), place, desk) };
            }
            // SAFETY: the rows are complete.
            unsafe { self.after(piece, steps.clone(), place, desk) };
        }
    }

    /// Where a piece's pixels go.
    fn place(&self, row: usize, apart: *mut f32, bases: &Bases) -> Place {
        if let Some(pool) = self.finish.windows() {
            let arg = pool.arg.map_or(std::ptr::null_mut(), |b| bases.get(b));
            return Place::Windows { at: bases.get(self.out).cast(), arg, h: pool.dims.oh, w: pool.dims.ow };
        }
        let first = self.line(row) * self.ow * self.k;
        let at = if self.finish.pools() { apart.wrapping_sub(first) } else { bases.get(self.out).cast() };
        Place::Pixels { at, h: self.oh, w: self.ow }
    }

    /// The first row of pixels, numbered through all images, of a row of tiles.
    fn line(&self, row: usize) -> usize {
        row / self.grid.th * self.oh + row % self.grid.th * OUT
    }

    /// Channels of the result in a step of column blocks.
    fn channels(&self, steps: Range<usize>) -> Range<usize> {
        let at = |step: usize| self.columns.blocks.get(step * self.blocks).map_or(self.k, |b| b.at);
        at(steps.start)..at(steps.end)
    }

    unsafe fn tiles(&self, tiles: Range<usize>, steps: Range<usize>, place: Place, desk: Desk) {
        let scratch: *mut f32 = desk.worker.cast();
        let source = Planes { at: scratch, pitch: self.source[0], plane: self.source[1] };
        let at = scratch.wrapping_add(self.rows.len() * self.source[0]);
        let result = Planes { at, pitch: self.result[0], plane: self.result[1] };
        let store = self.finish.store(desk.bases);
        // SAFETY: the caller vouches for the buffers; the planes have room for the tiles.
        unsafe {
            let gather = Gather::<IN> {
                grid: &self.grid,
                tiles: tiles.clone(),
                channels: 0..self.grid.c,
                from: desk.bases.get(self.a).cast(),
                to: source,
            };
            dispatch(self.isa, gather);
            let plane = plane(self.grid.c, &self.columns);
            let filters = desk.shared.cast::<f32>();
            let far = self.shared_bytes() > NEAR;
            for step in steps.clone() {
                let blocks = step * self.blocks..((step + 1) * self.blocks).min(self.columns.blocks.len());
                let channels = self.channels(step..step + 1);
                for f in 0..FREQUENCIES {
                    let part = |f: usize| tiles.start + f * tiles.len() / FREQUENCIES;
                    let asked = part(f)..part(f + 1);
                    Ask { grid: &self.grid, tiles: asked, channels: &channels, k: self.k, place }.run();
                    let filter = filters.wrapping_add(f * plane);
                    // The next frequency's first panel, or the next step's; at the end the first of all again.
                    let next = match () {
                        () if !far => std::ptr::null(),
                        () if f + 1 < FREQUENCIES => {
                            self.sum.panel(&self.columns, 0, blocks.start, filter.wrapping_add(plane))
                        }
                        () if step + 1 < steps.end => self.sum.panel(&self.columns, 0, blocks.end, filters),
                        () => self.sum.panel(&self.columns, 0, steps.start * self.blocks, filters),
                    };
                    Pass {
                        reduction: &self.sum,
                        columns: &self.columns,
                        cuts: 0..self.sum.cuts.len(),
                        blocks: blocks.clone(),
                        rows: &self.rows[..tiles.len()],
                        a: source.at.add(f * source.plane),
                        a_j: 1,
                        b: Right::Packed(filter),
                        next,
                        c: result.at.add(f * result.plane).wrapping_sub(channels.start),
                        store: Store::plain(false),
                    }
                    .run();
                }
                let (tiles, from, k) = (tiles.clone(), result, self.k);
                let scatter = Scatter { grid: &self.grid, tiles, channels, from, k, store, place };
                dispatch(self.isa, scatter);
            }
        }
    }

    /// What of the epilogue does not happen in registers, over finished rows of tiles.
    unsafe fn after(&self, rows: Range<usize>, steps: Range<usize>, place: Place, desk: Desk) {
        let Place::Pixels { at, .. } = place else { return };
        let scratch: *mut f32 = desk.worker.cast();
        let floats = self.rows.len() * (self.source[0] + self.result[0]) + self.pooled_floats();
        let tape = scratch.wrapping_add(floats).cast();
        let channels = self.channels(steps);
        for row in rows {
            let (image, y) = (row / self.grid.th, row % self.grid.th * OUT);
            let height = OUT.min(self.oh - y);
            let c = at.wrapping_add(self.line(row) * self.ow * self.k);
            // SAFETY: the rows were just written; a pool's windows do not reach across rows of tiles.
            unsafe {
                if self.finish.pools() {
                    self.finish.block(desk.bases, [image, y, height], [self.ow, self.k], c, tape);
                    continue;
                }
                for r in 0..height {
                    let c = c.wrapping_add(r * self.ow * self.k + channels.start);
                    let origin = [image, y + r, 0, channels.start];
                    self.finish.apply(desk.bases, origin, [self.ow, channels.len()], (c, self.k), tape);
                }
            }
        }
    }
}

/// Rows of tiles in a unit, and parts of the columns, of which there are `steps`: so that there are units for many
/// workers, but each is worth transforming its source for.
fn cut(rows: usize, piece: usize, steps: usize) -> (usize, usize) {
    let (mut unit, mut parts) = (piece, 1);
    while rows.div_ceil(unit) * parts < 16 && parts * 4 <= steps {
        parts *= 2;
    }
    while rows.div_ceil(unit) * parts < 8 && unit > 1 {
        unit = unit.div_ceil(2);
    }
    (unit, parts)
}
