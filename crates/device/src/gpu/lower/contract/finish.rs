//! What happens to each sum before it is stored: the epilogue's expressions, then a pooling of one window's results.

use super::super::pool::{dense, wins};
use super::super::{Writer, evaluate};
use super::Task;
use crate::gpu::ir::{IntOp, Value};
use thalweg_base::{DType, ScalarOp};

/// Finishes and stores one result. `row`: its coordinates.
pub fn single(w: &mut Writer<'_>, t: &Task<'_>, batch: &[Value], row: &[Value], n: Value, sum: Value) {
    let (index, value) = epilogue(w, t, batch, row, n, sum);
    let at = t.operand.place(w, batch, &index);
    let out = w.buffer(t.c.out, true);
    w.store(out, at, value);
}

fn epilogue(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    batch: &[Value],
    row: &[Value],
    n: Value,
    sum: Value,
) -> (Vec<Value>, Value) {
    let index = t.operand.result(w, batch, row, n);
    let value = match &t.c.epilogue {
        None => sum,
        Some(e) => evaluate(w, &e.body, &index, Some(sum))[e.value.0 as usize],
    };
    (index, value)
}

/// Finishes the results of one pooling window and stores their maximum. `first`: the number of the window's first row.
pub fn window(w: &mut Writer<'_>, t: &Task<'_>, batch: &[Value], first: Value, n: Value, sums: &[Value]) {
    let pool =
        t.c.epilogue.as_ref().and_then(|e| e.pool).expect("a task with several rows in a window pools them");
    let (mut best, mut position, mut channel) = (Value::f32(0.0), Value::index(0), n);
    for (i, &sum) in sums.iter().enumerate() {
        let m = w.add(first, Value::index(i));
        let row = t.operand.row(w, m);
        let (index, value) = epilogue(w, t, batch, &row, n, sum);
        channel = index[3];
        if i == 0 {
            best = value;
            continue;
        }
        match pool.arg {
            None => best = w.scalar(ScalarOp::Max, &[best, value]),
            Some(_) => {
                let more = wins(w, value, best);
                best = w.select(more, value, best);
                position = w.select(more, Value::index(i), position);
            }
        }
    }
    let number = w.int(IntOp::Div, first, Value::index(t.sizes.pooled));
    let windows = t.sizes.m / t.sizes.pooled;
    let at = dense(w, [number, channel], [windows, pool.dims.c]);
    let out = w.buffer(t.c.out, true);
    w.store(out, at, best);
    if let Some(arg) = pool.arg {
        let arg = w.buffer(arg, true);
        let byte = w.cast(position, DType::U8);
        w.store(arg, at, byte);
    }
}
