//! Tiles: a group computes a rectangle of C from panels of A and B in shared memory ([`threads`](super::threads),
//! [`warps`](super::warps), [`subgroups`](super::subgroups)).
//!
//! Where a product has too few tiles to fill the GPU, its sum is cut: each piece's tile goes to scratch memory, and a second
//! launch adds the pieces in order and finishes them.

use super::super::loops::{linear_thread, unravel, within};
use super::super::{Lowering, Writer};
use super::results::{Results, Scratch};
use super::seat::Seat;
use super::tile::{Cut, Engine, THREADS};
use super::{Task, finish, subgroups, threads, warps};
use crate::gpu::ir::{MmaType, Value, Var};
use crate::gpu::launch::Argument;
use thalweg_base::DType;

/// Pieces that are loaded at once, before any is added.
const AT_ONCE: usize = 8;

/// Lowers a product, cut like this.
pub fn lower(l: &mut Lowering<'_>, t: &Task<'_>, cut: &Cut) {
    let s = t.sizes;
    let scratch = (cut.pieces > 1).then(|| l.scratch(4 * cut.pieces * s.batches * s.m * s.n));
    let name = match cut.tile.engine {
        Engine::Threads { .. } => "contract",
        Engine::Warps { ty: MmaType::Tf32, .. } => "contract_tf32",
        Engine::Warps { ty: MmaType::F16, .. } => "contract_f16",
        Engine::Warps { ty: MmaType::Bf16, .. } => "contract_bf16",
        Engine::Subgroups { .. } => "contract_matrices",
    };
    let mut w = Writer::new(l.plan, name, THREADS as u32);
    // Left to itself the compiler fits in a third group, at the price of registers kept in memory.
    if cut.tile.resident() == 2 {
        w.resident(2);
    }
    write(&mut w, t, cut, scratch);
    let [tiles_m, tiles_n] = cut.tile.count(&s);
    l.launch(0, s.batches * cut.pieces * tiles_m * tiles_n, w);
    if let Some(scratch) = scratch {
        add_pieces(l, t, cut.pieces, scratch);
    }
}

fn write(w: &mut Writer<'_>, t: &Task<'_>, cut: &Cut, scratch: Option<Argument>) {
    let seat = Seat::new(w, t, cut);
    let range = t.operand.range(w, &seat.batch, seat.piece, t.sizes.k, cut);
    let store = |w: &mut Writer<'_>, results: &Results| {
        let scratch = scratch.map(|s| {
            let place = w.mul_add(seat.piece, Value::index(t.sizes.batches), seat.number);
            let first = w.mul(place, Value::index(t.sizes.m * t.sizes.n));
            Scratch { to: w.argument_once(s, DType::F32, true), first }
        });
        results.store(w, t, &seat, cut, scratch.as_ref());
    };
    match cut.tile.engine {
        Engine::Threads { .. } => {
            let results = threads::multiply(w, t, &cut.tile, &seat, range);
            store(w, &results);
        }
        Engine::Warps { .. } => {
            let results = warps::multiply(w, t, &cut.tile, &seat, range);
            store(w, &results);
        }
        Engine::Subgroups { .. } => subgroups::multiply(w, t, &cut.tile, &seat, range, store),
    }
}

/// Adds up the pieces, in order, and finishes the results: four of a row a thread, where rows are fours.
pub fn add_pieces(l: &mut Lowering<'_>, t: &Task<'_>, pieces: usize, scratch: Argument) {
    let s = t.sizes;
    let width = if s.n.is_multiple_of(4) { 4 } else { 1 };
    let count = s.batches * s.m * s.n;
    let mut w = Writer::new(l.plan, "add_pieces", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count / width, THREADS);
    let open = w.open(inside);
    let first = w.mul(linear, Value::index(width));
    let from = w.argument(scratch, DType::F32, false);
    let sums: Vec<Var> = (0..width).map(|_| w.mutable(Value::f32(0.0))).collect();
    let add = |w: &mut Writer<'_>, piece: Value| {
        let at = w.mul_add(piece, Value::index(count), first);
        let values = if width == 4 { w.load4(from, at).to_vec() } else { vec![w.load(from, at)] };
        for (sum, v) in sums.iter().zip(values) {
            let next = w.add(Value::Var(*sum), v);
            w.set(*sum, next);
        }
    };
    // Unrolled, so that loads do not wait for each other.
    let whole = pieces / AT_ONCE * AT_ONCE;
    let (turn, first_piece) = w.open_repeat(Value::index(0), Value::index(whole), AT_ONCE);
    let (inner, piece) = w.open_unrolled(AT_ONCE);
    let piece = w.add(first_piece, piece);
    add(&mut w, piece);
    w.close(inner);
    w.close(turn);
    for piece in whole..pieces {
        add(&mut w, Value::index(piece));
    }
    let at = unravel(&mut w, first, &[s.batches, s.m, s.n]);
    let batch = t.operand.batch(&mut w, at[0]);
    let row = t.operand.row(&mut w, at[1]);
    let sums: Vec<Value> = sums.into_iter().map(Value::Var).collect();
    finish::singles(&mut w, t, &batch, &row, at[2], &sums);
    w.close(open);
    l.launch(1, (count / width).div_ceil(THREADS), w);
}
