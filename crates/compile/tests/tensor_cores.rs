//! Products by tensor cores in tf32, interpreted: of small whole numbers, which tf32 holds, every result is exact.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::Plan;
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::gpu::lower::lower;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{ConvDims, Graph, NodeId, Op, PoolDims, PoolKind, Type, Window, gradients, philox};
use thalweg_testkit::gpu::InterpretedGpu;
use thalweg_testkit::{Tolerance, compare_results, run_plan, run_reference};

const TF32: Abilities =
    Abilities { shared_bytes: 48 << 10, parallel: 1 << 8, tensor: true, tf32: true, ..Abilities::LEAST };
const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 1e-6, scale: 0.0 };

/// Runs a graph on whole numbers from -3 to 3; every product of it must be by tensor cores.
fn check(graph: &Graph, products: usize) {
    let mut random = philox::Sequence::new(5, 1, 0);
    let inputs = graph.inputs.iter().map(|i| {
        let data = (0..i.ty.len()).map(|_| f64::from(random.below(7)) - 3.0).collect();
        Tensor::new(&i.ty.shape, data)
    });
    let feeds = Feeds { inputs: inputs.collect(), states: Vec::new() };
    let options = Options { regions: false, ..Options::default() };
    let plan: Arc<Plan> = Arc::new(compile(graph, &options).plan);
    let launches = lower(&plan, &TF32).unwrap();
    let by_tensor_cores =
        launches.stages.iter().flatten().filter(|l| launches.kernels[l.kernel].needs_tensor_cores());
    assert_eq!(by_tensor_cores.count(), products, "{plan}");
    let found = run_plan(&mut InterpretedGpu::new(TF32), &plan, graph, &feeds).unwrap();
    compare_results(&run_reference(graph, &feeds), &found, EXACT).unwrap();
}

fn input(g: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    g.input(name, Type::f32(shape))
}

#[test]
fn matrices() {
    for (m, k, n, ta, tb) in
        [(64, 16, 64, false, false), (70, 45, 130, false, true), (100, 9, 49, true, false)]
    {
        let mut g = Graph::new();
        let a = input(&mut g, "a", &if ta { [k, m] } else { [m, k] });
        let b = input(&mut g, "b", &if tb { [n, k] } else { [k, n] });
        let bias = input(&mut g, "bias", &[n]);
        let y = g.op(Op::Dot { ta, tb }, &[a, b]);
        let y = g.add(y, bias);
        let y = g.relu(y);
        g.output("y", y);
        check(&g, 1);
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
    let mut g = Graph::new();
    let (x, filter) = (input(&mut g, "x", &conv.image()), input(&mut g, "filter", &conv.filter()));
    let weight = input(&mut g, "weight", &pool.output());
    let y = g.op(Op::Conv(conv), &[x, filter]);
    let y = g.relu(y);
    let y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
    g.output("y", y);
    let y = g.mul(y, weight);
    let grads = gradients(&mut g, y, &[x, filter]).unwrap();
    g.output("dx", grads[0]);
    g.output("dfilter", grads[1]);
    check(&g, 3);
}
