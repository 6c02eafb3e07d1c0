//! Poolings and their inverse: a thread per element of the result.

use super::Lowering;
use super::Writer;
use super::loops::{linear_thread, unravel, within};
use crate::gpu::ir::{IntOp, Value};
use crate::plan::{ArgMax, Pool, PoolKind, Unpool};
use thalweg_base::{DType, ScalarOp, Window};

/// Threads of a group.
const THREADS: usize = 256;

/// Lowers a pooling. Ties go to the first position; a NaN wins over everything but an earlier NaN.
pub fn pool(l: &mut Lowering<'_>, p: &Pool) {
    let d = &p.dims;
    let count = d.output().iter().product::<usize>();
    let mut w = Writer::new(l.plan, "pool", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let [n, oy, ox, c] = four(unravel(&mut w, linear, &d.output()));
    let x = w.buffer(p.x, false);
    let best = w.mutable(Value::f32(if p.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 }));
    let position = w.mutable(Value::index(0));
    let (rows, r) = w.open_repeat(Value::index(0), Value::index(d.rows.size), 1);
    let (y, y_inside) = source(&mut w, &d.rows, oy, r, d.h);
    let (cols, s) = w.open_repeat(Value::index(0), Value::index(d.cols.size), 1);
    let (xx, x_inside) = source(&mut w, &d.cols, ox, s, d.w);
    let there = w.and(y_inside, x_inside);
    let tap = w.open(there);
    let at = dense(&mut w, [n, y, xx, c], d.image());
    let v = w.load(x, at);
    match (p.kind, p.arg) {
        (PoolKind::Sum, _) => {
            let sum = w.add(Value::Var(best), v);
            w.set(best, sum);
        }
        (PoolKind::Max, None) => {
            let most = w.scalar(ScalarOp::Max, &[Value::Var(best), v]);
            w.set(best, most);
        }
        (PoolKind::Max, Some(_)) => {
            let wins = wins(&mut w, v, Value::Var(best));
            let open = w.open(wins);
            w.set(best, v);
            let at = w.mul_add(r, Value::index(d.cols.size), s);
            w.set(position, at);
            w.close(open);
        }
    }
    w.close(tap);
    w.close(cols);
    w.close(rows);
    if let Some(out) = p.out {
        let out = w.buffer(out, true);
        w.store(out, linear, Value::Var(best));
    }
    if let Some(arg) = p.arg {
        let arg = w.buffer(arg, true);
        let byte = w.cast(Value::Var(position), DType::U8);
        w.store(arg, linear, byte);
    }
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// Lowers an unpooling: every element of the image looks at the windows it is in.
pub fn unpool(l: &mut Lowering<'_>, u: &Unpool) {
    let d = &u.dims;
    let count = d.image().iter().product::<usize>();
    let mut w = Writer::new(l.plan, "unpool", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let [n, y, x, c] = four(unravel(&mut w, linear, &d.image()));
    let (arg, dy) = (w.buffer(u.arg, false), w.buffer(u.dy, false));
    let sum = w.mutable(Value::f32(0.0));
    let (rows, r) = w.open_repeat(Value::index(0), Value::index(d.rows.size), 1);
    let (oy, y_inside) = window_of(&mut w, &d.rows, y, r, d.oh);
    let (cols, s) = w.open_repeat(Value::index(0), Value::index(d.cols.size), 1);
    let (ox, x_inside) = window_of(&mut w, &d.cols, x, s, d.ow);
    let there = w.and(y_inside, x_inside);
    let tap = w.open(there);
    let at = dense(&mut w, [n, oy, ox, c], d.output());
    let byte = w.load(arg, at);
    let chosen = w.cast(byte, DType::I32);
    let position = w.mul_add(r, Value::index(d.cols.size), s);
    let here = w.scalar(ScalarOp::Eq, &[chosen, position]);
    let hit = w.open(here);
    let g = w.load(dy, at);
    let next = w.add(Value::Var(sum), g);
    w.set(sum, next);
    w.close(hit);
    w.close(tap);
    w.close(cols);
    w.close(rows);
    let out = w.buffer(u.out, true);
    w.store(out, linear, Value::Var(sum));
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// Lowers an arg-max: the first maximum; NaN is never it.
pub fn argmax(l: &mut Lowering<'_>, a: &ArgMax) {
    let count = a.outer * a.inner;
    let mut w = Writer::new(l.plan, "argmax", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let (outer, inner) = w.div_rem(linear, a.inner);
    let x = w.buffer(a.x, false);
    let first = w.mul_add(outer, Value::index(a.n * a.inner), inner);
    let best = w.mutable(Value::f32(f32::NEG_INFINITY));
    let at = w.mutable(Value::index(0));
    let (turn, k) = w.open_repeat(Value::index(0), Value::index(a.n), 1);
    let from = w.mul_add(k, Value::index(a.inner), first);
    let v = w.load(x, from);
    let wins = w.lt(Value::Var(best), v);
    let win = w.open(wins);
    w.set(best, v);
    w.set(at, k);
    w.close(win);
    w.close(turn);
    let out = w.buffer(a.out, true);
    w.store(out, linear, Value::Var(at));
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// Whether a value takes a maximum's place.
pub fn wins(w: &mut Writer<'_>, v: Value, best: Value) -> Value {
    let more = w.lt(best, v);
    let (v_nan, best_nan) = (is_nan(w, v), is_nan(w, best));
    let first_nan = w.select(best_nan, Value::bool(false), v_nan);
    w.select(more, Value::bool(true), first_nan)
}

fn is_nan(w: &mut Writer<'_>, v: Value) -> Value {
    let bits = w.bits(v, DType::U32);
    let size = w.int(IntOp::And, bits, Value::u32(0x7fff_ffff));
    w.lt(Value::u32(0x7f80_0000), size)
}

/// The element along an axis that position `k` of window `o` looks at, and whether it is inside the image.
pub fn source(w: &mut Writer<'_>, window: &Window, o: Value, k: Value, extent: usize) -> (Value, Value) {
    let first = w.mul_add(o, Value::index(window.stride), Value::i32(-(window.lo as i32)));
    let at = w.mul_add(k, Value::index(window.dilation), first);
    if window.lo + window.hi == 0 {
        return (at, Value::bool(true));
    }
    let after = w.lt(Value::i32(-1), at);
    let before = w.lt(at, Value::index(extent));
    (at, w.and(after, before))
}

/// The window whose position `k` looks at an element, and whether there is one among `outputs`.
pub fn window_of(w: &mut Writer<'_>, window: &Window, at: Value, k: Value, outputs: usize) -> (Value, Value) {
    let padded = w.add(at, Value::index(window.lo));
    let back = w.mul(k, Value::i32(-(window.dilation as i32)));
    let start = w.add(padded, back);
    let positive = w.lt(Value::i32(-1), start);
    // A negative start divides as the large number it is as an unsigned one; `positive` says so.
    let (o, rest) = w.div_rem(start, window.stride);
    let before = w.lt(o, Value::index(outputs));
    let whole = w.scalar(ScalarOp::Eq, &[rest, Value::index(0)]);
    let inside = w.and(positive, before);
    (o, w.and(inside, whole))
}

/// The element of a dense array at an index.
pub fn dense<const N: usize>(w: &mut Writer<'_>, index: [Value; N], shape: [usize; N]) -> Value {
    let mut at = index[0];
    for axis in 1..N {
        at = w.mul_add(at, Value::index(shape[axis]), index[axis]);
    }
    at
}

/// Four indices.
pub fn four(index: Vec<Value>) -> [Value; 4] {
    index.try_into().expect("an index of four axes")
}
