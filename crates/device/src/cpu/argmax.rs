//! Index of the first maximum along an axis. NaN is never the maximum; of nothing but NaN, it is index 0.
//!
//! Invariant: rows of the outer axis are independent.

use super::Bases;
use crate::plan::ArgMax;
use std::ops::Range;
use std::slice;

/// Columns at a time.
const BLOCK: usize = 256;

/// Steps `outer` of the outer axis.
///
/// # Safety
/// The buffers hold these steps; nobody else writes them.
pub unsafe fn run(a: &ArgMax, outer: Range<usize>, bases: &Bases) {
    let x = bases.get(a.x).cast::<f32>().cast_const();
    let out = bases.get(a.out).cast::<i32>();
    for o in outer {
        for first in (0..a.inner).step_by(BLOCK) {
            let width = BLOCK.min(a.inner - first);
            let mut best = [f32::NEG_INFINITY; BLOCK];
            // SAFETY: this piece is inside the result, and this worker's to write.
            let at = unsafe { slice::from_raw_parts_mut(out.wrapping_add(o * a.inner + first), width) };
            at.fill(0);
            for k in 0..a.n {
                let from = (o * a.n + k) * a.inner + first;
                // SAFETY: this piece is inside the operand.
                let row = unsafe { slice::from_raw_parts(x.wrapping_add(from), width) };
                for ((at, best), v) in at.iter_mut().zip(&mut best).zip(row) {
                    let wins = *v > *best;
                    *best = if wins { *v } else { *best };
                    *at = if wins { k as i32 } else { *at };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BufferId;

    #[test]
    fn the_first_of_equals() {
        let x = [1.0_f32, 5.0, 3.0, 5.0, f32::NAN, 2.0, f32::NAN, f32::NAN];
        let mut out = [9_i32; 4];
        let bases = Bases::new(vec![x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()]);
        let kernel = |outer, n, inner| ArgMax { outer, n, inner, x: BufferId(0), out: BufferId(1) };
        // SAFETY: both operands have 8 elements, the results at most 4.
        unsafe { run(&kernel(2, 4, 1), 0..2, &bases) };
        assert_eq!(out[..2], [1, 1]);
        // SAFETY: as above.
        unsafe { run(&kernel(2, 2, 2), 0..2, &bases) };
        assert_eq!(out, [1, 0, 0, 0]);
    }
}
