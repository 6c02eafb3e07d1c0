//! Memory that code is run from.
//!
//! In: bytes of a function. Out: the function. Invariant: memory is writable first and executable then, never both; where
//! the system refuses that, there is no function, and its steps run one by one.

use std::ptr::NonNull;

/// Pages that hold one function.
#[derive(Debug)]
pub struct Page {
    at: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: nothing writes to it any more.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Copies code to where it can run.
    pub fn new(code: &[u8]) -> Option<Page> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh private mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), code.len(), access, kind, -1, 0) };
        if at == libc::MAP_FAILED {
            return None;
        }
        let page = Page { at: NonNull::new(at)?, bytes: code.len() };
        // SAFETY: the mapping is that long, ours alone, and writable until the next call.
        let allowed = unsafe {
            at.cast::<u8>().copy_from_nonoverlapping(code.as_ptr(), code.len());
            libc::mprotect(at, page.bytes, libc::PROT_READ | libc::PROT_EXEC)
        };
        (allowed == 0).then_some(page)
    }

    /// Where the function begins.
    pub fn entry(&self) -> *const u8 {
        self.at.as_ptr().cast_const().cast()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of that length; whoever could call the function holds this.
        unsafe { libc::munmap(self.at.as_ptr(), self.bytes) };
    }
}
