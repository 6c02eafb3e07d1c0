//! Chains against the same steps one by one: random bodies over random shapes, in one block or several, in place or not.
//!
//! Invariant: which NaN comes out of two is the compiler's choice, who may swap operands: all are the same here. So are
//! denormals and 0, of which maxima keep either with flushing on.

use super::super::compile::How;
use super::super::{MAX_DIRECT, Sequence, Tape};
use super::Set;
use crate::cpu::denormals::Flush;
use crate::cpu::{Bases, Isa};
use crate::plan::{Access, Body, BufferId, Expr, ExprId};
use thalweg_base::philox::Sequence as Generator;
use thalweg_base::{DType, Scalar, ScalarOp};

/// Types of the buffers.
const TYPES: [DType; 5] = [DType::F32, DType::Bool, DType::U8, DType::I32, DType::U32];
/// What may be special of a float.
const EDGES: [u32; 22] = [
    // 2^31 and 255, and their neighbours.
    0x4eff_ffff,
    0x4f00_0000,
    0xcf00_0000,
    0xcf00_0001,
    0x437f_0000,
    0x4380_0000,
    0,
    0x8000_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0000,
    0xff80_0000,
    0x3f80_0000,
    0xbf80_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x7f7f_ffff,
    0x4b80_0001,
    0x3f00_0000,
    0xc020_0000,
];

struct Case {
    body: Body,
    values: Vec<ExprId>,
    /// Outer axis, rows, columns; or columns alone.
    space: Vec<usize>,
    buffers: Vec<Vec<u32>>,
}

fn pick<T: Copy>(g: &mut Generator, of: &[T]) -> T {
    of[g.below(of.len() as u32) as usize]
}

/// The bytes of a buffer, in whole words.
fn buffer(g: &mut Generator, dtype: DType, elements: usize) -> Vec<u32> {
    let word = |g: &mut Generator| match dtype {
        DType::F32 if g.below(4) == 0 => pick(g, &EDGES),
        DType::F32 => (g.next_normal() * 3.0).to_bits(),
        DType::Bool => g.next_word() & 0x0101_0101,
        DType::I32 | DType::U32 if g.below(2) == 0 => g.below(3),
        _ => g.next_word(),
    };
    (0..elements * dtype.size() / 4 + 1).map(|_| word(g)).collect()
}

fn case(seed: u64, lanes: usize) -> Case {
    let mut g = Generator::new(seed, 7, 0);
    // Shapes of so many lanes.
    let rows = pick(&mut g, &(1..=lanes).filter(|r| lanes.is_multiple_of(*r)).collect::<Vec<_>>());
    let (r, c) = (rows as isize, (lanes / rows) as isize);
    let space = if g.below(4) == 0 { vec![lanes] } else { vec![2, rows, lanes / rows] };
    let rank = space.len();
    let kinds: [[isize; 3]; 8] = [
        [r * c, c, 1],
        [r * c, c, 1],
        [r * c, c, 1],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
        [r * c, 1, r],
        [0, 2 * c, 2],
    ];
    let mut body = Body::new();
    // More than a chain has addresses for, sometimes.
    let loads = if g.below(5) == 0 { 14 } else { 1 + g.below(7) };
    for _ in 0..loads {
        let at = g.below(TYPES.len() as u32 + 3).saturating_sub(3);
        let mut strides = pick(&mut g, &kinds)[3 - rank..].to_vec();
        if rank == 1 {
            strides[0] = pick(&mut g, &[1, 1, 1, 0, 2]);
        }
        body.push(Expr::Load(Access { buffer: BufferId(at), offset: 0, strides }), TYPES[at as usize]);
    }
    for _ in 0..g.below(4) {
        let float = Scalar::f32(f32::from_bits(pick(&mut g, &EDGES)));
        let small = f64::from(g.below(3));
        let dtype = pick(&mut g, &TYPES[1..]);
        let small = if dtype == DType::Bool { 1.0 } else { small };
        let one = if g.below(2) == 0 { float } else { Scalar::new(dtype, small) };
        body.push(Expr::Const(one), one.dtype());
    }
    let most = if g.below(4) == 0 { 60 } else { 14 };
    let steps = 1 + g.below(most);
    for _ in 0..steps {
        step(&mut g, &mut body);
    }
    let n = body.len() as u32;
    let mut values: Vec<ExprId> =
        (0..1 + g.below(10)).map(|i| ExprId(n - 1 - g.below((2 * i + 1).min(n)))).collect();
    values.truncate(12);
    let buffers = TYPES.map(|t| buffer(&mut g, t, 4 * lanes + 64)).to_vec();
    Case { body, values, space, buffers }
}

/// One more expression of what there is.
fn step(g: &mut Generator, body: &mut Body) {
    use ScalarOp as S;
    for _ in 0..200 {
        let recent = |g: &mut Generator| {
            let n = body.len() as u32;
            ExprId(if g.below(3) == 0 { g.below(n) } else { n - 1 - g.below(n.min(5)) })
        };
        if g.below(6) == 0 {
            let (x, to) = (recent(g), pick(g, &TYPES));
            if body.dtype(x) != to {
                body.push(Expr::Cast(x), to);
                return;
            }
            continue;
        }
        let often =
            [S::Add, S::Mul, S::Max, S::Min, S::Lt, S::Select, S::And, S::Sub, S::Floor, S::Neg, S::Abs];

        let op = if g.below(3) == 0 { pick(g, &ScalarOp::ALL) } else { pick(g, &often) };
        let args: Vec<ExprId> = (0..op.arity()).map(|_| recent(g)).collect();
        let types: Vec<DType> = args.iter().map(|a| body.dtype(*a)).collect();

        // A power works on the bits of denormals.
        if let Some(to) = op.infer(&types).filter(|_| op != S::Pow) {
            body.push(Expr::Op(op, args), to);
            return;
        }
    }
}

/// Blocks of the rows of each outer step, and of all at once, the results in place or not.
fn results(tape: &Tape, case: &Case, block: usize, placed: bool) -> Vec<Vec<u32>> {
    let bases = Bases::new(case.buffers.iter().map(|b| b.as_ptr().cast_mut().cast()).collect());
    let rank = case.space.len();
    let (rows, cols) = (if rank > 1 { case.space[1] } else { 1 }, case.space[rank - 1]);
    let mut scratch = vec![0x7f81_2345_7f81_2345_u64; tape.scratch_bytes() / 8 + 16];
    let at = scratch.as_mut_ptr().cast::<u8>();
    let mut all: Vec<Vec<u32>> = vec![vec![0xdead_beef; 2 * rows * cols + 16]; case.values.len()];
    // SAFETY: the buffers hold every access; the scratch is long enough once aligned; results have their places.
    unsafe {
        let at = at.add(at.align_offset(64));
        for outer in 0..if rank > 1 { 2 } else { 1 } {
            let mut sequence = Sequence::single(block * cols);
            for row in (0..rows).step_by(block) {
                let shape = [block.min(rows - row), cols];
                let origin = [outer, row, 0];
                let first = (outer * rows + row) * cols;
                for (v, to) in all.iter_mut().enumerate().take(MAX_DIRECT) {
                    let mine = case.values.iter().position(|x| *x == case.values[v]) == Some(v);
                    if placed && mine && tape.dtype(v).size() == 4 && v % 3 != 2 {
                        sequence.outs[v] = to.as_mut_ptr().add(first);
                    }
                }
                tape.eval_next(&bases, &origin[3 - rank.max(1)..][..rank], shape, &sequence, at);
                for (v, to) in all.iter_mut().enumerate() {
                    let n = shape[0] * cols;
                    let lanes = tape.result(v, at).cast::<u32>();
                    to.as_mut_ptr().add(first).copy_from(lanes, n);
                }
                sequence.again = true;
            }
        }
    }
    all
}

fn same(a: u32, b: u32, dtype: DType) -> bool {
    let zero = |x: u32| if x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x };
    a == b
        || dtype.is_float()
            && (zero(a) == zero(b) || f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan())
}

/// The instruction sets of this processor that have chains.
fn sets() -> Vec<Isa> {
    Isa::available().filter(|isa| Set::of(*isa).is_some()).collect()
}

/// Whether chained results are those of the steps; how many chains there were.
fn check(seed: u64, lanes: usize, isa: Isa) -> usize {
    let case = case(seed, lanes);
    let chained = Tape::new(&case.body, &case.values, &case.space, isa);
    let plain = Tape::compile(&case.body, &case.values, &case.space, isa, How::Stepwise);
    let rows = if case.space.len() > 1 { case.space[1] } else { 1 };
    let third = rows.div_ceil(3);
    for (block, placed) in [(rows, false), (rows, true), (third, false), (third, true)] {
        let want = results(&plain, &case, block, placed);
        let got = results(&chained, &case, block, placed);
        for (v, (want, got)) in want.iter().zip(&got).enumerate() {
            let dtype = case.body.dtype(case.values[v]);
            if let Some(lane) = (0..want.len()).find(|&l| !same(want[l], got[l], dtype)) {
                panic!(
                    "{isa}, seed {seed}, {lanes} lanes, blocks of {block}, in place {placed}: lane {lane} of value {v} is {:08x}, not {:08x}: {:?}",
                    got[lane], want[lane], case.body
                );
            }
        }
    }
    chained.code.natives.len()
}

#[test]
fn chains_give_the_bits_of_their_steps() {
    for isa in sets() {
        // As on the workers.
        let flush = Flush::start();
        let of = |lanes: usize| (0..40).map(move |i| check(lanes as u64 * 1000 + i, lanes, isa));
        let chains: usize = (1..=80).flat_map(of).sum();
        drop(flush);
        assert!(chains > 500, "{isa}: {chains} chains");
    }
}

/// A truth of a conversion alone, kept as a number.
#[test]
fn a_float_that_becomes_a_truth_is_one() {
    let values: Vec<u32> = [-1.0_f32, 0.5, f32::NAN, -2.0, 3.0].map(f32::to_bits).to_vec();
    let bases = Bases::new(vec![values.as_ptr().cast_mut().cast()]);
    let mut body = Body::new();
    let x = body.push(Expr::Load(Access { buffer: BufferId(0), offset: 0, strides: vec![1] }), DType::F32);
    let one = body.push(Expr::Const(Scalar::f32(1.0)), DType::F32);
    let sum = body.push(Expr::Op(ScalarOp::Add, vec![x, one]), DType::F32);
    let truth = body.push(Expr::Cast(sum), DType::Bool);
    for isa in Isa::available() {
        let tape = Tape::new(&body, &[truth], &[values.len()], isa);
        let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
        let at = scratch.as_mut_ptr().cast::<u8>();
        // SAFETY: the buffer holds the block; the scratch is long enough once aligned.
        let got: Vec<u32> = unsafe {
            let at = at.add(at.align_offset(64));
            tape.eval_next(&bases, &[0], [1, values.len()], &Sequence::single(values.len()), at);
            let lanes = tape.result(0, at).cast::<u32>();
            (0..values.len()).map(|i| *lanes.add(i)).collect()
        };
        assert_eq!(got, [0, 1, 1, 1, 1], "{isa}");
    }
}

/// Ever more values at once, until there are more than registers, while what was loaded is needed again: it is loaded
/// again, or the chain ends, and the results are the same.
#[test]
fn values_that_fit_no_registers_end_a_chain() {
    let mut lanes: Vec<Vec<f32>> =
        (0..4).map(|b| (0..100).map(|i| (i * (b + 1) % 37) as f32 - 11.0).collect()).collect();
    let bases = Bases::new(lanes.iter_mut().map(|v| v.as_mut_ptr().cast()).collect());
    for (isa, held) in sets().into_iter().flat_map(|isa| (1..=40).map(move |held| (isa, held))) {
        let mut body = Body::new();
        let x = [0, 1, 2, 3].map(|b| {
            let access = Access { buffer: BufferId(b), offset: 0, strides: vec![1] };
            body.push(Expr::Load(access), DType::F32)
        });
        let mut op = |op, a, b| body.push(Expr::Op(op, vec![a, b]), DType::F32);
        let terms: Vec<ExprId> = (0..held).map(|i| op(ScalarOp::Div, x[i % 4], x[i / 4 % 4])).collect();
        // From the last to the first, so that all are there before any is used.
        let mut sum = op(ScalarOp::Mul, x[0], x[1]);
        for (i, term) in terms.into_iter().enumerate().rev() {
            let product = op(ScalarOp::Mul, x[i % 4], x[(i + 1) % 4]);
            let loaded = op(ScalarOp::Add, product, x[(i + 2) % 4]);
            sum = op(ScalarOp::Sub, term, sum);
            sum = op(ScalarOp::Sub, sum, loaded);
        }
        let made = [How::Chained, How::Stepwise].map(|how| {
            let tape = Tape::compile(&body, &[sum], &[100], isa, how);
            let chains = tape.code.natives.len();
            assert!(how == How::Stepwise || if held < 8 { chains == 1 } else { held < 40 || chains > 1 });
            let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
            let at = scratch.as_mut_ptr().cast::<u8>();
            // SAFETY: the buffers hold the block; the scratch is long enough once aligned.
            unsafe {
                let at = at.add(at.align_offset(64));
                tape.eval(&bases, &[0], 1, 100, std::ptr::null(), 0, at);
                (0..100).map(|i| (*tape.result(0, at).add(i)).to_bits()).collect::<Vec<_>>()
            }
        });
        let same = made[0].iter().zip(&made[1]).all(|(a, b)| same(*a, *b, DType::F32));
        assert!(same, "{isa}, {held} values");
    }
}

/// What an optimizer does fits the registers of every instruction set.
#[test]
fn an_update_is_one_chain() {
    let mut body = Body::new();
    let load = |buffer, stride, body: &mut Body| {
        let access = Access { buffer: BufferId(buffer), offset: 0, strides: vec![stride] };
        body.push(Expr::Load(access), DType::F32)
    };
    let [weight, gradient, mean, square] = [0, 1, 2, 3].map(|b| load(b, 1, &mut body));
    let [rate, of_mean, of_square] = [4, 5, 6].map(|b| load(b, 0, &mut body));
    let [keep, new, keep_square, new_square, small] =
        [0.9, 0.1, 0.999, 0.001, 1e-7].map(|v| body.push(Expr::Const(Scalar::f32(v)), DType::F32));
    let mut op = |op, args: &[ExprId]| body.push(Expr::Op(op, args.to_vec()), DType::F32);
    let (old, add) = (op(ScalarOp::Mul, &[mean, keep]), op(ScalarOp::Mul, &[gradient, new]));
    let mean = op(ScalarOp::Add, &[old, add]);
    let both = op(ScalarOp::Mul, &[gradient, gradient]);
    let (old, add) = (op(ScalarOp::Mul, &[square, keep_square]), op(ScalarOp::Mul, &[both, new_square]));
    let square = op(ScalarOp::Add, &[old, add]);
    let (step, under) = (op(ScalarOp::Mul, &[mean, of_mean]), op(ScalarOp::Mul, &[square, of_square]));
    let under = op(ScalarOp::Sqrt, &[under]);
    let (step, under) = (op(ScalarOp::Mul, &[step, rate]), op(ScalarOp::Add, &[under, small]));
    let step = op(ScalarOp::Div, &[step, under]);
    let weight = op(ScalarOp::Sub, &[weight, step]);
    for isa in sets() {
        let tape = Tape::new(&body, &[weight, mean, square], &[1000], isa);
        assert!(tape.code.natives.len() == 1 && tape.code.one_chain(), "{isa}");
    }
}

/// Sums of rows, in order, of every number of columns that fills a register and leaves some.
#[test]
fn sums_of_rows_are_those_of_the_terms() {
    let mut g = Generator::new(2, 7, 0);
    for (isa, cols) in sets().into_iter().flat_map(|isa| (16..=130).map(move |cols| (isa, cols))) {
        let rows = 1 + g.below(1024 / cols.max(17) as u32) as usize;
        let mut body = Body::new();
        let access =
            |b, strides: [isize; 2]| Access { buffer: BufferId(b), offset: 0, strides: strides.into() };
        let x = body.push(Expr::Load(access(0, [cols as isize, 1])), DType::F32);
        let y = body.push(Expr::Load(access(1, [cols as isize, 1])), DType::F32);
        let mean = body.push(Expr::Load(access(2, [0, 1])), DType::F32);
        let centred = body.push(Expr::Op(ScalarOp::Sub, vec![x, mean]), DType::F32);
        let both = body.push(Expr::Op(ScalarOp::Mul, vec![centred, y]), DType::F32);
        let results: &[ExprId] = match cols % 3 {
            0 => &[y, both],
            1 => &[both, x, centred],
            _ => &[both],
        };
        let mut whole = |n: usize| -> Vec<f32> { (0..n).map(|_| g.below(64) as f32 - 32.0).collect() };
        let (mut x, mut y, mut mean) = (whole(rows * cols), whole(rows * cols), whole(cols));
        let bases = Bases::new([&mut x, &mut y, &mut mean].map(|v| v.as_mut_ptr().cast()).to_vec());
        let tape = Tape::added_up(&body, results, &[rows, cols], isa);
        assert!(tape.adds_up());
        let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
        let mut sums = vec![vec![3.0_f32; cols + 16]; results.len()];
        let mut to = [std::ptr::null_mut(); MAX_DIRECT];
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
            let want: &[f32] = match cols % 3 {
                0 => &[of(&|i| y[i]), both],
                1 => &[both, of(&|i| x[i]), of(&|i| x[i] - mean[c])],
                _ => &[both],
            };
            let got: Vec<f32> = sums.iter().map(|s| s[c]).collect();
            assert_eq!(got, want, "{isa}, {rows} x {cols}, column {c}");
        }
        assert!(sums.iter().all(|s| s[cols..].iter().all(|&x| x == 3.0)), "{cols} columns");
    }
}
