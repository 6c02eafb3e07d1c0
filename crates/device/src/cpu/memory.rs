//! Blocks of zeroed memory, aligned for any vector, in huge pages where they are big.
//!
//! Invariant: a failed allocation is an error and never an abort.

use crate::DeviceError;
use crate::plan::ALIGN;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// From here on a block is mapped on its own, so that its pages can be huge and are touched first by who uses
/// them.
const BIG: usize = 1 << 20;

/// Zeroed memory, owned.
#[derive(Debug)]
pub struct Block {
    ptr: *mut u8,
    bytes: usize,
    mapped: bool,
}

// SAFETY: a block is plain memory that one owner holds; who follows its address vouches for it.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// No memory.
    pub const EMPTY: Block = Block { ptr: std::ptr::null_mut(), bytes: 0, mapped: false };

    /// `bytes` of zeros; `what` they are for, if there are none to be had.
    pub fn zeroed(bytes: usize, what: &str) -> Result<Block, DeviceError> {
        if bytes == 0 {
            return Ok(Block::EMPTY);
        }
        let none = || DeviceError::OutOfMemory { device: "cpu".into(), needed: bytes, what: what.into() };
        if bytes >= BIG && cfg!(target_os = "linux") {
            return map(bytes).map(|ptr| Block { ptr, bytes, mapped: true }).ok_or_else(none);
        }
        let layout = Layout::from_size_align(bytes, ALIGN).map_err(|_| none())?;
        // SAFETY: the layout is not empty.
        let ptr = unsafe { alloc_zeroed(layout) };
        if ptr.is_null() { Err(none()) } else { Ok(Block { ptr, bytes, mapped: false }) }
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

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if self.mapped {
            unmap(self.ptr, self.bytes);
        } else if let Ok(layout) = Layout::from_size_align(self.bytes, ALIGN) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.ptr, layout) };
        }
    }
}

#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<*mut u8> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh private mapping; its pages read as zero.
    let ptr = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if ptr == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: advice about our own mapping; if refused, pages are small.
    unsafe { libc::madvise(ptr, bytes, libc::MADV_HUGEPAGE) };
    Some(ptr.cast())
}

#[cfg(target_os = "linux")]
fn unmap(ptr: *mut u8, bytes: usize) {
    // SAFETY: our own mapping, of that length.
    unsafe { libc::munmap(ptr.cast(), bytes) };
}

#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> Option<*mut u8> {
    None
}

#[cfg(not(target_os = "linux"))]
fn unmap(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeroed_and_aligned_and_refused_politely() {
        for bytes in [1, 64, 1000, BIG, 3 * BIG + 17] {
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
}
