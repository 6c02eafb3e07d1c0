//! Tiles multiplied by tensor cores, of f32 rounded to tf32 or of floats of 16 bits: each warp has fragments of 16 rows by 8
//! columns.
//!
//! Panels lie in shared memory as in memory, so that asynchronous copies can fill them several chunks ahead; an operand that
//! is computed on load, or whose neighbours do not fill 16 bytes, passes through registers one chunk later than it is loaded. One
//! barrier a chunk: after it the chunk has arrived for all, and the stage of the chunk before it is free.

use super::super::Writer;
use super::fragments::{Fragments, M, N, steps};
use super::panel::{Extent, Order, Panel};
use super::results::Results;
use super::seat::Seat;
use super::tile::{Engine, Tile};
use super::{Side, Task};
use crate::gpu::ir::{MmaType, Stmt, Tensor, Value, Var};
use thalweg_base::{DType, ScalarOp};

/// A warp's part of the tile, and a thread's of it.
struct Warp {
    /// Fragments.
    rows: usize,
    cols: usize,
    /// First row and column in the tile.
    row: Value,
    column: Value,
    /// The thread's number among the four that share a row, and that row.
    t: Value,
    g: Value,
}

type Sums = Vec<Vec<[Var; 4]>>;

/// The sums of a thread over a range.
pub fn multiply(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    tile: &Tile,
    seat: &Seat,
    [from, to]: [Value; 2],
) -> Results {
    let Engine::Warps { ty, across, rows, cols, stages, .. } = tile.engine else { panic!("a tile of warps") };
    let warp = Warp::new(w, across, rows, cols);
    let sums: Sums = (0..rows)
        .map(|_| (0..cols).map(|_| [(); 4].map(|()| w.mutable(Value::f32(0.0)))).collect())
        .collect();
    let [m, n] = tile.size();
    let pooled = t.sizes.pooled > 1;
    let (same, order) =
        (|_: &mut Writer<'_>, p: Value| p, |w: &mut Writer<'_>, p: Value| logical(w, rows, p));
    let order: &dyn Fn(&mut Writer<'_>, Value) -> Value = if pooled { &order } else { &same };
    let of = (&t.operand, &seat.batch[..]);
    let kept = kept(ty);
    let extent =
        |side, tile_extent, whole| Extent { side, tile: tile_extent, whole, depth: tile.depth, kept };
    let as_is = Order::AsInMemory { stages, copies: true };
    let a = Panel::new(w, of, extent(Side::A, m, t.sizes.m), as_is, seat.m0, order);
    let b = Panel::new(w, of, extent(Side::B, n, t.sizes.n), as_is, seat.n0, &same);
    let left = Fragments::new(w, ty, (a.places, Side::A), warp.row);
    let right = Fragments::new(w, ty, (b.places, Side::B), warp.column);
    pipeline(w, [&a, &b], (tile.depth, stages), [from, to], |w, stage| {
        chunk(w, ty, [&left, &right], tile.depth, stage, &sums);
    });
    warp.results(w, &sums, pooled)
}

/// Type of a panel's elements in shared memory.
fn kept(ty: MmaType) -> DType {
    match ty {
        MmaType::Tf32 => DType::F32,
        MmaType::F16 => DType::F16,
        MmaType::Bf16 => DType::BF16,
    }
}

/// Runs `multiply` for every chunk once it is in its stage, and has the next ones brought meanwhile.
pub fn pipeline(
    w: &mut Writer<'_>,
    panels: [&Panel<'_>; 2],
    (depth, stages): (usize, usize),
    [from, to]: [Value; 2],
    multiply: impl Fn(&mut Writer<'_>, Value),
) {
    let copies = panels.iter().any(|p| p.copies);
    let tensor = |w: &mut Writer<'_>, t: Tensor| {
        if copies {
            w.statement(Stmt::Tensor(t));
        }
    };
    for stage in 0..stages - 1 {
        let k0 = w.add(from, Value::index(stage * depth));
        for p in panels {
            if p.copies {
                p.copy(w, [k0, to], Value::index(stage));
            } else {
                p.fetch(w, [k0, to]);
                p.deposit(w, Value::index(stage));
            }
        }
        tensor(w, Tensor::Commit);
    }
    let (full, free) = (w.mutable(Value::index(0)), w.mutable(Value::index(stages - 1)));
    let (turn, k0) = w.open_repeat(from, to, depth);
    tensor(w, Tensor::Wait(stages as u32 - 2));
    w.barrier();
    let ahead = w.add(k0, Value::index((stages - 1) * depth));
    for p in panels {
        if p.copies {
            p.copy(w, [ahead, to], Value::Var(free));
        } else {
            p.fetch(w, [ahead, to]);
        }
    }
    tensor(w, Tensor::Commit);
    multiply(w, Value::Var(full));
    for p in panels.iter().filter(|p| !p.copies) {
        p.deposit(w, Value::Var(free));
    }
    for stage in [full, free] {
        let next = w.add(Value::Var(stage), Value::index(1));
        let last = w.scalar(ScalarOp::Eq, &[next, Value::index(stages)]);
        let next = w.select(last, Value::index(0), next);
        w.set(stage, next);
    }
    w.close(turn);
}

/// Which of a tile's rows is in a place, where a thread has to have rows that follow each other: its rows of all fragments
/// of its warp.
fn logical(w: &mut Writer<'_>, rows: usize, place: Value) -> Value {
    let (warp, inner) = w.div_rem(place, M * rows);
    let (half, g) = w.div_rem(inner, 8);
    let at = w.mul_add(g, Value::index(2 * rows), half);
    w.mul_add(warp, Value::index(M * rows), at)
}

/// Multiplies what is in a stage.
fn chunk(w: &mut Writer<'_>, ty: MmaType, [a, b]: [&Fragments; 2], depth: usize, stage: Value, sums: &Sums) {
    let (a0, b0) = (a.of_stage(w, stage), b.of_stage(w, stage));
    let (turn, step) = w.open_unrolled(depth / steps(ty));
    let pairs = sums[0].len() / 2;
    let right: Vec<[Value; 4]> = (0..pairs).map(|j| b.load(w, b0, step, j)).collect();
    for (i, row) in sums.iter().enumerate() {
        let left = a.load(w, a0, step, i);
        for (d, [b0, b1]) in row.iter().zip(right.iter().flat_map(|r| [[r[0], r[1]], [r[2], r[3]]])) {
            w.statement(Stmt::Tensor(Tensor::Mma { ty, d: *d, a: left, b: [b0, b1] }));
        }
    }
    w.close(turn);
}

impl Warp {
    fn new(w: &mut Writer<'_>, across: usize, rows: usize, cols: usize) -> Warp {
        let thread = w.thread();
        let (warp, lane) = w.div_rem(thread, 32);
        let (y, x) = w.div_rem(warp, across);
        let (g, t) = w.div_rem(lane, 4);
        let (row, column) = (w.mul(y, Value::index(rows * M)), w.mul(x, Value::index(cols * N)));
        Warp { rows, cols, row, column, t, g }
    }

    /// A thread has (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1) of every fragment.
    fn results(&self, w: &mut Writer<'_>, sums: &Sums, pooled: bool) -> Results {
        let mut rows = Vec::new();
        for half in 0..2 * self.rows {
            let (first, step) = match pooled {
                true => (w.mul(self.g, Value::index(2 * self.rows)), half),
                false => (self.g, half * 8),
            };
            let row = w.add(self.row, first);
            rows.push(w.add(row, Value::index(step)));
        }
        let pair = w.mul_add(self.t, Value::index(2), self.column);
        let columns = (0..self.cols).map(|j| w.add(pair, Value::index(j * N))).collect();
        let half = |i: usize| {
            let of = |d: &[Var; 4]| [d[2 * (i % 2)], d[2 * (i % 2) + 1]].map(Value::Var);
            sums[i / 2].iter().flat_map(of).collect()
        };
        let values = (0..2 * self.rows).map(half).collect();
        Results { has: Value::bool(true), rows, columns, run: 2, values }
    }
}
