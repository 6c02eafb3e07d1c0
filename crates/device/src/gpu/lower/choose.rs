//! Kernels that choose: the largest elements, elements by index, greedy suppression.
//!
//! Plain forms. Top-k: a group of threads per row looks for the best element behind the one chosen last, `k` times.
//! Suppression: a group per list goes through it and rules out what is behind, in shared memory; a list too long for that
//! is one thread's.

use super::loops::{linear_thread, within};
use super::{Lowering, Writer};
use crate::gpu::ir::{IntOp, Value};
use crate::plan::{Gather, Suppress, TopK};
use thalweg_base::{DType, ScalarOp};

/// Threads of a group; a power of two.
const THREADS: usize = 256;

/// Lowers a top-k.
pub fn top_k(l: &mut Lowering<'_>, t: &TopK) {
    let threads = THREADS.min(t.n.next_power_of_two());
    let mut w = Writer::new(l.plan, "top_k", threads as u32);
    let (row, thread) = (w.group(), w.thread());
    let (x, out) = (w.buffer(t.x, false), w.buffer(t.out, true));
    let (keys, places) = (w.shared(DType::I32, threads), w.shared(DType::I32, threads));
    let first = w.mul(row, Value::index(t.n));
    let results = w.mul(row, Value::index(t.k));
    // Before everything: no key is that large, as it would be a NaN's.
    let last_key = w.mutable(Value::i32(i32::MAX));
    let last_place = w.mutable(Value::i32(-1));
    let (turns, turn) = w.open_repeat(Value::index(0), Value::index(t.k), 1);
    // Behind everything: no element has that place.
    let best_key = w.mutable(Value::i32(i32::MIN));
    let best_place = w.mutable(Value::index(t.n));
    let (scan, place) = w.open_repeat(thread, Value::index(t.n), threads);
    let at = w.add(first, place);
    let v = w.load(x, at);
    let key = key(&mut w, v);
    let left = comes_before(&mut w, [Value::Var(last_key), Value::Var(last_place)], [key, place]);
    let better = comes_before(&mut w, [key, place], [Value::Var(best_key), Value::Var(best_place)]);
    let wins = w.and(left, better);
    let win = w.open(wins);
    w.set(best_key, key);
    w.set(best_place, place);
    w.close(win);
    w.close(scan);
    // The group's best, by halves.
    w.store_shared(keys, thread, Value::Var(best_key));
    w.store_shared(places, thread, Value::Var(best_place));
    let mut half = threads / 2;
    while half > 0 {
        w.barrier();
        let takes = w.lt(thread, Value::index(half));
        let take = w.open(takes);
        let other = w.add(thread, Value::index(half));
        let mine = [w.load_shared(keys, thread), w.load_shared(places, thread)];
        let theirs = [w.load_shared(keys, other), w.load_shared(places, other)];
        let better = comes_before(&mut w, theirs, mine);
        let win = w.open(better);
        w.store_shared(keys, thread, theirs[0]);
        w.store_shared(places, thread, theirs[1]);
        w.close(win);
        w.close(take);
        half /= 2;
    }
    w.barrier();
    let (key, place) = (w.load_shared(keys, Value::index(0)), w.load_shared(places, Value::index(0)));
    w.set(last_key, key);
    w.set(last_place, place);
    let one = w.lt(thread, Value::index(1));
    let store = w.open(one);
    let to = w.add(results, turn);
    w.store(out, to, place);
    w.close(store);
    // Nobody stores the next turn's before all have read this one's.
    w.barrier();
    w.close(turns);
    l.launch(0, t.outer, w);
}

/// Larger for what comes first: whole numbers in the order of floats, 0 and -0 equal, NaN least.
fn key(w: &mut Writer<'_>, v: Value) -> Value {
    let bits = w.bits(v, DType::I32);
    let flipped = w.int(IntOp::Xor, bits, Value::i32(i32::MAX));
    let positive = w.lt(Value::i32(-1), bits);
    let ordered = w.select(positive, bits, flipped);
    // -0's is -1.
    let minus_zero = w.scalar(ScalarOp::Eq, &[ordered, Value::i32(-1)]);
    let ordered = w.select(minus_zero, Value::i32(0), ordered);
    let size = w.int(IntOp::And, bits, Value::i32(i32::MAX));
    let nan = w.lt(Value::i32(0x7f80_0000), size);
    w.select(nan, Value::i32(i32::MIN), ordered)
}

/// Whether (key, place) `a` comes before `b`.
fn comes_before(w: &mut Writer<'_>, a: [Value; 2], b: [Value; 2]) -> Value {
    let more = w.lt(b[0], a[0]);
    let equal = w.scalar(ScalarOp::Eq, &[a[0], b[0]]);
    let earlier = w.lt(a[1], b[1]);
    let tie = w.and(equal, earlier);
    w.select(more, Value::bool(true), tie)
}

/// Lowers a gather: a thread per element of the result; bytes and 16-bit numbers go by whole words where pieces are such, as
/// adapters store nothing smaller at once.
pub fn gather(l: &mut Lowering<'_>, g: &Gather) {
    let per_word = 4 / g.dtype.size();
    let whole = per_word > 1 && g.inner.is_multiple_of(per_word);
    let (dtype, inner) = if whole { (DType::U32, g.inner / per_word) } else { (g.dtype, g.inner) };
    let count = g.outer * g.count * inner;
    let mut w = Writer::new(l.plan, "gather", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let (place, element) = w.div_rem(linear, inner);
    let (row, _) = w.div_rem(place, g.count);
    let (x, at, out) =
        (w.buffer_as(g.x, dtype, false), w.buffer(g.at, false), w.buffer_as(g.out, dtype, true));
    let index = w.load(at, place);
    let zero = w.cast(Value::index(0), dtype);
    let value = w.mutable(zero);
    let (after, before) = (w.lt(Value::i32(-1), index), w.lt(index, Value::index(g.n)));
    let there = w.and(after, before);
    let found = w.open(there);
    let from = w.mul_add(row, Value::index(g.n), index);
    let from = w.mul_add(from, Value::index(inner), element);
    let v = w.load(x, from);
    w.set(value, v);
    w.close(found);
    w.store(out, linear, Value::Var(value));
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// Lowers a suppression.
pub fn suppress(l: &mut Lowering<'_>, s: &Suppress) {
    if s.n * 4 > l.abilities.shared_bytes {
        return one_by_one(l, s);
    }
    let threads = THREADS.min(s.n.next_power_of_two());
    let mut w = Writer::new(l.plan, "suppress", threads as u32);
    let (list, thread) = (w.group(), w.thread());
    let (conflict, out) = (w.buffer(s.conflict, false), w.buffer(s.out, true));
    let kept = w.shared(DType::Bool, s.n);
    let n = Value::index(s.n);
    let (fill, j) = w.open_repeat(thread, n, threads);
    w.store_shared(kept, j, Value::bool(true));
    w.close(fill);
    let first = w.mul(list, n);
    let (turns, i) = w.open_repeat(Value::index(0), n, 1);
    w.barrier();
    let rules = w.load_shared(kept, i);
    let open = w.open(rules);
    let line = w.add(first, i);
    let line = w.mul(line, n);
    let behind = w.add(i, Value::index(1));
    let from = w.add(behind, thread);
    let (rest, j) = w.open_repeat(from, n, threads);
    let at = w.add(line, j);
    let hit = w.load(conflict, at);
    let strike = w.open(hit);
    w.store_shared(kept, j, Value::bool(false));
    w.close(strike);
    w.close(rest);
    w.close(open);
    w.close(turns);
    w.barrier();
    let (copy, j) = w.open_repeat(thread, n, threads);
    let (at, v) = (w.add(first, j), w.load_shared(kept, j));
    w.store(out, at, v);
    w.close(copy);
    l.launch(0, s.outer, w);
}

/// A list per thread.
fn one_by_one(l: &mut Lowering<'_>, s: &Suppress) {
    let mut w = Writer::new(l.plan, "suppress_long", THREADS as u32);
    let list = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, list, s.outer, THREADS);
    let open = w.open(inside);
    let (conflict, out) = (w.buffer(s.conflict, false), w.buffer(s.out, true));
    let n = Value::index(s.n);
    let first = w.mul(list, n);
    let (turns, j) = w.open_repeat(Value::index(0), n, 1);
    let keep = w.mutable(Value::bool(true));
    let (earlier, i) = w.open_repeat(Value::index(0), j, 1);
    let from = w.add(first, i);
    let at = w.mul_add(from, n, j);
    let (rules, hit) = (w.load(out, from), w.load(conflict, at));
    let strikes = w.and(rules, hit);
    let strike = w.open(strikes);
    w.set(keep, Value::bool(false));
    w.close(strike);
    w.close(earlier);
    let at = w.add(first, j);
    w.store(out, at, Value::Var(keep));
    w.close(turns);
    w.close(open);
    l.launch(0, s.outer.div_ceil(THREADS), w);
}
