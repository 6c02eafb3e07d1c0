//! Bytes that are read here and there: in huge pages where the system has them.
//!
//! A step reads some dozens of examples anywhere in a data set. Each may miss the caches, which takes some hundred
//! nanoseconds, and with small pages also the tables that say where it lies, which takes several times as long on a
//! virtual machine: with small pages 32 images of CIFAR-10 took some 250 us a step, with huge ones 42 (on a loaded
//! machine). Invariant: the bytes do not change.

use memmap2::MmapMut;
use std::ops::Deref;

/// From so many bytes on huge pages are worth it.
#[cfg(any(target_os = "linux", test))]
const BIG: usize = 4 << 20;
/// Bytes that are moved at a time.
const PIECE: usize = 8 << 20;

/// Bytes.
#[derive(Debug)]
pub(crate) enum Pages {
    /// In the heap.
    Small(Vec<u8>),
    /// In pages of their own.
    Huge(MmapMut),
}

impl Pages {
    /// Moves bytes there, piece by piece, so that they are not held twice.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Pages {
        let Some(mut pages) = huge(bytes.len()) else { return Pages::Small(bytes) };
        while !bytes.is_empty() {
            let from = (bytes.len() - 1) / PIECE * PIECE;
            pages[from..bytes.len()].copy_from_slice(&bytes[from..]);
            bytes.truncate(from);
            bytes.shrink_to_fit();
        }
        Pages::Huge(pages)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Pages::Small(bytes) => bytes,
            Pages::Huge(pages) => pages,
        }
    }
}

/// Zeroed huge pages; none where they are not worth it, or the system has none.
#[cfg(target_os = "linux")]
fn huge(bytes: usize) -> Option<MmapMut> {
    let pages = (bytes >= BIG).then(|| MmapMut::map_anon(bytes).ok()).flatten()?;
    pages.advise(memmap2::Advice::HugePage).ok().map(|()| pages)
}

/// Not here.
#[cfg(not(target_os = "linux"))]
fn huge(_: usize) -> Option<MmapMut> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are() {
        for len in [0, 1, BIG - 1, BIG, PIECE, 2 * PIECE + 12_345] {
            let byte = |i: usize| (i * 31 % 251) as u8;
            let pages = Pages::new((0..len).map(byte).collect());
            assert_eq!(pages.len(), len);
            assert!(pages.iter().enumerate().all(|(i, b)| *b == byte(i)), "{len}");
        }
    }
}
