//! Tiles multiplied by cooperative matrices: each subgroup has a rectangle of square matrices of sums.
//!
//! Panels lie in shared memory as in memory and pass through registers one chunk later than they are loaded, as those of
//! [`warps`] do that are not copied. Nobody knows which thread has which sum, so the sums go through shared memory: one row of
//! every subgroup's matrices at a time, of which each thread then takes runs of four. Subgroups beyond those that have work,
//! which there are where a GPU's may be smaller than its largest, bring panels and finish results like all others.

use super::super::Writer;
use super::multiplier::{STAGES, Squares};
use super::panel::{Extent, Order, Panel};
use super::results::Results;
use super::seat::Seat;
use super::tile::{Engine, PAD, THREADS, Tile};
use super::{Side, Task, warps};
use crate::gpu::ir::{Cooperative, Matrix, Role, Shared, Stmt, Value};
use thalweg_base::DType;

/// A subgroup's part of the tile.
struct Part {
    of: Squares,
    /// Matrices.
    rows: usize,
    cols: usize,
    /// Subgroups that multiply.
    down: usize,
    /// Place among the subgroups.
    y: Value,
    x: Value,
    /// bool: whether the subgroup multiplies.
    works: Value,
}

/// Multiplies, and has the results stored.
pub fn multiply(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    tile: &Tile,
    seat: &Seat,
    range: [Value; 2],
    mut store: impl FnMut(&mut Writer<'_>, &Results),
) {
    let part = Part::new(w, tile);
    let of = part.of;
    let sums: Vec<Vec<Matrix>> =
        (0..part.rows).map(|_| (0..part.cols).map(|_| w.sum_of_matrices(of.size)).collect()).collect();
    let [m, n] = tile.size();
    let same = |_: &mut Writer<'_>, place: Value| place;
    let operand = (&t.operand, &seat.batch[..]);
    let extent = |side, tile_extent, whole| Extent {
        side,
        tile: tile_extent,
        whole,
        depth: tile.depth,
        kept: of.dtype,
    };
    let order = Order::AsInMemory { stages: STAGES, copies: false };
    let a = Panel::new(w, operand, extent(Side::A, m, t.sizes.m), order, seat.m0, &same);
    let b = Panel::new(w, operand, extent(Side::B, n, t.sizes.n), order, seat.n0, &same);
    warps::pipeline(w, [&a, &b], (tile.depth, STAGES), range, |w, stage| {
        part.chunk(w, [&a, &b], tile.depth, stage, &sums);
    });
    // A row of matrices of every subgroup; what lies behind each row puts neighbours in different banks.
    let between = n + PAD;
    let staging = w.shared(DType::F32, part.down * of.size * between);
    for (i, row) in sums.iter().enumerate() {
        if i > 0 {
            w.barrier();
        }
        part.put(w, (staging, between), row);
        w.barrier();
        let results = part.take(w, (staging, between), i, (n, t.sizes.pooled));
        store(w, &results);
    }
}

impl Part {
    fn new(w: &mut Writer<'_>, tile: &Tile) -> Part {
        let Engine::Subgroups { of, down, across, rows, cols } = tile.engine else {
            panic!("a tile of subgroups")
        };
        let number = w.subgroup(of.subgroup);
        let [least, most] = of.subgroup;
        let works = match least == most && most as usize * down * across == THREADS {
            true => Value::bool(true),
            false => w.lt(number, Value::index(down * across)),
        };
        let (y, x) = w.div_rem(number, across);
        Part { of, rows, cols, down, y, x, works }
    }

    /// Multiplies what is in a stage.
    fn chunk(
        &self,
        w: &mut Writer<'_>,
        panels: [&Panel<'_>; 2],
        depth: usize,
        stage: Value,
        sums: &[Vec<Matrix>],
    ) {
        let size = self.of.size;
        let sides = [(Role::A, self.y, self.rows), (Role::B, self.x, self.cols)];
        let open = w.open(self.works);
        let firsts = [0, 1].map(|i| {
            let (p, (_, place, count)) = (panels[i].places, sides[i]);
            let at = w.mul(stage, Value::index(p.stage));
            w.mul_add(place, Value::index(count * size * p.across), at)
        });
        let (turn, step) = w.open_unrolled(depth / size);
        let [left, right] = [0, 1].map(|i| {
            let (panel, (role, _, count)) = (panels[i], sides[i]);
            let p = panel.places;
            let first = w.mul_add(step, Value::index(size * p.along), firsts[i]);
            // Rows of A are along the sum, those of B across it.
            let rows = panel.rows == (role == Role::A);
            let load = |j: usize| {
                let at = w.add(first, Value::index(j * size * p.across));
                w.load_factor((size, role), (p.shared, at), p.across.max(p.along), rows)
            };
            (0..count).map(load).collect::<Vec<Matrix>>()
        });
        for (row, a) in sums.iter().zip(&left) {
            for (d, b) in row.iter().zip(&right) {
                w.statement(Stmt::Cooperative(Cooperative::MultiplyAdd { d: *d, a: *a, b: *b }));
            }
        }
        w.close(turn);
        w.close(open);
    }

    /// Puts a row of each subgroup's matrices where all threads can see it.
    fn put(&self, w: &mut Writer<'_>, (staging, between): (Shared, usize), row: &[Matrix]) {
        let size = self.of.size;
        let open = w.open(self.works);
        let at = w.mul(self.y, Value::index(size * between));
        let first = w.mul_add(self.x, Value::index(self.cols * size), at);
        for (j, sum) in row.iter().enumerate() {
            let to = (staging, w.add(first, Value::index(j * size)));
            let stride = between as u32;
            w.statement(Stmt::Cooperative(Cooperative::Store { from: *sum, to, stride }));
        }
        w.close(open);
    }

    /// What a thread finishes of the `i`-th row of matrices: of whole windows four columns each. Windows do not go over the
    /// end of a matrix.
    fn take(
        &self,
        w: &mut Writer<'_>,
        (staging, between): (Shared, usize),
        i: usize,
        (n, pooled): (usize, usize),
    ) -> Results {
        let size = self.of.size;
        let (quads, windows) = (n / 4, self.down * size / pooled);
        let turns = (quads * windows).div_ceil(THREADS);
        let thread = w.thread();
        let has = match quads * windows < THREADS {
            true => w.lt(thread, Value::index(quads * windows)),
            false => Value::bool(true),
        };
        // Threads without any look at what there is.
        let number = w.select(has, thread, Value::index(0));
        let (first, quad) = w.div_rem(number, quads);
        let column = w.mul(quad, Value::index(4));
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for turn in 0..turns {
            let window = w.add(first, Value::index(turn * (THREADS / quads)));
            let top = w.mul(window, Value::index(pooled));
            let (y, inner) = w.div_rem(top, size);
            let inner = w.add(inner, Value::index(i * size));
            let row = w.mul_add(y, Value::index(self.rows * size), inner);
            let at = w.mul_add(top, Value::index(between), column);
            for p in 0..pooled {
                let at = w.add(at, Value::index(p * between));
                values.push(w.load_shared4(staging, at).to_vec());
                rows.push(w.add(row, Value::index(p)));
            }
        }
        Results { has, rows, columns: vec![column], run: 4, values }
    }
}
