//! A small training step as a plan, for the tests of devices: convolution, pool, their gradients, a bias gradient
//! in parts, an update; as launches alone or with a region.

use std::sync::Arc;
use thalweg_base::{ConvDims, DType, PoolDims, Scalar, ScalarOp, Window, philox::Sequence};
use thalweg_device::plan::*;
use thalweg_device::{Allocation, Device, Program};

/// Images, and images of a slice.
pub const BATCH: usize = 13;
pub const SLICE: usize = 4;
const PARTS: usize = 4;

struct Builder(Plan, bool);

impl Builder {
    fn binding(&mut self, name: &str, role: Role, dtype: DType, shape: &[usize]) -> BufferId {
        self.0.bindings.push(Binding { name: name.into(), role, dtype, shape: shape.to_vec() });
        let place = Place::Binding(self.0.bindings.len() as u32 - 1);
        self.buffer(name, dtype, shape.iter().product(), place)
    }

    fn buffer(&mut self, name: &str, dtype: DType, len: usize, place: Place) -> BufferId {
        self.0.buffers.push(Buffer { name: name.into(), dtype, len, place });
        BufferId(self.0.buffers.len() as u32 - 1)
    }

    fn arena(&mut self, name: &str, dtype: DType, len: usize) -> BufferId {
        let offset = self.0.arena;
        self.0.arena += (len * dtype.size()).next_multiple_of(ALIGN);
        self.buffer(name, dtype, len, Place::Arena { offset })
    }

    /// What only the region uses: of one slice in the slab, or of the batch in the arena.
    fn local(&mut self, name: &str, dtype: DType, per_image: usize) -> BufferId {
        if !self.1 {
            return self.arena(name, dtype, per_image * BATCH);
        }
        let offset = self.0.slab;
        self.0.slab += (per_image * SLICE * dtype.size()).next_multiple_of(ALIGN);
        self.buffer(name, dtype, per_image * SLICE, Place::Slab { offset })
    }

    fn kernel(&mut self, label: &str, kernel: Kernel) -> KernelId {
        self.0.kernels.push(Entry { label: label.into(), kernel, flops: 1_000_000, bytes: 1_000_000 });
        KernelId(self.0.kernels.len() as u32 - 1)
    }
}

fn load(body: &mut Body, buffer: BufferId, strides: &[isize]) -> ExprId {
    body.push(Expr::Load(Access { buffer, offset: 0, strides: strides.to_vec() }), DType::F32)
}

fn out(
    value: ExprId,
    reduce: Option<Reduce>,
    buffer: BufferId,
    strides: &[isize],
    part_stride: isize,
) -> LoopOut {
    LoopOut { value, reduce, access: Access { buffer, offset: 0, strides: strides.to_vec() }, part_stride }
}

/// The plan; `region`: whether what is parallel in the batch is one region.
pub fn plan(region: bool) -> Plan {
    let mut b = Builder(Plan { name: "step".into(), ..Plan::default() }, region);
    let (n, h, w, c, k) = (BATCH, 10, 10, 5, 24);
    let window = Window::valid(3, 1, 1);
    let conv = ConvDims { n, h, w, c, k, oh: 8, ow: 8, rows: window, cols: window, groups: 1 };
    let half = Window::valid(2, 2, 1);
    let pool = PoolDims { n, h: 8, w: 8, c: k, oh: 4, ow: 4, rows: half, cols: half };
    let x = b.binding("x", Role::Input, DType::F32, &[n, h, w, c]);
    let filter = b.binding("filter", Role::State, DType::F32, &[3, 3, c, k]);
    let bias = b.binding("bias", Role::State, DType::F32, &[k]);
    let loss = b.binding("loss", Role::Output, DType::F32, &[1]);
    let steps = b.binding("steps", Role::State, DType::I32, &[1]);
    let y = b.local("y", DType::F32, 8 * 8 * k);
    let arg = b.local("arg", DType::U8, 4 * 4 * k);
    let p = b.local("p", DType::F32, 4 * 4 * k);
    let dy = b.local("dy", DType::F32, 8 * 8 * k);
    let losses = b.arena("losses", DType::F32, PARTS);
    let dbias = b.arena("dbias", DType::F32, PARTS * k);
    let dfilter = b.arena("dfilter", DType::F32, PARTS * 9 * c * k);

    let mut body = Body::new();
    let acc = body.push(Expr::Acc, DType::F32);
    let shift = load(&mut body, bias, &[0, 0, 0, 1]);
    let sum = body.push(Expr::Op(ScalarOp::Add, vec![acc, shift]), DType::F32);
    let value = body.push(Expr::Op(ScalarOp::Tanh, vec![sum]), DType::F32);
    let epilogue = Some(Epilogue { body, value, pool: None });
    let forward = Contraction { epilogue, ..Contraction::new(Product::Conv(conv), [x, filter, y]) };
    let forward = b.kernel("conv", Kernel::Contraction(forward));
    let pooled = Pool { kind: PoolKind::Max, dims: pool, x: y, out: Some(p), arg: Some(arg) };
    let pooled = b.kernel("pool", Kernel::Pool(pooled));

    // loss = sum of p^2 / 2: dp = p.
    let mut body = Body::new();
    let v = load(&mut body, p, &[16 * k as isize, k as isize, 1]);
    let square = body.push(Expr::Op(ScalarOp::Mul, vec![v, v]), DType::F32);
    let l = Loop {
        space: vec![n, 16, k],
        reduced: vec![true; 3],
        parts: PARTS,
        body,
        outs: vec![out(square, Some(Reduce::Sum), losses, &[0, 0, 0], 1)],
    };
    let lost = b.kernel("loss", Kernel::Loop(l));
    let back = b.kernel("unpool", Kernel::Unpool(Unpool { dims: pool, arg, dy: p, out: dy }));

    // Through the tanh, in place, and the bias gradient.
    let mut body = Body::new();
    let strides = [64 * k as isize, k as isize, 1];
    let (g, t) = (load(&mut body, dy, &strides), load(&mut body, y, &strides));
    let tt = body.push(Expr::Op(ScalarOp::Mul, vec![t, t]), DType::F32);
    let one = body.push(Expr::Const(Scalar::f32(1.0)), DType::F32);
    let slope = body.push(Expr::Op(ScalarOp::Sub, vec![one, tt]), DType::F32);
    let dv = body.push(Expr::Op(ScalarOp::Mul, vec![g, slope]), DType::F32);
    let l = Loop {
        space: vec![n, 64, k],
        reduced: vec![true, true, false],
        parts: PARTS,
        body,
        outs: vec![out(dv, None, dy, &strides, 0), out(dv, Some(Reduce::Sum), dbias, &[0, 0, 1], k as isize)],
    };
    let slope = b.kernel("tanh gradient", Kernel::Loop(l));
    let product = Product::ConvFilterGrad(conv);
    let weights = Contraction { parts: PARTS, ..Contraction::new(product, [x, dy, dfilter]) };
    let weights = b.kernel("filter gradient", Kernel::Contraction(weights));

    let batch = vec![forward, pooled, lost, back, slope, weights];
    if region {
        b.0.stages.push(Stage::Region { kernels: batch, batch: BATCH, slice: SLICE });
    } else {
        b.0.stages.extend(batch.into_iter().map(|k| Stage::Launch(vec![k])));
    }
    let mut last = Vec::new();
    for (name, to, parts, len) in [("filter", filter, dfilter, 9 * c * k), ("bias", bias, dbias, k)] {
        // w -= 0.001 * sum of the parts.
        let mut body = Body::new();
        let mut total = load(&mut body, parts, &[1]);
        for part in 1..PARTS {
            let access = Access { buffer: parts, offset: (part * len) as isize, strides: vec![1] };
            let next = body.push(Expr::Load(access), DType::F32);
            total = body.push(Expr::Op(ScalarOp::Add, vec![total, next]), DType::F32);
        }
        let rate = body.push(Expr::Const(Scalar::f32(-0.001)), DType::F32);
        let change = body.push(Expr::Op(ScalarOp::Mul, vec![total, rate]), DType::F32);
        let old = load(&mut body, to, &[1]);
        let new = body.push(Expr::Op(ScalarOp::Add, vec![old, change]), DType::F32);
        let outs = vec![out(new, None, to, &[1], 0)];
        let l = Loop { space: vec![len], reduced: vec![false], parts: 1, body, outs };
        last.push(b.kernel(name, Kernel::Loop(l)));
    }
    let mut body = Body::new();
    let v = load(&mut body, losses, &[1]);
    let outs = vec![out(v, Some(Reduce::Sum), loss, &[0], 0)];
    let l = Loop { space: vec![PARTS], reduced: vec![true], parts: 1, body, outs };
    last.push(b.kernel("total loss", Kernel::Loop(l)));
    let mut body = Body::new();
    let access = Access { buffer: steps, offset: 0, strides: vec![0] };
    let old = body.push(Expr::Load(access), DType::I32);
    let one = body.push(Expr::Const(Scalar::new(DType::I32, 1.0)), DType::I32);
    let new = body.push(Expr::Op(ScalarOp::Add, vec![old, one]), DType::I32);
    let outs = vec![out(new, None, steps, &[0], 0)];
    last.push(
        b.kernel("steps", Kernel::Loop(Loop { space: vec![1], reduced: vec![false], parts: 1, body, outs })),
    );
    b.0.stages.push(Stage::Launch(last));
    b.0
}

/// A plan loaded with the same random numbers every time.
pub struct Loaded {
    pub program: Program,
    pub storage: Vec<Allocation>,
    sizes: Vec<usize>,
}

/// Allocates, fills and loads.
pub fn load_plan(device: &mut dyn Device, plan: Plan) -> Loaded {
    let mut r = Sequence::new(17, 0, 0);
    let mut storage = Vec::new();
    let sizes = plan.bindings.iter().map(Binding::bytes).collect::<Vec<_>>();
    for b in &plan.bindings {
        let a = device.allocate(b.bytes()).expect("memory");
        if b.dtype == DType::F32 {
            let bytes: Vec<u8> =
                (0..b.bytes() / 4).flat_map(|_| (r.next_normal() * 0.3).to_le_bytes()).collect();
            device.write(a, 0, &bytes).expect("it fits");
        }
        storage.push(a);
    }
    let program = device.load(Arc::new(plan), &storage).expect("a good plan");
    Loaded { program, storage, sizes }
}

impl Loaded {
    /// All storage, binding after binding.
    pub fn read(&self, device: &mut dyn Device) -> Vec<Vec<u8>> {
        let one = |(a, n): (&Allocation, &usize)| {
            let mut bytes = vec![0; *n];
            device.read(*a, 0, &mut bytes).expect("it fits");
            bytes
        };
        self.storage.iter().zip(&self.sizes).map(one).collect()
    }
}

/// The f32 numbers in some bytes.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect()
}
