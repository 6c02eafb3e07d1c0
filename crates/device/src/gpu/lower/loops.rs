//! Loops without reductions: a thread per element. Loops with some: see [`reduce`](super::reduce).

use super::{Lowering, Writer, element, evaluate};
use crate::gpu::ir::Value;
use crate::plan::{Canonical, Loop, canonical};

/// Threads of a group.
const THREADS: usize = 256;

/// Lowers a loop.
pub fn lower(l: &mut Lowering<'_>, k: &Loop) {
    let c = canonical(k);
    if c.outs.iter().any(|o| o.reduce.is_some()) {
        return super::reduce::lower(l, k, &c);
    }
    let count = c.space.iter().product::<usize>();
    let mut w = Writer::new(l.plan, "elementwise", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let index = unravel(&mut w, linear, &c.space);
    let values = evaluate(&mut w, &c.body, &index, None);
    store(&mut w, &c, &index, &values);
    w.close(open);
    l.launch(0, count.div_ceil(THREADS), w);
}

/// The number of a thread among those of all groups.
pub fn linear_thread(w: &mut Writer<'_>, threads: usize) -> Value {
    let (group, thread) = (w.group(), w.thread());
    w.mul_add(group, Value::index(threads), thread)
}

/// Whether a number is below `count`; known where whole groups are.
pub fn within(w: &mut Writer<'_>, number: Value, count: usize, step: usize) -> Value {
    match count.is_multiple_of(step) {
        true => Value::bool(true),
        false => w.lt(number, Value::index(count)),
    }
}

/// The index, per axis, of the element of that number.
pub fn unravel(w: &mut Writer<'_>, number: Value, space: &[usize]) -> Vec<Value> {
    let mut index = vec![Value::index(0); space.len()];
    let mut rest = number;
    for (axis, &extent) in space.iter().enumerate().rev() {
        if axis == 0 {
            index[0] = rest;
        } else {
            (rest, index[axis]) = w.div_rem(rest, extent);
        }
    }
    index
}

/// Stores the results that are not combined.
pub fn store(w: &mut Writer<'_>, c: &Canonical, index: &[Value], values: &[Value]) {
    for out in c.outs.iter().filter(|o| o.reduce.is_none()) {
        let to = w.buffer(out.access.buffer, true);
        let at = element(w, &out.access, index);
        w.store(to, at, values[out.value.0 as usize]);
    }
}
