//! What happens to each sum before it is stored: the epilogue's expressions, then a pooling of one window's results.

use super::super::pool::{dense, wins};
use super::super::{Writer, evaluate};
use super::Task;
use crate::gpu::ir::{IntOp, Param, Value};
use thalweg_base::{DType, ScalarOp};

/// Finishes and stores results of one row whose columns follow each other from `n` on. `row`: its coordinates.
pub fn singles(w: &mut Writer<'_>, t: &Task<'_>, batch: &[Value], row: &[Value], n: Value, sums: &[Value]) {
    let mut values = Vec::with_capacity(sums.len());
    let mut first = None;
    for (i, &sum) in sums.iter().enumerate() {
        let column = w.add(n, Value::index(i));
        let (index, value) = epilogue(w, t, batch, row, column, sum);
        first.get_or_insert(index);
        values.push(value);
    }
    let Some(index) = first else { return };
    let at = t.operand.place(w, batch, &index);
    let out = w.buffer(t.c.out, true);
    store(w, t, out, at, &values);
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

/// Stores elements that follow each other, four at once where columns are fours.
fn store(w: &mut Writer<'_>, t: &Task<'_>, to: Param, at: Value, values: &[Value]) {
    match *values {
        [a, b, c, d] if t.sizes.n.is_multiple_of(4) => w.store4(to, at, [a, b, c, d]),
        _ => {
            for (i, &value) in values.iter().enumerate() {
                let at = w.add(at, Value::index(i));
                w.store(to, at, value);
            }
        }
    }
}

/// Finishes the results of one pooling window, [rows][columns from `n` on], and stores their maxima. `first`: the number of
/// the window's first row.
pub fn windows(
    w: &mut Writer<'_>,
    t: &Task<'_>,
    batch: &[Value],
    first: Value,
    n: Value,
    sums: &[Vec<Value>],
) {
    let pool =
        t.c.epilogue.as_ref().and_then(|e| e.pool).expect("a task with several rows in a window pools them");
    let columns = sums[0].len();
    let mut best = vec![Value::f32(0.0); columns];
    let mut positions = vec![Value::index(0); columns];
    let mut channel = n;
    for (i, sums) in sums.iter().enumerate() {
        let m = w.add(first, Value::index(i));
        let row = t.operand.row(w, m);
        for (j, &sum) in sums.iter().enumerate() {
            let column = w.add(n, Value::index(j));
            let (index, value) = epilogue(w, t, batch, &row, column, sum);
            if j == 0 {
                channel = index[3];
            }
            if i == 0 {
                best[j] = value;
            } else if pool.arg.is_none() {
                best[j] = w.scalar(ScalarOp::Max, &[best[j], value]);
            } else {
                let more = wins(w, value, best[j]);
                best[j] = w.select(more, value, best[j]);
                positions[j] = w.select(more, Value::index(i), positions[j]);
            }
        }
    }
    let number = w.int(IntOp::Div, first, Value::index(t.sizes.pooled));
    let windows = t.sizes.m / t.sizes.pooled;
    let at = dense(w, [number, channel], [windows, pool.dims.c]);
    let out = w.buffer(t.c.out, true);
    store(w, t, out, at, &best);
    if let Some(arg) = pool.arg {
        let arg = w.buffer(arg, true);
        let bytes: Vec<Value> = positions.into_iter().map(|p| w.cast(p, DType::U8)).collect();
        store(w, t, arg, at, &bytes);
    }
}
