//! Tiles of 64 by 64 by tensor cores in tf32: eight warps, four down and two across, each 16 rows by 32 columns.
//!
//! The tiles of A and B are in shared memory as for registers, their elements rounded to tf32 when they were stored. A
//! warp's results are spread over its threads as the hardware wants it; they go through shared memory once, at the end, so
//! that what follows (epilogues, pooling windows) is the same as without tensor cores.

use super::super::Writer;
use crate::gpu::ir::{IntOp, MmaType, Shared, Stmt, Tensor, Value, Var};
use thalweg_base::DType;

/// Rows and columns of a tile.
pub const TILE: [usize; 2] = [64, 64];
/// Rows, columns and steps of one multiplication.
const M: usize = 16;
const N: usize = 8;
const K: usize = 8;
/// Multiplications side by side in a warp's part of a tile.
const ACROSS: usize = 4;
/// Warps across.
const WARPS_ACROSS: usize = 2;
/// Elements from one step of the sum to the next in shared memory, and from one row of the results.
const STEP: usize = TILE[0] + 1;

/// The sums of a thread.
pub struct Fragments {
    sums: [[Var; 4]; ACROSS],
    /// First row and column of the thread's warp in the tile.
    row: Value,
    column: Value,
    /// The thread's number among the four that share a row, and the row.
    t: Value,
    g: Value,
}

/// A number rounded to the 10 bits of mantissa that tf32 has, the nearest one.
pub fn rounded(w: &mut Writer<'_>, v: Value) -> Value {
    let bits = w.bits(v, DType::U32);
    let up = w.add(bits, Value::u32(0x1000));
    let cut = w.int(IntOp::And, up, Value::u32(0xffff_e000));
    w.bits(cut, DType::F32)
}

impl Fragments {
    /// All zero.
    pub fn new(w: &mut Writer<'_>, thread: Value) -> Fragments {
        let (warp, lane) = w.div_rem(thread, 32);
        let (down, across) = w.div_rem(warp, WARPS_ACROSS);
        let (g, t) = w.div_rem(lane, 4);
        let (row, column) = (w.mul(down, Value::index(M)), w.mul(across, Value::index(N * ACROSS)));
        let sums = [(); ACROSS].map(|()| [(); 4].map(|()| w.mutable(Value::f32(0.0))));
        Fragments { sums, row, column, t, g }
    }

    /// Adds the product of the tiles in shared memory, `depth` steps of the sum.
    pub fn multiply(&self, w: &mut Writer<'_>, [a, b]: [Shared; 2], depth: usize) {
        let (turn, step) = w.open_unrolled(depth / K);
        let k = w.mul_add(step, Value::index(K), self.t);
        let (m, n) = (w.add(self.row, self.g), w.add(self.column, self.g));
        let (a0, b0) = (w.mul_add(k, Value::index(STEP), m), w.mul_add(k, Value::index(STEP), n));
        let fetch = |w: &mut Writer<'_>, from: Shared, first: Value, steps: usize, along: usize| {
            let at = w.add(first, Value::index(steps * STEP + along));
            let v = w.load_shared(from, at);
            w.bits(v, DType::U32)
        };
        // (row, step): (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4).
        let left = [(0, 0), (0, 8), (4, 0), (4, 8)].map(|(steps, rows)| fetch(w, a, a0, steps, rows));
        for (i, d) in self.sums.iter().enumerate() {
            let right = [0, 4].map(|steps| fetch(w, b, b0, steps, i * N));
            w.statement(Stmt::Tensor(Tensor::Mma { ty: MmaType::Tf32, d: *d, a: left, b: right }));
        }
        w.close(turn);
    }

    /// The results as threads without tensor cores have them: [rows][columns] of the thread at (x, y), whose rows follow each
    /// other and whose columns are `side` apart.
    pub fn spread(
        &self,
        w: &mut Writer<'_>,
        (x, y): (Value, Value),
        [rows, cols]: [usize; 2],
        side: usize,
    ) -> Vec<Vec<Value>> {
        let tile = w.shared(DType::F32, TILE[0] * STEP);
        for (i, d) in self.sums.iter().enumerate() {
            // (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
            for (j, &sum) in d.iter().enumerate() {
                let m = w.add(self.row, self.g);
                let m = w.add(m, Value::index(8 * (j / 2)));
                let n = w.mul_add(self.t, Value::index(2), self.column);
                let n = w.add(n, Value::index(i * N + j % 2));
                let at = w.mul_add(m, Value::index(STEP), n);
                w.store_shared(tile, at, Value::Var(sum));
            }
        }
        w.barrier();
        let first = w.mul(y, Value::index(rows));
        let mut row = |i: usize| {
            let m = w.add(first, Value::index(i));
            let at = w.mul_add(m, Value::index(STEP), x);
            let column = |j: usize| {
                let at = w.add(at, Value::index(j * side));
                w.load_shared(tile, at)
            };
            (0..cols).map(column).collect()
        };
        (0..rows).map(&mut row).collect()
    }
}
