//! Speed of loop kernels, for people: `cargo run --release -p thalweg-device --example loop_bench [threads]
//! [part of a name]`.
//!
//! GB/s count each buffer once per access, as a plan's costs do.

use std::sync::Arc;
use std::time::Instant;
use thalweg_base::{DType, Scalar, ScalarOp as S};
use thalweg_device::cpu::{CpuDevice, Isa, Target};
use thalweg_device::plan::*;
use thalweg_device::{Device, DeviceError, Plan};

/// A loop over f32 buffers being put together.
struct Kernel1 {
    space: Vec<usize>,
    reduced: Vec<bool>,
    body: Body,
    lens: Vec<usize>,
    outs: Vec<LoopOut>,
    bytes: usize,
}

impl Kernel1 {
    fn new(space: &[usize], reduced: &[bool]) -> Self {
        let (space, reduced) = (space.to_vec(), reduced.to_vec());
        Kernel1 { space, reduced, body: Body::new(), lens: vec![], outs: vec![], bytes: 0 }
    }

    /// A buffer over the axes of `axes`, row-major.
    fn buffer(&mut self, axes: &[bool]) -> Access {
        let mut strides = vec![0; self.space.len()];
        let mut len = 1;
        for a in (0..axes.len()).rev().filter(|&a| axes[a]) {
            strides[a] = len as isize;
            len *= self.space[a];
        }
        self.lens.push(len);
        Access { buffer: BufferId(self.lens.len() as u32 - 1), offset: 0, strides }
    }

    fn load(&mut self, axes: &[bool]) -> (ExprId, Access) {
        let access = self.buffer(axes);
        self.bytes += 4 * self.lens[access.buffer.0 as usize];
        (self.body.push(Expr::Load(access.clone()), DType::F32), access)
    }

    fn op(&mut self, op: S, args: &[ExprId]) -> ExprId {
        let types: Vec<DType> = args.iter().map(|a| self.body.dtype(*a)).collect();
        let dtype = op.infer(&types).unwrap_or(DType::F32);
        self.body.push(Expr::Op(op, args.to_vec()), dtype)
    }

    fn value(&mut self, v: f32) -> ExprId {
        self.body.push(Expr::Const(Scalar::f32(v)), DType::F32)
    }

    fn store(&mut self, value: ExprId, access: Access) {
        self.bytes += 4 * self.lens[access.buffer.0 as usize];
        self.outs.push(LoopOut { value, reduce: None, access, part_stride: 0 });
    }

    fn reduce(&mut self, value: ExprId, kind: Reduce) {
        let kept: Vec<bool> = self.reduced.iter().map(|r| !r).collect();
        let access = self.buffer(&kept);
        self.outs.push(LoopOut { value, reduce: Some(kind), access, part_stride: 0 });
    }

    fn time(self, name: &str, threads: usize, isa: Isa) -> Result<(), DeviceError> {
        if !std::env::args().nth(2).is_none_or(|part| name.contains(&part)) {
            return Ok(());
        }
        let elements: usize = self.space.iter().product();
        let bytes = self.bytes;
        let mut device = CpuDevice::new(Some(threads), Some(Target::fast(isa)))?;
        let mut plan = Plan { name: name.into(), ..Plan::default() };
        for (i, len) in self.lens.iter().enumerate() {
            let (name, dtype) = (format!("b{i}"), DType::F32);
            plan.bindings.push(Binding { name: name.clone(), role: Role::State, dtype, shape: vec![*len] });
            plan.buffers.push(Buffer { name, dtype, len: *len, place: Place::Binding(i as u32) });
        }
        let l = Loop { space: self.space, reduced: self.reduced, parts: 1, body: self.body, outs: self.outs };
        let kernel = Kernel::Loop(l);
        plan.kernels.push(Entry { label: name.into(), kernel, flops: 0, bytes: bytes as u64 });
        plan.stages.push(Stage::Launch(vec![KernelId(0)]));
        let mut storage = Vec::new();
        for b in &plan.bindings {
            let a = device.allocate(b.bytes())?;
            let bytes: Vec<u8> =
                (0..b.shape[0]).flat_map(|i| ((i % 97) as f32 * 0.01 + 0.1).to_le_bytes()).collect();
            device.write(a, 0, &bytes)?;
            storage.push(a);
        }
        let program = device.load(Arc::new(plan), &storage)?;
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let repeats = (2_000_000 / elements).clamp(1, 1000);
            let start = Instant::now();
            for _ in 0..repeats {
                device.run(program)?;
            }
            best = best.min(start.elapsed().as_secs_f64() / repeats as f64);
        }
        let rate = bytes as f64 / best * 1e-9;
        println!(
            "{name:34} {isa:9} {:9.2} us {rate:7.1} GB/s {:7.2} G elements/s",
            best * 1e6,
            elements as f64 / best * 1e-9
        );
        Ok(())
    }
}

fn bias_relu(n: usize, c: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, c], &[false; 2]);
    let (x, to) = k.load(&[true, true]);
    let (b, _) = k.load(&[false, true]);
    let (s, zero) = (k.op(S::Add, &[x, b]), k.value(0.0));
    let y = k.op(S::Max, &[s, zero]);
    k.store(y, to);
    k
}

fn unary(n: usize, op: S) -> Kernel1 {
    let mut k = Kernel1::new(&[n], &[false]);
    let (x, _) = k.load(&[true]);
    let y = k.op(op, &[x]);
    let to = k.buffer(&[true]);
    k.store(y, to);
    k
}

fn adam(n: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n], &[false]);
    let ((p, p_to), (m, m_to), (v, v_to)) = (k.load(&[true]), k.load(&[true]), k.load(&[true]));
    let (g, _) = k.load(&[true]);
    let (t, _) = k.load(&[false]);
    let constants = [0.9, 0.1, 0.999, 0.001, 1.0, -0.001, 1e-7].map(|v| k.value(v));
    let [b1, c1, b2, c2, one, rate, eps] = constants;
    let (m1, g1) = (k.op(S::Mul, &[m, b1]), k.op(S::Mul, &[g, c1]));
    let m = k.op(S::Add, &[m1, g1]);
    let (gg, v1) = (k.op(S::Mul, &[g, g]), k.op(S::Mul, &[v, b2]));
    let v2 = k.op(S::Mul, &[gg, c2]);
    let v = k.op(S::Add, &[v1, v2]);
    let corrected = [b1, b2].map(|b| {
        let power = k.op(S::Pow, &[b, t]);
        k.op(S::Sub, &[one, power])
    });
    let root = k.op(S::Sqrt, &[corrected[1]]);
    let scale = k.op(S::Div, &[root, corrected[0]]);
    let alpha = k.op(S::Mul, &[scale, rate]);
    let (rv, am) = (k.op(S::Sqrt, &[v]), k.op(S::Mul, &[m, alpha]));
    let below = k.op(S::Add, &[rv, eps]);
    let change = k.op(S::Div, &[am, below]);
    let p = k.op(S::Add, &[p, change]);
    k.store(p, p_to);
    k.store(m, m_to);
    k.store(v, v_to);
    k
}

fn dropout(n: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n], &[false]);
    let (x, to) = k.load(&[true]);
    let element = k.body.push(Expr::Index { offset: 0, strides: vec![1] }, DType::I32);
    let step = k.body.push(Expr::Const(Scalar::new(DType::I32, 3.0)), DType::I32);
    let r = k.body.push(Expr::Random { seed: 1, stream: 2, element, step }, DType::F32);
    let (half, zero, two) = (k.value(0.5), k.value(0.0), k.value(2.0));
    let live = k.op(S::Lt, &[r, half]);
    let scaled = k.op(S::Mul, &[x, two]);
    let y = k.op(S::Select, &[live, scaled, zero]);
    k.store(y, to);
    k
}

fn reduce(space: &[usize], reduced: &[bool], kind: Reduce) -> Kernel1 {
    let mut k = Kernel1::new(space, reduced);
    let (x, _) = k.load(&vec![true; space.len()]);
    k.reduce(x, kind);
    k
}

fn moments(n: usize, c: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, c], &[true, false]);
    let (x, _) = k.load(&[true, true]);
    let xx = k.op(S::Mul, &[x, x]);
    k.reduce(x, Reduce::Sum);
    k.reduce(xx, Reduce::Sum);
    k
}

/// Batch normalisation forward: (x - mean) * factor + beta, clipped.
fn normalise(n: usize, c: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, c], &[false; 2]);
    let (x, _) = k.load(&[true, true]);
    let channel = [false, true];
    let ((mean, _), (factor, _), (beta, _)) = (k.load(&channel), k.load(&channel), k.load(&channel));
    let (zero, six) = (k.value(0.0), k.value(6.0));
    let centred = k.op(S::Sub, &[x, mean]);
    let scaled = k.op(S::Mul, &[centred, factor]);
    let y = k.op(S::Add, &[scaled, beta]);
    let y = k.op(S::Max, &[zero, y]);
    let y = k.op(S::Min, &[six, y]);
    let to = k.buffer(&[true, true]);
    k.store(y, to);
    k
}

/// Batch normalisation backward, its sums.
fn normalise_sums(n: usize, c: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, c], &[true, false]);
    let ((dy, _), (x, _)) = (k.load(&[true, true]), k.load(&[true, true]));
    let (mean, _) = k.load(&[false, true]);
    let centred = k.op(S::Sub, &[x, mean]);
    let both = k.op(S::Mul, &[dy, centred]);
    k.reduce(dy, Reduce::Sum);
    k.reduce(both, Reduce::Sum);
    k
}

/// Batch normalisation backward: dy * factor + (x - mean) * a + b.
fn normalise_back(n: usize, c: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, c], &[false; 2]);
    let ((dy, _), (x, _)) = (k.load(&[true, true]), k.load(&[true, true]));
    let channel = [false, true];
    let ((mean, _), (factor, _)) = (k.load(&channel), k.load(&channel));
    let ((a, _), (b, _)) = (k.load(&channel), k.load(&channel));
    let through = k.op(S::Mul, &[dy, factor]);
    let centred = k.op(S::Sub, &[x, mean]);
    let spread = k.op(S::Mul, &[centred, a]);
    let sum = k.op(S::Add, &[through, spread]);
    let dx = k.op(S::Add, &[sum, b]);
    let to = k.buffer(&[true, true]);
    k.store(dx, to);
    k
}

fn transpose(n: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, n], &[false; 2]);
    let (x, _) = k.load(&[true, true]);
    let mut to = k.buffer(&[true, true]);
    to.strides.swap(0, 1);
    k.store(x, to);
    k
}

fn transpose_read(n: usize) -> Kernel1 {
    let mut k = Kernel1::new(&[n, n], &[false; 2]);
    let mut from = k.buffer(&[true, true]);
    from.strides.swap(0, 1);
    k.bytes += 4 * n * n;
    let x = k.body.push(Expr::Load(from), DType::F32);
    let to = k.buffer(&[true, true]);
    k.store(x, to);
    k
}

fn main() -> Result<(), DeviceError> {
    let threads = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    for isa in Isa::available() {
        bias_relu(2048, 64).time("bias + relu [2048, 64]", threads, isa)?;
        bias_relu(13_000, 10).time("bias + relu [13000, 10]", threads, isa)?;
        bias_relu(65_536, 64).time("bias + relu [65536, 64]", threads, isa)?;
        unary(131_072, S::Exp).time("exp [131072]", threads, isa)?;
        unary(131_072, S::Tanh).time("tanh [131072]", threads, isa)?;
        unary(131_072, S::Log).time("log [131072]", threads, isa)?;
        unary(131_072, S::Erf).time("erf [131072]", threads, isa)?;
        unary(131_072, S::Cos).time("cos [131072]", threads, isa)?;
        dropout(131_072).time("dropout [131072]", threads, isa)?;
        adam(65_536).time("adam [65536]", threads, isa)?;
        adam(4_000_000).time("adam [4000000]", threads, isa)?;
        reduce(&[131_072], &[true], Reduce::Sum).time("sum [131072]", threads, isa)?;
        reduce(&[131_072], &[true], Reduce::Max).time("max [131072]", threads, isa)?;
        reduce(&[2048, 64], &[true, false], Reduce::Sum).time("column sum [2048, 64]", threads, isa)?;
        reduce(&[13_000, 10], &[true, false], Reduce::Sum).time("column sum [13000, 10]", threads, isa)?;
        reduce(&[13_000, 10], &[false, true], Reduce::Sum).time("row sum [13000, 10]", threads, isa)?;
        reduce(&[512, 256], &[false, true], Reduce::Max).time("row max [512, 256]", threads, isa)?;
        reduce(&[32, 64, 64], &[false, true, false], Reduce::Sum).time(
            "spatial sum [32, 64, 64]",
            threads,
            isa,
        )?;
        moments(2048, 64).time("moments [2048, 64]", threads, isa)?;
        for (n, c) in [(2048, 64), (2304, 96), (8192, 16), (128, 960), (73_728, 96)] {
            normalise(n, c).time(&format!("normalise [{n}, {c}]"), threads, isa)?;
            normalise_sums(n, c).time(&format!("normalise, sums [{n}, {c}]"), threads, isa)?;
            normalise_back(n, c).time(&format!("normalise, back [{n}, {c}]"), threads, isa)?;
        }
        transpose(512).time("transposed store [512, 512]", threads, isa)?;
        transpose_read(512).time("transposed load [512, 512]", threads, isa)?;
    }
    Ok(())
}
