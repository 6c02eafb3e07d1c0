//! Indices of the largest elements of each row, best first.
//!
//! The result itself is the heap: its root is the worst of those chosen so far, so that most elements need one comparison
//! and nothing is allocated. Invariant: rows are independent; the order is total (value, then index; NaN last).

use super::Bases;
use crate::plan::TopK;
use std::ops::Range;
use std::slice;

/// Steps `outer` of the outer axis.
///
/// # Safety
/// The buffers hold these steps; nobody else writes them.
pub unsafe fn run(t: &TopK, outer: Range<usize>, bases: &Bases) {
    let x = bases.get(t.x).cast::<f32>().cast_const();
    let out = bases.get(t.out).cast::<i32>();
    for o in outer {
        // SAFETY: this row is inside the operand.
        let row = unsafe { slice::from_raw_parts(x.wrapping_add(o * t.n), t.n) };
        // SAFETY: this row is inside the result, and this worker's to write.
        let chosen = unsafe { slice::from_raw_parts_mut(out.wrapping_add(o * t.k), t.k) };
        largest(row, chosen);
    }
}

/// Larger for what comes first: whole numbers in the order of floats, 0 and -0 equal, NaN least.
fn key(v: f32) -> i32 {
    if v.is_nan() {
        return i32::MIN;
    }
    let bits = (v + 0.0).to_bits() as i32;
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// Whether element `a` comes before element `b`.
fn before(row: &[f32], a: i32, b: i32) -> bool {
    let (ka, kb) = (key(row[a as usize]), key(row[b as usize]));
    ka > kb || ka == kb && a < b
}

fn largest(row: &[f32], heap: &mut [i32]) {
    let k = heap.len();
    heap.iter_mut().zip(0..).for_each(|(h, i)| *h = i);
    for root in (0..k / 2).rev() {
        sink(row, heap, root);
    }
    let mut worst = key(row[heap[0] as usize]);
    for (i, &v) in row.iter().enumerate().skip(k) {
        // Of equals, the earlier one stays.
        if key(v) > worst {
            heap[0] = i as i32;
            sink(row, heap, 0);
            worst = key(row[heap[0] as usize]);
        }
    }
    for last in (1..k).rev() {
        heap.swap(0, last);
        sink(row, &mut heap[..last], 0);
    }
}

/// Restores the heap below `at`: a parent comes after its children.
fn sink(row: &[f32], heap: &mut [i32], mut at: usize) {
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && before(row, heap[child], heap[child + 1]) {
            child += 1;
        }
        if !before(row, heap[at], heap[child]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_ties_by_index_nan_last() {
        let row = [1.0, f32::NAN, 2.0, f32::NEG_INFINITY, 2.0, -0.0, 0.0, f32::INFINITY, f32::NAN];
        let want = [7, 2, 4, 0, 5, 6, 3, 1, 8];
        for k in 1..=row.len() {
            let mut out = vec![0; k];
            largest(&row, &mut out);
            assert_eq!(out, want[..k], "the {k} largest");
        }
    }

    #[test]
    fn as_a_stable_sort() {
        let mut state = 1u32;
        for n in [1, 2, 17, 300] {
            let mut draw = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as f32 / 8.0 - 16.0
            };
            let row: Vec<f32> = (0..n).map(|_| draw().floor()).collect();
            let mut order: Vec<i32> = (0..n).collect();
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
            for k in [1, 2, 10, n].into_iter().filter(|&k| k <= n) {
                let mut out = vec![0; k as usize];
                largest(&row, &mut out);
                assert_eq!(out, order[..k as usize], "{k} of {n}");
            }
        }
    }
}
