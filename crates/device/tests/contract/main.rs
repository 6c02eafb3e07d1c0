//! Contractions against loops in f64, for every instruction set of this processor, with units cut at random.
//!
//! Operands are small whole numbers, so every order of summation gives the same f32 and results are compared
//! exactly, ties of a maximum included. Results start as NaN, as does all scratch. Where convolutions are run by
//! Winograd's algorithm, which rounds, results are compared within `ROUNDING` of the greatest sum of `|a| |b|` among
//! them, and bit by bit between runs that cut the work otherwise.

mod convolutions;
mod epilogue;
mod expanded;
mod naive;
mod products;
mod run;
mod shapes;
mod sparse;
mod transformed;

use thalweg_device::plan::BufferId;

const A: BufferId = BufferId(0);
const B: BufferId = BufferId(1);
const OUT: BufferId = BufferId(2);
const BIAS: BufferId = BufferId(3);
const RESIDUAL: BufferId = BufferId(4);
const ARG: BufferId = BufferId(5);

/// A small generator of test data.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn whole(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.below(5) as f32 - 2.0).collect()
    }
}
