//! Elements by index along an axis; zeros where the index is outside it.
//!
//! Invariant: rows of the outer axis are independent; no index, whatever it is, reads outside the operand.

use super::Bases;
use crate::plan::Gather;
use std::ops::Range;
use std::slice;

/// Steps `outer` of the outer axis.
///
/// # Safety
/// The buffers hold these steps; nobody else writes them.
pub unsafe fn run(g: &Gather, outer: Range<usize>, bases: &Bases) {
    let piece = g.inner * g.dtype.size();
    let (x, at, out) = (bases.get(g.x), bases.get(g.at).cast::<i32>(), bases.get(g.out));
    for o in outer {
        // SAFETY: this row's indices.
        let at = unsafe { slice::from_raw_parts(at.wrapping_add(o * g.count), g.count) };
        // SAFETY: this row of the operand.
        let from = unsafe { slice::from_raw_parts(x.wrapping_add(o * g.n * piece), g.n * piece) };
        // SAFETY: this row of the result, and this worker's to write.
        let to = unsafe { slice::from_raw_parts_mut(out.wrapping_add(o * g.count * piece), g.count * piece) };
        for (&index, to) in at.iter().zip(to.chunks_exact_mut(piece)) {
            match usize::try_from(index) {
                Ok(i) if i < g.n => to.copy_from_slice(&from[i * piece..(i + 1) * piece]),
                _ => to.fill(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BufferId;
    use thalweg_base::DType;

    #[test]
    fn an_index_outside_gives_zeros() {
        let x: Vec<f32> = (1..=12).map(|i| i as f32).collect();
        let at = [2, -1, 0, 3, i32::MIN, 1];
        let mut out = [9f32; 12];
        let pointers = vec![x.as_ptr() as *mut u8, at.as_ptr() as *mut u8, out.as_mut_ptr().cast()];
        let [x, at, to] = [0, 1, 2].map(BufferId);
        let g = Gather { outer: 2, n: 3, count: 3, inner: 2, dtype: DType::F32, x, at, out: to };
        // SAFETY: the buffers have 2 * 3 * 2 elements and 2 * 3 indices.
        unsafe { run(&g, 0..2, &Bases::new(pointers)) };
        assert_eq!(out, [5.0, 6.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 9.0, 10.0]);
    }
}
