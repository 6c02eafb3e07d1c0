//! The floating-point peak of one core, measured: what the speed of contractions is held against.

use super::vector::{Job, Vector, dispatch};
use crate::cpu::Isa;
use std::hint::black_box;
use std::time::Instant;

/// Multiply-adds per second of one core, times two, with an instruction set that this processor has.
pub fn peak_flops(isa: Isa) -> f64 {
    const ROUNDS: usize = 200_000;
    // Where registers are few, twelve chains would not stay in them.
    if isa == Isa::Portable { measure::<4>(isa, ROUNDS) } else { measure::<12>(isa, ROUNDS) }
}

fn measure<const N: usize>(isa: Isa, rounds: usize) -> f64 {
    let mut flops = 0;
    let start = Instant::now();
    // SAFETY: the caller's instruction set is one this processor has; the job follows no pointers.
    unsafe { dispatch(isa, Chains::<N> { rounds, flops: &mut flops }) };
    flops as f64 / start.elapsed().as_secs_f64()
}

/// Independent chains of multiply-adds.
struct Chains<'a, const N: usize> {
    rounds: usize,
    flops: &'a mut usize,
}

impl<const N: usize> Job for Chains<'_, N> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: registers only.
        unsafe {
            let mut acc = [V::splat(black_box(1.0)); N];
            let (a, b) = (V::splat(black_box(0.5)), V::splat(black_box(0.25)));
            for _ in 0..self.rounds {
                for x in &mut acc {
                    *x = V::fma(*x, a, b);
                }
            }
            let mut sink = [0.0; 16];
            for x in acc {
                V::store(x, sink.as_mut_ptr());
                black_box(&mut sink);
            }
        }
        *self.flops = self.rounds * N * V::LANES * 2;
    }
}
