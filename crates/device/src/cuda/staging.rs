//! Writes from the host, which may go on before they are done.
//!
//! In: bytes of the host's. Out: a copy on the GPU's stream, behind everything started before. The bytes pass through pages
//! that the driver keeps in place: copies from ordinary memory may wait for the stream, and whether they have taken the
//! bytes when they return depends on the machine. Invariant: a piece is written again only after its last copy is done.

use super::driver::Gpu;
use crate::DeviceError;
use cudarc::driver::{result, sys};
use std::sync::Arc;

/// Pieces. A step writes two or three inputs, so the host is a few steps ahead at most.
const PIECES: usize = 8;
/// Bytes of one; what is larger goes in several.
const BYTES: usize = 2 << 20;

/// The pages.
pub struct Staging {
    gpu: Arc<Gpu>,
    pieces: Vec<Piece>,
    next: usize,
}

/// One piece, and what tells when its copy is done.
struct Piece {
    host: *mut u8,
    copied: sys::CUevent,
}

// SAFETY: the pages and events belong to the context, which any thread may enter; only the owner writes the pages.
unsafe impl Send for Staging {}

impl Staging {
    /// All pieces.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Staging, DeviceError> {
        gpu.enter()?;
        let mut staging = Staging { gpu: Arc::clone(gpu), pieces: Vec::new(), next: 0 };
        for _ in 0..PIECES {
            let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING;
            let copied = gpu.check(result::event::create(flags))?;
            // SAFETY: a context is current; the bytes are written before they are read.
            let host = unsafe { result::malloc_host(BYTES, 0) };
            match gpu.check(host) {
                Ok(host) => staging.pieces.push(Piece { host: host.cast(), copied }),
                Err(e) => {
                    // SAFETY: created above, used by nothing.
                    let _ = unsafe { result::event::destroy(copied) };
                    return Err(e);
                }
            }
        }
        Ok(staging)
    }

    /// Starts copying to an address of the GPU's; `bytes` are free when this returns.
    ///
    /// # Safety
    /// So many bytes from `to` on are allocated on this GPU, until the stream has been waited for.
    pub unsafe fn write(&mut self, to: sys::CUdeviceptr, bytes: &[u8]) -> Result<(), DeviceError> {
        self.gpu.enter()?;
        for (i, part) in bytes.chunks(BYTES).enumerate() {
            let piece = &self.pieces[self.next];
            self.next = (self.next + 1) % PIECES;
            // SAFETY: the event is live; one that was never recorded counts as done.
            self.gpu.check(unsafe { result::event::synchronize(piece.copied) })?;
            // SAFETY: a piece has `BYTES` bytes, a part at most as many; its last copy is done, so nobody reads it.
            let staged = unsafe {
                piece.host.copy_from_nonoverlapping(part.as_ptr(), part.len());
                std::slice::from_raw_parts(piece.host, part.len())
            };
            let stream = self.gpu.stream();
            // SAFETY: the caller vouches for the target; the piece stays as it is until the event says that it was read.
            let copy = unsafe { result::memcpy_htod_async(to + (i * BYTES) as u64, staged, stream) };
            self.gpu.check(copy)?;
            // SAFETY: both are live.
            self.gpu.check(unsafe { result::event::record(piece.copied, stream) })?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.gpu.wait().is_ok() {
            for piece in &self.pieces {
                // SAFETY: made once, given back once, and nothing that was started reads it any more.
                unsafe {
                    let _ = result::free_host(piece.host.cast());
                    let _ = result::event::destroy(piece.copied);
                }
            }
        }
    }
}
