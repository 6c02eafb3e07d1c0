//! Speed of contractions on one core against the core's measured peak:
//! `cargo run --release -p thalweg-device --example contract_bench [isa] [filter]`.
//!
//! Each line: milliseconds and GFLOP/s of the best run, its share of the peak, the median over runs of the share
//! of the peak measured beside each run (which other work on the machine disturbs less), and the time packing
//! takes in percent of the run. Sparse gradients count the products of all elements, four times what they do.

use std::hint::black_box;
use std::time::Instant;
use thalweg_base::{ConvDims, DType, PoolDims, Scalar, ScalarOp, Window};
use thalweg_device::cpu::contract::{Prepared, peak_flops};
use thalweg_device::cpu::{Bases, Isa, Target};
use thalweg_device::plan::{
    Access, Body, BufferId, Contraction, DotDims, Epilogue, Expr, PoolEpilogue, Product, Unpooled,
};

/// Seconds this thread has had a processor: time taken by others does not count.
#[cfg(target_os = "linux")]
fn busy() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// Seconds since the epoch, where there is no simple clock of a thread's own.
#[cfg(not(target_os = "linux"))]
fn busy() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Seconds of the best run, and the median of `flops` over what the peak would have done beside each run.
fn best(isa: Isa, flops: f64, mut f: impl FnMut()) -> (f64, f64) {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    let mut shares = Vec::new();
    while start.elapsed().as_secs_f64() < 0.25 || shares.len() < 5 {
        let peak = peak_flops(isa);
        let t = busy();
        f();
        let seconds = busy() - t;
        best = best.min(seconds);
        shares.push(flops / seconds / peak.max(peak_flops(isa)));
    }
    shares.sort_by(f64::total_cmp);
    (best, shares[shares.len() / 2])
}

fn aligned(bytes: usize) -> (Vec<u8>, usize) {
    let v = vec![0; bytes + 8192];
    let at = v.as_ptr().align_offset(4096);
    (v, at)
}

fn bias_relu(rank: usize, pool: Option<PoolEpilogue>) -> Epilogue {
    let mut body = Body::new();
    let acc = body.push(Expr::Acc, DType::F32);
    let mut strides = vec![0; rank];
    strides[rank - 1] = 1;
    let bias = body.push(Expr::Load(Access { buffer: BufferId(3), offset: 0, strides }), DType::F32);
    let sum = body.push(Expr::Op(ScalarOp::Add, vec![acc, bias]), DType::F32);
    let zero = body.push(Expr::Const(Scalar::f32(0.0)), DType::F32);
    let value = body.push(Expr::Op(ScalarOp::Max, vec![zero, sum]), DType::F32);
    Epilogue { body, value, pool }
}

struct Bench {
    isa: Isa,
    peak: f64,
    only: String,
}

impl Bench {
    fn line(&self, name: &str, product: Product, parts: usize, epilogue: Option<Epilogue>) {
        self.sparse(name, product, parts, epilogue, None);
    }

    fn sparse(
        &self,
        name: &str,
        product: Product,
        parts: usize,
        epilogue: Option<Epilogue>,
        pool: Option<PoolDims>,
    ) {
        if !name.contains(&self.only) {
            return;
        }
        let of = |s: [usize; 4]| s.iter().product::<usize>();
        let (la, lb, lo, flops) = match product {
            Product::Dot(d) => (
                d.batch * d.m * d.k,
                d.batch * d.k * d.n,
                d.batch * d.m * d.n,
                2.0 * (d.batch * d.m * d.n * d.k) as f64,
            ),
            Product::Conv(d) => (of(d.image()), of(d.filter()), of(d.output()), d.flops() as f64),
            Product::ConvInputGrad(d) => (of(d.output()), of(d.filter()), of(d.image()), d.flops() as f64),
            Product::ConvFilterGrad(d) => {
                (of(d.image()), of(d.output()), parts * of(d.filter()), d.flops() as f64)
            }
        };
        // Aligned, as a plan's buffers are: results, operands, bias, positions.
        let mut buffers = [la, lb, lo, 4096, lo.max(la).max(lb)].map(|n| aligned(n * 4));
        let mut ptrs: Vec<*mut u8> = Vec::new();
        for (i, (bytes, at)) in buffers.iter_mut().enumerate() {
            // Not all at the same place in a page: loads would wait for stores to the other.
            *at += i * 768;
            let values = &mut bytes[*at..];
            for (i, value) in values.chunks_exact_mut(4).enumerate() {
                value.copy_from_slice(&(((i * 7919) % 101) as f32 / 50.0 - 1.0).to_ne_bytes());
            }
            ptrs.push(values.as_mut_ptr());
        }
        let unpooled = pool.map(|dims| Unpooled { dims, arg: BufferId(4) });
        if pool.is_some() {
            // Positions at random; 15 % of the pooled gradient is 0, about what a ReLU leaves.
            let gradient = usize::from(matches!(product, Product::ConvFilterGrad(_)));
            let mut random = 1u32;
            for i in 0..lo.max(la).max(lb) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if buffers[4].1 + i < buffers[4].0.len() {
                    buffers[4].0[buffers[4].1 + i] = (random >> 30) as u8;
                }
                if (random >> 8) % 100 < 15 && i < [la, lb][gradient] {
                    let at = buffers[gradient].1 + 4 * i;
                    buffers[gradient].0[at..at + 4].fill(0);
                }
            }
        }
        let bases = Bases::new(ptrs);
        let [a, b, out] = [0, 1, 2].map(BufferId);
        let prepared = Prepared::new(
            &Contraction { parts, unpooled, epilogue, ..Contraction::new(product, [a, b, out]) },
            Target::fast(self.isa),
        );
        let (mut shared, s) = aligned(prepared.shared_bytes());
        let (mut worker, w) = aligned(prepared.worker_bytes());
        let (shared, worker) = (shared[s..].as_mut_ptr(), worker[w..].as_mut_ptr());
        let (packing, _) = best(self.isa, 0.0, || {
            // SAFETY: the buffers have the lengths of the product.
            unsafe { prepared.pack(0..prepared.pack_units(), &bases, shared) }
        });
        let (seconds, share) = best(self.isa, flops, || {
            // SAFETY: as above.
            unsafe { prepared.run(0..prepared.units(), &bases, shared, worker) };
            black_box(&bases);
        });
        println!(
            "{name:<42} {:>9.3} ms {:>7.1} GFLOP/s {:>5.1} %, median {:>5.1} %   pack {:>5.1} %   {} units",
            seconds * 1e3,
            flops / seconds / 1e9,
            100.0 * flops / seconds / self.peak,
            100.0 * share,
            100.0 * packing / seconds,
            prepared.units(),
        );
    }

    fn directions(&self, name: &str, d: ConvDims, parts: usize) {
        self.line(&format!("{name} forward"), Product::Conv(d), 1, Some(bias_relu(4, None)));
        self.line(&format!("{name} input grad"), Product::ConvInputGrad(d), 1, None);
        self.line(&format!("{name} filter grad"), Product::ConvFilterGrad(d), parts, None);
    }
}

fn conv(n: usize, hw: usize, c: usize, k: usize, window: Window, groups: usize) -> ConvDims {
    let o = window.outputs(hw).unwrap_or(0);
    ConvDims { n, h: hw, w: hw, c, k, oh: o, ow: o, rows: window, cols: window, groups }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_default().to_lowercase();
    let isa = Isa::available().find(|i| i.name().to_lowercase() == wanted).unwrap_or(Isa::detect());
    let peak = (0..5).map(|_| peak_flops(isa)).fold(0.0, f64::max);
    println!("{isa}: peak {:.1} GFLOP/s on one core", peak / 1e9);
    let bench = Bench { isa, peak, only: args.next().unwrap_or_default() };

    let valid = Window::valid(3, 1, 1);
    for (name, d) in [("seed 1", conv(32, 32, 3, 32, valid, 1)), ("seed 2", conv(32, 15, 32, 64, valid, 1))] {
        let two = Window::valid(2, 2, 1);
        let half = d.oh / 2;
        let dims = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh: half, ow: half, rows: two, cols: two };
        let pool = PoolEpilogue { dims, arg: Some(BufferId(4)) };
        bench.line(&format!("{name} forward, pooled"), Product::Conv(d), 1, Some(bias_relu(4, Some(pool))));
        bench.directions(name, d, 4);
        let line =
            |what: &str, product| bench.sparse(&format!("{name} {what}"), product, 4, None, Some(dims));
        line("sparse filter grad", Product::ConvFilterGrad(d));
        let line =
            |what: &str, product| bench.sparse(&format!("{name} {what}"), product, 1, None, Some(dims));
        line("sparse input grad", Product::ConvInputGrad(d));
    }
    let dot = |m, n, k, ta, tb| Product::Dot(DotDims { batch: 1, m, n, k, ta, tb });
    bench.line("dense 2304x64 forward", dot(32, 64, 2304, false, false), 1, Some(bias_relu(3, None)));
    bench.line("dense 2304x64 dX", dot(32, 2304, 64, false, true), 1, None);
    bench.line("dense 2304x64 dW", dot(2304, 64, 32, true, false), 1, None);
    bench.line("dot 64x10 k64", dot(32, 10, 64, false, false), 1, None);
    bench.line("dot 1x1024 k1024", dot(1, 1024, 1024, false, false), 1, None);
    bench.line("dot 1024^3", dot(1024, 1024, 1024, false, false), 1, None);
    bench.line("dot 1024^3 ta", dot(1024, 1024, 1024, true, false), 1, None);
    bench.line("dot 768 tb", dot(768, 768, 768, false, true), 1, None);

    let same = |hw, size, stride| Window::same(hw, size, stride, 1);
    for (hw, c, k, stride) in
        [(32, 64, 64, 1), (32, 64, 128, 2), (16, 128, 128, 1), (8, 256, 256, 1), (4, 512, 512, 1)]
    {
        let d = conv(32, hw, c, k, same(hw, 3, stride), 1);
        bench.directions(&format!("resnet {hw}x{hw} {c}->{k} s{stride}"), d, 1);
    }
    bench.directions("resnet 32x32 3->64", conv(32, 32, 3, 64, same(32, 3, 1), 1), 1);
    bench.directions("resnet 32x32 64->128 1x1 s2", conv(32, 32, 64, 128, same(32, 1, 2), 1), 1);
    for (hw, c, k) in [
        (48, 32, 16),
        (48, 16, 96),
        (24, 144, 24),
        (12, 192, 32),
        (6, 96, 576),
        (3, 160, 960),
        (3, 320, 1280),
    ] {
        bench.directions(&format!("1x1 {hw}x{hw} {c}->{k}"), conv(8, hw, c, k, same(hw, 1, 1), 1), 1);
    }
    for (hw, c, stride) in [(48, 32, 1), (48, 96, 2), (24, 144, 1), (12, 192, 1), (6, 576, 1), (3, 960, 1)] {
        bench.directions(
            &format!("depthwise {hw}x{hw} {c} s{stride}"),
            conv(8, hw, c, c, same(hw, 3, stride), c),
            1,
        );
    }
    // One image of 224x224, layer by layer.
    for (hw, c, k) in [
        (112, 32, 16),
        (112, 16, 96),
        (56, 24, 144),
        (56, 144, 24),
        (28, 32, 192),
        (28, 192, 32),
        (14, 64, 384),
        (14, 576, 96),
        (7, 160, 960),
        (7, 960, 160),
    ] {
        for n in [1, 8] {
            let d = conv(n, hw, c, k, same(hw, 1, 1), 1);
            bench.line(
                &format!("image{n} 1x1 {hw}x{hw} {c}->{k}"),
                Product::Conv(d),
                1,
                Some(bias_relu(4, None)),
            );
        }
    }
    for (hw, c, stride) in
        [(112, 32, 1), (112, 96, 2), (56, 144, 1), (28, 192, 1), (14, 384, 1), (14, 576, 2), (7, 960, 1)]
    {
        let d = conv(1, hw, c, c, same(hw, 3, stride), c);
        bench.line(
            &format!("image depthwise {hw}x{hw} {c} s{stride}"),
            Product::Conv(d),
            1,
            Some(bias_relu(4, None)),
        );
    }
    for (hw, size, c, k) in [(224, 3, 3, 32), (224, 7, 3, 64)] {
        let d = conv(1, hw, c, k, same(hw, size, 2), 1);
        bench.line(
            &format!("image {size}x{size} {hw}x{hw} {c}->{k} s2"),
            Product::Conv(d),
            1,
            Some(bias_relu(4, None)),
        );
    }
    bench.line("one image 4x4 512->512", Product::Conv(conv(1, 4, 512, 512, same(4, 3, 1), 1)), 1, None);
}
