//! A matrix product with few rows and a large transposed right operand: the input gradient of a dense layer.
//!
//! `out[m][n] = sum over k of a[m][k] * b[n][k]`: the rows of `b` lie as a left operand's do, so `b` is taken as one, in
//! place, against the small transposed `a`, and blocks of the result are transposed on their way out. Units are
//! blocks of rows of `b`, so that no worker reads all of it, and nothing of it is packed.

use super::Desk;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::store::Store;
use super::tile::{Row, Seg};
use super::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::Isa;
use crate::plan::{BufferId, DotDims};
use std::ops::Range;

/// Rows of the right operand in a unit.
const BLOCK: usize = 112;
/// Rows of the left operand, at most; its floats, at most; columns of the result, at least.
const ROWS: usize = 128;
const LEFT: usize = 32 << 10;
const COLUMNS: usize = 256;

/// Such a product.
pub(super) struct Flipped {
    isa: Isa,
    d: DotDims,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    rows: Vec<Row>,
    columns: Columns,
    sum: Reduction,
    /// Floats between rows of the transposed `a`, and of a block of the result before it is transposed.
    pitch: usize,
    finish: Finish,
}

impl Flipped {
    /// Whether a product is worth it.
    pub fn fits(d: &DotDims) -> bool {
        d.batch == 1 && !d.ta && d.tb && d.m > 4 && d.m <= ROWS && d.m * d.k <= LEFT && d.n >= COLUMNS
    }

    pub fn new(d: DotDims, [a, b, out]: [BufferId; 3], finish: Finish, isa: Isa) -> Flipped {
        let pitch = d.m.next_multiple_of(lanes(isa));
        let columns = Columns::new(isa, 1, pitch, 0, 0, 1);
        let mut sum = Reduction { segs: vec![Seg { a: 0, b: 0, len: d.k }], ..Reduction::default() };
        sum.cut(1, columns.depth);
        let rows = (0..BLOCK.min(d.n)).map(|r| Row { a: (r * d.k) as isize, c: r * pitch }).collect();
        Flipped { isa, d, a, b, out, rows, columns, sum, pitch, finish }
    }

    fn left(&self) -> usize {
        (self.d.k * self.pitch).next_multiple_of(16)
    }

    fn block(&self) -> usize {
        // Whole registers are transposed.
        (BLOCK.next_multiple_of(lanes(self.isa)) * self.pitch).next_multiple_of(16)
    }

    pub fn worker_bytes(&self) -> usize {
        (self.left() + self.block()) * 4 + self.finish.scratch()
    }

    pub fn units(&self) -> usize {
        self.d.n.div_ceil(BLOCK)
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, desk: Desk) {
        let Desk { bases, worker, .. } = desk;
        let d = &self.d;
        // SAFETY: as for this function; the worker's scratch is laid out as `worker_bytes` says.
        unsafe {
            let left = worker.cast::<f32>();
            let block = left.add(self.left());
            let scratch = block.add(self.block()).cast::<u8>();
            let (a, out) = (bases.get(self.a).cast::<f32>(), bases.get(self.out).cast::<f32>());
            let transposed = Transposed {
                from: a,
                shape: [d.m, d.k],
                pitch: d.k,
                to: left,
                to_pitch: self.pitch,
                clear: true,
            };
            dispatch(self.isa, transposed);
            for unit in units {
                let (at, count) = (unit * BLOCK, BLOCK.min(d.n - unit * BLOCK));
                Pass {
                    reduction: &self.sum,
                    columns: &self.columns,
                    cuts: 0..self.sum.cuts.len(),
                    blocks: 0..self.columns.blocks.len(),
                    rows: &self.rows[..count],
                    a: bases.get(self.b).cast::<f32>().add(at * d.k),
                    a_j: 1,
                    b: Right::InPlace { ptr: left, pitch: self.pitch },
                    next: std::ptr::null(),
                    c: block,
                    store: Store::plain(false),
                }
                .run();
                let to = out.add(at);
                let shape = [count, d.m];
                dispatch(
                    self.isa,
                    Transposed { from: block, shape, pitch: self.pitch, to, to_pitch: d.n, clear: false },
                );
                self.finish.columns(bases, [d.m, d.n], at..at + count, out, scratch);
            }
        }
    }
}

/// `to[c][r] = from[r][c]`; with `clear`, what is left of the rows of `to` becomes 0.
struct Transposed {
    from: *const f32,
    shape: [usize; 2],
    pitch: usize,
    to: *mut f32,
    to_pitch: usize,
    clear: bool,
}

impl Job for Transposed {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let [rows, cols] = self.shape;
        // SAFETY: the caller vouches for both matrices; only whole blocks are transposed at once.
        unsafe {
            for r in (0..rows).step_by(V::LANES) {
                for c in (0..cols).step_by(V::LANES) {
                    let (from, to) = (self.from.add(r * self.pitch + c), self.to.add(c * self.to_pitch + r));
                    if r + V::LANES <= rows && c + V::LANES <= cols {
                        V::transpose(from, self.pitch, to, self.to_pitch);
                        continue;
                    }
                    for i in 0..V::LANES.min(cols - c) {
                        for j in 0..V::LANES.min(rows - r) {
                            *to.add(i * self.to_pitch + j) = *from.add(j * self.pitch + i);
                        }
                    }
                }
            }
            if self.clear {
                for c in 0..cols {
                    self.to.add(c * self.to_pitch + rows).write_bytes(0, self.to_pitch - rows);
                }
            }
        }
    }
}
