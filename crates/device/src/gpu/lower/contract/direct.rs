//! A thread per result (per pooling window, where there is a pooling); where results are few and sums long, several threads
//! that share each sum.

use super::super::loops::{unravel, within};
use super::super::{Lowering, Writer};
use super::operand::Spot;
use super::tile::THREADS;
use super::{Side, Sizes, Task, finish};
use crate::gpu::ir::{Value, Var};
use thalweg_base::DType;

/// Threads that share a sum, at most, and the steps of it that each has at least.
const ALONG: usize = 32;
const STEPS: usize = 16;

/// Instructions of a step, clocks until the next one can begin, and threads that a unit advances in a clock: rough, to rank
/// this beside tiles.
const INSTRUCTIONS: usize = 24;
const LATENCY: usize = 200;
const LANES: usize = 128;

/// Clocks of a product on one of so many units, as [`Whole::clocks`](super::tile::Whole::clocks) tells them of tiles.
pub fn clocks(s: &Sizes, parts: usize, units: usize, parallel: usize) -> usize {
    let count = s.batches * (s.m / s.pooled) * s.n;
    let along = along(count, s.k / parts, s.pooled, parallel);
    let steps = s.pooled * (s.k / parts).div_ceil(along);
    steps * ((count * along).div_ceil(units).div_ceil(LANES) * INSTRUCTIONS).max(LATENCY)
}

/// Lowers a contraction.
pub fn lower(l: &mut Lowering<'_>, t: &Task<'_>) {
    let s = t.sizes;
    let rows = s.m / s.pooled;
    let count = s.batches * rows * s.n;
    let along = along(count, s.k / t.c.parts, s.pooled, l.abilities.parallel);
    let across = THREADS / along;
    let mut w = Writer::new(l.plan, "contract_direct", THREADS as u32);
    let (group, thread) = (w.group(), w.thread());
    let (y, x) = w.div_rem(thread, across);
    let number = w.mul_add(group, Value::index(across), x);
    let inside = within(&mut w, number, count, across);
    // Threads beyond the end have nothing to add up, but reach the barriers.
    let number = w.select(inside, number, Value::index(count - 1));
    // Groups are innermost: neighbouring threads load neighbouring channels.
    let at = unravel(&mut w, number, &[s.batches / t.groups(), rows, s.n, t.groups()]);
    let batch = w.mul_add(at[0], Value::index(t.groups()), at[3]);
    let batch = t.operand.batch(&mut w, batch);
    let first = w.mul(at[1], Value::index(s.pooled));
    let mut sums = Vec::with_capacity(s.pooled);
    for i in 0..s.pooled {
        let m = w.add(first, Value::index(i));
        let row = t.operand.row(&mut w, m);
        let share = Share { batch: &batch, row: &row, n: at[2], y, along, inside };
        sums.push(share.sum(&mut w, t));
    }
    let mut stores = inside;
    if along > 1 {
        let of_all = combine(&mut w, [across, along], [x, y], sums[0]);
        sums[0] = of_all;
        let leads = w.lt(y, Value::index(1));
        stores = w.and(inside, leads);
    }
    let open = w.open(stores);
    match s.pooled {
        1 => {
            let row = t.operand.row(&mut w, first);
            finish::singles(&mut w, t, &batch, &row, at[2], &sums);
        }
        _ => {
            let sums: Vec<Vec<Value>> = sums.into_iter().map(|sum| vec![sum]).collect();
            finish::windows(&mut w, t, &batch, first, at[2], &sums);
        }
    }
    w.close(open);
    l.launch(0, count.div_ceil(across), w);
}

/// Threads that share a sum of so many steps.
fn along(count: usize, steps: usize, pooled: usize, parallel: usize) -> usize {
    let mut along = 1;
    while pooled == 1 && along < ALONG && count * along < parallel && steps >= 2 * along * STEPS {
        along *= 2;
    }
    along
}

/// A thread's share of a sum: every `along`-th step from `y` on.
struct Share<'s> {
    batch: &'s [Value],
    row: &'s [Value],
    n: Value,
    y: Value,
    along: usize,
    inside: Value,
}

impl Share<'_> {
    fn sum(&self, w: &mut Writer<'_>, t: &Task<'_>) -> Value {
        let [from, to] = t.operand.whole(w, self.batch, t.sizes.k);
        let (from, to) = (w.add(from, self.y), w.select(self.inside, to, Value::index(0)));
        let sum = w.mutable(Value::f32(0.0));
        let [a, b] = [(); 2].map(|()| w.mutable(Value::f32(0.0)));
        let (turn, k) = w.open_repeat(from, to, self.along);
        let along = t.operand.along(w, k);
        let valid = Value::bool(true);
        let left = Spot { batch: self.batch, across: self.row, along: &along, valid };
        let right = Spot { across: &[self.n], ..left };
        for (side, spot, into) in [(Side::A, &left, a), (Side::B, &right, b)] {
            t.operand.find(w, side, spot).load(w, &[into]);
        }
        let next = w.mul_add(Value::Var(a), Value::Var(b), Value::Var(sum));
        w.set(sum, next);
        w.close(turn);
        Value::Var(sum)
    }
}

/// Adds up what the threads along have, in a tree; the first has the total.
fn combine(w: &mut Writer<'_>, [across, along]: [usize; 2], [x, y]: [Value; 2], sum: Value) -> Value {
    let shared = w.shared(DType::F32, THREADS);
    let at = w.mul_add(y, Value::index(across), x);
    let total: Var = w.mutable(sum);
    let mut half = along / 2;
    while half > 0 {
        // No thread stores twice, so a slot that is read stays as it is.
        let (beyond, within) = (w.lt(Value::index(half - 1), y), w.lt(y, Value::index(2 * half)));
        let gives = w.and(beyond, within);
        let open = w.open(gives);
        w.store_shared(shared, at, Value::Var(total));
        w.close(open);
        w.barrier();
        let takes = w.lt(y, Value::index(half));
        let open = w.open(takes);
        let other = w.add(at, Value::index(half * across));
        let other = w.load_shared(shared, other);
        let next = w.add(Value::Var(total), other);
        w.set(total, next);
        w.close(open);
        half /= 2;
    }
    Value::Var(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_of_few_results_are_shared() {
        assert_eq!(along(9 * 32 * 8, 4 * 48 * 48, 1, 132 * 2048), ALONG);
        assert_eq!(along(32 * 48 * 48 * 96, 9, 1, 132 * 2048), 1, "a depthwise convolution");
        assert_eq!(along(64, 4096, 16, 132 * 2048), 1, "threads have windows");
        assert_eq!(along(1 << 12, 64, 1, 1 << 13), 2);
    }
}
