//! Cache blocking: a product cut into panels of its right operand and tiles of its result.
//!
//! A [`Reduction`] lists what every row of a result is summed over; [`Columns`] cuts the result's
//! columns into blocks of a few registers. The reduction is cut so that a panel (one cut x one column block) of
//! the right operand stays in the first-level cache; cuts are summed on their own and then added, which also
//! keeps the error of long f32 sums small. Invariant: cuts depend on the problem and the instruction set only,
//! never on the number of workers.

use super::tile::{LINE, Row, Seg, Store, Tile, table};
use super::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::Isa;
use std::ops::Range;

/// Bytes of a panel: half of a usual first-level cache.
const PANEL: usize = 16 << 10;

/// Consecutive segments that are summed in registers.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub segs: Range<usize>,
    /// First row of the right operand, and how many.
    pub row: usize,
    pub rows: usize,
}

/// What every row of a result is summed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Reduction {
    pub segs: Vec<Seg>,
    pub cuts: Vec<Cut>,
    /// Where each row of the right operand lies in its source, in elements; empty if used in place only.
    pub sources: Vec<usize>,
}

/// A block of columns, at most as wide as a tile.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// First column of the result; how many; how many registers.
    pub at: usize,
    pub cols: usize,
    pub vectors: usize,
    /// Added to every address of the left operand (the channels of a group).
    pub a: isize,
    /// Where the first column lies in a row of the right operand's source.
    pub source: usize,
    /// Floats of a packed row before this block.
    pub packed: usize,
}

/// All column blocks.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub blocks: Vec<Column>,
    /// Floats of a packed row, of all blocks.
    pub width: usize,
    /// Rows of a panel.
    pub depth: usize,
    /// Elements between neighbouring columns in the right operand's source.
    pub stride: usize,
    isa: Isa,
    lanes: usize,
}

/// The right operand as it lies in memory.
#[derive(Clone, Copy)]
pub(super) enum Right {
    /// Rows of `pitch` elements.
    InPlace { ptr: *const f32, pitch: usize },
    /// Panels made by [`Reduction::pack`].
    Packed(*const f32),
}

impl Columns {
    /// `cols` columns in each of `groups`; each group shifts the left operand by `a` and the right operand's
    /// source by `source`.
    pub fn new(isa: Isa, groups: usize, cols: usize, a: isize, source: usize, stride: usize) -> Self {
        // Tall narrow tiles read least of the right operand.
        Columns::with_width(isa, groups, cols, [a, source as isize], stride, 2)
    }

    /// As `new`, in blocks of `vectors` registers.
    pub fn with_width(
        isa: Isa,
        groups: usize,
        cols: usize,
        [a, source]: [isize; 2],
        stride: usize,
        preferred: usize,
    ) -> Self {
        let lanes = lanes(isa);
        let widest = table(isa, false).len();
        let preferred = widest.min(preferred);
        let vectors = cols.div_ceil(lanes);
        let parts = vectors.div_ceil(if vectors == 3 { widest.min(3) } else { preferred });
        let mut blocks = Vec::with_capacity(groups * parts);
        let mut packed = 0;
        for g in 0..groups {
            let mut v = 0;
            for p in 0..parts {
                let take = (vectors - v).div_ceil(parts - p);
                let at = v * lanes;
                blocks.push(Column {
                    at: g * cols + at,
                    cols: (take * lanes).min(cols - at),
                    vectors: take,
                    a: g as isize * a,
                    source: g * source as usize + at * stride,
                    packed,
                });
                packed += take * lanes;
                v += take;
            }
        }
        let depth = PANEL / (vectors.div_ceil(parts) * lanes * 4);
        Columns { blocks, width: packed, depth, stride, isa, lanes }
    }

    /// Whether every row of the source can be read in whole registers.
    fn whole(&self, c: &Column) -> bool {
        c.cols == c.vectors * self.lanes
    }
}

impl Reduction {
    /// Joins segments that continue each other, then cuts them into about equal pieces of at most `depth` rows.
    pub fn cut(&mut self, a_j: isize, depth: usize) {
        let mut joined: Vec<Seg> = Vec::with_capacity(self.segs.len());
        for &s in &self.segs {
            match joined.last_mut() {
                Some(l) if l.a + l.len as isize * a_j == s.a && l.b + l.len == s.b => l.len += s.len,
                _ => joined.push(s),
            }
        }
        let total: usize = joined.iter().map(|s| s.len).sum();
        let pieces = total.div_ceil(depth).max(1);
        let target = total.div_ceil(pieces);
        self.segs.clear();
        self.cuts.clear();
        let (mut row, mut rows, mut from) = (0, 0, 0);
        for mut s in joined {
            while s.len > 0 {
                let take = s.len.min(target - rows);
                self.segs.push(Seg { len: take, ..s });
                s = Seg { a: s.a + take as isize * a_j, b: s.b + take, len: s.len - take };
                rows += take;
                if rows == target {
                    self.cuts.push(Cut { segs: from..self.segs.len(), row, rows });
                    (from, row, rows) = (self.segs.len(), row + rows, 0);
                }
            }
        }
        if rows > 0 || self.cuts.is_empty() {
            self.cuts.push(Cut { segs: from..self.segs.len(), row, rows });
        }
    }

    /// Packed panels: one per cut and column block.
    pub fn panels(&self, columns: &Columns) -> usize {
        self.cuts.len() * columns.blocks.len()
    }

    /// Where a panel lies in a packed operand: that of a cut and a column block.
    pub fn panel(&self, columns: &Columns, cut: usize, block: usize, at: *const f32) -> *const f32 {
        let (cut, col) = (&self.cuts[cut], &columns.blocks[block]);
        at.wrapping_add(cut.row * columns.width + cut.rows * col.packed)
    }

    /// Packs one panel into its place behind `to`, columns past the end zero.
    ///
    /// # Safety
    /// `from` is the right operand's source; `to` has `sources.len() * columns.width` floats.
    pub unsafe fn pack(&self, panel: usize, columns: &Columns, from: *const f32, to: *mut f32) {
        let (cut, col) =
            (&self.cuts[panel / columns.blocks.len()], &columns.blocks[panel % columns.blocks.len()]);
        let width = col.vectors * columns.lanes;
        let sources = &self.sources[cut.row..cut.row + cut.rows];
        // SAFETY: the caller vouches for both ends; rows and columns are those of the panel.
        unsafe {
            let to = to.add(cut.row * columns.width + cut.rows * col.packed);
            let from = from.add(col.source);
            if columns.stride == 1 {
                for (r, &source) in sources.iter().enumerate() {
                    std::ptr::copy_nonoverlapping(from.add(source), to.add(r * width), col.cols);
                    to.add(r * width + col.cols).write_bytes(0, width - col.cols);
                }
                return;
            }
            dispatch(
                columns.isa,
                Transposition { sources, cols: col.cols, stride: columns.stride, from, to, width },
            );
        }
    }
}

/// Packs rows whose neighbouring columns lie `stride` apart.
struct Transposition<'a> {
    sources: &'a [usize],
    cols: usize,
    stride: usize,
    from: *const f32,
    to: *mut f32,
    width: usize,
}

impl Job for Transposition<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for (n, sources) in self.sources.chunks(V::LANES).enumerate() {
            let to = self.to.wrapping_add(n * V::LANES * self.width);
            let dense = sources.len() == V::LANES && sources.windows(2).all(|w| w[0] + 1 == w[1]);
            let whole = if dense { self.cols / V::LANES * V::LANES } else { 0 };
            // SAFETY: rows and columns are those of the panel, which the caller vouches for.
            unsafe {
                for c in (0..whole).step_by(V::LANES) {
                    let from = self.from.add(sources[0] + c * self.stride);
                    V::transpose(from, self.stride, to.add(c), self.width);
                }
                for c in whole..self.cols {
                    let from = self.from.add(c * self.stride);
                    for (r, &source) in sources.iter().enumerate() {
                        *to.add(r * self.width + c) = *from.add(source);
                    }
                }
                for r in 0..sources.len() {
                    to.add(r * self.width + self.cols).write_bytes(0, self.width - self.cols);
                }
            }
        }
    }
}

/// One pass over rows of a product.
pub(super) struct Pass<'a> {
    pub reduction: &'a Reduction,
    pub columns: &'a Columns,
    /// Cuts and column blocks to do.
    pub cuts: Range<usize>,
    pub blocks: Range<usize>,
    pub rows: &'a [Row],
    pub a: *const f32,
    pub a_j: isize,
    pub b: Right,
    /// Where the right operand is packed and too long for the second-level cache: the panel that is read after this
    /// pass, so that each is asked for ahead. Null else.
    pub next: *const f32,
    pub c: *mut f32,
    /// For the first cut: whether to add to what is there; for the last: all else, from column 0 and `c` on.
    pub store: Store,
}

impl Pass<'_> {
    /// Computes the rows in the column blocks.
    ///
    /// # Safety
    /// The processor has `isa`; every element that the reduction, the columns and the operands describe exists,
    /// and nobody else touches the results.
    pub unsafe fn run(&self) {
        for n in self.cuts.clone() {
            let cut = &self.reduction.cuts[n];
            for block in self.blocks.clone() {
                let col = &self.columns.blocks[block];
                let next = match self.b {
                    _ if self.next.is_null() => std::ptr::null(),
                    Right::InPlace { .. } => std::ptr::null(),
                    Right::Packed(ptr) if block + 1 < self.blocks.end => {
                        self.reduction.panel(self.columns, n, block + 1, ptr)
                    }
                    Right::Packed(ptr) if n + 1 < self.cuts.end => {
                        self.reduction.panel(self.columns, n + 1, self.blocks.start, ptr)
                    }
                    Right::Packed(_) => self.next,
                };
                // SAFETY: as for this function.
                unsafe { self.panel(n, &self.reduction.segs[cut.segs.clone()], cut, (col, next)) };
            }
        }
    }

    unsafe fn panel(&self, n: usize, segs: &[Seg], cut: &Cut, (col, next): (&Column, *const f32)) {
        let width = col.vectors * self.columns.lanes;
        let last = n + 1 == self.reduction.cuts.len();
        let accumulate = self.store.accumulate || n > 0;
        let store = if last { self.store.from(col.at) } else { Store::plain(false) };
        let store = Store { accumulate, ..store };
        let (b, b_j, part) = match self.b {
            Right::InPlace { ptr, pitch } => (ptr.wrapping_add(col.source), pitch, !self.columns.whole(col)),
            Right::Packed(ptr) => {
                let panel = ptr.wrapping_add(cut.row * self.columns.width + cut.rows * col.packed);
                (panel.wrapping_sub(cut.row * width), width, false)
            }
        };
        let instances = table(self.columns.isa, part)[col.vectors - 1];
        let tiles = self.rows.len().div_ceil(instances.len()).max(1);
        // Tiles of two heights, a call for each.
        let (short, tall) = (self.rows.len() / tiles, self.rows.len() % tiles);
        // Each tile asks for as many lines as it has steps, until there is all of the next panel.
        let lines = if next.is_null() { 0 } else { cut.rows * width / LINE };
        let asked = (tall * cut.rows).min(lines);
        let (high, low) = self.rows.split_at(tall * (short + 1));
        for (height, rows, asked) in [(short + 1, high, 0), (short, low, asked)] {
            if rows.is_empty() {
                continue;
            }
            let tile = Tile {
                a: self.a.wrapping_offset(col.a),
                rows: rows.as_ptr(),
                groups: rows.len() / height,
                segs: segs.as_ptr(),
                seg_count: segs.len(),
                a_j: self.a_j,
                b,
                b_j,
                next: next.wrapping_add(asked * LINE),
                lines: lines - asked,
                c: self.c.wrapping_add(col.at),
                cols: col.cols,
                store,
            };
            // SAFETY: the instance is one of `isa`; the tile lies within the pass.
            unsafe { instances[height - 1](&tile) };
        }
    }
}
