//! Products by tensor cores in tf32 and in 16 bits, and by cooperative matrices of f16 and f32, interpreted: of small whole
//! numbers, which these hold, every result is exact. Where an adapter has cooperative matrices they run there, too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::cpu::CpuDevice;
use thalweg_device::gpu::ir;
use thalweg_device::gpu::launch::{Abilities, Matrices};
use thalweg_device::gpu::lower::lower;
use thalweg_device::gpu::tune::Choices;
use thalweg_device::plan::{Entry, Kernel};
use thalweg_device::{Device, Plan, open};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{
    ConvDims, DType, Graph, NodeId, Op, PoolDims, PoolKind, ReduceKind, Type, Window, gradients, philox,
};
use thalweg_testkit::gpu::InterpretedGpu;
use thalweg_testkit::{Tolerance, compare_results, run_plan, run_reference};

const OPERANDS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 1e-6, scale: 0.0 };

/// The type that each product of a plan stores.
fn stored(plan: &Plan) -> Vec<DType> {
    let product = |e: &Entry| match &e.kernel {
        Kernel::Contraction(c) => Some(plan.buffer(c.out).dtype),
        _ => None,
    };
    plan.kernels.iter().filter_map(product).collect()
}

/// Runs a graph on whole numbers from -3 to 3; every product of it must be by tensor cores, and by cooperative matrices.
fn check(graph: &Graph, dtype: DType, products: usize) -> Arc<Plan> {
    let mut random = philox::Sequence::new(5, 1, 0);
    let inputs = graph.inputs.iter().map(|i| {
        let data = (0..i.ty.len()).map(|_| f64::from(random.below(7)) - 3.0).collect();
        Tensor::new(&i.ty.shape, data)
    });
    let feeds = Feeds { inputs: inputs.collect(), states: Vec::new() };
    let plan: Arc<Plan> = Arc::new(compile(graph, &Options::gpu()).plan);
    let wanted = run_reference(graph, &feeds);
    let exact = |device: &mut dyn Device| {
        let found = run_plan(device, &plan, graph, &feeds).unwrap();
        compare_results(&wanted, &found, EXACT).unwrap();
    };
    let tf32 = dtype == DType::F32;
    let least = Abilities { shared_bytes: 48 << 10, parallel: 1 << 8, ..Abilities::LEAST };
    let matrices = Some(Matrices { f16: Some(16), f32: Some(8), subgroup: [32, 64] });
    let kinds = [Abilities { tensor: true, tf32, ..least }, Abilities { matrices, ..least }];
    // Nobody's matrices in WGSL are of bf16.
    for abilities in kinds.into_iter().take(if dtype == DType::BF16 { 1 } else { 2 }) {
        let is_such = |k: &ir::Kernel| match abilities.tensor {
            true => k.needs_tensor_cores(),
            false => k.needs_matrices(),
        };
        let launches = lower(&plan, &abilities, &Choices::default()).unwrap();
        let such = launches.of_kernels().filter(|(_, k)| is_such(k));
        assert_eq!(such.count(), products, "{abilities:?}: {plan}");
        exact(&mut InterpretedGpu::new(abilities));
    }
    match open("wgpu:coop", None) {
        Ok(mut device) => exact(&mut *device),
        Err(e) if std::env::var_os("THALWEG_NEED_COOP").is_none() => println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
    plan
}

fn input(g: &mut Graph, name: &str, dtype: DType, shape: &[usize]) -> NodeId {
    let x = g.input(name, Type::f32(shape));
    g.cast(x, dtype)
}

fn output(g: &mut Graph, name: &str, x: NodeId) {
    let x = g.cast(x, DType::F32);
    g.output(name, x);
}

#[test]
fn matrices() {
    let sizes = [(64, 16, 64, false, false), (70, 45, 130, false, true), (100, 9, 49, true, false)];
    for (dtype, (m, k, n, ta, tb)) in OPERANDS.into_iter().flat_map(|d| sizes.map(|s| (d, s))) {
        let mut g = Graph::new();
        let a = input(&mut g, "a", dtype, &if ta { [k, m] } else { [m, k] });
        let b = input(&mut g, "b", dtype, &if tb { [n, k] } else { [k, n] });
        let bias = input(&mut g, "bias", dtype, &[n]);
        let y = g.op(Op::Dot { ta, tb }, &[a, b]);
        let y = g.add(y, bias);
        let y = g.relu(y);
        output(&mut g, "y", y);
        check(&g, dtype, 1);
    }
}

#[test]
fn a_convolution_its_pooling_and_its_gradients() {
    let (n, side, c, k) = (3, 9, 33, 40);
    let window = Window::same(side, 3, 1, 1);
    let conv =
        ConvDims { n, h: side, w: side, c, k, oh: side, ow: side, rows: window, cols: window, groups: 1 };
    let half = Window::valid(2, 2, 1);
    let pool = PoolDims { n, h: side, w: side, c: k, oh: 4, ow: 4, rows: half, cols: half };
    for dtype in OPERANDS {
        let mut g = Graph::new();
        let x = input(&mut g, "x", dtype, &conv.image());
        let filter = input(&mut g, "filter", dtype, &conv.filter());
        let weight = input(&mut g, "weight", dtype, &pool.output());
        let y = g.op(Op::Conv(conv), &[x, filter]);
        let y = g.relu(y);
        let y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
        output(&mut g, "y", y);
        let y = g.mul(y, weight);
        let grads = gradients(&mut g, y, &[x, filter]).unwrap();
        output(&mut g, "dx", grads[0]);
        output(&mut g, "dfilter", grads[1]);
        check(&g, dtype, 3);
    }
}

/// A convolution of six by six pixels in groups, and a pooling of what has its shape.
fn pooled_convolution(channels: usize, groups: usize) -> (ConvDims, PoolDims) {
    let (n, h, w, c, k) = (2, 6, 6, channels, channels);
    let window = Window::same(h, 3, 1, 1);
    let conv = ConvDims { n, h, w, c, k, oh: h, ow: w, rows: window, cols: window, groups };
    let half = Window::valid(2, 2, 1);
    (conv, PoolDims { n, h, w, c, oh: 3, ow: 3, rows: half, cols: half })
}

/// What a product reads may be read by others as f32, and what it makes by several.
#[test]
fn operands_and_results_that_others_use() {
    for dtype in [DType::F16, DType::BF16] {
        let (m, k, n) = (48, 32, 64);
        let mut g = Graph::new();
        let (a, b) = (input(&mut g, "a", dtype, &[m, k]), input(&mut g, "b", dtype, &[k, n]));
        let a = g.relu(a);
        let y = g.op(Op::Dot { ta: false, tb: false }, &[a, b]);
        output(&mut g, "a out", a);
        let wide = g.cast(y, DType::F32);
        let sum = |g: &mut Graph, axis| g.op(Op::Reduce(ReduceKind::Sum, vec![axis]), &[wide]);
        let (columns, rows) = (sum(&mut g, 0), sum(&mut g, 1));
        g.output("columns", columns);
        g.output("rows", rows);
        let plan = check(&g, dtype, 1);
        assert_eq!(stored(&plan), [dtype], "two sums read what is rounded: {plan}");
        let mut cpu = CpuDevice::new(Some(1), None).unwrap();
        let bound: Vec<_> = plan.bindings.iter().map(|b| cpu.allocate(b.bytes()).unwrap()).collect();
        let told = cpu.load(plan, &bound).unwrap_err().to_string();
        assert!(told.contains("a product of 16-bit floats, which the CPU has in f32"), "{told}");

        let (conv, pool) = pooled_convolution(8, 1);
        let mut g = Graph::new();
        let x = input(&mut g, "x", dtype, &conv.image());
        let filter = input(&mut g, "filter", dtype, &conv.filter());
        let x = g.relu(x);
        let pooled = g.op(Op::Pool(PoolKind::Max, pool), &[x]);
        output(&mut g, "pooled", pooled);
        let y = g.op(Op::Conv(conv), &[x, filter]);
        output(&mut g, "y", y);
        check(&g, dtype, 1);
    }
}

/// A pooling behind a convolution in groups: its gradients take what is unpooled, in 16 bits all the same.
#[test]
fn gradients_of_groups_behind_a_pooling() {
    for dtype in [DType::F16, DType::BF16] {
        let (conv, pool) = pooled_convolution(32, 2);
        let mut g = Graph::new();
        let x = input(&mut g, "x", dtype, &conv.image());
        let filter = input(&mut g, "filter", dtype, &conv.filter());
        let y = g.op(Op::Conv(conv), &[x, filter]);
        let y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
        let grads = gradients(&mut g, y, &[x, filter]).unwrap();
        output(&mut g, "dx", grads[0]);
        output(&mut g, "dfilter", grads[1]);
        check(&g, dtype, 3);
    }
}
