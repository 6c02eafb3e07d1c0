//! What libraries compute, as loops over every multiplication, so that what is around their calls is interpreted too.
//!
//! In: a call, the memories of a program. Out: its result there, summed up in f64 and rounded once. A call is one more thread
//! of its stage, so that whoever touches what it stores at the same time is found. Its workspace, which
//! other calls of the stage share and nobody else, is filled with bytes that mean nothing.

use super::machine::Clock;
use super::memory::{CALLS, Memory, Window};
use thalweg_base::{ConvDims, DType, half};
use thalweg_device::gpu::call::{Call, WORKSPACE_ALIGN, Which};
use thalweg_device::plan::DotDims;

/// Runs a call.
pub fn run_call(call: &Call, memories: &mut [Memory], arguments: &[Window], clock: &mut Clock) {
    let (time, thread) = clock.alone();
    let (bytes, types) = (call.bytes(), call.types());
    for (argument, bytes) in arguments.iter().zip(bytes) {
        assert_eq!(argument.bytes, bytes, "an argument of {call:?}");
    }
    let [a, b, result, workspace] = arguments else { panic!("{call:?} has {} arguments", arguments.len()) };
    assert!(workspace.first.is_multiple_of(WORKSPACE_ALIGN), "the workspace of {call:?}");
    let refused = |problem: String| -> ! { panic!("{call:?}: {problem}") };
    let mut operand = |window: &Window, elements: usize| -> Vec<f64> {
        let memory = &mut memories[window.memory];
        let size = types.operands.size();
        let read = |i: usize| match memory.load(window.first + i * size, size, time, thread) {
            Ok(word) => number(types.operands, word),
            Err(problem) => refused(problem),
        };
        (0..elements).map(read).collect()
    };
    let [of_a, of_b, of_result] = call.elements();
    let (a, b) = (operand(a, of_a), operand(b, of_b));
    let mut sums = vec![0.0; of_result];
    match call {
        Call::Matrices { dims, .. } => matrices(dims, &a, &b, &mut sums),
        Call::Convolution { which, dims, .. } => each(dims, |image, filter, output| match which {
            Which::Forward => sums[output] += a[image] * b[filter],
            Which::Input => sums[image] += a[output] * b[filter],
            Which::Filter => sums[filter] += a[image] * b[output],
        }),
    }
    let size = types.result.size();
    for (i, sum) in sums.into_iter().enumerate() {
        let stored = memories[result.memory].store(
            result.first + i * size,
            size,
            word(types.result, sum),
            time,
            thread,
        );
        stored.unwrap_or_else(|problem| refused(problem));
    }
    for at in workspace.first..workspace.first + workspace.bytes {
        let stored = memories[workspace.memory].store(at, 1, 0x5a, time, CALLS);
        stored.unwrap_or_else(|problem| refused(problem));
    }
}

fn matrices(d: &DotDims, a: &[f64], b: &[f64], sums: &mut [f64]) {
    for (i, sum) in sums.iter_mut().enumerate() {
        let (batch, m, n) = (i / d.n / d.m, i / d.n % d.m, i % d.n);
        let left = |k: usize| if d.ta { k * d.m + m } else { m * d.k + k };
        let right = |k: usize| if d.tb { n * d.k + k } else { k * d.n + n };
        let term = |k| a[batch * d.m * d.k + left(k)] * b[batch * d.k * d.n + right(k)];
        *sum = (0..d.k).map(term).sum();
    }
}

/// Calls `f(image, filter, output)` for every multiplication; filters are [k, rows, columns, c / groups].
fn each(d: &ConvDims, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for output in 0..d.output().iter().product() {
        let (k, ox, oy, n) =
            (output % d.k, output / d.k % d.ow, output / d.k / d.ow % d.oh, output / d.k / d.ow / d.oh);
        for (r, s) in (0..d.rows.size).flat_map(|r| (0..d.cols.size).map(move |s| (r, s))) {
            let (Some(y), Some(x)) = (d.rows.source(oy, r, d.h), d.cols.source(ox, s, d.w)) else { continue };
            for c in 0..cg {
                let image = ((n * d.h + y) * d.w + x) * d.c + k / kg * cg + c;
                f(image, ((k * d.rows.size + r) * d.cols.size + s) * cg + c, output);
            }
        }
    }
}

fn number(dtype: DType, word: u32) -> f64 {
    f64::from(match dtype {
        DType::F16 => half::from_f16(word as u16),
        DType::BF16 => half::from_bf16(word as u16),
        _ => f32::from_bits(word),
    })
}

fn word(dtype: DType, sum: f64) -> u32 {
    match dtype {
        DType::F16 => half::to_f16(sum as f32).into(),
        DType::BF16 => half::to_bf16(sum as f32).into(),
        _ => (sum as f32).to_bits(),
    }
}
