//! Tiles multiplied by threads: each has a rectangle of sums in registers.
//!
//! While a chunk of the sum is multiplied from shared memory, the next one is on its way into registers. Where tiles are
//! small, several teams of threads share the steps of a chunk, and their sums are added in order at the end.

use super::super::Writer;
use super::panel::{Extent, Order, Panel, Places};
use super::results::Results;
use super::seat::Seat;
use super::tile::{Engine, Tile};
use super::{Side, Task};
use crate::gpu::ir::{Shared, Value, Var};
use thalweg_base::{DType, ScalarOp};

/// Sizes, as [`Engine::Threads`] has them.
struct Team {
    down: usize,
    across: usize,
    slices: usize,
    rows: usize,
    cols: usize,
    /// Steps of a chunk that each of the slices takes.
    steps: usize,
    /// Thread's place: slice, down, across, and its number in the team.
    slice: Value,
    y: Value,
    x: Value,
    number: Value,
}

impl Team {
    fn new(w: &mut Writer<'_>, tile: &Tile) -> Team {
        let Engine::Threads { down, across, slices, rows, cols } = tile.engine else {
            panic!("a tile of threads")
        };
        let thread = w.thread();
        let (slice, number) = match slices {
            1 => (Value::index(0), thread),
            _ => w.div_rem(thread, down * across),
        };
        let (y, x) = w.div_rem(number, across);
        Team { down, across, slices, rows, cols, steps: tile.depth / slices, slice, y, x, number }
    }
}

/// The sums of a thread over a range.
pub fn multiply(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    tile: &Tile,
    seat: &Seat,
    [from, to]: [Value; 2],
) -> Results {
    let team = Team::new(w, tile);
    let [m, n] = tile.size();
    let same = |_: &mut Writer<'_>, local: Value| local;
    let of = (&t.operand, &seat.batch[..]);
    let kept = DType::F32;
    let extent =
        |side, tile_extent, whole| Extent { side, tile: tile_extent, whole, depth: tile.depth, kept };
    let a = Panel::new(w, of, extent(Side::A, m, t.sizes.m), Order::Steps, seat.m0, &same);
    let b = Panel::new(w, of, extent(Side::B, n, t.sizes.n), Order::Steps, seat.n0, &same);
    let mut row = |_| (0..team.cols).map(|_| w.mutable(Value::f32(0.0))).collect();
    let sums: Vec<Vec<Var>> = (0..team.rows).map(&mut row).collect();
    let only = Value::index(0);
    for panel in [&a, &b] {
        panel.fetch(w, [from, to]);
    }
    let (turn, k0) = w.open_repeat(from, to, tile.depth);
    for panel in [&a, &b] {
        panel.deposit(w, only);
    }
    w.barrier();
    let next = w.add(k0, Value::index(tile.depth));
    for panel in [&a, &b] {
        panel.fetch(w, [next, to]);
    }
    chunk(w, &team, [a.places, b.places], &sums);
    w.barrier();
    w.close(turn);
    if team.slices > 1 {
        let shared = w.shared(DType::F32, m * n);
        gather(w, &team, shared, &sums);
    }
    results(w, &team, sums)
}

/// Multiplies what is in shared memory.
fn chunk(w: &mut Writer<'_>, team: &Team, [a, b]: [Places; 2], sums: &[Vec<Var>]) {
    let first = w.mul(team.slice, Value::index(team.steps));
    let (turn, step) = w.open_unrolled(team.steps);
    let k = w.add(first, step);
    let row = w.mul(team.y, Value::index(team.rows));
    let at = w.mul_add(k, Value::index(a.along), row);
    let left = run(w, a.shared, at, team.rows);
    let column = w.mul(team.x, Value::index(4));
    let at = w.mul_add(k, Value::index(b.along), column);
    for q in 0..team.cols / 4 {
        let at = w.add(at, Value::index(q * 4 * team.across));
        let right = w.load_shared4(b.shared, at);
        for (row, &l) in sums.iter().zip(&left) {
            for (sum, r) in row[4 * q..].iter().zip(right) {
                let next = w.mul_add(l, r, Value::Var(*sum));
                w.set(*sum, next);
            }
        }
    }
    w.close(turn);
}

/// Elements of shared memory that follow each other, four at once where they are fours.
fn run(w: &mut Writer<'_>, from: Shared, at: Value, count: usize) -> Vec<Value> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let next = w.add(at, Value::index(values.len()));
        match count.is_multiple_of(4) {
            true => values.extend(w.load_shared4(from, next)),
            false => values.push(w.load_shared(from, next)),
        }
    }
    values
}

/// Adds the sums of all slices to those of the first, in order.
fn gather(w: &mut Writer<'_>, team: &Team, shared: Shared, sums: &[Vec<Var>]) {
    let threads = team.down * team.across;
    let places = |w: &mut Writer<'_>, i: usize| w.add(team.number, Value::index(i * threads));
    for slice in 1..team.slices {
        if slice > 1 {
            w.barrier();
        }
        let gives = w.scalar(ScalarOp::Eq, &[team.slice, Value::index(slice)]);
        let open = w.open(gives);
        for (i, sum) in sums.iter().flatten().enumerate() {
            let at = places(w, i);
            w.store_shared(shared, at, Value::Var(*sum));
        }
        w.close(open);
        w.barrier();
        let takes = w.scalar(ScalarOp::Eq, &[team.slice, Value::index(0)]);
        let open = w.open(takes);
        for (i, sum) in sums.iter().flatten().enumerate() {
            let at = places(w, i);
            let other = w.load_shared(shared, at);
            let next = w.add(Value::Var(*sum), other);
            w.set(*sum, next);
        }
        w.close(open);
    }
}

fn results(w: &mut Writer<'_>, team: &Team, sums: Vec<Vec<Var>>) -> Results {
    let row = w.mul(team.y, Value::index(team.rows));
    let rows = (0..team.rows).map(|i| w.add(row, Value::index(i))).collect();
    let column = w.mul(team.x, Value::index(4));
    let columns = (0..team.cols / 4).map(|q| w.add(column, Value::index(q * 4 * team.across))).collect();
    let has = match team.slices {
        1 => Value::bool(true),
        _ => w.scalar(ScalarOp::Eq, &[team.slice, Value::index(0)]),
    };
    let values = sums.into_iter().map(|row| row.into_iter().map(Value::Var).collect()).collect();
    Results { has, rows, columns, run: 4, values }
}
