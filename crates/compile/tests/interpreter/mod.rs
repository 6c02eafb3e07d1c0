//! A slow interpreter of plans over real bytes at the planned offsets: separates faults of the compiler from
//! faults of a device. Every value is rounded to its type, as on a device: what is computed twice must be equal.

use thalweg_base::{ConvDims, DType, half, philox};
use thalweg_device::Plan;
use thalweg_device::plan::{
    Access, Body, BufferId, Contraction, Epilogue, Expr, Kernel, KernelId, Loop, Place, PoolKind, Product,
    Reduce, Stage,
};

/// Memory of one program.
pub struct Machine {
    pub bindings: Vec<Vec<u8>>,
    arena: Vec<u8>,
    /// Slab buffers hold one slice each; here regions run whole, so each gets room for its whole batch.
    slabs: Vec<Vec<u8>>,
}

impl Machine {
    pub fn new(plan: &Plan) -> Self {
        // Garbage in the arena: nothing may depend on what was there.
        Machine {
            bindings: plan.bindings.iter().map(|b| vec![0; b.bytes()]).collect(),
            arena: (0..plan.arena).map(|i| (i * 37 + 11) as u8).collect(),
            slabs: plan.buffers.iter().map(|b| vec![0xA5; b.bytes() * 64]).collect(),
        }
    }

    pub fn run(&mut self, plan: &Plan) {
        for stage in &plan.stages {
            let kernels: &[KernelId] = match stage {
                Stage::Launch(k) | Stage::Region { kernels: k, .. } => k,
            };
            for &k in kernels {
                self.kernel(plan, &plan.kernel(k).kernel);
            }
        }
    }

    fn bytes(&mut self, plan: &Plan, b: BufferId) -> (&mut Vec<u8>, usize, DType, usize) {
        let buffer = plan.buffer(b);
        match buffer.place {
            Place::Binding(n) => (&mut self.bindings[n as usize], 0, buffer.dtype, buffer.len),
            Place::Arena { offset } => (&mut self.arena, offset, buffer.dtype, buffer.len),
            Place::Slab { .. } => (&mut self.slabs[b.0 as usize], 0, buffer.dtype, usize::MAX),
        }
    }

    fn get(&mut self, plan: &Plan, b: BufferId, i: isize) -> f64 {
        let (bytes, at, dtype, len) = self.bytes(plan, b);
        assert!(i >= 0 && (i as usize) < len, "read of element {i} of {len}");
        get(&bytes[at + i as usize * dtype.size()..], dtype)
    }

    fn set(&mut self, plan: &Plan, b: BufferId, i: isize, v: f64) {
        let (bytes, at, dtype, len) = self.bytes(plan, b);
        assert!(i >= 0 && (i as usize) < len, "write of element {i} of {len}");
        set(&mut bytes[at + i as usize * dtype.size()..], dtype, v);
    }

    fn whole(&mut self, plan: &Plan, b: BufferId, len: usize) -> Vec<f64> {
        (0..len as isize).map(|i| self.get(plan, b, i)).collect()
    }

    fn kernel(&mut self, plan: &Plan, kernel: &Kernel) {
        match kernel {
            Kernel::Loop(l) => self.looped(plan, l),
            Kernel::Contraction(c) => self.contraction(plan, c),
            Kernel::Pool(p) => {
                let x = self.whole(plan, p.x, p.dims.image().iter().product());
                let d = p.dims;
                let (values, positions) = pool(&x, d, p.kind);
                for i in 0..values.len() {
                    p.out.inspect(|&o| self.set(plan, o, i as isize, values[i]));
                    p.arg.inspect(|&o| self.set(plan, o, i as isize, positions[i]));
                }
            }
            Kernel::Unpool(u) => {
                let d = u.dims;
                let count = d.output().iter().product();
                let (arg, dy) = (self.whole(plan, u.arg, count), self.whole(plan, u.dy, count));
                let mut out = vec![0.0; d.n * d.h * d.w * d.c];
                each_window(d, |i, o, p| {
                    if arg[o] == p as f64 {
                        out[i] += dy[o];
                    }
                });
                out.iter().enumerate().for_each(|(i, &v)| self.set(plan, u.out, i as isize, v));
            }
            Kernel::ArgMax(a) => {
                for o in 0..a.outer {
                    for i in 0..a.inner {
                        let at = |k: usize| ((o * a.n + k) * a.inner + i) as isize;
                        let values: Vec<f64> = (0..a.n).map(|k| self.get(plan, a.x, at(k))).collect();
                        let best = (0..a.n)
                            .rev()
                            .max_by(|&p, &q| values[p].total_cmp(&values[q]))
                            .expect("not empty");
                        self.set(plan, a.out, (o * a.inner + i) as isize, best as f64);
                    }
                }
            }
            Kernel::TopK(t) => {
                for o in 0..t.outer {
                    let values: Vec<f64> =
                        (0..t.n).map(|i| self.get(plan, t.x, (o * t.n + i) as isize)).collect();
                    let mut order: Vec<usize> = (0..t.n).collect();
                    order.sort_by(|&p, &q| thalweg_graph::ops::before(values[p], values[q]));
                    for (j, &i) in order[..t.k].iter().enumerate() {
                        self.set(plan, t.out, (o * t.k + j) as isize, i as f64);
                    }
                }
            }
            Kernel::Gather(g) => {
                for to in 0..g.outer * g.count * g.inner {
                    let (place, i) = (to / g.inner, to % g.inner);
                    let at = self.get(plan, g.at, place as isize);
                    let from = (place / g.count * g.n) as f64 + at;
                    let inside = at >= 0.0 && at < g.n as f64;
                    let v = if inside {
                        self.get(plan, g.x, from as isize * g.inner as isize + i as isize)
                    } else {
                        0.0
                    };
                    self.set(plan, g.out, to as isize, v);
                }
            }
            Kernel::Suppress(s) => {
                for o in 0..s.outer {
                    for j in 0..s.n {
                        let ruled_out = (0..j).any(|i| {
                            let kept = self.get(plan, s.out, (o * s.n + i) as isize);
                            kept != 0.0
                                && self.get(plan, s.conflict, ((o * s.n + i) * s.n + j) as isize) != 0.0
                        });
                        self.set(plan, s.out, (o * s.n + j) as isize, f64::from(u8::from(!ruled_out)));
                    }
                }
            }
        }
    }

    fn eval(&mut self, plan: &Plan, body: &Body, index: &[usize], acc: f64) -> Vec<f64> {
        let at =
            |a: &Access| a.offset + a.strides.iter().zip(index).map(|(s, &i)| s * i as isize).sum::<isize>();
        let mut values: Vec<f64> = Vec::new();
        for (_, e, dtype) in body.iter() {
            let v = match e {
                Expr::Const(c) => c.value(),
                Expr::Load(a) => self.get(plan, a.buffer, at(a)),
                Expr::Acc => acc,
                Expr::Index { offset, strides } => {
                    f64::from(offset + strides.iter().zip(index).map(|(s, &i)| s * i as i32).sum::<i32>())
                }
                Expr::Random { seed, stream, element, step } => f64::from(philox::unit(philox::word(
                    *seed,
                    *stream,
                    values[step.0 as usize] as i32 as u32,
                    values[element.0 as usize] as i32 as u32,
                ))),
                Expr::Op(op, args) => {
                    op.eval_in(dtype, &args.iter().map(|a| values[a.0 as usize]).collect::<Vec<_>>())
                }
                Expr::Cast(x) => values[x.0 as usize],
            };
            values.push(if dtype == DType::F32 { f64::from(v as f32) } else { dtype.round(v) });
        }
        values
    }

    fn looped(&mut self, plan: &Plan, l: &Loop) {
        assert!(!l.space.is_empty() && l.space.len() == l.reduced.len());
        let total: usize = l.space.iter().product();
        let start = |r| if r == Reduce::Sum { 0.0 } else { f64::NEG_INFINITY };
        let mut sums: Vec<std::collections::BTreeMap<isize, f64>> = vec![Default::default(); l.outs.len()];
        let mut stores: Vec<(BufferId, isize, f64)> = Vec::new();
        for linear in 0..total {
            let mut index = vec![0; l.space.len()];
            let mut rest = linear;
            for d in (0..l.space.len()).rev() {
                index[d] = rest % l.space[d];
                rest /= l.space[d];
            }
            let values = self.eval(plan, &l.body, &index, 0.0);
            // Part p holds p*n/parts .. (p+1)*n/parts of axis 0.
            let part = (0..l.parts).find(|p| index[0] < (p + 1) * l.space[0] / l.parts).expect("a part");
            for (o, out) in l.outs.iter().enumerate() {
                let a = &out.access;
                let mut at =
                    a.offset + a.strides.iter().zip(&index).map(|(s, &i)| s * i as isize).sum::<isize>();
                let v = values[out.value.0 as usize];
                match out.reduce {
                    None => stores.push((a.buffer, at, v)),
                    Some(r) => {
                        at += part as isize * if l.parts > 1 { out.part_stride } else { 0 };
                        let e = sums[o].entry(at).or_insert(start(r));
                        *e = match r {
                            Reduce::Sum => *e + v,
                            Reduce::Max => e.max(v),
                        };
                    }
                }
            }
            // Element-wise results may overwrite operands only at their own element: store at once.
            for (b, at, v) in stores.drain(..) {
                self.set(plan, b, at, v);
            }
        }
        for (o, out) in l.outs.iter().enumerate() {
            for (&at, &v) in &sums[o] {
                self.set(plan, out.access.buffer, at, v);
            }
        }
    }

    fn contraction(&mut self, plan: &Plan, c: &Contraction) {
        let (na, nb) = operand_lengths(c.product);
        let (a, b) = match &c.unpooled {
            None if c.expansion.is_some() => (self.expanded(plan, c), self.whole(plan, c.b, nb)),
            None => (self.whole(plan, c.a, na), self.whole(plan, c.b, nb)),
            Some(u) => {
                let count = u.dims.output().iter().product();
                let arg = self.whole(plan, u.arg, count);
                let input = matches!(c.product, Product::ConvInputGrad(_));
                let dy = self.whole(plan, if input { c.a } else { c.b }, count);
                let mut full = vec![0.0; u.dims.image().iter().product()];
                each_window(u.dims, |i, o, p| {
                    if arg[o] == p as f64 {
                        full[i] += dy[o];
                    }
                });
                if input { (full, self.whole(plan, c.b, nb)) } else { (self.whole(plan, c.a, na), full) }
            }
        };
        let (shape, mut out): (Vec<usize>, Vec<f64>) = match c.product {
            Product::Dot(d) => {
                let mut out = Vec::new();
                for (p, (i, j)) in (0..d.batch)
                    .flat_map(|p| (0..d.m).map(move |i| (p, i)))
                    .flat_map(|(p, i)| (0..d.n).map(move |j| (p, (i, j))))
                {
                    let term = |k: usize| {
                        let x = if d.ta { k * d.m + i } else { i * d.k + k };
                        let y = if d.tb { j * d.k + k } else { k * d.n + j };
                        a[p * d.m * d.k + x] * b[p * d.k * d.n + y]
                    };
                    out.push((0..d.k).map(term).sum());
                }
                (vec![d.batch, d.m, d.n], out)
            }
            Product::Conv(d) => {
                let mut out = vec![0.0; d.output().iter().product()];
                each_product(d, |i, f, o| out[o] += a[i] * b[f]);
                (d.output().to_vec(), out)
            }
            Product::ConvInputGrad(d) => {
                let mut out = vec![0.0; d.image().iter().product()];
                each_product(d, |i, f, o| out[i] += a[o] * b[f]);
                (d.image().to_vec(), out)
            }
            Product::ConvFilterGrad(d) => {
                let size: usize = d.filter().iter().product();
                let image = d.oh * d.ow * d.k;
                let mut out = vec![0.0; size * c.parts];
                each_product(d, |i, f, o| {
                    let part = (0..c.parts).find(|p| o / image < (p + 1) * d.n / c.parts).expect("a part");
                    out[part * size + f] += a[i] * b[o];
                });
                (vec![out.len()], out)
            }
        };
        let mut pooled = None;
        if let Some(e) = &c.epilogue {
            self.finish(plan, e, &shape, &mut out);
            if let Some(p) = e.pool {
                pooled = Some((pool(&out, p.dims, PoolKind::Max), p.arg));
            }
        }
        if let Some(((values, positions), arg)) = pooled {
            out = values;
            if let Some(arg) = arg {
                positions.iter().enumerate().for_each(|(i, &v)| self.set(plan, arg, i as isize, v));
            }
        }
        out.iter().enumerate().for_each(|(i, &v)| self.set(plan, c.out, i as isize, v));
    }

    /// What is done to each sum.
    fn finish(&mut self, plan: &Plan, e: &Epilogue, shape: &[usize], sums: &mut [f64]) {
        for (linear, value) in sums.iter_mut().enumerate() {
            let mut index = vec![0; shape.len()];
            let mut rest = linear;
            for d in (0..shape.len()).rev() {
                index[d] = rest % shape[d];
                rest /= shape[d];
            }
            *value = self.eval(plan, &e.body, &index, *value)[e.value.0 as usize];
        }
    }

    /// An image that is made as needed.
    fn expanded(&mut self, plan: &Plan, c: &Contraction) -> Vec<f64> {
        let (Some(x), Product::Conv(d)) = (&c.expansion, c.product) else { panic!("nothing is expanded") };
        let from = self.whole(plan, c.a, d.n * d.h * d.w * x.channels);
        let b = self.whole(plan, x.b, x.channels * d.c);
        let sum = |(pixel, k): (&[f64], usize)| -> f64 {
            pixel.iter().enumerate().map(|(j, v)| v * b[j * d.c + k]).sum()
        };
        let pixels = from.chunks(x.channels).flat_map(|p| (0..d.c).map(move |k| (p, k)));
        let mut image: Vec<f64> = pixels.map(sum).collect();
        x.epilogue.iter().for_each(|e| self.finish(plan, e, &d.image(), &mut image));
        image
    }
}

fn operand_lengths(product: Product) -> (usize, usize) {
    let all = |s: [usize; 4]| s.iter().product::<usize>();
    match product {
        Product::Dot(d) => (d.batch * d.m * d.k, d.batch * d.k * d.n),
        Product::Conv(d) => (all(d.image()), all(d.filter())),
        Product::ConvInputGrad(d) => (all(d.output()), all(d.filter())),
        Product::ConvFilterGrad(d) => (all(d.image()), all(d.output())),
    }
}

fn each_product(d: ConvDims, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for n in 0..d.n {
        for (oy, ox) in (0..d.oh).flat_map(|y| (0..d.ow).map(move |x| (y, x))) {
            for (r, s) in (0..d.rows.size).flat_map(|r| (0..d.cols.size).map(move |s| (r, s))) {
                let (Some(y), Some(x)) = (d.rows.source(oy, r, d.h), d.cols.source(ox, s, d.w)) else {
                    continue;
                };
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

fn each_window(d: thalweg_base::PoolDims, mut f: impl FnMut(usize, usize, usize)) {
    for n in 0..d.n {
        for (oy, ox) in (0..d.oh).flat_map(|y| (0..d.ow).map(move |x| (y, x))) {
            for (r, s) in (0..d.rows.size).flat_map(|r| (0..d.cols.size).map(move |s| (r, s))) {
                let (Some(y), Some(x)) = (d.rows.source(oy, r, d.h), d.cols.source(ox, s, d.w)) else {
                    continue;
                };
                for c in 0..d.c {
                    let out = ((n * d.oh + oy) * d.ow + ox) * d.c + c;
                    f(((n * d.h + y) * d.w + x) * d.c + c, out, r * d.cols.size + s);
                }
            }
        }
    }
}

fn pool(x: &[f64], d: thalweg_base::PoolDims, kind: PoolKind) -> (Vec<f64>, Vec<f64>) {
    let count = d.n * d.oh * d.ow * d.c;
    let mut values = vec![if kind == PoolKind::Max { f64::NEG_INFINITY } else { 0.0 }; count];
    let mut positions = vec![0.0; count];
    each_window(d, |i, o, p| match kind {
        PoolKind::Sum => values[o] += x[i],
        PoolKind::Max if x[i] > values[o] => (values[o], positions[o]) = (x[i], p as f64),
        PoolKind::Max => {}
    });
    (values, positions)
}

fn four(bytes: &[u8]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

/// One element from bytes.
pub fn get(bytes: &[u8], dtype: DType) -> f64 {
    match dtype {
        DType::Bool | DType::U8 => f64::from(bytes[0]),
        DType::U32 => f64::from(u32::from_le_bytes(four(bytes))),
        DType::I32 => f64::from(i32::from_le_bytes(four(bytes))),
        DType::F16 => f64::from(half::from_f16(u16::from_le_bytes([bytes[0], bytes[1]]))),
        DType::BF16 => f64::from(half::from_bf16(u16::from_le_bytes([bytes[0], bytes[1]]))),
        DType::F32 => f64::from(f32::from_le_bytes(four(bytes))),
    }
}

/// One element to bytes.
pub fn set(bytes: &mut [u8], dtype: DType, v: f64) {
    match dtype {
        DType::Bool => bytes[0] = u8::from(v != 0.0),
        DType::U8 => bytes[0] = v as u8,
        DType::U32 => bytes[..4].copy_from_slice(&(v as u32).to_le_bytes()),
        DType::I32 => bytes[..4].copy_from_slice(&(v as i32).to_le_bytes()),
        DType::F16 => bytes[..2].copy_from_slice(&half::to_f16(v as f32).to_le_bytes()),
        DType::BF16 => bytes[..2].copy_from_slice(&half::to_bf16(v as f32).to_le_bytes()),
        DType::F32 => bytes[..4].copy_from_slice(&(v as f32).to_le_bytes()),
    }
}
