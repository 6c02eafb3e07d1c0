//! Blocks of zeroed memory, aligned for any vector, in huge pages.
//!
//! Where a page lies is looked up in tables, which a virtual machine does twice over; with small pages a training step of
//! a small network took a tenth longer. So blocks lie in huge pages: large ones in their own, so that these are
//! touched first by who uses them, small ones side by side in a page that they share. Memory is used once: a page
//! goes back when the last of its blocks does. Invariant: a failed allocation is an error and never an abort.

use crate::DeviceError;
use crate::plan::ALIGN;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Bytes between neighbours: weights and their optimizer's slots, as long as each other, should not fall on the same
/// cache sets.
const APART: usize = 5 * ALIGN;

/// Zeroed memory, owned.
#[derive(Debug)]
pub struct Block {
    ptr: *mut u8,
    bytes: usize,
    /// What it lies in; none if it is empty.
    _pages: Option<Arc<Pages>>,
}

// SAFETY: a block is plain memory that one owner holds; who follows its address vouches for it.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// No memory.
    pub const EMPTY: Block = Block { ptr: std::ptr::null_mut(), bytes: 0, _pages: None };

    /// `bytes` of zeros; `what` they are for, if there are none to be had.
    pub fn zeroed(bytes: usize, what: &str) -> Result<Block, DeviceError> {
        if bytes == 0 {
            return Ok(Block::EMPTY);
        }
        let none = || DeviceError::OutOfMemory { device: "cpu".into(), needed: bytes, what: what.into() };
        if bytes >= HUGE {
            let pages = Arc::new(Pages::zeroed(bytes).ok_or_else(none)?);
            return Ok(Block { ptr: pages.ptr, bytes, _pages: Some(pages) });
        }
        let mut filling = FILLING.lock().unwrap_or_else(PoisonError::into_inner);
        let (pages, used) = match filling.take() {
            Some((pages, used)) if used + bytes <= pages.bytes => (pages, used),
            _ => (Arc::new(Pages::zeroed(HUGE).ok_or_else(none)?), 0),
        };
        let block = Block { ptr: pages.ptr.wrapping_add(used), bytes, _pages: Some(Arc::clone(&pages)) };
        *filling = Some((pages, (used + bytes).next_multiple_of(ALIGN) + APART));
        Ok(block)
    }

    /// Its first byte; null if it is empty.
    pub fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The page that small blocks share, and how much of it is used.
static FILLING: Mutex<Option<(Arc<Pages>, usize)>> = Mutex::new(None);

/// Whole pages.
#[derive(Debug)]
struct Pages {
    ptr: *mut u8,
    bytes: usize,
}

// SAFETY: as for blocks.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

#[cfg(target_os = "linux")]
impl Pages {
    fn zeroed(bytes: usize) -> Option<Pages> {
        let bytes = bytes.checked_next_multiple_of(HUGE)?;
        let reserved = bytes.checked_add(HUGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh private mapping; its pages read as zero.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), reserved, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let before = (start as usize).next_multiple_of(HUGE) - start as usize;
        let ptr = start.cast::<u8>().wrapping_add(before);
        // SAFETY: the ends of our own mapping, which nothing uses; advice about the rest: if refused, pages are small.
        unsafe {
            if before > 0 {
                libc::munmap(start, before);
            }
            libc::munmap(ptr.wrapping_add(bytes).cast(), HUGE - before);
            libc::madvise(ptr.cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Some(Pages { ptr, bytes })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of that length; no block lies in it any more.
        unsafe { libc::munmap(self.ptr.cast(), self.bytes) };
    }
}

#[cfg(not(target_os = "linux"))]
impl Pages {
    fn layout(bytes: usize) -> Option<std::alloc::Layout> {
        std::alloc::Layout::from_size_align(bytes, ALIGN).ok()
    }

    fn zeroed(bytes: usize) -> Option<Pages> {
        // SAFETY: the layout is not empty.
        let ptr = unsafe { std::alloc::alloc_zeroed(Pages::layout(bytes)?) };
        (!ptr.is_null()).then_some(Pages { ptr, bytes })
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(layout) = Pages::layout(self.bytes) {
            // SAFETY: allocated with this layout; no block lies in it any more.
            unsafe { std::alloc::dealloc(self.ptr, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeroed_and_aligned_and_refused_politely() {
        for bytes in [1, 64, 1000, HUGE - 1, HUGE, 3 * HUGE + 17] {
            let b = Block::zeroed(bytes, "test").unwrap();
            assert_eq!(b.ptr() as usize % ALIGN, 0);
            // SAFETY: the block has that many bytes.
            assert!(unsafe { std::slice::from_raw_parts(b.ptr(), bytes) }.iter().all(|&x| x == 0));
        }
        assert_eq!(Block::zeroed(0, "test").unwrap().bytes(), 0);
        for bytes in [1_usize << 60, usize::MAX] {
            let error = Block::zeroed(bytes, "test").unwrap_err();
            assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
        }
    }

    #[test]
    fn small_blocks_share_pages_and_nothing_else() {
        let sizes = [100, 700_000, 64, 900_000, 800_000, 1];
        let mut blocks: Vec<Block> = sizes.iter().map(|&n| Block::zeroed(n, "test").unwrap()).collect();
        // SAFETY: each block has that many bytes, and they are this test's.
        let all = |b: &Block| unsafe { std::slice::from_raw_parts_mut(b.ptr(), b.bytes()) };
        for (i, b) in blocks.iter().enumerate() {
            all(b).fill(i as u8 + 1);
        }
        for round in 0..2 {
            for (i, b) in blocks.iter().enumerate().filter(|(i, _)| round == 0 || i % 2 == 1) {
                assert!(all(b).iter().all(|&x| x == i as u8 + 1), "block {i}");
            }
            // What is freed does not touch its neighbours, and is never given out again dirty.
            for (i, b) in blocks.iter_mut().enumerate().filter(|(i, _)| i % 2 == 0) {
                *b = Block::zeroed(sizes[i], "test").unwrap();
                assert!(all(b).iter().all(|&x| x == 0), "block {i}");
            }
        }
    }
}
