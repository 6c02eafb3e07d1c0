//! Loops against a naive evaluation in f64: random spaces, masks, strides, parts and slices.

use super::*;
use crate::plan::{Access, Body, BufferId, Expr, Reduce};
use thalweg_base::{ScalarOp, philox::Sequence};

/// Dense strides of `space` over the axes where `has`, 0 elsewhere, in the order of `order` (innermost last).
fn strides(space: &[usize], has: &[bool], order: &[usize]) -> (Vec<isize>, usize) {
    let mut s = vec![0; space.len()];
    let mut step = 1;
    for &a in order.iter().rev() {
        if has[a] {
            s[a] = step as isize;
            step *= space[a];
        }
    }
    (s, step)
}

fn load(buffer: u32, offset: isize, strides: &[isize]) -> Expr {
    Expr::Load(Access { buffer: BufferId(buffer), offset, strides: strides.to_vec() })
}

fn each_index(space: &[usize], mut f: impl FnMut(&[usize])) {
    for flat in 0..space.iter().product::<usize>() {
        let mut rest = flat;
        let mut at = vec![0; space.len()];
        for a in (0..space.len()).rev() {
            at[a] = rest % space[a];
            rest /= space[a];
        }
        f(&at);
    }
}

fn element(offset: isize, strides: &[isize], at: &[usize]) -> usize {
    (offset + at.iter().zip(strides).map(|(i, s)| *i as isize * s).sum::<isize>()) as usize
}

struct Scratch(Vec<u64>);

impl Scratch {
    fn of(k: &CompiledLoop) -> Self {
        Scratch(vec![0; k.scratch_bytes() / 8 + 16])
    }
    fn get(&mut self) -> *mut u8 {
        let at = self.0.as_mut_ptr().cast::<u8>();
        at.wrapping_add(at.align_offset(64))
    }
}

/// y = x0 * x1 + x0 stored element-wise, its sum and its maximum; three loads of random layouts.
#[test]
fn random_loops_agree_with_f64() {
    let isas: Vec<Isa> = Isa::available().collect();
    let mut r = Sequence::new(11, 0, 0);
    let extents = [1, 1, 2, 3, 4, 5, 7, 10, 16, 33, 64, 130, 600];
    for case in 0..600 {
        let rank = 1 + r.below(4) as usize;
        let mut space: Vec<usize> = (0..rank).map(|_| extents[r.below(13) as usize]).collect();
        while space.iter().product::<usize>() > 60_000 {
            let a = r.below(rank as u32) as usize;
            space[a] = 1 + space[a] / 3;
        }
        let mut reduced: Vec<bool> = (0..rank).map(|_| r.below(2) == 1).collect();
        let parts = if reduced[0] && r.below(2) == 1 { 1 + r.below(space[0] as u32) as usize } else { 1 };
        let mut orders: Vec<Vec<usize>> = vec![(0..rank).collect(); 3];
        orders.iter_mut().for_each(|o| {
            if r.below(3) == 0 {
                r.shuffle(o);
            }
        });
        let has: Vec<Vec<bool>> = (0..2).map(|_| (0..rank).map(|_| r.below(4) != 0).collect()).collect();
        let (s0, n0) = strides(&space, &has[0], &orders[0]);
        let (mut s1, n1) = strides(&space, &has[1], &orders[1]);
        // Flip an axis of the second.
        let flip = r.below(rank as u32) as usize;
        let offset = s1[flip] * (space[flip] as isize - 1);
        s1[flip] = -s1[flip];
        let x0: Vec<f32> = (0..n0).map(|_| r.next_normal()).collect();
        let x1: Vec<f32> = (0..n1).map(|_| r.next_normal() + 1.0).collect();
        let (sy, ny) = strides(&space, &vec![true; rank], &orders[2]);
        let kept: Vec<bool> = reduced.iter().map(|r| !r).collect();
        let (sk, nk) = strides(&space, &kept, &(0..rank).collect::<Vec<_>>());
        let kinds = r.below(3); // both, only element-wise, only reduced
        let mut y = vec![0.0_f32; ny];
        let mut sum = vec![0.0_f32; nk * parts];
        let mut top = vec![0.0_f32; nk * parts];
        let mut body = Body::new();
        let a = body.push(load(0, 0, &s0), DType::F32);
        let b = body.push(load(1, offset, &s1), DType::F32);
        let ab = body.push(Expr::Op(ScalarOp::Mul, vec![a, b]), DType::F32);
        let v = body.push(Expr::Op(ScalarOp::Add, vec![ab, a]), DType::F32);
        let out = |buffer, reduce, strides: &[isize]| LoopOut {
            value: v,
            reduce,
            access: Access { buffer: BufferId(buffer), offset: 0, strides: strides.to_vec() },
            part_stride: nk as isize,
        };
        let mut outs = Vec::new();
        if kinds != 2 {
            outs.push(out(2, None, &sy));
        }
        if kinds != 1 {
            outs.push(out(3, Some(Reduce::Sum), &sk));
            outs.push(out(4, Some(Reduce::Max), &sk));
        } else {
            reduced.fill(false);
        }
        let parts = if kinds == 1 { 1 } else { parts };
        let l = Loop { space: space.clone(), reduced: reduced.clone(), parts, body, outs };
        let isa = isas[case % isas.len()];
        let kernel = CompiledLoop::new(&l, isa);
        let bases = Bases::new(
            [&x0, &x1]
                .map(|v| v.as_ptr().cast_mut().cast())
                .into_iter()
                .chain([&mut y, &mut sum, &mut top].map(|v| v.as_mut_ptr().cast()))
                .collect(),
        );
        let mut scratch = Scratch::of(&kernel);
        let by_slices = parts > 1 || !reduced[0] && r.below(2) == 1;
        // SAFETY: the buffers above hold every access of the space.
        unsafe {
            if by_slices {
                let pieces = if parts > 1 { parts } else { 1 + r.below(space[0] as u32) as usize };
                for p in 0..pieces {
                    let steps = p * space[0] / pieces..(p + 1) * space[0] / pieces;
                    kernel.run_slice(steps, p, &bases, scratch.get());
                }
            } else {
                kernel.run(0..kernel.units(), &bases, scratch.get());
            }
        }
        let what = format!("case {case} {isa} {l:?}");
        let mut want_sum = vec![0.0_f64; nk * parts];
        let mut want_top = vec![f64::NEG_INFINITY; nk * parts];
        let mut size = vec![0.0_f64; nk * parts];
        each_index(&space, |at| {
            let a = f64::from(x0[element(0, &s0, at)]);
            let want = a * f64::from(x1[element(offset, &s1, at)]) + a;
            if kinds != 2 {
                let got = f64::from(y[element(0, &sy, at)]);
                assert!(
                    (got - want).abs() <= 1e-6 * (1.0 + want.abs()),
                    "{what} at {at:?}: {got}, not {want}"
                );
            }
            let part = (0..parts).find(|p| at[0] < (p + 1) * space[0] / parts).unwrap();
            let k = part * nk + element(0, &sk, at);
            want_sum[k] += want;
            size[k] += want.abs();
            want_top[k] = want_top[k].max(want);
        });
        if kinds != 1 {
            for k in 0..nk * parts {
                let (s, t) = (f64::from(sum[k]), f64::from(top[k]));
                // One value added up many times is rounded the same way each time.
                assert!(
                    (s - want_sum[k]).abs() <= 2e-6 * (1.0 + size[k]),
                    "{what} sum {k}: {s}, not {}",
                    want_sum[k]
                );
                assert!(
                    (t - want_top[k]).abs() <= 1e-5 * (1.0 + t.abs()),
                    "{what} max {k}: {t}, not {}",
                    want_top[k]
                );
            }
        }
    }
}

/// Sums one buffer of that many rows and columns over rows, columns or both.
fn sum_of(x: &[f32], rows: usize, cols: usize, over: [bool; 2]) -> Vec<f32> {
    let mut body = Body::new();
    let v = body.push(load(0, 0, &[cols as isize, 1]), DType::F32);
    let keep = |a: usize, s: isize| if over[a] { 0 } else { s };
    let kept_cols = if over[1] { 1 } else { cols };
    let access =
        Access { buffer: BufferId(1), offset: 0, strides: vec![keep(0, kept_cols as isize), keep(1, 1)] };
    let outs = vec![LoopOut { value: v, reduce: Some(Reduce::Sum), access, part_stride: 0 }];
    let l = Loop { space: vec![rows, cols], reduced: over.to_vec(), parts: 1, body, outs };
    let kernel = CompiledLoop::new(&l, Isa::detect());
    let mut out = vec![0.0; if over[0] { 1 } else { rows } * kept_cols];
    let bases = Bases::new(vec![x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()]);
    // SAFETY: the buffers hold the space.
    unsafe { kernel.run(0..kernel.units(), &bases, Scratch::of(&kernel).get()) };
    out
}

#[test]
fn long_sums_are_exact_to_a_rounding() {
    let mut r = Sequence::new(5, 0, 0);
    let x: Vec<f32> = (0..1_200_000).map(|_| r.next_unit()).collect();
    for (rows, cols, over) in [
        (1, 1_200_000, [true, true]),
        (300_000, 4, [true, false]),
        (120_000, 10, [true, false]),
        (12_000, 100, [true, false]),
        (4, 300_000, [false, true]),
    ] {
        let got = sum_of(&x, rows, cols, over);
        let mut want = vec![0.0_f64; got.len()];
        for (i, v) in x.iter().enumerate() {
            let k = if over[0] { 0 } else { i / cols } + if over[1] { 0 } else { i % cols };
            want[k] += f64::from(*v);
        }
        for (g, w) in got.iter().zip(&want) {
            let error = (f64::from(*g) - w).abs() / w;
            assert!(error < 3e-7, "{rows} x {cols} {over:?}: {g}, not {w}: {error:e}");
        }
    }
}

#[test]
fn maxima_keep_nan_and_integers_sum_exactly() {
    let mut x = vec![1.0_f32; 3000];
    x[1234] = f32::NAN;
    let mut body = Body::new();
    let v = body.push(load(0, 0, &[1]), DType::F32);
    let i = body.push(Expr::Cast(v), DType::I32);
    let out = |value, reduce, buffer| LoopOut {
        value,
        reduce: Some(reduce),
        access: Access { buffer: BufferId(buffer), offset: 0, strides: vec![0] },
        part_stride: 0,
    };
    let outs = vec![out(v, Reduce::Max, 1), out(i, Reduce::Sum, 2), out(i, Reduce::Max, 3)];
    let l = Loop { space: vec![3000], reduced: vec![true], parts: 1, body, outs };
    let kernel = CompiledLoop::new(&l, Isa::detect());
    let (mut top, mut sum, mut most) = (0.0_f32, 0_i32, 0_i32);
    let bases = Bases::new(vec![
        x.as_mut_ptr().cast(),
        (&raw mut top).cast(),
        (&raw mut sum).cast(),
        (&raw mut most).cast(),
    ]);
    // SAFETY: the buffers hold the space.
    unsafe { kernel.run(0..kernel.units(), &bases, Scratch::of(&kernel).get()) };
    assert!(top.is_nan());
    assert_eq!((sum, most), (2999, 1));
}

#[test]
fn two_results_may_swap_their_inputs() {
    let mut a: Vec<f32> = (0..2000).map(|i| i as f32).collect();
    let mut b: Vec<f32> = a.iter().map(|x| -x).collect();
    let mut body = Body::new();
    let x = body.push(load(0, 0, &[1]), DType::F32);
    let y = body.push(load(1, 0, &[1]), DType::F32);
    let out = |value, buffer| LoopOut {
        value,
        reduce: None,
        access: Access { buffer: BufferId(buffer), offset: 0, strides: vec![1] },
        part_stride: 0,
    };
    let l =
        Loop { space: vec![2000], reduced: vec![false], parts: 1, body, outs: vec![out(x, 1), out(y, 0)] };
    let kernel = CompiledLoop::new(&l, Isa::detect());
    let bases = Bases::new(vec![a.as_mut_ptr().cast(), b.as_mut_ptr().cast()]);
    // SAFETY: the buffers hold the space.
    unsafe { kernel.run(0..kernel.units(), &bases, Scratch::of(&kernel).get()) };
    assert!(a.iter().zip(&b).enumerate().all(|(i, (a, b))| *a == -(i as f32) && *b == i as f32));
}

#[test]
fn a_part_without_steps_sums_nothing() {
    let x = vec![1.0_f32; 3 * 4 * 5];
    let mut body = Body::new();
    let v = body.push(load(0, 0, &[20, 1, 4]), DType::F32);
    let access = Access { buffer: BufferId(1), offset: 0, strides: vec![0; 3] };
    let outs = vec![LoopOut { value: v, reduce: Some(Reduce::Sum), access, part_stride: 1 }];
    let l = Loop { space: vec![3, 4, 5], reduced: vec![true; 3], parts: 1, body, outs };
    for parts in [3, 5] {
        let kernel = CompiledLoop::new(&Loop { parts, ..l.clone() }, Isa::detect());
        let mut out = vec![9.0_f32; parts];
        let bases = Bases::new(vec![x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()]);
        // SAFETY: the buffers hold the space.
        unsafe { kernel.run(0..kernel.units(), &bases, Scratch::of(&kernel).get()) };
        let want: Vec<f32> =
            (0..parts).map(|p| ((p + 1) * 3 / parts - p * 3 / parts) as f32 * 20.0).collect();
        assert_eq!(out, want, "{parts} parts");
    }
}

/// What is added up first depends on the blocks: they must be the same with chains and without, as where the system
/// lets no code be made.
#[test]
fn blocks_depend_on_neither_instructions_nor_chains() {
    for loads in [3, 10, 30] {
        let space = vec![300, 400];
        let mut body = Body::new();
        let mut sum = body.push(load(0, 0, &[800, 2]), DType::F32);
        for b in 1..loads {
            let x = body.push(load(b, 0, &[800, 2]), DType::F32);
            sum = body.push(Expr::Op(ScalarOp::Add, vec![sum, x]), DType::F32);
        }
        let access = Access { buffer: BufferId(loads), offset: 0, strides: vec![0, 0] };
        let outs = vec![LoopOut { value: sum, reduce: Some(Reduce::Sum), access, part_stride: 0 }];
        let l = Loop { space, reduced: vec![true, true], parts: 1, body, outs };
        let portable = CompiledLoop::new(&l, Isa::Portable);
        for isa in Isa::available() {
            let made = CompiledLoop::new(&l, isa);
            assert_eq!((made.block, &made.chunk), (portable.block, &portable.chunk), "{isa}, {loads} loads");
        }
    }
}

/// Sums of rows are the same to the bit whether a chain adds them up or each block is added when it is made.
#[test]
fn sums_of_rows_have_one_order() {
    let mut r = Sequence::new(12, 0, 0);
    for (rows, cols) in [(200, 16), (77, 24), (130, 64), (33, 100), (41, 300), (9, 1000), (3, 640), (300, 7)]
    {
        let x: Vec<f32> = (0..rows * cols).map(|_| r.next_normal()).collect();
        let y: Vec<f32> = (0..rows * cols).map(|_| r.next_normal()).collect();
        let mean: Vec<f32> = (0..cols).map(|_| r.next_normal()).collect();
        let mut body = Body::new();
        let a = body.push(load(0, 0, &[cols as isize, 1]), DType::F32);
        let b = body.push(load(1, 0, &[cols as isize, 1]), DType::F32);
        let m = body.push(load(2, 0, &[0, 1]), DType::F32);
        let centred = body.push(Expr::Op(ScalarOp::Sub, vec![a, m]), DType::F32);
        let both = body.push(Expr::Op(ScalarOp::Mul, vec![centred, b]), DType::F32);
        let out = |value, buffer| LoopOut {
            value,
            reduce: Some(Reduce::Sum),
            access: Access { buffer: BufferId(buffer), offset: 0, strides: vec![0, 1] },
            part_stride: 0,
        };
        let outs = vec![out(b, 3), out(both, 4)];
        let l = Loop { space: vec![rows, cols], reduced: vec![true, false], parts: 1, body, outs };
        let sums = |isa| {
            let kernel = CompiledLoop::new(&l, isa);
            let (mut s, mut t) = (vec![0.0_f32; cols], vec![0.0_f32; cols]);
            let inputs = [&x, &y, &mean].map(|v| v.as_ptr().cast_mut().cast());
            let bases = Bases::new([&inputs[..], &[s.as_mut_ptr().cast(), t.as_mut_ptr().cast()]].concat());
            // SAFETY: the buffers hold the space.
            unsafe { kernel.run(0..kernel.units(), &bases, Scratch::of(&kernel).get()) };
            (s, t)
        };
        let portable = sums(Isa::Portable);
        for isa in Isa::available() {
            assert_eq!(sums(isa), portable, "{isa}, {rows} x {cols}");
        }
    }
}
