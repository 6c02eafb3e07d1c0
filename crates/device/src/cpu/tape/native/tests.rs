//! Chains against the same steps one by one: the same bits, for every operation, shape and number of lanes.

use super::super::compile::How;
use super::super::{MAX_DIRECT, Sequence, Tape};
use super::MAX_MADE;
use crate::cpu::{Bases, Isa};
use crate::plan::{Access, Body, BufferId, Expr, ExprId};
use thalweg_base::{DType, Scalar, ScalarOp as S};

/// Small random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Mostly ordinary values, and what operations treat in their own way.
    fn value(&mut self) -> f32 {
        const SPECIAL: [f32; 8] = [0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -3e38];
        match self.below(16) {
            i @ 0..8 => SPECIAL[i],
            _ => (self.below(4001) as f32 - 2000.0) / 256.0,
        }
    }
}

const ROWS: usize = 7;
const COLS: usize = 80;

/// A random body over [`ROWS`] x [`COLS`], its results, and its buffers: two dense ones, a row, a column, one lane, and
/// bytes that are conditions (not only 0 and 1 where they are loaded as such).
fn body(random: &mut Random) -> (Body, Vec<ExprId>) {
    let mut body = Body::new();
    let strides = [[COLS as isize, 1], [COLS as isize, 1], [0, 1], [1, 0], [0, 0]];
    let mut floats: Vec<ExprId> = Vec::new();
    for (b, strides) in strides.iter().enumerate() {
        let access = Access { buffer: BufferId(b as u32), offset: 0, strides: strides.to_vec() };
        floats.push(body.push(Expr::Load(access), DType::F32));
    }
    let access = Access { buffer: BufferId(5), offset: 0, strides: vec![COLS as isize, 1] };
    let mut truths = vec![body.push(Expr::Load(access), DType::Bool)];
    for v in [0.0, 6.0, f32::NAN, -0.5] {
        floats.push(body.push(Expr::Const(Scalar::f32(v)), DType::F32));
    }
    for _ in 0..4 + random.below(24) {
        let pick = |random: &mut Random, from: &[ExprId]| from[random.below(from.len())];
        let [a, b] = [pick(random, &floats), pick(random, &floats)];
        let t = pick(random, &truths);
        let float = |op: S, args: &[ExprId]| (Expr::Op(op, args.to_vec()), DType::F32);
        let (expr, dtype) = match random.below(19) {
            0 => float(S::Add, &[a, b]),
            1 => float(S::Sub, &[a, b]),
            2 => float(S::Mul, &[a, b]),
            3 => float(S::Div, &[a, b]),
            4 => float(S::Max, &[a, b]),
            5 => float(S::Min, &[a, b]),
            6 => float(S::Neg, &[a]),
            7 => float(S::Abs, &[a]),
            8 => float(S::Sqrt, &[a]),
            9 => float(S::Floor, &[a]),
            10 | 11 => float(S::Select, &[t, a, b]),
            12 => (Expr::Cast(t), DType::F32),
            13 => (Expr::Op(S::Lt, vec![a, b]), DType::Bool),
            14 => (Expr::Op(S::Eq, vec![a, b]), DType::Bool),
            15 => (Expr::Op(S::And, vec![t, pick(random, &truths)]), DType::Bool),
            16 => (Expr::Cast(a), DType::Bool),
            // No part of a chain, so that there are several.
            17 => float(S::Tanh, &[a]),
            _ => {
                let product = body.push(Expr::Op(S::Mul, vec![a, b]), DType::F32);
                float(S::Add, &[product, pick(random, &floats)])
            }
        };
        let made = body.push(expr, dtype);
        if dtype == DType::F32 { floats.push(made) } else { truths.push(made) }
    }
    let made = || body.iter().filter(|(_, e, _)| matches!(e, Expr::Op(..) | Expr::Cast(_)));
    let mut results: Vec<ExprId> = made().map(|(id, ..)| id).filter(|_| random.below(4) == 0).collect();
    results.extend(made().map(|(id, ..)| id).next_back());
    results.dedup();
    results.truncate(MAX_DIRECT);
    (body, results)
}

/// All lanes of all results of a block.
fn evaluate(tape: &Tape, bases: &Bases, results: usize, [rows, cols]: [usize; 2]) -> Vec<Vec<u32>> {
    let mut scratch = vec![u64::MAX; tape.scratch_bytes() / 8 + 16];
    let at = scratch.as_mut_ptr().cast::<u8>();
    // SAFETY: the buffers hold every access of the block; the scratch is long enough once aligned.
    unsafe {
        let at = at.add(at.align_offset(64));
        tape.eval(bases, &[0, 0], rows, cols, std::ptr::null(), 0, at);
        let lanes = |r| tape.result(r, at).cast::<u32>();
        let of = |r| (0..rows * cols).map(|i| lanes(r).add(i).read_unaligned()).collect();
        (0..results).map(of).collect()
    }
}

fn same(a: u32, b: u32) -> bool {
    // Which of two NaN goes on is the processor's choice.
    a == b || f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan()
}

#[test]
fn chains_give_what_their_steps_give() {
    if !Isa::available().any(|isa| isa == Isa::Avx512) {
        return;
    }
    let mut random = Random(1);
    let (mut chains, mut longest) = (0, 0);
    for _ in 0..600 {
        let (body, results) = body(&mut random);
        let mut floats: Vec<Vec<f32>> = [ROWS * COLS, ROWS * COLS, COLS, ROWS, 1]
            .iter()
            .map(|&n| (0..n).map(|_| random.value()).collect())
            .collect();
        let mut truths: Vec<u8> = (0..ROWS * COLS).map(|_| random.below(3) as u8).collect();
        let mut addresses: Vec<*mut u8> = floats.iter_mut().map(|f| f.as_mut_ptr().cast()).collect();
        addresses.push(truths.as_mut_ptr());
        let bases = Bases::new(addresses);
        // Of a narrower space rows do not follow each other in the buffers.
        let shape = [1 + random.below(ROWS), 1 + random.below(COLS)];
        let [chained, stepwise] = [How::Chained, How::Stepwise]
            .map(|how| Tape::compile(&body, &results, &[ROWS, COLS], Isa::Avx512, how));
        chains += chained.code.natives.len();
        longest = longest.max(stepwise.code.steps.len() - chained.code.steps.len());
        for shape in [shape, [shape[0], COLS]] {
            let got = evaluate(&chained, &bases, results.len(), shape);
            let want = evaluate(&stepwise, &bases, results.len(), shape);
            for (r, (got, want)) in got.iter().zip(&want).enumerate() {
                for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                    assert!(same(g, w), "{shape:?}, result {r}, lane {i}: {g:x}, not {w:x}: {body:?}");
                }
            }
        }
    }
    assert!(chains > 400 && longest > 10, "{chains} chains, the longest of {longest} steps");
}

/// More values at once than there are registers: shorter chains, the same results.
#[test]
fn values_that_fit_no_registers_end_a_chain() {
    let mut body = Body::new();
    let access = Access { buffer: BufferId(0), offset: 0, strides: vec![1] };
    let x = body.push(Expr::Load(access), DType::F32);
    let value = |v: f32, body: &mut Body| body.push(Expr::Const(Scalar::f32(v)), DType::F32);
    let terms: Vec<ExprId> = (0..40)
        .map(|i| {
            let c = value(i as f32 + 0.5, &mut body);
            body.push(Expr::Op(S::Div, vec![x, c]), DType::F32)
        })
        .collect();
    // From the last to the first, so that all are there before any is used.
    let sum = terms.iter().rev().copied().reduce(|a, b| body.push(Expr::Op(S::Sub, vec![a, b]), DType::F32));
    let results = [sum.unwrap()];
    let mut values: Vec<f32> = (0..100).map(|i| i as f32 - 31.0).collect();
    let bases = Bases::new(vec![values.as_mut_ptr().cast()]);
    let mut all = Vec::new();
    for how in [How::Chained, How::Stepwise] {
        if !Isa::available().any(|isa| isa == Isa::Avx512) {
            return;
        }
        let tape = Tape::compile(&body, &results, &[100], Isa::Avx512, how);
        let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
        let at = scratch.as_mut_ptr().cast::<u8>();
        // SAFETY: the buffer holds the block; the scratch is long enough once aligned.
        all.push(unsafe {
            let at = at.add(at.align_offset(64));
            tape.eval(&bases, &[0], 1, 100, std::ptr::null(), 0, at);
            (0..100).map(|i| (*tape.result(0, at).add(i)).to_bits()).collect::<Vec<_>>()
        });
    }
    assert_eq!(all[0], all[1]);
}

/// Sums of rows, in order, of every number of columns that fills a register and leaves some.
#[test]
fn sums_of_rows_are_those_of_the_terms() {
    if !Isa::available().any(|isa| isa == Isa::Avx512) {
        return;
    }
    let mut random = Random(2);
    for cols in 16..=130 {
        let rows = 1 + random.below(1024 / cols.max(17));
        let mut body = Body::new();
        let access =
            |b, strides: [isize; 2]| Access { buffer: BufferId(b), offset: 0, strides: strides.into() };
        let x = body.push(Expr::Load(access(0, [cols as isize, 1])), DType::F32);
        let y = body.push(Expr::Load(access(1, [cols as isize, 1])), DType::F32);
        let mean = body.push(Expr::Load(access(2, [0, 1])), DType::F32);
        let centred = body.push(Expr::Op(S::Sub, vec![x, mean]), DType::F32);
        let both = body.push(Expr::Op(S::Mul, vec![centred, y]), DType::F32);
        let results: &[ExprId] = if cols % 2 == 0 { &[y, both] } else { &[both, x, centred] };
        let mut whole = |n: usize| -> Vec<f32> { (0..n).map(|_| random.below(64) as f32 - 32.0).collect() };
        let (mut x, mut y, mut mean) = (whole(rows * cols), whole(rows * cols), whole(cols));
        let bases = Bases::new([&mut x, &mut y, &mut mean].map(|v| v.as_mut_ptr().cast()).to_vec());
        let tape = Tape::added_up(&body, results, &[rows, cols], Isa::Avx512);
        assert!(tape.adds_up());
        let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
        let mut sums = vec![vec![3.0_f32; cols + 16]; results.len()];
        let mut to = [std::ptr::null_mut(); MAX_MADE];
        to.iter_mut().zip(&mut sums).for_each(|(to, sums)| *to = sums.as_mut_ptr());
        let at = scratch.as_mut_ptr().cast::<u8>();
        // SAFETY: the buffers hold the block, there is a sum for each result and column.
        unsafe {
            let at = at.add(at.align_offset(64));
            tape.eval_next(&bases, &[0, 0], [rows, cols], &Sequence::single(rows * cols), at);
            tape.add_up(to, rows, cols, at);
        }
        for c in 0..cols {
            let of = |f: &dyn Fn(usize) -> f32| 3.0 + (0..rows).map(|r| f(r * cols + c)).sum::<f32>();
            let both = of(&|i| (x[i] - mean[c]) * y[i]);
            let want: &[f32] = if cols % 2 == 0 {
                &[of(&|i| y[i]), both]
            } else {
                &[both, of(&|i| x[i]), of(&|i| x[i] - mean[c])]
            };
            let got: Vec<f32> = sums.iter().map(|s| s[c]).collect();
            assert_eq!(got, want, "{rows} x {cols}, column {c}");
        }
        assert!(sums.iter().all(|s| s[cols..].iter().all(|&x| x == 3.0)), "{cols} columns");
    }
}
