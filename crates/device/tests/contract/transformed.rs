//! Convolutions by Winograd's algorithm.

use crate::epilogue::{Then, epilogue};
use crate::run::{check, run};
use crate::shapes::{conv, tiled, tiled_then};
use crate::{A, ARG, B, OUT, Random};
use thalweg_base::{ConvDims, PoolDims, Window};
use thalweg_device::cpu::contract::{Prepared, Transforms};
use thalweg_device::cpu::{Bases, Isa, Target};
use thalweg_device::plan::{Contraction, PoolEpilogue, Product};

/// An exact target never transforms, a fast one does where it pays: seen by what the filter is packed to.
#[test]
fn exact_targets_do_not_transform() {
    let same = Window { size: 3, stride: 1, dilation: 1, lo: 1, hi: 1 };
    let d = conv(8, (32, 32), (64, 64), same, same, 1);
    for product in [Product::Conv(d), Product::ConvInputGrad(d), Product::ConvFilterGrad(d)] {
        let c = Contraction::new(product, [A, B, OUT]);
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

/// Few input channels, with windows finished in registers.
#[test]
fn striped_pools() {
    let padded = |lo, hi| Window { size: 3, stride: 1, dilation: 1, lo, hi };
    let same = padded(1, 1);
    let valid = Window::valid(3, 1, 1);
    for (rows, cols, (h, w), c, k) in [
        (valid, valid, (32, 32), 3, 32),
        (same, same, (20, 17), 3, 48),
        (same, padded(2, 1), (9, 23), 1, 16),
        (padded(0, 1), padded(0, 1), (6, 6), 2, 64),
        (padded(1, 2), padded(3, 0), (38, 11), 4, 16),
        (padded(4, 4), same, (7, 13), 4, 80),
        (valid, same, (25, 40), 2, 32),
        (same, padded(5, 5), (6, 2), 3, 16),
        (same, padded(4, 0), (8, 3), 1, 32),
        (same, same, (6, 5), 4, 16),
        (same, same, (4, 3), 3, 16),
    ] {
        let d = conv(3, (h, w), (c, k), rows, cols, 1);
        let two = Window::valid(2, 2, 1);
        let pool =
            PoolDims { n: d.n, h: d.oh, w: d.ow, c: k, oh: d.oh / 2, ow: d.ow / 2, rows: two, cols: two };
        for then in [Then::Nothing, Then::BiasRelu] {
            check(Product::Conv(d), then, Some(pool), 1);
        }
        let product = Product::Conv(d);
        let mut random = Random(1);
        let [mut a, mut b] = [d.image(), d.filter()].map(|s| random.whole(s.iter().product()));
        let mut bias = random.whole(k + 1);
        for isa in Isa::available() {
            let prepared = |arg, transforms| {
                let epilogue = epilogue(Then::BiasRelu, &d.output(), Some(PoolEpilogue { dims: pool, arg }));
                let c = Contraction { epilogue, ..Contraction::new(product, [A, B, OUT]) };
                Prepared::with(&c, isa, transforms)
            };
            let packed = 4 * 4 * 6 * d.c * k;
            assert_eq!(prepared(None, Transforms::WherePossible).shared_bytes(), packed, "{isa} {d:?}");
            assert_eq!(prepared(None, Transforms::Never).shared_bytes(), 0, "{isa} {d:?}");
            // With or without positions, values are the same.
            let [plain, placed] = [None, Some(ARG)].map(|arg| {
                let (mut out, mut arg_out) =
                    (vec![0.0f32; pool.n * pool.oh * pool.ow * k], vec![0u8; d.output().iter().product()]);
                let ptrs = [&mut a, &mut b, &mut out, &mut bias].map(|v| v.as_mut_ptr().cast());
                let rest = [std::ptr::null_mut(), arg_out.as_mut_ptr()];
                run(
                    &prepared(arg, Transforms::WherePossible),
                    &Bases::new(ptrs.into_iter().chain(rest).collect()),
                    &mut random,
                );
                out
            });
            assert_eq!(plain, placed, "{isa} {d:?}");
        }
    }
    // Where it pays: three channels and rows enough.
    let d = conv(2, (32, 32), (3, 32), same, same, 1);
    let pool = PoolDims {
        n: 2,
        h: 32,
        w: 32,
        c: 32,
        oh: 16,
        ow: 16,
        rows: Window::valid(2, 2, 1),
        cols: Window::valid(2, 2, 1),
    };
    for (c, wanted) in [(3, true), (1, false)] {
        let product = Product::Conv(ConvDims { c, ..d });
        let epilogue = epilogue(Then::BiasRelu, &d.output(), Some(PoolEpilogue { dims: pool, arg: None }));
        let c = Contraction { epilogue, ..Contraction::new(product, [A, B, OUT]) };
        for isa in Isa::available() {
            let packs = |exact| Prepared::new(&c, Target { isa, exact }).pack_units() > 0;
            assert_eq!((packs(true), packs(false)), (false, wanted), "{isa} {product:?}");
        }
    }
}
