//! Runs a prepared contraction in pieces cut at random, and holds its results to the loops.

use crate::epilogue::{Then, at_position, epilogue, finish, pooled};
use crate::naive::{dims, lengths, naive, space};
use crate::{A, ARG, B, OUT, Random};
use thalweg_base::PoolDims;
use thalweg_device::cpu::contract::{Prepared, Transforms};
use thalweg_device::cpu::{Bases, Isa};
use thalweg_device::plan::{Contraction, PoolEpilogue, Product};

/// What Winograd's algorithm may be off by, relative to the greatest sum of absolute products.
const ROUNDING: f64 = 1e-6;

/// Bytes behind scratch that are to stay as they are.
const BEHIND: usize = 4096;

/// 64-byte aligned scratch full of NaN.
fn scratch(bytes: usize) -> (Vec<u8>, usize) {
    let v = vec![0xff; bytes + 64 + BEHIND];
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
pub fn run(p: &Prepared, bases: &Bases, random: &mut Random) {
    run_as(p, bases, random, Handed::Units);
}

/// As `run`, some of so many images at a time.
pub fn run_images(p: &Prepared, bases: &Bases, random: &mut Random, images: usize) {
    run_as(p, bases, random, Handed::Images(images));
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
        let (bytes, worker) = (at + p.worker_bytes(), &mut worker[..]);
        let (worker, behind) = worker.split_at_mut(bytes);
        let worker = worker[at..].as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            match handed {
                Handed::Units => p.run(piece, bases, shared, worker),
                Handed::Images(_) => p.run_images(0, piece, bases, shared, worker),
            }
        }
        assert!(behind.iter().all(|&b| b == 0xff), "wrote behind the worker's scratch");
    }
}

pub fn check(product: Product, then: Then, pool: Option<PoolDims>, parts: usize) {
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
        let contraction = Contraction { parts, epilogue, ..Contraction::new(product, [A, B, OUT]) };
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

fn product_seed(p: &Product) -> u64 {
    format!("{p:?}").bytes().fold(7, |h, b| h * 31 % 1_000_003 + u64::from(b))
}
