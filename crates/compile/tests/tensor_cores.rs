//! Products by tensor cores in tf32 and in 16 bits, interpreted: of small whole numbers, which these hold, every result is
//! exact.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::Plan;
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::gpu::lower::lower;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{
    ConvDims, DType, Graph, NodeId, Op, PoolDims, PoolKind, Type, Window, gradients, philox,
};
use thalweg_testkit::gpu::InterpretedGpu;
use thalweg_testkit::{Tolerance, compare_results, run_plan, run_reference};

const OPERANDS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 1e-6, scale: 0.0 };

/// Runs a graph on whole numbers from -3 to 3; every product of it must be by tensor cores.
fn check(graph: &Graph, dtype: DType, products: usize) {
    let tf32 = dtype == DType::F32;
    let abilities =
        Abilities { shared_bytes: 48 << 10, parallel: 1 << 8, tensor: true, tf32, ..Abilities::LEAST };
    let mut random = philox::Sequence::new(5, 1, 0);
    let inputs = graph.inputs.iter().map(|i| {
        let data = (0..i.ty.len()).map(|_| f64::from(random.below(7)) - 3.0).collect();
        Tensor::new(&i.ty.shape, data)
    });
    let feeds = Feeds { inputs: inputs.collect(), states: Vec::new() };
    let options = Options::gpu();
    let plan: Arc<Plan> = Arc::new(compile(graph, &options).plan);
    let launches = lower(&plan, &abilities).unwrap();
    let by_tensor_cores =
        launches.stages.iter().flatten().filter(|l| launches.kernels[l.kernel].needs_tensor_cores());
    assert_eq!(by_tensor_cores.count(), products, "{plan}");
    let found = run_plan(&mut InterpretedGpu::new(abilities), &plan, graph, &feeds).unwrap();
    compare_results(&run_reference(graph, &feeds), &found, EXACT).unwrap();
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
