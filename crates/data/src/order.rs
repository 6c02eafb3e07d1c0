//! The order in which an epoch visits the examples.
//!
//! Input: number of examples, seed, epoch. Output: a permutation. Invariant: a pure function of its
//! arguments, the same on every machine and in every resumed run.

use thalweg_base::philox::Sequence;

/// The Philox stream of shuffles ("SHUF"); no other use of random numbers may take it.
const STREAM: u32 = 0x5348_5546;

/// The order of one epoch: 0..len, shuffled by (seed, epoch) if `shuffle`.
///
/// # Panics
/// If `len` does not fit in 32 bits.
pub fn epoch_order(len: usize, seed: u64, epoch: u32, shuffle: bool) -> Vec<u32> {
    assert!(u32::try_from(len).is_ok(), "an epoch of {len} examples; at most {} are supported", u32::MAX);
    let mut order: Vec<u32> = (0..len as u32).collect();
    if shuffle {
        Sequence::new(seed, STREAM, epoch).shuffle(&mut order);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_and_epochs_differ() {
        let first = epoch_order(100, 7, 0, true);
        assert_eq!(first, epoch_order(100, 7, 0, true));
        assert_ne!(first, epoch_order(100, 7, 1, true));
        assert_ne!(first, epoch_order(100, 8, 0, true));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, epoch_order(100, 7, 0, false));
    }

    /// Pins the numbers: a changed shuffle would silently change every published run.
    #[test]
    fn the_shuffle_never_changes() {
        assert_eq!(epoch_order(8, 42, 3, true), [2, 5, 4, 6, 0, 3, 1, 7]);
    }
}
