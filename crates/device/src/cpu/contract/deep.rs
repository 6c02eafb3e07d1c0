//! A matrix product with few results over a long reduction: a dense layer behind a large feature map.
//!
//! The right operand is what costs, so it is what is shared among workers: units are pieces of the reduction, each
//! sums its piece of every result, and the last to finish adds the pieces up in order. So each worker reads the
//! rows of a weight that it reads, and updates, in all other kernels too, from its own cache. Invariant: pieces depend
//! on the problem alone, and are added in order, whoever does it.

use super::Desk;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::store::Store;
use super::tile::{Row, Seg};
use super::vector::{Job, Vector, dispatch};
use crate::cpu::Isa;
use crate::plan::{BufferId, DotDims};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Results, at most.
const RESULTS: usize = 16 << 10;
/// Floats of the right operand, at least, and those of a piece.
const OPERAND: usize = 64 << 10;
const PIECE: usize = 16 << 10;
/// Pieces, at most.
const MOST: usize = 16;

/// Such a product.
pub(super) struct Deep {
    isa: Isa,
    d: DotDims,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    rows: Vec<Row>,
    columns: Columns,
    /// What each piece sums.
    pieces: Vec<Reduction>,
    /// Pieces of this run that are done.
    done: AtomicUsize,
    finish: Finish,
}

impl Deep {
    /// Whether a product is worth it.
    pub fn fits(d: &DotDims) -> bool {
        let large = d.k * d.n >= OPERAND && d.m * d.n <= RESULTS && d.m * d.n * 4 <= d.k * d.n;
        large && d.batch == 1 && !d.ta && !d.tb && d.m > 4
    }

    pub fn new(d: DotDims, [a, b, out]: [BufferId; 3], finish: Finish, isa: Isa) -> Deep {
        let columns = Columns::new(isa, 1, d.n, 0, 0, 1);
        let count = (d.k * d.n / PIECE).clamp(1, MOST);
        let piece = |p: usize| {
            let (from, to) = (p * d.k / count, (p + 1) * d.k / count);
            let mut sum = Reduction {
                segs: vec![Seg { a: from as isize, b: from, len: to - from }],
                ..Reduction::default()
            };
            sum.cut(1, columns.depth);
            sum
        };
        let pieces = (0..count).map(piece).collect();
        let rows = (0..d.m).map(|r| Row { a: (r * d.k) as isize, c: r * d.n }).collect();
        Deep { isa, d, a, b, out, rows, columns, pieces, done: AtomicUsize::new(0), finish }
    }

    /// Bytes of the pieces' sums, one behind the other.
    pub fn shared_bytes(&self) -> usize {
        self.pieces.len() * self.d.m * self.d.n * 4
    }

    pub fn worker_bytes(&self) -> usize {
        self.finish.scratch()
    }

    pub fn units(&self) -> usize {
        self.pieces.len()
    }

    pub fn begin(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let Desk { bases, shared, worker } = desk;
        let (d, len) = (&self.d, self.d.m * self.d.n);
        let sums = shared.cast::<f32>();
        for unit in units {
            let reduction = &self.pieces[unit];
            // SAFETY: as for this function; each piece has sums of its own.
            unsafe {
                Pass {
                    reduction,
                    columns: &self.columns,
                    cuts: 0..reduction.cuts.len(),
                    blocks: 0..self.columns.blocks.len(),
                    rows: &self.rows,
                    a: bases.get(self.a).cast(),
                    a_j: 1,
                    b: Right::InPlace { ptr: bases.get(self.b).cast(), pitch: d.n },
                    next: std::ptr::null(),
                    c: sums.add(unit * len),
                    store: Store::plain(false),
                }
                .run();
            }
            // The last one sees what all others wrote.
            let before = self.done.fetch_add(1, Ordering::AcqRel);
            if (before + 1).is_multiple_of(self.pieces.len()) {
                // SAFETY: all pieces are done, and nobody else touches sums or results now.
                unsafe {
                    let out = bases.get(self.out).cast::<f32>();
                    dispatch(self.isa, AddUp { sums, pieces: self.pieces.len(), len, out });
                    self.finish.columns(bases, [d.m, d.n], 0..d.n, out, worker);
                }
            }
        }
    }
}

/// Adds up the pieces' sums.
struct AddUp {
    sums: *const f32,
    pieces: usize,
    len: usize,
    out: *mut f32,
}

impl Job for AddUp {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let whole = self.len / V::LANES * V::LANES;
        // SAFETY: the caller vouches for sums and results.
        unsafe {
            for i in (0..whole).step_by(V::LANES) {
                let mut total = V::load(self.sums.add(i));
                for p in 1..self.pieces {
                    total = V::add(total, V::load(self.sums.add(p * self.len + i)));
                }
                V::store(total, self.out.add(i));
            }
            for i in whole..self.len {
                let terms = (1..self.pieces).map(|p| *self.sums.add(p * self.len + i));
                *self.out.add(i) = terms.fold(*self.sums.add(i), |sum, x| sum + x);
            }
        }
    }
}
