//! The tape against `ScalarOp::eval`: every operation on every type it takes, edge values, odd sizes, every shape
//! class, every instruction set of this processor.

use super::*;
use crate::plan::{Access, BufferId, Expr};
use thalweg_base::{Scalar, ScalarOp, half, philox};

/// Little-endian storage of values of a type.
fn storage(dtype: DType, values: &[f64]) -> Vec<u8> {
    let bits = |v: f64| match dtype {
        DType::F16 => u32::from(half::to_f16(v as f32)),
        DType::BF16 => u32::from(half::to_bf16(v as f32)),
        _ => Scalar::new(dtype, v).bits(),
    };
    values.iter().flat_map(|&v| bits(v).to_le_bytes()[..dtype.size()].to_vec()).collect()
}

fn decode(dtype: DType, bits: u32) -> f64 {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => f64::from(f32::from_bits(bits)),
        DType::I32 => f64::from(bits as i32),
        _ => f64::from(bits),
    }
}

fn edges(dtype: DType) -> Vec<f64> {
    match dtype {
        DType::Bool => vec![0.0, 1.0],
        DType::U8 => vec![0.0, 1.0, 2.0, 127.0, 128.0, 255.0],
        DType::U32 => vec![0.0, 1.0, 7.0, 2_147_483_647.0, 2_147_483_648.0, 4_294_967_295.0],
        DType::I32 => vec![0.0, 1.0, -1.0, 300.0, -300.0, 2_147_483_647.0, -2_147_483_648.0],
        // As every type of 16 bits has them.
        DType::F16 | DType::BF16 => {
            vec![0.0, -0.0, 1.0, -2.5, 300.0, 2f64.powi(-20), f64::INFINITY, -f64::INFINITY, f64::NAN]
        }
        DType::F32 => [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            -2.5,
            2.9,
            300.7,
            -300.7,
            1e-10,
            3e9,
            5e9,
            -3e9,
            88.0,
            -88.0,
            1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            16_777_217.0,
            0.3,
            1e7,
        ]
        .iter()
        .map(|&v: &f32| f64::from(v))
        .collect(),
    }
}

/// A block of one tape, in one go: the dense lanes of value 0.
fn evaluate(tape: &Tape, bases: &Bases, origin: &[usize], rows: usize, cols: usize) -> Vec<u32> {
    evaluate_in(tape, bases, origin, rows, cols, 0)
}

/// The same, in scratch that is full of something.
fn evaluate_in(
    tape: &Tape,
    bases: &Bases,
    origin: &[usize],
    rows: usize,
    cols: usize,
    garbage: u64,
) -> Vec<u32> {
    let mut scratch = vec![garbage; tape.scratch_bytes() / 8 + 16];
    let at = scratch.as_mut_ptr().cast::<u8>();
    // SAFETY: the test's buffers hold every access of the block; the scratch is long enough once aligned.
    unsafe {
        let at = at.add(at.align_offset(64));
        tape.eval(bases, origin, rows, cols, std::ptr::null(), 0, at);
        let lanes = tape.result(0, at).cast::<u32>();
        (0..rows * cols).map(|i| lanes.add(i).read_unaligned()).collect()
    }
}

fn load(buffer: u32, strides: &[isize]) -> Expr {
    Expr::Load(Access { buffer: BufferId(buffer), offset: 0, strides: strides.to_vec() })
}

fn close(dtype: DType, got: f64, want: f64) -> bool {
    let want = if dtype == DType::F32 { f64::from(want as f32) } else { want };
    (got.is_nan() && want.is_nan())
        || got == want
        || (dtype == DType::F32 && (got - want).abs() <= 3e-7 * want.abs().max(1.2e-38))
}

/// What the operation gives, wrapping as integers do.
fn meaning(op: ScalarOp, dtype: DType, args: &[f64]) -> f64 {
    let v = op.eval(args);
    if op == ScalarOp::Mul && dtype != DType::F32 {
        // The product of two 32-bit integers is not exact in f64.
        let product = (args[0] as i128).wrapping_mul(args[1] as i128) as u32;
        return if dtype == DType::I32 { f64::from(product as i32) } else { f64::from(product) };
    }
    match dtype {
        DType::I32 => f64::from(((v as i128) as u32) as i32),
        DType::U32 => f64::from((v as i128) as u32),
        _ => dtype.round(v),
    }
}

#[test]
fn every_operation_on_every_type() {
    for isa in Isa::available() {
        for op in ScalarOp::ALL {
            for dtype in DType::ALL {
                let mut types = vec![dtype; op.arity()];
                if op == ScalarOp::Select {
                    types[0] = DType::Bool;
                }
                // Bodies round in a cast of its own.
                let Some(result) = op.infer(&types).filter(|d| !(d.is_half() && op.rounds())) else {
                    continue;
                };
                check_operation(isa, op, &types, result);
            }
        }
    }
}

fn check_operation(isa: Isa, op: ScalarOp, types: &[DType], result: DType) {
    // All combinations of edge values, in a line; the length is odd on purpose.
    let mut rows: Vec<Vec<f64>> = vec![vec![]];
    for t in types {
        rows =
            rows.iter().flat_map(|r| edges(*t).into_iter().map(|v| [r.as_slice(), &[v]].concat())).collect();
    }
    rows.truncate(MAX_LANES - 1);
    let columns: Vec<Vec<u8>> =
        (0..types.len()).map(|i| storage(types[i], &rows.iter().map(|r| r[i]).collect::<Vec<_>>())).collect();
    let bases = Bases::new(columns.iter().map(|c| c.as_ptr().cast_mut()).collect());
    let mut body = Body::new();
    let args = types.iter().enumerate().map(|(i, &t)| body.push(load(i as u32, &[1]), t)).collect();
    let value = body.push(Expr::Op(op, args), result);
    let tape = Tape::new(&body, &[value], &[rows.len()], isa);
    for (start, n) in [(0, rows.len()), (1, rows.len() - 1), (0, 1), (rows.len() - 1, 1)] {
        for (i, bits) in evaluate(&tape, &bases, &[start], 1, n).into_iter().enumerate() {
            let args = &rows[start + i];
            let want = meaning(op, result, args);
            let got = decode(result, bits);
            assert!(close(result, got, want), "{isa} {} {types:?} {args:?}: {got}, not {want}", op.name());
        }
    }
}

#[test]
fn every_cast() {
    for isa in Isa::available() {
        for from in DType::ALL {
            for to in DType::ALL {
                let values = edges(from);
                let bytes = storage(from, &values);
                let bases = Bases::new(vec![bytes.as_ptr().cast_mut()]);
                let mut body = Body::new();
                let x = body.push(load(0, &[1]), from);
                let y = body.push(Expr::Cast(x), to);
                // What is only stored is rounded by the store.
                let y = if to.is_half() { body.push(Expr::Cast(y), DType::F32) } else { y };
                let tape = Tape::new(&body, &[y], &[values.len()], isa);
                for (&v, bits) in values.iter().zip(evaluate(&tape, &bases, &[0], 1, values.len())) {
                    let got = decode(to, bits);
                    assert!(close(to, got, to.round(v)), "{isa} {from} {v} to {to}: {got}");
                }
            }
        }
    }
}

/// Floats of 16 bits are stored rounded, at any stride, as a cast would round them.
#[test]
fn stores_round_to_sixteen_bits() {
    let values: Vec<f64> = (0..40).map(|i| f64::from((i as f32 * 0.731).sin() * 70.0)).collect();
    let bytes = storage(DType::F32, &values);
    let bases = Bases::new(vec![bytes.as_ptr().cast_mut()]);
    for (isa, dtype) in Isa::available().flat_map(|isa| [(isa, DType::F16), (isa, DType::BF16)]) {
        let mut body = Body::new();
        let x = body.push(load(0, &[1]), DType::F32);
        let y = body.push(Expr::Cast(x), dtype);
        let tape = Tape::new(&body, &[y], &[values.len()], isa);
        for stride in [1, 3] {
            let mut out = vec![0x1234_u16; 3 * values.len()];
            let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
            let at = scratch.as_mut_ptr().cast::<u8>();
            // SAFETY: 40 elements at a stride of 3 are in `out`; the scratch is long enough once aligned.
            unsafe {
                let at = at.add(at.align_offset(64));
                tape.eval(&bases, &[0], 1, values.len(), std::ptr::null(), 0, at);
                tape.store(0, out.as_mut_ptr().cast(), 0, stride as isize, 1, values.len(), at, dtype);
            }
            for (i, &v) in values.iter().enumerate() {
                let got = out[i * stride];
                let got = if dtype == DType::F16 { half::from_f16(got) } else { half::from_bf16(got) };
                assert_eq!(f64::from(got), dtype.round(v), "{isa} {dtype} {v}");
            }
            assert!(stride == 1 || out[1] == 0x1234, "what lies between stays");
        }
    }
}

#[test]
fn every_shape_class_meets_every_other() {
    let data: Vec<f64> = (0..4000).map(|i| f64::from((i * 37 % 101) as f32) / 8.0 - 6.0).collect();
    let f = storage(DType::F32, &data);
    let u = storage(DType::U8, &data.iter().map(|v| (v * 8.0 + 48.0).round()).collect::<Vec<_>>());
    let bases = Bases::new(vec![f.as_ptr().cast_mut(), u.as_ptr().cast_mut()]);
    // Dense, per column, per row, uniform, transposed, strided.
    let kinds: [&[isize]; 6] = [&[70, 10, 1], &[0, 0, 1], &[5, 1, 0], &[3, 0, 0], &[70, 1, 7], &[0, 20, 2]];
    for isa in Isa::available() {
        for space in [[3, 7, 10], [3, 1, 10], [2, 7, 1], [1, 1, 1]] {
            for a in kinds {
                for b in kinds {
                    let mut body = Body::new();
                    let x = body.push(load(0, a), DType::F32);
                    let narrow = body.push(load(1, b), DType::U8);
                    let y = body.push(Expr::Cast(narrow), DType::F32);
                    let product = body.push(Expr::Op(ScalarOp::Mul, vec![x, y]), DType::F32);
                    let sum = body.push(Expr::Op(ScalarOp::Add, vec![y, product]), DType::F32);
                    let two = body.push(Expr::Const(Scalar::f32(2.0)), DType::F32);
                    let less = body.push(Expr::Op(ScalarOp::Lt, vec![x, two]), DType::Bool);
                    let v = body.push(Expr::Op(ScalarOp::Select, vec![less, sum, two]), DType::F32);
                    let tape = Tape::new(&body, &[v], &space, isa);
                    let at = [space[0] - 1, space[1] / 3, space[2] / 4];
                    let (rows, cols) = (space[1] - at[1], space[2] - at[2]);
                    let got = evaluate(&tape, &bases, &at, rows, cols);
                    for r in 0..rows {
                        for c in 0..cols {
                            let index = [at[0], at[1] + r, at[2] + c];
                            let element = |s: &[isize]| {
                                index.iter().zip(s).map(|(i, s)| *i as isize * s).sum::<isize>() as usize
                            };
                            let x = data[element(a)] as f32;
                            let y = (data[element(b)] * 8.0 + 48.0).round() as f32;
                            let want = if x < 2.0 { y + x * y } else { 2.0 };
                            let got = f32::from_bits(got[r * cols + c]);
                            assert!((got - want).abs() <= 1e-4, "{isa} {space:?} {a:?} {b:?}: {got} {want}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn random_numbers_are_those_of_the_generator() {
    let mut body = Body::new();
    let element = body.push(Expr::Index { offset: 5, strides: vec![11, 1] }, DType::I32);
    let step = body.push(Expr::Const(Scalar::new(DType::I32, 9.0)), DType::I32);
    let v = body.push(Expr::Random { seed: 0x1234_5678_9abc_def0, stream: 3, element, step }, DType::F32);
    for isa in Isa::available() {
        for (cols, rows) in [(11, 9), (7, 4), (1, 3)] {
            let tape = Tape::new(&body, &[v], &[20, 11], isa);
            let got = evaluate(&tape, &Bases::default(), &[2, 0], rows, cols);
            for (i, bits) in got.into_iter().enumerate() {
                let e = 5 + (2 + i / cols) * 11 + i % cols;
                let want = philox::unit(philox::word(0x1234_5678_9abc_def0, 3, 9, e as u32));
                assert_eq!(f32::from_bits(bits), want, "{isa} element {e}");
            }
        }
    }
}

#[test]
fn accumulators_and_strided_stores() {
    let mut body = Body::new();
    let acc = body.push(Expr::Acc, DType::F32);
    let one = body.push(Expr::Const(Scalar::f32(1.0)), DType::F32);
    let v = body.push(Expr::Op(ScalarOp::Add, vec![acc, one]), DType::F32);
    let tape = Tape::new(&body, &[v, acc], &[4, 6], Isa::detect());
    let tile: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let mut out = [0.0_f32; 40];
    let mut scratch = vec![0_u64; tape.scratch_bytes() / 8 + 16];
    let at = scratch.as_mut_ptr().cast::<u8>();
    // SAFETY: 3 rows of 5 at a stride of 16 are in the tile; stores stay in `out`.
    unsafe {
        let at = at.add(at.align_offset(64));
        tape.eval(&Bases::default(), &[0, 0], 3, 5, tile.as_ptr(), 16, at);
        tape.store(0, out.as_mut_ptr().add(4).cast(), 10, -1, 3, 5, at, DType::F32);
    }
    for r in 0..3 {
        for c in 0..5 {
            assert_eq!(out[4 + r * 10 - c], (r * 16 + c) as f32 + 1.0);
        }
    }
}

/// The tape's invariant: not on what scratch held, not on its neighbours, not on how the space is cut.
#[test]
fn a_lane_depends_on_nothing_but_its_operands() {
    let mut values: Vec<f64> = (0..1000).map(|i| f64::from((i as f32 * 0.731).sin() * 1e6)).collect();
    // Cosine is computed in another way so far out.
    values[777] = 3e8;
    let bytes = storage(DType::F32, &values);
    let bases = Bases::new(vec![bytes.as_ptr().cast_mut()]);
    let unary = ScalarOp::ALL.into_iter().filter(|op| op.infer(&[DType::F32]) == Some(DType::F32));
    for (isa, op) in unary.flat_map(|op| Isa::available().map(move |isa| (isa, op))) {
        let mut body = Body::new();
        let x = body.push(load(0, &[1]), DType::F32);
        // Not where it lies in memory: in a register, which is longer than the block.
        let twice = body.push(Expr::Op(ScalarOp::Add, vec![x, x]), DType::F32);
        let y = body.push(Expr::Op(op, vec![twice]), DType::F32);
        let tape = Tape::new(&body, &[y], &[values.len()], isa);
        let whole = evaluate_in(&tape, &bases, &[0], 1, 999, 0);
        assert_eq!(whole, evaluate_in(&tape, &bases, &[0], 1, 999, !0), "{isa} {}: scratch", op.name());
        let pieces: Vec<u32> = (0..999)
            .step_by(37)
            .flat_map(|at| evaluate_in(&tape, &bases, &[at], 1, 37.min(999 - at), 0))
            .collect();
        let different = (0..999).find(|&i| {
            let [a, b] = [whole[i], pieces[i]].map(f32::from_bits);
            a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())
        });
        assert_eq!(different, None, "{isa} {}: cut", op.name());
    }
}
