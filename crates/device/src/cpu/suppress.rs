//! Greedy suppression of sorted lists. Invariant: lists are independent.

use super::Bases;
use crate::plan::Suppress;
use std::ops::Range;
use std::slice;

/// Steps `outer` of the outer axis.
///
/// # Safety
/// The buffers hold these steps; nobody else writes them. All bytes of `conflict` are 0 or 1.
pub unsafe fn run(s: &Suppress, outer: Range<usize>, bases: &Bases) {
    let (conflict, out) = (bases.get(s.conflict), bases.get(s.out));
    for o in outer {
        // SAFETY: this list's matrix.
        let conflict = unsafe { slice::from_raw_parts(conflict.wrapping_add(o * s.n * s.n), s.n * s.n) };
        // SAFETY: this list of the result, and this worker's to write.
        let kept = unsafe { slice::from_raw_parts_mut(out.wrapping_add(o * s.n), s.n) };
        kept.fill(1);
        for (i, row) in conflict.chunks_exact(s.n).enumerate() {
            if kept[i] == 1 {
                for (kept, &conflict) in kept[i + 1..].iter_mut().zip(&row[i + 1..]) {
                    *kept &= 1 - conflict;
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
    fn what_is_ruled_out_rules_nothing_out() {
        // 0 rules out 1, 1 would rule out 2, 2 rules out 3; what stands below the diagonal does not count.
        let conflict: [u8; 16] = [1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        let mut out = [9u8; 4];
        let pointers = vec![conflict.as_ptr().cast_mut(), out.as_mut_ptr()];
        let s = Suppress { outer: 1, n: 4, conflict: BufferId(0), out: BufferId(1) };
        // SAFETY: the buffers have 16 and 4 elements.
        unsafe { run(&s, 0..1, &Bases::new(pointers)) };
        assert_eq!(out, [1, 0, 1, 0]);
    }
}
