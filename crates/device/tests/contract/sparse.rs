//! Gradients behind a max pooling, of which one element a window is alive.

use crate::naive::naive;
use crate::run::run;
use crate::shapes::conv;
use crate::{A, ARG, B, OUT, Random};
use thalweg_base::{PoolDims, Window};
use thalweg_device::cpu::contract::Prepared;
use thalweg_device::cpu::{Bases, Isa, Target};
use thalweg_device::plan::{Contraction, Product, Unpooled};

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
    let c = Contraction { unpooled, ..Contraction::new(product, [A, B, OUT]) };
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
    let full = unpooled(&dims, &dy, &arg);
    let product = Product::ConvFilterGrad(d);
    let want = naive(&product, 0..n, &image, &full);
    let unpooled = Some(Unpooled { dims, arg: ARG });
    let c = Contraction { unpooled, ..Contraction::new(product, [A, B, OUT]) };
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

/// Of few input channels, whose patches are copied: filters whose rows fill less than a register, and more.
#[test]
fn filter_gradients_of_few_channels() {
    let mut random = Random(7);
    for (c, [height, width], k, hw) in [
        (1, [3, 3], 33, (9, 10)),
        (1, [2, 2], 16, (7, 6)),
        (1, [5, 5], 20, (10, 13)),
        (1, [7, 7], 9, (12, 12)),
        (1, [4, 1], 17, (8, 5)),
        (1, [1, 5], 18, (5, 11)),
        (2, [3, 3], 7, (8, 9)),
        (2, [5, 3], 40, (9, 9)),
        (3, [3, 3], 32, (12, 11)),
        (3, [5, 5], 24, (11, 9)),
        (4, [3, 3], 16, (9, 9)),
        (5, [3, 2], 31, (8, 8)),
    ] {
        let (rows, cols) = (Window::valid(height, 1, 1), Window::valid(width, 1, 1));
        let n = 3;
        let d = conv(n, hw, (c, k), rows, cols, 1);
        let half = Window::valid(2, 2, 1);
        let (oh, ow) = (half.outputs(d.oh).unwrap(), half.outputs(d.ow).unwrap());
        let dims = PoolDims { n, h: d.oh, w: d.ow, c: k, oh, ow, rows: half, cols: half };
        let mut image = random.whole(n * hw.0 * hw.1 * c);
        let mut dy = random.whole(n * oh * ow * k);
        let mut arg: Vec<u8> = (0..dy.len()).map(|_| random.below(4) as u8).collect();
        let full = unpooled(&dims, &dy, &arg);
        let product = Product::ConvFilterGrad(d);
        let want = naive(&product, 0..n, &image, &full);
        let unpooled = Some(Unpooled { dims, arg: ARG });
        let contraction = Contraction { unpooled, ..Contraction::new(product, [A, B, OUT]) };
        for isa in Isa::available() {
            let prepared = Prepared::new(&contraction, Target::fast(isa));
            let mut out = vec![f32::NAN; want.len()];
            let none = std::ptr::null_mut();
            let [a, b, o] = [&mut image, &mut dy, &mut out].map(|v| v.as_mut_ptr().cast());
            let bases = Bases::new(vec![a, b, o, none, none, arg.as_mut_ptr()]);
            run(&prepared, &bases, &mut random);
            let out: Vec<f64> = out.into_iter().map(f64::from).collect();
            assert_eq!(out, want, "{isa}: {height} x {width} of {c} channels to {k}");
        }
    }
}

/// Input gradients of all shapes of blocks: whole windows held or not, a word of channels or more, shares of rows, tails.
#[test]
fn input_gradients_behind_pools() {
    let half = Window::valid(2, 2, 1);
    for (size, hw, c, k, pad) in [
        (3, 8, 16, 5, 0),
        (3, 11, 48, 64, 0),
        (3, 7, 32, 70, 1),
        (3, 8, 4, 130, 1),
        (3, 9, 7, 37, 0),
        (3, 8, 20, 33, 0),
        (3, 6, 100, 65, 0),
        (3, 7, 40, 97, 1),
        (5, 9, 16, 40, 2),
        (2, 7, 33, 70, 0),
        (1, 6, 24, 20, 0),
    ] {
        let window = Window { lo: pad, hi: pad, ..Window::valid(size, 1, 1) };
        let d = conv(3, (hw, hw), (c, k), window, window, 1);
        let (n, wide) = (d.n, d.ow / 2);
        let dims = PoolDims { n, h: d.oh, w: d.ow, c: k, oh: wide, ow: wide, rows: half, cols: half };
        let mut random = Random((hw + 7 * c + k) as u64);
        let mut filter = random.whole(size * size * c * k);
        let mut dy = random.whole(n * wide * wide * k);
        let mut arg: Vec<u8> = (0..dy.len()).map(|_| random.below(4) as u8).collect();
        dy.iter_mut().for_each(|v| *v *= random.below(2) as f32);
        let full = unpooled(&dims, &dy, &arg);
        let product = Product::ConvInputGrad(d);
        let want = naive(&product, 0..n, &full, &filter);
        let unpooled = Some(Unpooled { dims, arg: ARG });
        let contraction = Contraction { unpooled, ..Contraction::new(product, [A, B, OUT]) };
        for isa in Isa::available() {
            let prepared = Prepared::new(&contraction, Target::fast(isa));
            let mut out = vec![f32::NAN; want.len()];
            let none = std::ptr::null_mut();
            let [a, b, o] = [&mut dy, &mut filter, &mut out].map(|v| v.as_mut_ptr().cast());
            let bases = Bases::new(vec![a, b, o, none, none, arg.as_mut_ptr()]);
            run(&prepared, &bases, &mut random);
            for (got, want) in out.iter().zip(&want) {
                assert_eq!(f64::from(*got), *want, "{isa}: {d:?}");
            }
        }
    }
}

/// What lies behind a pooling: each value at its position.
fn unpooled(d: &PoolDims, dy: &[f32], arg: &[u8]) -> Vec<f32> {
    let mut full = vec![0.0; d.n * d.h * d.w * d.c];
    for (i, (&v, &at)) in dy.iter().zip(arg).enumerate() {
        let (window, channel, at) = (i / d.c, i % d.c, usize::from(at));
        let (y, x) = (window / d.ow % d.oh * 2 + at / 2, window % d.ow * 2 + at % 2);
        full[((window / (d.ow * d.oh) * d.h + y) * d.w + x) * d.c + channel] = v;
    }
    full
}
