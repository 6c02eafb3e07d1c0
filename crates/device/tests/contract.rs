//! Contractions against loops in f64, for every instruction set of this processor, with units cut at random.
//!
//! Operands are small whole numbers, so every order of summation gives the same f32 and results are compared
//! exactly, ties of a maximum included. Results start as NaN, as does all scratch. Where convolutions are run by
//! Winograd's algorithm, which rounds, results are compared within [`ROUNDING`] of the greatest sum of `|a| |b|` among
//! them, and bit by bit between runs that cut the work otherwise.

use std::ops::Range;
use thalweg_base::{ConvDims, DType, PoolDims, Scalar, ScalarOp, Window};
use thalweg_device::cpu::contract::{Prepared, Transforms};
use thalweg_device::cpu::{Bases, Isa, Target};
use thalweg_device::plan::{
    Access, Body, BufferId, Contraction, DotDims, Epilogue, Expr, PoolEpilogue, Product, Unpooled,
};

const A: BufferId = BufferId(0);
const B: BufferId = BufferId(1);
const OUT: BufferId = BufferId(2);
const BIAS: BufferId = BufferId(3);
const RESIDUAL: BufferId = BufferId(4);
const ARG: BufferId = BufferId(5);

/// What Winograd's algorithm may be off by, relative to the greatest sum of absolute products.
const ROUNDING: f64 = 1e-6;

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

#[derive(Clone, Copy, PartialEq, Debug)]
enum Then {
    Nothing,
    Bias,
    BiasRelu,
    BiasResidualRelu,
    /// (acc - mean) * scale + bias, then min(3, max(0, .)).
    NormRelu3,
    /// (acc - mean) * scale + bias + residual.
    NormResidual,
    /// max(0, 2 * (acc + bias)): on the tape, as no kernel knows it.
    DoubleRelu,
}

const ALL: [Then; 7] = [
    Then::Nothing,
    Then::Bias,
    Then::BiasRelu,
    Then::BiasResidualRelu,
    Then::NormRelu3,
    Then::NormResidual,
    Then::DoubleRelu,
];

impl Then {
    fn norm(self) -> bool {
        matches!(self, Then::NormRelu3 | Then::NormResidual)
    }

    fn residual(self) -> bool {
        matches!(self, Then::BiasResidualRelu | Then::NormResidual)
    }

    fn relu(self) -> bool {
        !matches!(self, Then::Nothing | Then::Bias | Then::NormResidual)
    }
}

fn epilogue(then: Then, space: &[usize], pool: Option<PoolEpilogue>) -> Option<Epilogue> {
    if then == Then::Nothing && pool.is_none() {
        return None;
    }
    let mut body = Body::new();
    let mut value = body.push(Expr::Acc, DType::F32);
    let mut strides = vec![0; space.len()];
    if then.norm() {
        strides[space.len() - 1] = 1;
        let mut column = |offset| {
            let access = Access { buffer: BIAS, offset, strides: strides.clone() };
            body.push(Expr::Load(access), DType::F32)
        };
        let (mean, scale) = (column(2), column(3));
        value = body.push(Expr::Op(ScalarOp::Sub, vec![value, mean]), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Mul, vec![scale, value]), DType::F32);
    }
    if then != Then::Nothing {
        strides[space.len() - 1] = 1;
        let access = Access { buffer: BIAS, offset: 1, strides: strides.clone() };
        let bias = body.push(Expr::Load(access), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Add, vec![value, bias]), DType::F32);
    }
    if then == Then::DoubleRelu {
        let two = body.push(Expr::Const(Scalar::f32(2.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Mul, vec![two, value]), DType::F32);
    }
    if then.residual() {
        let mut step = 1;
        for (s, &n) in strides.iter_mut().zip(space).rev() {
            *s = step;
            step *= n as isize;
        }
        let residual = body.push(Expr::Load(Access { buffer: RESIDUAL, offset: 0, strides }), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Add, vec![residual, value]), DType::F32);
    }
    if then.relu() {
        let zero = body.push(Expr::Const(Scalar::f32(0.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Max, vec![zero, value]), DType::F32);
    }
    if then == Then::NormRelu3 {
        let three = body.push(Expr::Const(Scalar::f32(3.0)), DType::F32);
        value = body.push(Expr::Op(ScalarOp::Min, vec![three, value]), DType::F32);
    }
    Some(Epilogue { body, value, pool })
}

/// Lengths of a, b and the result.
fn lengths(p: &Product) -> [usize; 3] {
    let of = |s: [usize; 4]| s.iter().product();
    match p {
        Product::Dot(d) => [d.batch * d.m * d.k, d.batch * d.k * d.n, d.batch * d.m * d.n],
        Product::Conv(d) => [of(d.image()), of(d.filter()), of(d.output())],
        Product::ConvInputGrad(d) => [of(d.output()), of(d.filter()), of(d.image())],
        Product::ConvFilterGrad(d) => [of(d.image()), of(d.output()), of(d.filter())],
    }
}

fn space(p: &Product) -> Vec<usize> {
    match p {
        Product::Dot(d) => vec![d.batch, d.m, d.n],
        Product::Conv(d) => d.output().to_vec(),
        Product::ConvInputGrad(d) => d.image().to_vec(),
        Product::ConvFilterGrad(d) => d.filter().to_vec(),
    }
}

/// Calls `f(image, filter, output)` for every multiplication of these images.
fn each(d: &ConvDims, images: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for (n, oy, ox) in images.flat_map(|n| (0..d.oh).flat_map(move |y| (0..d.ow).map(move |x| (n, y, x)))) {
        for r in 0..d.rows.size {
            let Some(y) = d.rows.source(oy, r, d.h) else { continue };
            for s in 0..d.cols.size {
                let Some(x) = d.cols.source(ox, s, d.w) else { continue };
                for k in 0..d.k {
                    for c in 0..cg {
                        let image = ((n * d.h + y) * d.w + x) * d.c + k / kg * cg + c;
                        let filter = ((r * d.cols.size + s) * cg + c) * d.k + k;
                        f(image, filter, ((n * d.oh + oy) * d.ow + ox) * d.k + k);
                    }
                }
            }
        }
    }
}

fn naive(p: &Product, images: Range<usize>, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; lengths(p)[2]];
    let mut add = |o: usize, i: usize, j: usize| out[o] += f64::from(a[i]) * f64::from(b[j]);
    match p {
        Product::Conv(d) => each(d, images, |i, f, o| add(o, i, f)),
        Product::ConvInputGrad(d) => each(d, images, |i, f, o| add(i, o, f)),
        Product::ConvFilterGrad(d) => each(d, images, |i, f, o| add(f, i, o)),
        Product::Dot(d) => {
            for (n, i, j) in
                (0..d.batch).flat_map(|n| (0..d.m).flat_map(move |i| (0..d.n).map(move |j| (n, i, j))))
            {
                for l in 0..d.k {
                    let at_a = if d.ta { l * d.m + i } else { i * d.k + l };
                    let at_b = if d.tb { j * d.k + l } else { l * d.n + j };
                    add((n * d.m + i) * d.n + j, n * d.m * d.k + at_a, n * d.k * d.n + at_b);
                }
            }
        }
    }
    out
}

/// The naive epilogue; then the pool's values and positions.
fn finish(values: &mut [f64], then: Then, cols: usize, bias: &[f32], residual: &[f32]) {
    for (i, v) in values.iter_mut().enumerate() {
        let column = |offset: usize| f64::from(bias[offset + i % cols]);
        if then.norm() {
            *v = (*v - column(2)) * column(3);
        }
        if then != Then::Nothing {
            *v += column(1);
        }
        if then == Then::DoubleRelu {
            *v *= 2.0;
        }
        if then.residual() {
            *v += f64::from(residual[i]);
        }
        if then.relu() {
            *v = v.max(0.0);
        }
        if then == Then::NormRelu3 {
            *v = v.min(3.0);
        }
    }
}

fn pooled(d: &PoolDims, x: &[f64]) -> (Vec<f64>, Vec<u8>) {
    let len = d.n * d.oh * d.ow * d.c;
    let (mut best, mut at) = (vec![f64::NEG_INFINITY; len], vec![0; len]);
    for o in 0..len {
        let (c, ox, oy, n) = (o % d.c, o / d.c % d.ow, o / d.c / d.ow % d.oh, o / d.c / d.ow / d.oh);
        for r in 0..d.rows.size {
            for s in 0..d.cols.size {
                let (y, xx) = (oy * d.rows.stride + r, ox * d.cols.stride + s);
                let v = x[((n * d.h + y) * d.w + xx) * d.c + c];
                if v > best[o] {
                    (best[o], at[o]) = (v, (r * d.cols.size + s) as u8);
                }
            }
        }
    }
    (best, at)
}

/// 64-byte aligned scratch full of NaN.
fn scratch(bytes: usize) -> (Vec<u8>, usize) {
    let v = vec![0xff; bytes + 64];
    let at = v.as_ptr().align_offset(64);
    (v, at)
}

/// How the work is handed out.
#[derive(Clone, Copy, PartialEq)]
enum Handed {
    /// As units, in random pieces and order.
    Units,
    /// As some images at a time, of so many, as in regions.
    Images(usize),
}

/// Packs and runs everything, in random pieces and order.
fn run(p: &Prepared, bases: &Bases, random: &mut Random) {
    run_as(p, bases, random, Handed::Units);
}

fn run_as(p: &Prepared, bases: &Bases, random: &mut Random, handed: Handed) {
    let mut pieces = |n: usize| {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < n {
            let to = (at + 1 + random.below(n)).min(n);
            pieces.insert(random.below(pieces.len() + 1), at..to);
            at = to;
        }
        pieces
    };
    let (mut shared, at) = scratch(p.shared_bytes());
    let shared = shared[at..].as_mut_ptr();
    for units in pieces(p.pack_units()) {
        // SAFETY: the buffers of a case have their lengths.
        unsafe { p.pack(units, bases, shared) };
    }
    let all = if let Handed::Images(n) = handed { n } else { p.units() };
    for piece in pieces(all) {
        let (mut worker, at) = scratch(p.worker_bytes());
        let worker = worker[at..].as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            match handed {
                Handed::Units => p.run(piece, bases, shared, worker),
                Handed::Images(_) => p.run_images(0, piece, bases, shared, worker),
            }
        }
    }
}

fn check(product: Product, then: Then, pool: Option<PoolDims>, parts: usize) {
    let mut random = Random(product_seed(&product));
    let [la, lb, lo] = lengths(&product);
    let (mut a, mut b) = (random.whole(la), random.whole(lb));
    let space = space(&product);
    let cols = space[space.len() - 1];
    let (mut bias, mut residual) = (random.whole(cols + 3), random.whole(lo));
    let n = if space.len() == 3 { 0 } else { dims(&product).n };
    let mut want = Vec::new();
    for part in 0..parts {
        want.extend(naive(&product, part * n / parts..(part + 1) * n / parts, &a, &b));
    }
    finish(&mut want, then, cols, &bias, &residual);
    let whole = want.clone();
    let mut want_arg = Vec::new();
    if let Some(d) = &pool {
        (want, want_arg) = pooled(d, &want);
    }
    let absolute = |v: &[f32]| v.iter().map(|x| x.abs()).collect::<Vec<f32>>();
    let sums = naive(&product, 0..n, &absolute(&a), &absolute(&b));
    // Epilogues scale by two at most.
    let scale = if then.norm() || then == Then::DoubleRelu { 2.0 } else { 1.0 };
    let rounding = ROUNDING * scale * sums.into_iter().fold(0.0, f64::max);
    let transforms: &[Transforms] = match product {
        Product::Dot(_) => &[Transforms::Never],
        _ => &[Transforms::Never, Transforms::WherePossible],
    };
    for (isa, &transforms) in Isa::available().flat_map(|isa| transforms.iter().map(move |t| (isa, t))) {
        let epilogue = epilogue(then, &space, pool.map(|dims| PoolEpilogue { dims, arg: Some(ARG) }));
        let contraction = Contraction { product, a: A, b: B, out: OUT, parts, unpooled: None, epilogue };
        let prepared = Prepared::with(&contraction, isa, transforms);
        let images = !matches!(product, Product::Dot(_) | Product::ConvFilterGrad(_));
        let by_images = images.then_some(Handed::Images(n));
        let tolerance = if transforms == Transforms::Never { 0.0 } else { rounding };
        let mut first: Option<Vec<f32>> = None;
        for handed in [Handed::Units, Handed::Units].into_iter().chain(by_images) {
            let mut out = vec![f32::NAN; want.len() + 32];
            let mut arg = vec![99_u8; want_arg.len() + 32];
            let ptrs = [&mut a, &mut b, &mut out, &mut bias, &mut residual].map(|v| v.as_mut_ptr().cast());
            let bases = Bases::new(ptrs.into_iter().chain([arg.as_mut_ptr()]).collect());
            run_as(&prepared, &bases, &mut random, handed);
            let what = format!("{isa} {transforms:?} {product:?} {then:?} {pool:?} in {parts}");
            for (i, (&got, &want)) in out.iter().zip(&want).enumerate() {
                assert!((f64::from(got) - want).abs() <= tolerance, "{what}: at {i} {got}, not {want}");
            }
            assert!(out[want.len()..].iter().all(|x| x.is_nan()), "{what}: wrote past the end");
            if transforms == Transforms::Never {
                assert_eq!(arg[..want_arg.len()], want_arg, "{what}: positions");
            }
            for (i, &at) in arg[..want_arg.len()].iter().enumerate() {
                let d = pool.expect("there are positions");
                let near = (at_position(&d, &whole, i, at) - want[i]).abs() <= 2.0 * tolerance;
                assert!(near, "{what}: position {at} at {i}");
            }
            assert!(arg[want_arg.len()..].iter().all(|&x| x == 99), "{what}: wrote past the positions");
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            if let Some(first) = &first {
                assert_eq!(bits(first), bits(&out), "{what}: depends on how the work is cut");
            }
            first = Some(out);
        }
    }
}

/// The value at a position in window `o` of a pooling.
fn at_position(d: &PoolDims, x: &[f64], o: usize, position: u8) -> f64 {
    let (c, ox, oy, n) = (o % d.c, o / d.c % d.ow, o / d.c / d.ow % d.oh, o / d.c / d.ow / d.oh);
    let (r, s) = (usize::from(position) / d.cols.size, usize::from(position) % d.cols.size);
    assert!(r < d.rows.size, "a position beyond its window");
    x[((n * d.h + oy * d.rows.stride + r) * d.w + ox * d.cols.stride + s) * d.c + c]
}

fn dims(p: &Product) -> ConvDims {
    match p {
        Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => *d,
        Product::Dot(_) => panic!("not a convolution"),
    }
}

fn product_seed(p: &Product) -> u64 {
    format!("{p:?}").bytes().fold(7, |h, b| h * 31 % 1_000_003 + u64::from(b))
}

fn conv(
    n: usize,
    hw: (usize, usize),
    ck: (usize, usize),
    rows: Window,
    cols: Window,
    groups: usize,
) -> ConvDims {
    let (oh, ow) = (rows.outputs(hw.0).expect("fits"), cols.outputs(hw.1).expect("fits"));
    ConvDims { n, h: hw.0, w: hw.1, c: ck.0, k: ck.1, oh, ow, rows, cols, groups }
}

fn geometries() -> Vec<ConvDims> {
    let w = |size, stride, dilation, lo, hi| Window { size, stride, dilation, lo, hi };
    let mut all = Vec::new();
    for ck in [(3, 5), (1, 1), (5, 17), (17, 33), (33, 3), (16, 64), (8, 80)] {
        all.push(conv(2, (6, 7), ck, w(3, 1, 1, 0, 0), w(3, 1, 1, 0, 0), 1));
        all.push(conv(3, (5, 9), ck, w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
        all.push(conv(1, (7, 8), ck, w(3, 2, 1, 0, 1), w(3, 2, 1, 1, 0), 1));
        all.push(conv(2, (5, 4), ck, w(1, 1, 1, 0, 0), w(1, 1, 1, 0, 0), 1));
    }
    for (k, s, d, lo, hi) in [
        (1, 2, 1, 0, 0),
        (2, 2, 1, 0, 0),
        (5, 2, 1, 2, 2),
        (3, 1, 2, 2, 2),
        (3, 3, 2, 0, 3),
        (4, 3, 1, 3, 0),
        (2, 5, 1, 1, 0),
        (3, 2, 3, 4, 5),
        (1, 1, 1, 2, 1),
    ] {
        all.push(conv(2, (9, 7), (4, 6), w(k, s, d, lo, hi), w(k, s, d, lo, hi), 1));
        all.push(conv(2, (9, 8), (6, 4), w(k, s, d, lo, hi), w(2, 1, 1, 0, 1), 2));
        all.push(conv(2, (8, 9), (19, 19), w(k, s, d, lo, hi), w(3, 2, 1, 1, 1), 19));
        all.push(conv(2, (8, 9), (3, 6), w(3, 1, 1, 1, 1), w(k, s, d, lo, hi), 3));
    }
    all.push(conv(5, (4, 4), (40, 36), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(9, (2, 2), (130, 20), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(1, (40, 41), (2, 70), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(1, (41, 37), (64, 64), w(3, 2, 1, 1, 1), w(3, 2, 1, 1, 1), 64));
    all.push(conv(2, (6, 6), (70, 70), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 70));
    all
}

/// For Winograd's algorithm: outputs from less than a tile to some, padding of every kind, channels that fill no
/// register, sums that are cut.
fn tiled() -> Vec<ConvDims> {
    let w = |lo, hi| Window { size: 3, stride: 1, dilation: 1, lo, hi };
    let mut all = Vec::new();
    for (n, hw, (lo, hi), ck) in [
        (1, (3, 3), (0, 0), (16, 16)),
        (3, (1, 1), (1, 1), (17, 40)),
        (2, (1, 2), (2, 2), (33, 16)),
        (1, (4, 5), (1, 1), (20, 70)),
        (3, (6, 7), (0, 2), (31, 33)),
        (2, (7, 5), (2, 0), (48, 18)),
        (1, (13, 17), (1, 1), (16, 64)),
        (3, (15, 15), (0, 0), (32, 35)),
        (1, (18, 9), (0, 1), (70, 16)),
        (7, (4, 4), (1, 1), (200, 96)),
        (3, (8, 9), (3, 4), (19, 21)),
        (2, (3, 240), (1, 1), (16, 17)),
        // So many columns that units are parts of them.
        (1, (7, 8), (1, 1), (16, 512)),
    ] {
        all.push(conv(n, hw, ck, w(lo, hi), w(lo, hi), 1));
        if lo != hi {
            all.push(conv(n, hw, ck, w(lo, hi), w(hi, lo), 1));
        }
    }
    all
}

/// Each with nothing behind it, and with two epilogues in turn.
fn tiled_then() -> impl Iterator<Item = (ConvDims, Then)> {
    let all = tiled().into_iter().enumerate();
    all.flat_map(|(i, d)| [0, 1 + i, 4 + i].map(|n| (d, ALL[n % ALL.len()])))
}

/// An exact target never transforms, a fast one does where it pays: seen by what the filter is packed to.
#[test]
fn exact_targets_do_not_transform() {
    let same = Window { size: 3, stride: 1, dilation: 1, lo: 1, hi: 1 };
    let d = conv(8, (32, 32), (64, 64), same, same, 1);
    for product in [Product::Conv(d), Product::ConvInputGrad(d), Product::ConvFilterGrad(d)] {
        let c = Contraction { product, a: A, b: B, out: OUT, parts: 1, unpooled: None, epilogue: None };
        for isa in Isa::available() {
            let sizes = |p: Prepared| (p.shared_bytes(), p.worker_bytes());
            let direct = sizes(Prepared::with(&c, isa, Transforms::Never));
            assert_eq!(sizes(Prepared::new(&c, Target { isa, exact: true })), direct, "{product:?}");
            assert_ne!(sizes(Prepared::new(&c, Target { isa, exact: false })), direct, "{product:?}");
        }
    }
}

#[test]
fn transformed_convolutions() {
    for (d, then) in tiled_then() {
        check(Product::Conv(d), then, None, 1);
        check(Product::ConvInputGrad(d), then, None, 1);
    }
}

#[test]
fn transformed_filter_gradients() {
    for (d, then) in tiled_then() {
        check(Product::ConvFilterGrad(d), then, None, 1);
        check(Product::ConvFilterGrad(d), Then::Nothing, None, 2);
        check(Product::ConvFilterGrad(d), Then::Nothing, None, 5);
    }
}

#[test]
fn transformed_pools() {
    for d in tiled() {
        for (size, stride) in [((2, 2), (2, 2)), ((2, 3), (4, 3)), ((1, 2), (1, 2)), ((3, 2), (3, 2))] {
            let (rows, cols) = (Window::valid(size.0, stride.0, 1), Window::valid(size.1, stride.1, 1));
            let (Some(oh), Some(ow)) = (rows.outputs(d.oh), cols.outputs(d.ow)) else { continue };
            let pool = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows, cols };
            for then in [Then::Nothing, Then::BiasRelu, Then::BiasResidualRelu] {
                check(Product::Conv(d), then, Some(pool), 1);
            }
        }
    }
}

#[test]
fn convolutions() {
    for d in geometries() {
        check(Product::Conv(d), Then::Nothing, None, 1);
    }
}

#[test]
fn input_gradients() {
    for d in geometries() {
        check(Product::ConvInputGrad(d), Then::Nothing, None, 1);
    }
}

#[test]
fn filter_gradients() {
    for d in geometries() {
        for parts in [1, 2, 5] {
            check(Product::ConvFilterGrad(d), Then::Nothing, None, parts);
        }
    }
}

#[test]
fn epilogues() {
    for d in geometries().into_iter().step_by(3) {
        for then in ALL {
            check(Product::Conv(d), then, None, 1);
            check(Product::ConvInputGrad(d), then, None, 1);
            check(Product::ConvFilterGrad(d), then, None, 1);
        }
    }
}

#[test]
fn pools() {
    let w = |size, stride, lo, hi| Window { size, stride, dilation: 1, lo, hi };
    for (n, hw, ck) in [
        (2, (8, 8), (3, 8)),
        (3, (9, 7), (2, 17)),
        (1, (15, 16), (4, 33)),
        (2, (40, 31), (1, 48)),
        (5, (6, 5), (20, 3)),
    ] {
        for (rows, cols) in
            [(w(3, 1, 0, 0), w(3, 1, 0, 0)), (w(3, 1, 1, 1), w(3, 1, 1, 1)), (w(2, 2, 1, 0), w(5, 2, 0, 3))]
        {
            let d = conv(n, hw, ck, rows, cols, 1);
            for (r, s) in [((2, 2), (2, 2)), ((3, 3), (2, 3)), ((1, 1), (2, 2))] {
                let (rows, cols) = (Window::valid(r.0, r.1, 1), Window::valid(s.0, s.1, 1));
                let (Some(oh), Some(ow)) = (rows.outputs(d.oh), cols.outputs(d.ow)) else { continue };
                let pool = PoolDims { n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows, cols };
                for then in ALL {
                    check(Product::Conv(d), then, Some(pool), 1);
                }
            }
        }
    }
}

#[test]
fn products() {
    for (batch, m, n, k) in [
        (1, 13, 35, 21),
        (3, 4, 7, 5),
        (1, 1, 3, 50),
        (1, 1, 700, 33),
        (1, 3, 1000, 17),
        (1, 32, 64, 300),
        (1, 230, 65, 129),
        (2, 70, 70, 70),
        (1, 64, 10, 32),
        (1, 500, 1, 9),
        (1, 5, 16, 1),
        (4, 1, 130, 8),
        (1, 4, 200, 40),
        (1, 512, 256, 20),
        (1, 250, 260, 512),
        (1, 33, 64, 1500),
        (1, 5, 70, 1001),
        (1, 37, 261, 65),
        (1, 128, 600, 7),
        (1, 32, 300, 40),
        (1, 49, 513, 16),
    ] {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            for then in ALL {
                check(Product::Dot(DotDims { batch, m, n, k, ta, tb }), then, None, 1);
            }
        }
    }
}

#[test]
fn long_sums_are_accurate() {
    let (m, n, k) = (3, 20, 100_000);
    let product = Product::Dot(DotDims { batch: 1, m, n, k, ta: false, tb: false });
    let mut random = Random(3);
    let mut value = |n: usize| (0..n).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).collect();
    let (mut a, mut b): (Vec<f32>, Vec<f32>) = (value(m * k), value(n * k));
    let want = naive(&product, 0..0, &a, &b);
    for isa in Isa::available() {
        let prepared = Prepared::new(
            &Contraction { product, a: A, b: B, out: OUT, parts: 1, unpooled: None, epilogue: None },
            Target::fast(isa),
        );
        let mut out = vec![f32::NAN; m * n];
        let bases = Bases::new([&mut a, &mut b, &mut out].map(|v| v.as_mut_ptr().cast()).to_vec());
        run(&prepared, &bases, &mut Random(1));
        for (got, want) in out.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 2e-6 * want, "{isa}: {got}, not {want}");
        }
    }
}

/// Positions come from memory, so any byte may be among them: such an element is nobody's, and what a kernel notes
/// about it stays in its scratch.
#[test]
fn positions_beyond_a_window_harm_nobody() {
    let window = Window::valid(3, 1, 1);
    let (n, k) = (2, 37);
    let d = conv(n, (8, 8), (2, k), window, window, 1);
    let half = Window::valid(2, 2, 1);
    let dims = PoolDims { n, h: 6, w: 6, c: k, oh: 3, ow: 3, rows: half, cols: half };
    let count = n * 9 * k;
    let mut random = Random(9);
    let mut filter = random.whole(9 * 2 * k);
    let mut dy: Vec<f32> = (0..count).map(|_| 1.0).collect();
    let mut arg: Vec<u8> = (0..count).map(|_| random.below(16) as u8).collect();
    let product = Product::ConvInputGrad(d);
    let unpooled = Some(Unpooled { dims, arg: ARG });
    let c = Contraction { product, a: A, b: B, out: OUT, parts: 1, unpooled, epilogue: None };
    for isa in Isa::available() {
        let prepared = Prepared::new(&c, Target::fast(isa));
        let mut results = Vec::new();
        // With the strangers, and with their elements dead: the same.
        for dead in [false, true] {
            if dead {
                dy.iter_mut().zip(&arg).for_each(|(v, a)| *v *= f32::from(u8::from(*a < 4)));
            }
            let mut out = vec![f32::NAN; n * 64 * 2];
            let none = std::ptr::null_mut();
            let [a, b, o] = [&mut dy, &mut filter, &mut out].map(|v| v.as_mut_ptr().cast());
            let bases = Bases::new(vec![a, b, o, none, none, arg.as_mut_ptr()]);
            let (shared_bytes, worker_bytes) = (prepared.shared_bytes(), prepared.worker_bytes());
            let mut shared = vec![0_u64; shared_bytes / 8 + 8];
            let mut worker = vec![!0_u64; worker_bytes / 8 + 8 + 8192];
            let place = |v: &mut Vec<u64>| {
                let at = v.as_mut_ptr().cast::<u8>();
                at.wrapping_add(at.align_offset(64))
            };
            let (shared, scratch) = (place(&mut shared), place(&mut worker));
            // SAFETY: the buffers have the product's sizes, the scratch what was asked for and more.
            unsafe {
                prepared.pack(0..prepared.pack_units(), &bases, shared);
                prepared.run(0..prepared.units(), &bases, shared, scratch);
            }
            let behind = (scratch as usize - worker.as_ptr() as usize + worker_bytes) / 8;
            assert!(worker[behind..].iter().all(|&x| x == !0), "{isa}: wrote past its scratch");
            results.push(out);
        }
        assert_eq!(results[0], results[1], "{isa}");
    }
}

/// A filter gradient behind a pooling, over many images: one f32 chain would be off by ten times as much.
#[test]
fn long_sums_behind_pools_are_accurate() {
    let (n, k) = (1000, 3);
    let window = Window::valid(3, 1, 1);
    let d = conv(n, (14, 14), (2, k), window, window, 1);
    let half = Window::valid(2, 2, 1);
    let dims = PoolDims { n, h: 12, w: 12, c: k, oh: 6, ow: 6, rows: half, cols: half };
    let mut random = Random(5);
    let mut value = |n: usize| (0..n).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).collect();
    let (mut image, mut dy): (Vec<f32>, Vec<f32>) = (value(n * 14 * 14 * 2), value(n * 36 * k));
    let mut arg: Vec<u8> = (0..dy.len()).map(|i| (i % 4) as u8).collect();
    let mut full = vec![0.0_f32; n * 144 * k];
    for (i, (&v, &at)) in dy.iter().zip(&arg).enumerate() {
        let (window, channel, at) = (i / k, i % k, usize::from(at));
        let (y, x) = (window / 6 % 6 * 2 + at / 2, window % 6 * 2 + at % 2);
        full[((window / 36 * 12 + y) * 12 + x) * k + channel] = v;
    }
    let product = Product::ConvFilterGrad(d);
    let want = naive(&product, 0..n, &image, &full);
    let unpooled = Some(Unpooled { dims, arg: ARG });
    let c = Contraction { product, a: A, b: B, out: OUT, parts: 1, unpooled, epilogue: None };
    for isa in Isa::available() {
        let prepared = Prepared::new(&c, Target::fast(isa));
        let mut out = vec![f32::NAN; 9 * 2 * k];
        let none = std::ptr::null_mut();
        let [a, b, o] = [&mut image, &mut dy, &mut out].map(|v| v.as_mut_ptr().cast());
        let bases = Bases::new(vec![a, b, o, none, none, arg.as_mut_ptr()]);
        run(&prepared, &bases, &mut random);
        for (got, want) in out.iter().zip(&want) {
            let error = (f64::from(*got) - want).abs() / want;
            assert!(error < 6e-7, "{isa}: {got}, not {want}: {error:e}");
        }
    }
}
