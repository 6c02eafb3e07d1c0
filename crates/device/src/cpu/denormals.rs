//! Denormal numbers count as zero while kernels run: on many processors they are a hundred times slower, and a
//! dying unit's activations are full of them.
//!
//! Invariant: the mode of the caller's thread is what it was, once the guard is dropped. Miri has no such mode.

/// Denormals are flushed on this thread while it lives.
#[derive(Debug)]
pub struct Flush {
    before: u64,
}

impl Flush {
    /// From now on.
    pub fn start() -> Flush {
        let before = read();
        write(before | FLUSH);
        Flush { before }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        write(self.before);
    }
}

/// MXCSR: flush to zero (bit 15), denormals are zero (bit 6).
#[cfg(all(target_arch = "x86_64", not(miri)))]
const FLUSH: u64 = 0x8040;
/// FPCR: flush to zero (bit 24).
#[cfg(all(target_arch = "aarch64", not(miri)))]
const FLUSH: u64 = 1 << 24;
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
const FLUSH: u64 = 0;

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn read() -> u64 {
    let mut mode = 0_u32;
    // SAFETY: stores the 4 bytes of MXCSR where `mode` is.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
    u64::from(mode)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn write(mode: u64) {
    let mode = mode as u32;
    // SAFETY: loads MXCSR with what it was, but for the two flush bits; exceptions stay masked.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags)) };
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn read() -> u64 {
    let mode: u64;
    // SAFETY: reads a control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
    mode
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn write(mode: u64) {
    // SAFETY: sets FPCR to what it was, but for the flush bit.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn read() -> u64 {
    0
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn write(_: u64) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    #[cfg(all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn denormals_are_zero_while_it_lives() {
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5_f32);
        assert!(half().to_bits() != 0);
        let flush = Flush::start();
        assert_eq!(half().to_bits(), 0);
        drop(flush);
        assert!(half().to_bits() != 0);
    }
}
