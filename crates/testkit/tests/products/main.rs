//! Contractions as GPUs run them, interpreted, against loops in f64: every product at every size of GPU, with and without
//! tensor cores, with cooperative matrices.
//!
//! Operands are small whole numbers, which tf32 and floats of 16 bits hold and which add up to the same in any order, so
//! results are compared exactly, ties of a maximum included. What is stored is NaN before. The interpreter fails on races, on elements out of
//! bounds and on shared memory that was never stored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod libraries;
mod naive;
mod plan;
mod tuner;
mod ways;

use naive::{Case, Then};
use std::collections::BTreeSet;
use thalweg_base::{ConvDims, DType, PoolDims, Window};
use thalweg_device::gpu::launch::{Abilities, Matrices};
use thalweg_device::gpu::lower::lower;
use thalweg_device::gpu::tune::Choices;
use thalweg_device::plan::{Contraction, DotDims, Kernel, Product};
use thalweg_device::{Device, Plan, open};
use thalweg_testkit::gpu::InterpretedGpu;

const LEAST: Abilities = Abilities::LEAST;
const SMALL: Abilities = Abilities { parallel: 1 << 9, ..Abilities::LEAST };
const LARGE: Abilities = Abilities { shared_bytes: 48 << 10, parallel: 132 * 2048, ..Abilities::LEAST };
const TENSOR: Abilities = Abilities { tensor: true, tf32: true, ..LARGE };
/// One unit with much shared memory: large tiles in many stages.
const FEW_TENSOR: Abilities = Abilities { shared_bytes: 160 << 10, parallel: 1 << 9, ..TENSOR };
const ALL: [Abilities; 5] = [LEAST, SMALL, LARGE, TENSOR, FEW_TENSOR];

/// GPUs with cooperative matrices: as NVIDIA's are, Mesa's in software, Apple's with fewer units, and AMD's, whose subgroups are
/// of two sizes.
const MATRICES: [(DType, Abilities); 5] = [
    (DType::F16, with_matrices(48 << 10, LARGE.parallel, Some(16), None, [32, 32])),
    (DType::F16, with_matrices(32 << 10, 1 << 9, Some(8), Some(8), [8, 8])),
    (DType::F32, with_matrices(32 << 10, 1 << 9, Some(8), Some(8), [32, 32])),
    (DType::F16, with_matrices(64 << 10, 1 << 9, Some(16), None, [32, 64])),
    (DType::F32, with_matrices(48 << 10, LARGE.parallel, None, Some(16), [16, 128])),
];

const fn with_matrices(
    shared_bytes: usize,
    parallel: usize,
    f16: Option<usize>,
    f32: Option<usize>,
    subgroup: [u32; 2],
) -> Abilities {
    let matrices = Some(Matrices { f16, f32, subgroup });
    Abilities { shared_bytes, parallel, matrices, ..LEAST }
}

/// A small generator of test data.
pub struct Random(u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    /// Any of these.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Whole numbers from -2 to 2.
    pub fn whole(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.below(5) as f32 - 2.0).collect()
    }
}

/// Runs a case at every size of GPU in f32, and at some in 16 bits. Gives back the shared arrays of the kernels, by which their tiles are known.
fn check(case: &Case, seed: u64) -> BTreeSet<Vec<u32>> {
    let data = case.data(&mut Random(seed));
    let exact = case.wanted(&data);
    let half = if (seed / 4 + seed).is_multiple_of(2) { DType::F16 } else { DType::BF16 };
    let by_threads = [LEAST, SMALL, LARGE].get(seed as usize % 12 / 4).filter(|_| seed.is_multiple_of(4));
    let by_warps = [TENSOR, FEW_TENSOR][seed as usize / 2 % 2];
    let halves = by_threads.copied().into_iter().chain([by_warps]).map(|abilities| (half, abilities));
    let by_matrices = MATRICES.get(seed as usize % 8).copied();
    let mut tiles = BTreeSet::new();
    let singles = ALL.map(|abilities| (DType::F32, abilities));
    for (dtype, abilities) in singles.into_iter().chain(halves).chain(by_matrices) {
        let plan = plan::of(case, &data, dtype);
        let round = |v: &f64| plan::stored(case, dtype).round(*v);
        let wanted = (exact.0.iter().map(round).collect::<Vec<_>>(), &exact.1);
        let launches = lower(&plan, &abilities, &Choices::default()).unwrap();
        let products = launches.kernels.iter().filter(|k| k.name.starts_with("contract"));
        tiles.extend(products.map(|k| k.shared.iter().map(|(_, len)| *len).collect()));
        let same = |device: &mut dyn Device| {
            let found = plan::run(device, &plan, &data);
            for (what, found, wanted) in [("values", &found.0, &wanted.0), ("positions", &found.1, wanted.1)]
            {
                let differs = found.iter().zip(wanted).position(|(f, w)| f != w);
                let at = differs.map(|i| (i, found[i], wanted[i]));
                assert_eq!(at, None, "{what} (element, found, wanted) of {dtype} {case:?} on {abilities:?}");
                assert_eq!(found.len(), wanted.len());
            }
        };
        same(&mut InterpretedGpu::new(abilities));
        // On an adapter that has them, where that is asked for: compiling each case takes long.
        if abilities.matrices.is_some() && std::env::var_os("THALWEG_NEED_COOP").is_some() {
            same(&mut *open("wgpu:coop", None).unwrap());
        }
    }
    tiles
}

/// The contraction that a plan is of.
pub fn contraction_of(plan: &Plan) -> &Contraction {
    match &plan.kernels[0].kernel {
        Kernel::Contraction(c) => c,
        other => panic!("{other:?}"),
    }
}

/// A product of matrices.
pub fn dot(batch: usize, [m, n, k]: [usize; 3], ta: bool, tb: bool) -> Case {
    Case::new(Product::Dot(DotDims { batch, m, n, k, ta, tb }))
}

#[test]
fn matrices() {
    let mut tiles = BTreeSet::new();
    let mut r = Random(1);
    let sizes = [[32, 64, 300], [1, 10, 64], [130, 132, 20], [260, 12, 33], [64, 200, 16], [300, 300, 24]];
    for (i, size) in sizes.into_iter().enumerate() {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            tiles.append(&mut check(&dot(1, size, ta, tb).then(Then::BiasRelu), i as u64));
        }
    }
    for seed in 0..24 {
        let mut extent = || r.one_of(&[1, 3, 4, 8, 17, 31, 32, 33, 48, 65, 72]);
        let size = [extent(), extent(), extent()];
        let then = r.one_of(&[Then::Nothing, Then::Residual]);
        let case = dot(1 + r.below(3), size, r.below(2) == 0, r.below(2) == 0).then(then);
        tiles.append(&mut check(&case, seed));
    }
    // A panel of A of each tile of threads: (tile + 4) rows by steps.
    for (tile, depth) in [(128, 8), (64, 16), (128, 16), (32, 16), (32, 32)] {
        assert!(tiles.iter().any(|s| s[0] == (tile + 4) * depth), "no tile of {tile} rows: {tiles:?}");
    }
    // Of each tile of warps, as A lies in memory: along the sum.
    for (tile, stages) in [(128, 4), (128, 3), (64, 4), (32, 4)] {
        assert!(tiles.iter().any(|s| s[0] == tile * 20 * stages), "no warps' tile of {tile} rows: {tiles:?}");
        assert!(tiles.iter().any(|s| s[0] == tile * 40 * stages), "none of {tile} in 16 bits: {tiles:?}");
    }
    // Of subgroups: two panels, and where sums are put.
    for (tile, each) in [(128, 80), (64, 80), (32, 80), (128, 40), (64, 40)] {
        let such = tiles.iter().any(|s| s.len() == 3 && s[0] == tile * each);
        assert!(such, "no subgroups' tile of {tile} rows, {each}: {tiles:?}");
    }
}

/// A convolution of random geometry, if there is one.
pub fn convolution(r: &mut Random, groups: &[usize]) -> Option<ConvDims> {
    let size = r.one_of(&[1, 2, 3, 3, 5, 7]);
    let (stride, dilation) = (r.one_of(&[1, 1, 2, 3]), if size == 3 { 1 + r.below(2) } else { 1 });
    let (h, w) = (3 + r.below(9), 3 + r.below(9));
    let same = r.below(2) == 0;
    let window = |extent: usize| match same {
        true => Window::same(extent, size, stride, dilation),
        false => Window::valid(size, stride, dilation),
    };
    let (rows, cols) = (window(h), window(w));
    let groups = r.one_of(groups);
    let (c, k) = (groups * r.one_of(&[1, 3, 4, 8, 20]), groups * r.one_of(&[1, 4, 8, 10, 36]));
    let (oh, ow) = (rows.outputs(h)?, cols.outputs(w)?);
    Some(ConvDims { n: 1 + r.below(4), h, w, c, k, oh, ow, rows, cols, groups })
}

#[test]
fn convolutions_and_gradients() {
    let mut r = Random(2);
    let mut done = 0;
    for seed in 0..80 {
        let Some(d) = convolution(&mut r, &[1, 1, 2]) else { continue };
        let then = r.one_of(&[Then::Nothing, Then::BiasRelu, Then::Residual]);
        check(&Case::new(Product::Conv(d)).then(then), seed);
        check(&Case::new(Product::ConvInputGrad(d)).then(then), seed);
        check(&Case::new(Product::ConvFilterGrad(d)).parts(1 + r.below(d.n)), seed);
        done += 1;
    }
    assert!(done >= 40, "only {done} had an output");
}

/// A channel or a few of each group: a thread or several for each result.
#[test]
fn depthwise() {
    let mut r = Random(3);
    for seed in 0..40 {
        let Some(d) = convolution(&mut r, &[5, 16, 33]) else { continue };
        let d = ConvDims { c: d.groups, k: d.groups * (1 + r.below(2)), ..d };
        check(&Case::new(Product::Conv(d)).then(Then::BiasRelu), seed);
        check(&Case::new(Product::ConvInputGrad(d)).then(Then::Nothing), seed);
        check(&Case::new(Product::ConvFilterGrad(d)).parts(1 + r.below(d.n)), seed);
    }
    // Long sums of few results.
    let window = Window::same(24, 3, 1, 1);
    let d =
        ConvDims { n: 3, h: 24, w: 24, c: 8, k: 8, oh: 24, ow: 24, rows: window, cols: window, groups: 8 };
    check(&Case::new(Product::ConvFilterGrad(d)).parts(2), 1);
}

/// Poolings that divide the output, that drop rows, and larger than a thread's registers; their gradients, which are
/// computed from the positions of the maxima.
#[test]
fn behind_poolings() {
    let mut r = Random(4);
    let mut done = 0;
    for seed in 0..60 {
        let Some(d) = convolution(&mut r, &[1]) else { continue };
        let (down, across) = (r.one_of(&[1, 2, 2, 3, 4]), r.one_of(&[2, 2, 3]));
        let (rows, cols) = (Window::valid(down, down, 1), Window::valid(across, across, 1));
        let (Some(oh), Some(ow)) = (rows.outputs(d.oh), cols.outputs(d.ow)) else { continue };
        let pool = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows, cols };
        let then = r.one_of(&[Then::Nothing, Then::BiasRelu]);
        check(&Case::new(Product::Conv(d)).then(then).pooled(pool, r.below(2) == 0), seed);
        if d.cols.dilation == 1 {
            check(&Case::new(Product::ConvInputGrad(d)).unpooled(pool), seed);
            check(&Case::new(Product::ConvFilterGrad(d)).unpooled(pool).parts(1 + r.below(d.n)), seed);
        }
        done += 1;
    }
    assert!(done >= 20, "only {done} had a window");
}

/// Sums in many pieces, each of whole chunks; the last may be short or empty.
#[test]
fn pieces() {
    for k in [64, 257, 600, 1000] {
        check(&dot(1, [5, 8, k], false, false).then(Then::BiasRelu), k as u64);
        check(&dot(2, [33, 7, k], true, true).then(Then::Nothing), k as u64);
    }
}
