//! Compiled plans compute what the graph means: every primitive's cases, and hand-written graphs for fusion.

mod interpreter;

use interpreter::{Machine, get, set};
use thalweg_compile::{Options, compile};
use thalweg_device::plan::{Entry, Kernel, Role, Stage};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, Type, gradients, ops, philox};
use thalweg_testkit::{
    Results, Tolerance, check_cases, check_random, compare_results, operands, run_reference,
};

/// Random operands of a type, in a range.
fn random(ty: &Type, low: f64, high: f64, stream: u32) -> Tensor {
    let mut s = philox::Sequence::new(42, stream, 0);
    let data = (0..ty.len())
        .map(|_| {
            let v = low + (high - low) * f64::from(s.next_unit());
            if ty.dtype == DType::F32 { f64::from(v as f32) } else { ty.dtype.round(v) }
        })
        .collect();
    Tensor::new(&ty.shape, data)
}

/// Compiles and interprets one step.
fn interpret(g: &Graph, feeds: &Feeds) -> Results {
    let plan = compile(g, &Options::default()).plan;
    let mut m = Machine::new(&plan);
    let fed = feeds.states.iter().chain(&feeds.inputs);
    for ((t, binding), bytes) in fed.zip(&plan.bindings).zip(&mut m.bindings) {
        for (i, &v) in t.data.iter().enumerate() {
            set(&mut bytes[i * binding.dtype.size()..], binding.dtype, v);
        }
    }
    m.run(&plan);
    let mut results = Results::default();
    for (binding, bytes) in plan.bindings.iter().zip(&m.bindings) {
        let size = binding.dtype.size();
        let data = bytes.chunks(size).map(|b| get(b, binding.dtype)).collect();
        let named = (binding.name.clone(), Tensor::new(&binding.shape, data));
        match binding.role {
            Role::State => results.states.push(named),
            Role::Output => results.outputs.push(named),
            Role::Input => {}
        }
    }
    results
}

fn check(g: &Graph, feeds: &Feeds, what: &str) {
    let found = interpret(g, feeds);
    if let Err(problem) = compare_results(&run_reference(g, feeds), &found, Tolerance::GRAPH) {
        panic!("{what}: {problem}\n{g}\n{}", compile(g, &Options::default()).plan);
    }
}

#[test]
fn every_case_of_every_primitive() {
    check_cases(Tolerance::F32, interpret);
}

#[test]
fn random_graphs() {
    check_random(0..1000, Tolerance::GRAPH, interpret);
}

#[test]
fn every_gradient_of_every_primitive() {
    for (i, case) in ops::cases().into_iter().enumerate().filter(|(_, c)| c.differentiable) {
        let (mut g, x, y) = case.graph();
        let x: Vec<_> = x.into_iter().filter(|&x| g.ty(x).dtype == DType::F32).collect();
        let ty = g.ty(y).clone();
        let weight = g.input("g", ty.clone());
        let weighted = g.mul(y, weight);
        for (i, d) in gradients(&mut g, weighted, &x).unwrap().into_iter().enumerate() {
            g.output(&format!("d{i}"), d);
        }
        let mut feeds = operands(&case, i as u64);
        feeds.inputs.push(random(&ty, -1.0, 1.0, 9));
        check(&g, &feeds, &format!("gradient of {:?}", case.op));
    }
}

fn window(size: usize, stride: usize) -> thalweg_graph::Window {
    thalweg_graph::Window::valid(size, stride, 1)
}

/// conv + bias + relu + pool, then a dense layer, a squared loss and SGD with momentum: a whole small step.
fn small_step() -> (Graph, Feeds) {
    let mut g = Graph::new();
    let (n, h) = (3, 7);
    let x = g.input("x", Type::new(DType::U8, &[n, h, h, 2]));
    let t = g.input("t", Type::f32(&[n, 4]));
    let shapes: [(&str, &[usize]); 4] = [("k", &[3, 3, 2, 5]), ("b", &[5]), ("w", &[20, 4]), ("c", &[4])];
    let params: Vec<_> = shapes.iter().map(|(name, s)| g.state(name, Type::f32(s))).collect();
    let slots: Vec<_> = shapes.iter().map(|(name, s)| g.state(&format!("m/{name}"), Type::f32(s))).collect();
    let iteration = g.state("iteration", Type::new(DType::I32, &[]));
    let x = g.cast(x, DType::F32);
    let x = g.scale(x, 1.0 / 255.0);
    let d = thalweg_graph::ConvDims {
        n,
        h,
        w: h,
        c: 2,
        k: 5,
        oh: 5,
        ow: 5,
        rows: window(3, 1),
        cols: window(3, 1),
        groups: 1,
    };
    let y = g.op(thalweg_graph::Op::Conv(d), &[x, params[0]]);
    let y = g.add(y, params[1]);
    let y = g.relu(y);
    let p =
        thalweg_graph::PoolDims { n, h: 5, w: 5, c: 5, oh: 2, ow: 2, rows: window(2, 2), cols: window(2, 2) };
    let y = g.op(thalweg_graph::Op::Pool(thalweg_graph::PoolKind::Max, p), &[y]);
    let y = g.reshape(y, &[n, 20]);
    let y = g.dot(y, params[2], false, false);
    let y = g.add(y, params[3]);
    let e = g.sub(y, t);
    let e = g.mul(e, e);
    let loss = g.sum_all(e);
    g.output("loss", loss);
    g.output("prediction", y);
    let grads = gradients(&mut g, loss, &params).expect("gradients");
    for ((&p, &m), &d) in params.iter().zip(&slots).zip(&grads) {
        let kept = g.scale(m, 0.9);
        let step = g.scale(d, 0.01);
        let m2 = g.sub(kept, step);
        let p2 = g.add(p, m2);
        g.update(m, m2);
        g.update(p, p2);
    }
    let one = g.constant_of(DType::I32, 1.0);
    let next = g.add(iteration, one);
    g.update(iteration, next);
    let inputs = vec![random(&g.inputs[0].ty, 0.0, 255.0, 1), random(&g.inputs[1].ty, -1.0, 1.0, 2)];
    let states = g.states.iter().enumerate().map(|(i, s)| random(&s.ty, -0.5, 0.5, 10 + i as u32)).collect();
    (g, Feeds { inputs, states })
}

#[test]
fn a_whole_training_step() {
    let (g, feeds) = small_step();
    check(&g, &feeds, "small step");
}

#[test]
fn conv_bias_relu_pool_is_one_kernel_and_updates_are_in_place() {
    let (g, _) = small_step();
    let compiled = compile(&g, &Options { name: "step".into(), explain: true, ..Options::default() });
    let plan = compiled.plan;
    let pooled = plan.kernels.iter().filter(|k| match &k.kernel {
        Kernel::Contraction(c) => c.epilogue.as_ref().and_then(|e| e.pool).is_some_and(|p| p.arg.is_some()),
        _ => false,
    });
    assert_eq!(pooled.count(), 1, "{plan}");
    assert!(!plan.kernels.iter().any(|k| matches!(k.kernel, Kernel::Pool(_))), "{plan}");
    assert!(!plan.kernels.iter().any(|k| k.label.starts_with("store")), "{plan}");
    // The gradient behind the pool is never unpooled: the filter's gradient takes it as it is.
    assert!(!plan.kernels.iter().any(|k| matches!(k.kernel, Kernel::Unpool(_))), "{plan}");
    let sparse = |k: &&Entry| matches!(&k.kernel, Kernel::Contraction(c) if c.unpooled.is_some());
    assert_eq!(plan.kernels.iter().filter(sparse).count(), 1, "{plan}");
    let regions: Vec<usize> = plan
        .stages
        .iter()
        .filter_map(|s| match s {
            Stage::Region { kernels, .. } => Some(kernels.len()),
            Stage::Launch(_) => None,
        })
        .collect();
    assert_eq!(regions, [2], "{plan}");
    assert_eq!(
        compiled.passes.iter().map(|p| p.0).collect::<Vec<_>>(),
        ["build", "simplify", "lower", "inplace", "expand", "schedule", "memory"]
    );
}

#[test]
fn states_can_swap() {
    let mut g = Graph::new();
    let a = g.state("a", Type::f32(&[5]));
    let b = g.state("b", Type::f32(&[5]));
    let s = g.sub(a, b);
    g.update(a, b);
    g.update(b, a);
    g.output("difference", s);
    let states = vec![random(&Type::f32(&[5]), -1.0, 1.0, 1), random(&Type::f32(&[5]), -1.0, 1.0, 2)];
    check(&g, &Feeds { inputs: vec![], states }, "swap");
}

#[test]
fn a_state_read_by_later_kernels_keeps_its_old_value_for_them() {
    let mut g = Graph::new();
    let a = g.state("a", Type::f32(&[4, 4]));
    let doubled = g.scale(a, 2.0);
    g.update(a, doubled);
    let product = g.dot(a, doubled, false, true);
    let again = g.dot(product, a, false, false);
    g.output("y", again);
    check(
        &g,
        &Feeds { inputs: vec![], states: vec![random(&Type::f32(&[4, 4]), -1.0, 1.0, 1)] },
        "old value",
    );
}

#[test]
fn outputs_may_be_inputs_and_each_other() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32(&[3, 2]));
    let y = g.negate(x);
    let z = g.reshape(y, &[6]);
    g.output("x again", x);
    g.output("y", y);
    g.output("y again", z);
    check(&g, &Feeds { inputs: vec![random(&Type::f32(&[3, 2]), -1.0, 1.0, 1)], states: vec![] }, "outputs");
}

/// Integers wrap, whether the compiler computes them or a device.
#[test]
fn folded_integers_wrap() {
    let mut g = Graph::new();
    let n = g.input("n", Type::new(DType::I32, &[2]));
    let most = g.constant_of(DType::I32, f64::from(i32::MAX));
    let folded = g.add(most, most);
    let run = g.add(n, most);
    let sum = g.add(run, folded);
    g.output("folded", sum);
    let feeds = Feeds { inputs: vec![Tensor::new(&[2], vec![1.0, f64::from(i32::MAX)])], states: vec![] };
    check(&g, &feeds, "wrapping");
}

/// Positions that no window has put nothing anywhere, whatever is made of the gradient afterwards.
#[test]
fn positions_from_outside_may_lie_beyond_their_window() {
    let (n, h) = (2, 5);
    let (lo, hi) = (window(2, 2), thalweg_graph::Window { lo: 1, hi: 1, ..window(3, 2) });
    for w in [lo, hi] {
        let oh = w.outputs(h).unwrap();
        let d = thalweg_graph::PoolDims { n, h, w: h, c: 3, oh, ow: oh, rows: w, cols: w };
        let conv = thalweg_graph::ConvDims {
            n,
            h: h + 2,
            w: h + 2,
            c: 2,
            k: 3,
            oh: h,
            ow: h,
            rows: window(3, 1),
            cols: window(3, 1),
            groups: 1,
        };
        let mut g = Graph::new();
        let arg = g.input("arg", Type::new(DType::U8, &d.output()));
        let dy = g.input("dy", Type::f32(&d.output()));
        let image = g.input("image", Type::f32(&conv.image()));
        let filter = g.input("filter", Type::f32(&conv.filter()));
        let full = g.op(thalweg_graph::Op::Unpool(d), &[arg, dy]);
        let bias = g.reduce(thalweg_graph::ReduceKind::Sum, full, &[0, 1, 2]);
        let dx = g.op(thalweg_graph::Op::ConvInputGrad(conv), &[full, filter]);
        let df = g.op(thalweg_graph::Op::ConvFilterGrad(conv), &[image, full]);
        for (name, y) in [("bias", bias), ("dx", dx), ("df", df)] {
            g.output(name, y);
        }
        let mut inputs = vec![random(&g.inputs[0].ty, 0.0, 40.0, 1)];
        inputs.extend((1..4).map(|i| random(&g.inputs[i].ty, -1.0, 1.0, 5 + i as u32)));
        check(&g, &Feeds { inputs, states: vec![] }, "positions");
    }
}

/// Bytes that die where as many bytes of another width are born are no place for them: elements would move.
#[test]
fn results_take_the_place_of_operands_of_their_own_width_only() {
    let mut g = Graph::new();
    let a = g.input("a", Type::new(DType::U8, &[1, 8]));
    let b = g.input("b", Type::new(DType::U8, &[1, 8]));
    let filter = g.input("filter", Type::f32(&[4, 3]));
    let both = g.op(thalweg_graph::Op::Concat(1), &[a, b]);
    let some = g.slice(both, 1, 0, 4);
    let wide = g.cast(some, DType::F32);
    let y = g.dot(wide, filter, false, false);
    g.output("y", y);
    let inputs = (0..3).map(|i| random(&g.inputs[i].ty, 0.0, 100.0, 1 + i as u32)).collect();
    check(&g, &Feeds { inputs, states: vec![] }, "width");
    let plan = compile(&g, &Options::default()).plan;
    assert_eq!(thalweg_device::plan::check(&plan), Ok(()), "{plan}");
}
