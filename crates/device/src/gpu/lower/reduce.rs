//! Loops that combine over some of their axes.
//!
//! A group is a rectangle of threads: `across` kept elements side by side, `along` threads that share the reduction of each
//! and combine what they have in shared memory. Many kept elements and short reductions ask for few threads along,
//! few kept elements for many. Which of the two directions neighbouring threads run in follows the innermost axis, so
//! that they load neighbouring elements. The order of every sum depends on the shape and the GPU's abilities alone.

use super::loops::{store, unravel};
use super::{Lowering, Writer, element, evaluate};
use crate::gpu::ir::{IntOp, Value, Var};
use crate::plan::{Canonical, Loop, LoopOut, Reduce};
use thalweg_base::{DType, ScalarOp};

/// Threads of a group, at most.
const THREADS: usize = 256;
/// Threads that should load neighbouring elements where the innermost axis is combined over.
const NEIGHBOURS: usize = 32;

/// The shape of a group, both powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    across: usize,
    along: usize,
}

/// How a reduction of `length` elements each for `kept` results is cut, into groups of at most `threads`, a power of two.
fn shape([kept, length]: [usize; 2], innermost_combined: bool, parallel: usize, threads: usize) -> Shape {
    let most = threads.min(length.next_power_of_two());
    let wanted = parallel.div_ceil(kept.max(1)).next_power_of_two();
    let least = if innermost_combined { NEIGHBOURS } else { 1 };
    let along = wanted.max(least).min(most);
    let across = (threads / along).min(kept.next_power_of_two());
    Shape { across, along }
}

/// A reduction being lowered.
struct Reduction<'a> {
    c: &'a Canonical,
    kept: Vec<usize>,
    combined: Vec<usize>,
    parts: usize,
    /// Steps of the plan's axis 0, which parts are counted in.
    steps: usize,
}

/// What a thread works on.
struct Place {
    /// Part of the plan's axis 0.
    part: Value,
    /// The thread's number among those along.
    y: Value,
    /// Index of the kept element, 0 along the combined axes.
    index: Vec<Value>,
    /// Whether there is such an element.
    inside: Value,
}

/// Lowers a loop whose canonical form is `c`.
pub fn lower(l: &mut Lowering<'_>, k: &Loop, c: &Canonical) {
    let axes = |combined: bool| (0..c.space.len()).filter(|&a| c.reduced[a] == combined).collect();
    let r = Reduction { c, kept: axes(false), combined: axes(true), parts: k.parts, steps: k.space[0] };
    let extent = |axes: &[usize]| axes.iter().map(|&a| c.space[a]).product::<usize>();
    let (kept, length) = (extent(&r.kept), extent(&r.combined));
    let innermost = c.reduced.last().copied().unwrap_or(false);
    // Every result takes 4 bytes of shared memory a thread.
    let results = c.outs.iter().filter(|o| o.reduce.is_some()).count();
    let threads = THREADS.min(1 << (l.abilities.shared_bytes / (4 * results)).max(1).ilog2());
    let each = [kept * r.parts, length.div_ceil(r.parts)];
    let s = shape(each, innermost, l.abilities.parallel, threads);
    let mut w = Writer::new(l.plan, "reduce", (s.across * s.along) as u32);
    r.write(&mut w, s, innermost, [kept, length]);
    l.launch(0, (kept * r.parts).div_ceil(s.across), w);
}

impl Reduction<'_> {
    fn write(&self, w: &mut Writer<'_>, s: Shape, along_fastest: bool, [kept, length]: [usize; 2]) {
        let (group, thread) = (w.group(), w.thread());
        let (x, y) = match along_fastest {
            true => w.div_rem(thread, s.along),
            false => {
                let (y, x) = w.div_rem(thread, s.across);
                (x, y)
            }
        };
        let number = w.mul_add(group, Value::index(s.across), x);
        let count = kept * self.parts;
        let inside = super::loops::within(w, number, count, s.across);
        // Threads beyond the end have nothing to add up, but reach the barriers.
        let last = Value::index(count - 1);
        let number = w.select(inside, number, last);
        let (part, element_of) = w.div_rem(number, kept);
        let mut index = vec![Value::index(0); self.c.space.len()];
        let space: Vec<usize> = self.kept.iter().map(|&a| self.c.space[a]).collect();
        for (&axis, i) in self.kept.iter().zip(unravel(w, element_of, &space)) {
            index[axis] = i;
        }
        let outs: Vec<&LoopOut> = self.c.outs.iter().filter(|o| o.reduce.is_some()).collect();
        let place = Place { part, y, index, inside };
        let sums = self.accumulate(w, s.along, &place, &outs, length);
        let totals = combine(w, s, x, y, &outs, &sums);
        let first = w.scalar(ScalarOp::Eq, &[y, Value::index(0)]);
        let stores = w.and(inside, first);
        let open = w.open(stores);
        for (out, total) in outs.iter().zip(totals) {
            let to = w.buffer(out.access.buffer, true);
            let at = element(w, &out.access, &place.index);
            let at = match self.parts {
                1 => at,
                _ => w.mul_add(part, Value::i32(out.part_stride as i32), at),
            };
            w.store(to, at, total);
        }
        w.close(open);
    }

    /// Each thread's share of the reduction.
    fn accumulate(
        &self,
        w: &mut Writer<'_>,
        along: usize,
        place: &Place,
        outs: &[&LoopOut],
        length: usize,
    ) -> Vec<Var> {
        let sums: Vec<Var> = outs
            .iter()
            .map(|o| {
                let first = start(o.reduce, self.c.body.dtype(o.value));
                w.mutable(first)
            })
            .collect();
        // Elements of the reduction per step of the plan's axis 0, which is the outermost of its axes if it is cut.
        let inner = length / self.steps.max(1);
        let bound = |w: &mut Writer<'_>, part: Value| {
            let product = w.mul(part, Value::index(self.steps));
            let step = w.int(IntOp::Div, product, Value::index(self.parts));
            w.mul(step, Value::index(inner))
        };
        let (from, to) = match self.parts {
            1 => (place.y, Value::index(length)),
            _ => {
                let next = w.add(place.part, Value::index(1));
                let (from, to) = (bound(w, place.part), bound(w, next));
                (w.add(from, place.y), to)
            }
        };
        let space: Vec<usize> = self.combined.iter().map(|&a| self.c.space[a]).collect();
        let to = w.select(place.inside, to, Value::index(0));
        let (turn, at) = w.open_repeat(from, to, along);
        let mut index = place.index.clone();
        for (&axis, i) in self.combined.iter().zip(unravel(w, at, &space)) {
            index[axis] = i;
        }
        let values = evaluate(w, &self.c.body, &index, None);
        store(w, self.c, &index, &values);
        for (out, &sum) in outs.iter().zip(&sums) {
            let next = w.scalar(operation(out.reduce), &[Value::Var(sum), values[out.value.0 as usize]]);
            w.set(sum, next);
        }
        w.close(turn);
        sums
    }
}

/// Adds up what the threads along have, in a tree.
fn combine(w: &mut Writer<'_>, s: Shape, x: Value, y: Value, outs: &[&LoopOut], sums: &[Var]) -> Vec<Value> {
    if s.along == 1 {
        return sums.iter().map(|&v| Value::Var(v)).collect();
    }
    let at = w.mul_add(y, Value::index(s.across), x);
    let mut totals = Vec::new();
    for (out, &sum) in outs.iter().zip(sums) {
        let dtype = w.dtype(Value::Var(sum));
        let shared = w.shared(dtype, s.across * s.along);
        w.store_shared(shared, at, Value::Var(sum));
        let mut half = s.along / 2;
        while half > 0 {
            w.barrier();
            let takes = w.lt(y, Value::index(half));
            let open = w.open(takes);
            let other = w.add(at, Value::index(half * s.across));
            let (a, b) = (w.load_shared(shared, at), w.load_shared(shared, other));
            let sum = w.scalar(operation(out.reduce), &[a, b]);
            w.store_shared(shared, at, sum);
            w.close(open);
            half /= 2;
        }
        w.barrier();
        totals.push(w.load_shared(shared, at));
    }
    totals
}

fn operation(reduce: Option<Reduce>) -> ScalarOp {
    match reduce {
        Some(Reduce::Max) => ScalarOp::Max,
        Some(Reduce::Sum) | None => ScalarOp::Add,
    }
}

/// What a reduction starts with.
fn start(reduce: Option<Reduce>, dtype: DType) -> Value {
    match (reduce, dtype) {
        (Some(Reduce::Max), DType::F32) => Value::f32(f32::NEG_INFINITY),
        (Some(Reduce::Max), DType::I32) => Value::i32(i32::MIN),
        (_, dtype) => Value::Const(dtype, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_the_shape() {
        // Softmax rows, channel sums over a batch, one sum, many short ones.
        assert_eq!(shape([32, 10], true, 8192, 256), Shape { across: 16, along: 16 });
        assert_eq!(shape([64, 32 * 144], false, 8192, 256), Shape { across: 2, along: 128 });
        assert_eq!(shape([1, 100_000], true, 8192, 256), Shape { across: 1, along: 256 });
        assert_eq!(shape([1 << 20, 9], false, 8192, 256), Shape { across: 256, along: 1 });
        // Many results at once leave shared memory for fewer threads.
        assert_eq!(shape([1, 100_000], true, 8192, 64), Shape { across: 1, along: 64 });
    }
}
