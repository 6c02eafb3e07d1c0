//! The vector registers that the kernels of contractions are written over: one trait, one type per instruction
//! set, and [`dispatch`], which runs a generic job with the features of that set enabled.
//!
//! Invariant: every method and every `Job::run` is `#[inline(always)]`, so that it is compiled inside the
//! `#[target_feature]` function that `dispatch` (or a tile's entry) enters.

use crate::cpu::Isa;

/// A register of f32 lanes. All methods need the features of the type's instruction set; pointers need
/// `LANES` (or `n`) readable or writable elements, of any alignment.
pub(super) trait Vector: Copy {
    /// Lanes.
    const LANES: usize;
    /// Registers that a kernel may count on.
    const REGISTERS: usize;
    /// All zero.
    unsafe fn zero() -> Self;
    /// All lanes the same.
    unsafe fn splat(x: f32) -> Self;
    /// All lanes.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n` lanes (`n <= LANES`), zero behind.
    unsafe fn load_part(from: *const f32, n: usize) -> Self;
    /// Asks for the cache line of an address, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: of every x86-64 processor; it never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
    /// All lanes.
    unsafe fn store(v: Self, to: *mut f32);
    /// The first `n` lanes (`n <= LANES`).
    unsafe fn store_part(v: Self, to: *mut f32, n: usize);
    /// a * b + c.
    unsafe fn fma(a: Self, b: Self, c: Self) -> Self;
    /// a + b.
    unsafe fn add(a: Self, b: Self) -> Self;
    /// a - b.
    unsafe fn sub(a: Self, b: Self) -> Self;
    /// max(0, v); NaN stays NaN.
    unsafe fn relu(v: Self) -> Self;
    /// min(v, high); NaN stays NaN.
    unsafe fn cap(v: Self, high: Self) -> Self;
    /// Where `v > best` or `v` is NaN: (v, pos); elsewhere (best, at).
    unsafe fn better(best: Self, at: Self, v: Self, pos: Self) -> (Self, Self);
    /// The greatest of four, NaN if there is one; of zeros of both signs any.
    #[inline(always)]
    unsafe fn greatest(of: [Self; 4]) -> Self {
        // SAFETY: the caller vouches for the features.
        unsafe {
            let mut best = of[0];
            for v in &of[1..] {
                (best, _) = Self::better(best, best, *v, *v);
            }
            best
        }
    }
    /// The greatest of four and its position: of equal ones the first, of NaNs the last.
    #[inline(always)]
    unsafe fn first_greatest(of: [Self; 4]) -> (Self, Self) {
        // SAFETY: the caller vouches for the features.
        unsafe { one_by_one(of) }
    }
    /// Transposes LANES x LANES elements: `to[c * to_pitch + r] = from[r * pitch + c]`.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, pitch: usize, to: *mut f32, to_pitch: usize) {
        // SAFETY: the caller vouches for both blocks.
        unsafe {
            for r in 0..Self::LANES {
                for c in 0..Self::LANES {
                    *to.add(c * to_pitch + r) = *from.add(r * pitch + c);
                }
            }
        }
    }
    /// Of LANES values those that are not 0 (NaN is not): each value and its `at`, one behind the other, to ends that have
    /// room for LANES. How many.
    #[inline(always)]
    unsafe fn compact(values: *const f32, at: *const u32, to_at: *mut u32, to_values: *mut f32) -> usize {
        let mut count = 0;
        // SAFETY: the caller vouches for all of them.
        unsafe {
            for i in 0..Self::LANES {
                *to_at.add(count) = *at.add(i);
                *to_values.add(count) = *values.add(i);
                count += usize::from(*values.add(i) != 0.0);
            }
        }
        count
    }
    /// Which of `n` values, 1 to LANES, are not 0 (NaN is not): a bit each, from the lowest on.
    #[inline(always)]
    unsafe fn live(values: *const f32, n: usize) -> u64 {
        // SAFETY: the caller vouches for the values.
        (0..n).fold(0, |bits, i| bits | u64::from(unsafe { *values.add(i) } != 0.0) << i)
    }
    /// Which of `n` bytes, 1 to 64, are this one: a bit each, from the lowest on.
    #[inline(always)]
    unsafe fn equal(bytes: *const u8, n: usize, byte: u8) -> u64 {
        // SAFETY: the caller vouches for the bytes.
        (0..n).fold(0, |bits, i| bits | u64::from(unsafe { *bytes.add(i) } == byte) << i)
    }
    /// `old` with other values in those lanes whose bit is set: those of the same place behind `from`. No others are read.
    #[inline(always)]
    unsafe fn load_some(old: Self, from: *const f32, bits: u32) -> Self {
        let mut lanes = [0.0f32; 16];
        // SAFETY: a register has at most 16 lanes; the caller vouches for those of the bits.
        unsafe {
            Self::store(old, lanes.as_mut_ptr());
            for i in (0..Self::LANES).filter(|i| bits >> i & 1 == 1) {
                lanes[i] = *from.wrapping_add(i);
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// What [`Vector::spread`] wants to have in registers.
    #[inline(always)]
    unsafe fn places<const N: usize>() -> [Self; N] {
        // SAFETY: the caller vouches for the features.
        unsafe { [Self::zero(); N] }
    }
    /// `N` values, at most LANES, each in all lanes of its register.
    #[inline(always)]
    unsafe fn spread<const N: usize>(from: *const f32, places: &[Self; N]) -> [Self; N] {
        // SAFETY: the caller vouches for the values.
        unsafe {
            let mut all = *places;
            for (i, v) in all.iter_mut().enumerate() {
                *v = Self::splat(*from.add(i));
            }
            all
        }
    }
    /// `to[i] = table[from[i] % 16] + base` for LANES bytes, none of which is 2^16 or more.
    #[inline(always)]
    unsafe fn look_up_short(from: *const u8, table: &[u16; 16], base: u16, to: *mut u16) {
        for i in 0..Self::LANES {
            // SAFETY: the caller vouches for both.
            unsafe { *to.add(i) = table[*from.add(i) as usize % 16] + base }
        }
    }
    /// `to[i] = table[from[i] % 16] + base` for LANES bytes.
    #[inline(always)]
    unsafe fn look_up(from: *const u8, table: &[u32; 16], base: u32, to: *mut u32) {
        for i in 0..Self::LANES {
            // SAFETY: the caller vouches for both.
            unsafe { *to.add(i) = table[*from.add(i) as usize % 16] + base }
        }
    }
    /// The first `n` lanes, whole numbers below 256, as bytes.
    #[inline(always)]
    unsafe fn store_bytes(v: Self, to: *mut u8, n: usize) {
        let mut lanes = [0.0f32; 16];
        // SAFETY: a register has at most 16 lanes; the caller vouches for the rest.
        unsafe {
            Self::store(v, lanes.as_mut_ptr());
            for (i, &x) in lanes[..n].iter().enumerate() {
                *to.add(i) = x as u8;
            }
        }
    }
}

/// [`Vector::first_greatest`] by comparing each with the best so far.
#[inline(always)]
unsafe fn one_by_one<V: Vector>(of: [V; 4]) -> (V, V) {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (mut best, mut at) = (of[0], V::zero());
        for (i, v) in of.into_iter().enumerate().skip(1) {
            (best, at) = V::better(best, at, v, V::splat(i as f32));
        }
        (best, at)
    }
}

/// Asks for the cache line of an address, which need not be valid, to write it: a line that another core has is taken
/// from it meanwhile, while stores, which are done in order, would wait for it one after the other.
#[inline(always)]
pub(super) fn prefetch_write(at: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: it never faults; a processor that has no such instruction does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(target_arch = "x86_64")))]
    let _ = at;
}

/// Lanes of the instruction set's registers.
pub(super) fn lanes(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::LANES,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::LANES,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Neon::LANES,
        _ => Portable::LANES,
    }
}

/// Work generic over the registers.
pub(super) trait Job {
    /// Does it. Needs the features of `V`'s instruction set.
    unsafe fn run<V: Vector>(self);
}

/// Runs a job with the registers of an instruction set.
///
/// # Safety
/// The processor has `isa`; what the job itself needs.
pub(super) unsafe fn dispatch<J: Job>(isa: Isa, job: J) {
    // SAFETY: the caller vouches for the instruction set and the job.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(job),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(job),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => job.run::<Neon>(),
            _ => job.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,bmi1,bmi2,popcnt")]
unsafe fn avx512<J: Job>(job: J) {
    // SAFETY: the features are on here; the caller vouches for the rest.
    unsafe { job.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")]
unsafe fn avx2<J: Job>(job: J) {
    // SAFETY: the features are on here; the caller vouches for the rest.
    unsafe { job.run::<Avx2>() }
}

/// The methods of a vector, each body in an unsafe block.
macro_rules! methods {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {
        $(
            #[inline(always)]
            unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller vouches for the features and the pointers (see the trait).
                unsafe { $body }
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Vector;
    use std::arch::aarch64::*;

    /// 4 lanes, 32 registers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Neon(float32x4_t);

    impl Vector for Neon {
        const LANES: usize = 4;
        const REGISTERS: usize = 32;
        methods! {
            fn zero() -> Self { Neon(vdupq_n_f32(0.0)) }
            fn splat(x: f32) -> Self { Neon(vdupq_n_f32(x)) }
            fn load(from: *const f32) -> Self { Neon(vld1q_f32(from)) }
            fn load_part(from: *const f32, n: usize) -> Self {
                let mut lanes = [0.0f32; 4];
                std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
                Neon(vld1q_f32(lanes.as_ptr()))
            }
            fn store(v: Self, to: *mut f32) { vst1q_f32(to, v.0) }
            fn store_part(v: Self, to: *mut f32, n: usize) {
                let mut lanes = [0.0f32; 4];
                vst1q_f32(lanes.as_mut_ptr(), v.0);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n)
            }
            fn fma(a: Self, b: Self, c: Self) -> Self { Neon(vfmaq_f32(c.0, a.0, b.0)) }
            fn add(a: Self, b: Self) -> Self { Neon(vaddq_f32(a.0, b.0)) }
            fn sub(a: Self, b: Self) -> Self { Neon(vsubq_f32(a.0, b.0)) }
            fn cap(v: Self, high: Self) -> Self { Neon(vminq_f32(v.0, high.0)) }
            fn relu(v: Self) -> Self { Neon(vmaxq_f32(vdupq_n_f32(0.0), v.0)) }
            fn better(best: Self, at: Self, v: Self, pos: Self) -> (Self, Self) {
                let m = vorrq_u32(vcgtq_f32(v.0, best.0), vmvnq_u32(vceqq_f32(v.0, v.0)));
                (Neon(vbslq_f32(m, v.0, best.0)), Neon(vbslq_f32(m, pos.0, at.0)))
            }
        }
    }
}

/// 8 lanes that the compiler maps to whatever the target has. Multiplies and adds with two roundings.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

#[expect(unused_unsafe, reason = "the macro is for intrinsics; some of these bodies are safe")]
impl Vector for Portable {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    methods! {
        fn zero() -> Self { Portable([0.0; 8]) }
        fn splat(x: f32) -> Self { Portable([x; 8]) }
        fn load(from: *const f32) -> Self { Portable(from.cast::<[f32; 8]>().read_unaligned()) }
        fn load_part(from: *const f32, n: usize) -> Self {
            let mut lanes = [0.0f32; 8];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Portable(lanes)
        }
        fn store(v: Self, to: *mut f32) { to.cast::<[f32; 8]>().write_unaligned(v.0) }
        fn store_part(v: Self, to: *mut f32, n: usize) {
            std::ptr::copy_nonoverlapping(v.0.as_ptr(), to, n)
        }
        fn fma(a: Self, b: Self, c: Self) -> Self {
            Portable(std::array::from_fn(|i| a.0[i] * b.0[i] + c.0[i]))
        }
        fn add(a: Self, b: Self) -> Self { Portable(std::array::from_fn(|i| a.0[i] + b.0[i])) }
        fn sub(a: Self, b: Self) -> Self { Portable(std::array::from_fn(|i| a.0[i] - b.0[i])) }
        fn cap(v: Self, high: Self) -> Self {
            Portable(std::array::from_fn(|i| if v.0[i] > high.0[i] { high.0[i] } else { v.0[i] }))
        }
        fn relu(v: Self) -> Self { Portable(v.0.map(|x| if x < 0.0 { 0.0 } else { x })) }
        fn better(best: Self, at: Self, v: Self, pos: Self) -> (Self, Self) {
            let m: [bool; 8] = std::array::from_fn(|i| v.0[i] > best.0[i] || v.0[i].is_nan());
            (
                Portable(std::array::from_fn(|i| if m[i] { v.0[i] } else { best.0[i] })),
                Portable(std::array::from_fn(|i| if m[i] { pos.0[i] } else { at.0[i] })),
            )
        }
    }
}
