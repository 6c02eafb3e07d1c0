//! What tensor cores multiply, from panels in shared memory: four registers at a time, 16 rows of A or 16 columns of B by the
//! steps of one multiplication.
//!
//! The four are quarters of 8 by half of the steps. Of f32 each thread loads its elements; of floats of 16 bits a warp
//! loads matrices, transposed where neighbours in memory lie across the sum.

use super::super::Writer;
use super::Side;
use super::panel::Places;
use crate::gpu::ir::{MmaType, Value};

/// Rows of a fragment of A, columns of one of B, and the two's halves.
pub const M: usize = 16;
pub const N: usize = 8;

/// Steps of one multiplication.
pub fn steps(ty: MmaType) -> usize {
    match ty {
        MmaType::Tf32 => 8,
        MmaType::F16 | MmaType::Bf16 => 16,
    }
}

/// A thread's view of a panel.
pub struct Fragments {
    ty: MmaType,
    places: Places,
    side: Side,
    /// The thread's element of the first fragment of the first stage.
    first: Value,
}

impl Fragments {
    /// Of a warp whose part of the panel begins at `across`.
    pub fn new(w: &mut Writer<'_>, ty: MmaType, (places, side): (Places, Side), across: Value) -> Fragments {
        let thread = w.thread();
        let (_, lane) = w.div_rem(thread, 32);
        let (low, high) = match ty {
            MmaType::Tf32 => w.div_rem(lane, 4),
            MmaType::F16 | MmaType::Bf16 => row_of_matrix(w, lane, &places, side),
        };
        let across = w.add(across, low);
        let at = w.mul(across, Value::index(places.across));
        let first = w.mul_add(high, Value::index(places.along), at);
        Fragments { ty, places, side, first }
    }

    /// The thread's first element of a stage.
    pub fn of_stage(&self, w: &mut Writer<'_>, stage: Value) -> Value {
        w.mul_add(stage, Value::index(self.places.stage), self.first)
    }

    /// The `i`-th 16 rows or columns at a multiplication's `step`: of A (first rows, first steps), (last rows, first steps),
    /// (first, last), (last, last); of B two fragments, (first columns, first steps), (first, last), ...
    pub fn load(&self, w: &mut Writer<'_>, first: Value, step: Value, i: usize) -> [Value; 4] {
        let p = self.places;
        let at = w.mul_add(step, Value::index(steps(self.ty) * p.along), first);
        let at = w.add(at, Value::index(i * M * p.across));
        match self.ty {
            MmaType::Tf32 => self.quarters().map(|[across, along]| {
                let at = w.add(at, Value::index(across * 8 * p.across + along * 4 * p.along));
                let v = w.load_shared(p.shared, at);
                w.tf32(v)
            }),
            MmaType::F16 | MmaType::Bf16 => w.load_matrix(p.shared, at, p.along != 1),
        }
    }

    /// (half across, half along) of each register.
    fn quarters(&self) -> [[usize; 2]; 4] {
        match self.side {
            Side::A => [[0, 0], [1, 0], [0, 1], [1, 1]],
            Side::B => [[0, 0], [0, 1], [1, 0], [1, 1]],
        }
    }
}

/// (across, along) of the row of a matrix that a thread names: matrices follow each other as registers do, and a row of
/// eight is what lies side by side.
fn row_of_matrix(w: &mut Writer<'_>, lane: Value, p: &Places, side: Side) -> (Value, Value) {
    let (matrix, row) = w.div_rem(lane, 8);
    let (second, first) = w.div_rem(matrix, 2);
    let (across, along) = match side {
        Side::A => (first, second),
        Side::B => (second, first),
    };
    let [across, along] = [across, along].map(|half| w.mul(half, Value::index(8)));
    match p.along {
        1 => (w.add(across, row), along),
        _ => (across, w.add(along, row)),
    }
}
