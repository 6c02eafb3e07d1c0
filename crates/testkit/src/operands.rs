//! Operands of the primitives' test cases.

use thalweg_base::{DType, philox::Sequence};
use thalweg_graph::cases::Case;
use thalweg_graph::reference::{Feeds, Tensor};

/// Philox stream of case operands.
const STREAM: u32 = 0x0ca5;

/// Values for a case's graph, in the case's range. Floats are exact in their type; those of f32 are all different (over all operands,
/// by at least half of range / count) and not near zero, so that no maximum, comparison or absolute value is
/// at its kink. Integers are whole, booleans 0 or 1.
pub fn operands(case: &Case, seed: u64) -> Feeds {
    let mut random = Sequence::new(seed, STREAM, 0);
    let count: usize = case.inputs.iter().filter(|t| t.dtype.is_float()).map(|t| t.len()).sum();
    let mut cells: Vec<usize> = (0..count).collect();
    random.shuffle(&mut cells);
    let mut cells = cells.into_iter();
    let range = case.high - case.low;
    let mut value = |dtype: DType| {
        let unit = f64::from(random.next_unit());
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 => {
                let cell = cells.next().unwrap_or(0) as f64 + 0.25 + 0.5 * unit;
                let v = f64::from((case.low + range * cell / count as f64) as f32);
                dtype.round(if v.abs() < 1e-3 { f64::from(1e-3_f32).copysign(v) } else { v })
            }
            DType::Bool => f64::from(u8::from(unit < 0.5)),
            DType::U8 | DType::U32 | DType::I32 => dtype.round((case.low + range * unit).floor()),
        }
    };
    let inputs =
        case.inputs.iter().map(|t| Tensor::new(&t.shape, (0..t.len()).map(|_| value(t.dtype)).collect()));
    Feeds { inputs: inputs.collect(), states: Vec::new() }
}
