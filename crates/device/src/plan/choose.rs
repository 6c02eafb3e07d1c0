//! Kernels that choose: by size, by index, by what was chosen before.
//!
//! All work on rows that are independent of each other, so that axis 0 (`outer`) may be cut anywhere, and have one right
//! answer to the bit: ties go to the lower index.

use super::BufferId;
use thalweg_base::DType;

/// i32 index of the first maximum: [outer, n, inner] -> [outer, inner].
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct ArgMax {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
    pub x: BufferId,
    pub out: BufferId,
}

/// i32 indices of the `k` largest, best first: [outer, n] -> [outer, k]. Equal elements (0 and -0 are) come in the order
/// of their indices, NaN after everything else. In parallel: the best element after the one chosen last, `k` times.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct TopK {
    pub outer: usize,
    pub n: usize,
    pub k: usize,
    pub x: BufferId,
    pub out: BufferId,
}

/// Elements by index: `out[o, j, i] = x[o, at[o, j], i]`, of [outer, n, inner] and i32 [outer, count]; 0 where the index is
/// outside 0..n. Every element is independent of the others.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct Gather {
    pub outer: usize,
    pub n: usize,
    pub count: usize,
    pub inner: usize,
    /// Element type of `x` and `out`.
    pub dtype: DType,
    pub x: BufferId,
    pub at: BufferId,
    pub out: BufferId,
}

/// Greedy suppression: bool [outer, n, n] -> [outer, n], `out[j] = !any(i < j: out[i] && conflict[i, j])`. In parallel:
/// `i` after `i`, all `j` behind it at once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct Suppress {
    pub outer: usize,
    pub n: usize,
    pub conflict: BufferId,
    pub out: BufferId,
}
