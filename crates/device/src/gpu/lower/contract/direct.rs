//! A thread per result (per pooling window, where there is a pooling): the sum in one loop.

use super::super::loops::{linear_thread, unravel, within};
use super::super::{Lowering, Writer};
use super::{Task, finish};
use crate::gpu::ir::Value;

/// Threads of a group.
const THREADS: usize = 128;

/// Lowers a contraction.
pub fn lower(l: &mut Lowering<'_>, t: &Task<'_>) {
    let s = t.sizes;
    let rows = s.m / s.pooled;
    let count = s.batches * rows * s.n;
    let mut w = Writer::new(l.plan, "contract_direct", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    // Groups are innermost: neighbouring threads load neighbouring channels.
    let at = unravel(&mut w, linear, &[s.batches / groups(t), rows, s.n, groups(t)]);
    let batch = w.mul_add(at[0], Value::index(groups(t)), at[3]);
    let batch = t.operand.batch(&mut w, batch);
    let first = w.mul(at[1], Value::index(s.pooled));
    let mut sums = Vec::with_capacity(s.pooled);
    for i in 0..s.pooled {
        let m = w.add(first, Value::index(i));
        sums.push(sum(&mut w, t, &batch, m, at[2]));
    }
    match s.pooled {
        1 => {
            let row = t.operand.row(&mut w, first);
            finish::single(&mut w, t, &batch, &row, at[2], sums[0]);
        }
        _ => finish::window(&mut w, t, &batch, first, at[2], &sums),
    }
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// Groups of a convolution among the batches.
fn groups(t: &Task<'_>) -> usize {
    match t.c.product {
        crate::plan::Product::Dot(_) => 1,
        crate::plan::Product::Conv(d)
        | crate::plan::Product::ConvInputGrad(d)
        | crate::plan::Product::ConvFilterGrad(d) => d.groups,
    }
}

fn sum(w: &mut Writer<'_>, t: &Task<'_>, batch: &Vec<Value>, m: Value, n: Value) -> Value {
    let row = t.operand.row(w, m);
    let [from, to] = t.operand.range(w, batch, t.sizes.k);
    let sum = w.mutable(Value::f32(0.0));
    let (turn, k) = w.open_repeat(from, to, 1);
    let along = t.operand.along(w, k);
    let a = t.operand.a(w, batch, &row, &along, Value::bool(true));
    let b = t.operand.b(w, batch, &along, n, Value::bool(true));
    let next = w.mul_add(a, b, Value::Var(sum));
    w.set(sum, next);
    w.close(turn);
    Value::Var(sum)
}
