//! Where a program's buffers are, for one worker.
//!
//! Invariant: an address is the one of element 0 of the whole buffer, also for a slab that holds but one slice
//! of images: kernels index with absolute image numbers.

use crate::plan::BufferId;

/// Base address of each buffer of the program for the current worker (slab buffers already shifted so that
/// absolute image indices work).
#[derive(Clone, Debug, Default)]
pub struct Bases {
    ptrs: Vec<*mut u8>,
}

// SAFETY: the addresses are only followed by kernels, whose callers vouch that no two workers write one element.
unsafe impl Send for Bases {}
// SAFETY: as above; reading an address is harmless.
unsafe impl Sync for Bases {}

impl Bases {
    /// From one address per buffer of the plan.
    pub fn new(ptrs: Vec<*mut u8>) -> Self {
        Bases { ptrs }
    }

    /// Address of element 0.
    #[inline]
    pub fn get(&self, buffer: BufferId) -> *mut u8 {
        self.ptrs[buffer.0 as usize]
    }

    /// Moves a buffer.
    #[inline]
    pub fn set(&mut self, buffer: BufferId, base: *mut u8) {
        self.ptrs[buffer.0 as usize] = base;
    }
}
