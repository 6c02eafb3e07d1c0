//! Tiles: a group computes a rectangle of C, its threads 16 by 16, each some rows and columns in registers, from tiles of A
//! and B in shared memory.
//!
//! Where a product has too few tiles to fill the GPU, its sum is cut: each piece's tile goes to scratch memory, and a second
//! launch adds the pieces in order and finishes them. Where tensor cores may be used, whole tiles are multiplied by them
//! ([`tensor`](super::tensor)).

use super::super::loops::{linear_thread, unravel, within};
use super::super::{Lowering, Writer};
use super::{Sizes, Task, finish, tensor};
use crate::gpu::ir::{IntOp, Shared, Value, Var};
use crate::gpu::launch::Argument;
use thalweg_base::{DType, ScalarOp};

/// Threads in each direction.
const SIDE: usize = 16;
/// Steps of the sum in shared memory at a time.
const DEPTH: usize = 16;
/// Steps of the sum that a piece has at least.
const PIECE: usize = 64;

/// How a product is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    /// Rows and columns of C that a thread computes.
    rows: usize,
    cols: usize,
    /// Pieces of the sum.
    pieces: usize,
    /// Whether tensor cores multiply.
    tensor: bool,
}

impl Cut {
    fn tile(&self) -> [usize; 2] {
        [SIDE * self.rows, SIDE * self.cols]
    }

    fn tiles(&self, s: &Sizes) -> [usize; 2] {
        let [m, n] = self.tile();
        [s.m.div_ceil(m), s.n.div_ceil(n)]
    }
}

/// The largest tile that is not mostly empty and leaves enough of them; then pieces.
fn cut(s: &Sizes, parts: usize, parallel: usize) -> Cut {
    let fit = |extent: usize| match extent.div_ceil(SIDE) {
        1 => 1,
        2 => 2,
        _ => 4,
    };
    let mut c = Cut {
        rows: if s.pooled > 1 { s.pooled } else { fit(s.m) },
        cols: fit(s.n),
        pieces: 1,
        tensor: false,
    };
    let groups = parallel / (SIDE * SIDE);
    let tiles = |c: &Cut| c.tiles(s).iter().product::<usize>() * s.batches;
    while s.pooled == 1 && c.rows > 2 && tiles(&c) < groups {
        (c.rows, c.cols) = (2, c.cols.min(2));
    }
    let length = s.k / parts;
    if s.pooled == 1 && tiles(&c) < groups {
        c.pieces = (groups / tiles(&c)).min(length / PIECE).max(1);
    }
    c
}

/// Lowers a contraction.
pub fn lower(l: &mut Lowering<'_>, t: &Task<'_>) {
    let s = t.sizes;
    let mut c = cut(&s, t.c.parts, l.abilities.parallel);
    c.tensor = l.abilities.tensor && l.abilities.tf32 && c.tile() == tensor::TILE;
    let [tiles_m, tiles_n] = c.tiles(&s);
    let scratch = (c.pieces > 1).then(|| l.scratch(4 * c.pieces * s.batches * s.m * s.n));
    let name = if c.tensor { "contract_tf32" } else { "contract" };
    let mut w = Writer::new(l.plan, name, (SIDE * SIDE) as u32);
    write(&mut w, t, c, scratch);
    l.launch(0, s.batches * c.pieces * tiles_m * tiles_n, w);
    if let Some(scratch) = scratch {
        add_pieces(l, t, c.pieces, scratch);
    }
}

/// A thread's place in a tile.
struct Seat {
    /// Coordinates of the batch.
    batch: Vec<Value>,
    thread: Value,
    /// Column and row of the thread among 16 by 16.
    x: Value,
    y: Value,
    /// First row and column of the tile.
    m0: Value,
    n0: Value,
}

fn write(w: &mut Writer<'_>, t: &Task<'_>, c: Cut, scratch: Option<Argument>) {
    let s = t.sizes;
    let ([tile_m, tile_n], [tiles_m, tiles_n]) = (c.tile(), c.tiles(&s));
    let (group, thread) = (w.group(), w.thread());
    // Tiles of one row of A follow each other, so that they find it in a cache.
    let at = unravel(w, group, &[s.batches, c.pieces, tiles_m, tiles_n]);
    let batch = t.operand.batch(w, at[0]);
    let (y, x) = w.div_rem(thread, SIDE);
    let (m0, n0) = (w.mul(at[2], Value::index(tile_m)), w.mul(at[3], Value::index(tile_n)));
    let seat = Seat { batch, thread, x, y, m0, n0 };
    let [from, to] = piece(w, t, &seat.batch, at[1], c.pieces);
    let sums = accumulate(w, t, c, &seat, [from, to]);
    let first = w.mul_add(y, Value::index(c.rows), m0);
    for j in 0..c.cols {
        // Columns of a thread are 16 apart: neighbouring threads store neighbouring elements.
        let n = w.add(seat.n0, Value::index(j * SIDE));
        let n = w.add(n, x);
        let n_inside = within(w, n, s.n, tile_n);
        let column: Vec<Value> = sums.iter().map(|row| row[j]).collect();
        if s.pooled > 1 {
            let m_inside = within(w, first, s.m, tile_m);
            let inside = w.and(m_inside, n_inside);
            let open = w.open(inside);
            finish::window(w, t, &seat.batch, first, n, &column);
            w.close(open);
            continue;
        }
        for (i, &sum) in column.iter().enumerate() {
            let m = w.add(first, Value::index(i));
            let m_inside = within(w, m, s.m, tile_m);
            let inside = w.and(m_inside, n_inside);
            let open = w.open(inside);
            match scratch {
                None => {
                    let row = t.operand.row(w, m);
                    finish::single(w, t, &seat.batch, &row, n, sum);
                }
                Some(scratch) => {
                    let to = w.argument_once(scratch, DType::F32, true);
                    let place = w.mul_add(at[1], Value::index(s.batches), at[0]);
                    let place = w.mul_add(place, Value::index(s.m), m);
                    let place = w.mul_add(place, Value::index(s.n), n);
                    w.store(to, place, sum);
                }
            }
            w.close(open);
        }
    }
}

/// The steps of the sum that a piece has.
fn piece(w: &mut Writer<'_>, t: &Task<'_>, batch: &Vec<Value>, piece: Value, pieces: usize) -> [Value; 2] {
    let [from, to] = t.operand.range(w, batch, t.sizes.k);
    if pieces == 1 {
        return [from, to];
    }
    let back = w.mul(from, Value::i32(-1));
    let length = w.add(to, back);
    let up = w.add(length, Value::index(pieces - 1));
    let each = w.int(IntOp::Div, up, Value::index(pieces));
    let first = w.mul_add(piece, each, from);
    let end = w.add(first, each);
    let end = w.scalar(ScalarOp::Min, &[end, to]);
    [first, end]
}

/// The sums of a thread, [rows][columns].
fn accumulate(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    c: Cut,
    seat: &Seat,
    [from, to]: [Value; 2],
) -> Vec<Vec<Value>> {
    let [tile_m, tile_n] = c.tile();
    // One more than the tile, so that columns begin in different banks.
    let (a, b) = (w.shared(DType::F32, DEPTH * (tile_m + 1)), w.shared(DType::F32, DEPTH * (tile_n + 1)));
    let sums = Sums::new(w, c, seat.thread);
    // A thread loads one step of the sum of every 16th row of A, and every 16th step of one column of B.
    let (row_of, step_of) = (seat.y, seat.x);
    let rows: Vec<(Vec<Value>, Value, Value)> = (0..c.rows)
        .map(|i| {
            let local = w.add(row_of, Value::index(i * SIDE));
            let m = w.add(seat.m0, local);
            let inside = within(w, m, t.sizes.m, tile_m);
            (t.operand.row(w, m), inside, local)
        })
        .collect();
    let (turn, k0) = w.open_repeat(from, to, DEPTH);
    let k = w.add(k0, step_of);
    let k_inside = w.lt(k, to);
    let along = t.operand.along(w, k);
    for (row, inside, local) in &rows {
        let valid = w.and(*inside, k_inside);
        let v = t.operand.a(w, &seat.batch, row, &along, valid);
        let v = if c.tensor { tensor::rounded(w, v) } else { v };
        let at = w.mul_add(step_of, Value::index(tile_m + 1), *local);
        w.store_shared(a, at, v);
    }
    load_b(w, t, seat, (b, tile_n, c.tensor), [k0, to]);
    w.barrier();
    match &sums {
        Sums::Each(sums) => multiply(w, c, seat, [a, b], sums),
        Sums::Fragments(f) => f.multiply(w, [a, b], DEPTH),
    }
    w.barrier();
    w.close(turn);
    match sums {
        Sums::Each(sums) => sums.into_iter().map(|row| row.into_iter().map(Value::Var).collect()).collect(),
        Sums::Fragments(f) => f.spread(w, (seat.x, seat.y), [c.rows, c.cols], SIDE),
    }
}

/// What a thread adds up in.
enum Sums {
    /// One register per result, [rows][columns].
    Each(Vec<Vec<Var>>),
    /// As tensor cores have it.
    Fragments(tensor::Fragments),
}

impl Sums {
    fn new(w: &mut Writer<'_>, c: Cut, thread: Value) -> Sums {
        if c.tensor {
            return Sums::Fragments(tensor::Fragments::new(w, thread));
        }
        let mut row = |_| (0..c.cols).map(|_| w.mutable(Value::f32(0.0))).collect();
        Sums::Each((0..c.rows).map(&mut row).collect())
    }
}

/// Loads a tile of B.
fn load_b(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    seat: &Seat,
    (b, tile_n, round): (Shared, usize, bool),
    [k0, to]: [Value; 2],
) {
    let (first, column) = w.div_rem(seat.thread, tile_n);
    let n = w.add(seat.n0, column);
    let n_inside = within(w, n, t.sizes.n, tile_n);
    let rows_at_once = SIDE * SIDE / tile_n;
    for i in 0..DEPTH / rows_at_once {
        let step = w.add(first, Value::index(i * rows_at_once));
        let k = w.add(k0, step);
        let k_inside = w.lt(k, to);
        let valid = w.and(n_inside, k_inside);
        let along = t.operand.along(w, k);
        let v = t.operand.b(w, &seat.batch, &along, n, valid);
        let v = if round { tensor::rounded(w, v) } else { v };
        let at = w.mul_add(step, Value::index(tile_n + 1), column);
        w.store_shared(b, at, v);
    }
}

/// Multiplies the tiles in shared memory.
fn multiply(w: &mut Writer<'_>, c: Cut, seat: &Seat, [a, b]: [Shared; 2], sums: &[Vec<Var>]) {
    let [tile_m, tile_n] = c.tile();
    let (turn, k) = w.open_unrolled(DEPTH);
    let row = w.mul(seat.y, Value::index(c.rows));
    let a0 = w.mul_add(k, Value::index(tile_m + 1), row);
    let b0 = w.mul_add(k, Value::index(tile_n + 1), seat.x);
    let left: Vec<Value> = (0..c.rows)
        .map(|i| {
            let at = w.add(a0, Value::index(i));
            w.load_shared(a, at)
        })
        .collect();
    for j in 0..c.cols {
        let at = w.add(b0, Value::index(j * SIDE));
        let right = w.load_shared(b, at);
        for (row, &l) in sums.iter().zip(&left) {
            let next = w.mul_add(l, right, Value::Var(row[j]));
            w.set(row[j], next);
        }
    }
    w.close(turn);
}

/// Adds up the pieces, in order, and finishes the results.
fn add_pieces(l: &mut Lowering<'_>, t: &Task<'_>, pieces: usize, scratch: Argument) {
    const THREADS: usize = 256;
    let s = t.sizes;
    let count = s.batches * s.m * s.n;
    let mut w = Writer::new(l.plan, "add_pieces", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let from = w.argument_once(scratch, DType::F32, false);
    let sum = w.mutable(Value::f32(0.0));
    let (turn, p) = w.open_repeat(Value::index(0), Value::index(pieces), 1);
    let at = w.mul_add(p, Value::index(count), linear);
    let v = w.load(from, at);
    let next = w.add(Value::Var(sum), v);
    w.set(sum, next);
    w.close(turn);
    let at = unravel(&mut w, linear, &[s.batches, s.m, s.n]);
    let batch = t.operand.batch(&mut w, at[0]);
    let row = t.operand.row(&mut w, at[1]);
    finish::single(&mut w, t, &batch, &row, at[2], Value::Var(sum));
    w.close(open);
    l.launch(1, count.div_ceil(THREADS), w);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(batches: usize, m: usize, n: usize, k: usize) -> Sizes {
        Sizes { batches, m, n, k, pooled: 1 }
    }

    #[test]
    fn small_products_are_cut_along_the_sum() {
        let dense = cut(&sizes(1, 32, 64, 2304), 1, 1 << 17);
        assert!(dense.pieces >= 32, "{dense:?}");
        assert_eq!(
            cut(&sizes(1, 1 << 16, 64, 576), 1, 1 << 17),
            Cut { rows: 4, cols: 4, pieces: 1, tensor: false }
        );
        assert_eq!(
            cut(&sizes(1, 10, 10, 10), 1, 1 << 17),
            Cut { rows: 1, cols: 1, pieces: 1, tensor: false }
        );
    }
}
