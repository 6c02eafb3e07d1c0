//! The conformance suite of a device: every primitive, every gradient, and random graphs, compiled and run on it,
//! against the f64 reference. A device passes it unmodified; it is listed once, at the end.

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::cpu::{CpuDevice, Isa, Target};
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::plan::Role;
use thalweg_device::{Device, open};
use thalweg_graph::derived::{Geometry, Padding};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{ConvDims, DType, Graph, Op, PoolDims, PoolKind, Type, Window, gradients, ops, philox};
use thalweg_testkit::gpu::{InterpretedGpu, SoftwareCuda};
use thalweg_testkit::{
    Results, Tolerance, check_cases, check_random, compare_results, operands, run_plan, run_reference,
};

fn run(device: &mut dyn Device, graph: &Graph, feeds: &Feeds) -> Results {
    let options = Options::of(&device.info());
    let plan = Arc::new(compile(graph, &options).plan);
    run_plan(device, &plan, graph, feeds).expect("it runs")
}

/// The suite. `random`: how many random graphs and networks, fewer where compiling takes long.
fn conforms(device: &mut dyn Device, random: u64) {
    check_cases(Tolerance::F32, |g, f| run(device, g, f));
    every_gradient(device);
    gradients_behind_pools(device, random / 5);
    pools_of_single_elements(device);
    check_random(0..random, Tolerance::GRAPH, |g, f| run(device, g, f));
    repeated_runs_are_equal(device);
    many_runs_are_runs(device);
    memory_is_given_back(device);
}

fn every_gradient(device: &mut dyn Device) {
    for (i, case) in ops::cases().into_iter().enumerate().filter(|(_, c)| c.differentiable) {
        let (mut g, x, y) = case.graph();
        let x: Vec<_> = x.into_iter().filter(|&x| g.ty(x).dtype == DType::F32).collect();
        let ty = g.ty(y).clone();
        let weight = g.input("g", ty.clone());
        let weighted = g.mul(y, weight);
        for (i, d) in gradients(&mut g, weighted, &x).expect("a gradient").into_iter().enumerate() {
            g.output(&format!("d{i}"), d);
        }
        let mut feeds = operands(&case, i as u64);
        let mut s = philox::Sequence::new(42, 9, 0);
        let data = (0..ty.len()).map(|_| f64::from(2.0 * s.next_unit() - 1.0)).collect();
        feeds.inputs.push(Tensor::new(&ty.shape, data));
        let found = run(device, &g, &feeds);
        if let Err(problem) = compare_results(&run_reference(&g, &feeds), &found, Tolerance::GRAPH) {
            panic!("gradient of {:?}: {problem}\n{g}", case.op);
        }
    }
}

/// Gradients of a convolution with a ReLU and a max pooling behind it, which devices may compute from the few
/// live elements: filters, strides, dilations, padding, pools that drop a row, odd channels, any batch.
fn gradients_behind_pools(device: &mut dyn Device, trials: u64) {
    let mut s = philox::Sequence::new(7, 3, 0);
    for trial in 0..trials {
        let mut pick = |n: u32| s.below(n) as usize;
        let (n, c, k) = (1 + pick(9), [1, 3, 5, 8, 17, 32][pick(6)], [1, 4, 7, 16, 33][pick(5)]);
        let (h, w) = (4 + pick(9), 4 + pick(9));
        let (size, stride) = ([1, 2, 3, 5][pick(4)], 1 + pick(2));
        let dilation = if size == 2 { 1 + pick(2) } else { 1 };
        let window = |extent: usize, same: bool| match same {
            true => Window::same(extent, size, stride, dilation),
            false => Window::valid(size, stride, dilation),
        };
        let same = pick(2) == 0 || size > 3;
        let (rows, cols) = (window(h, same), window(w, same));
        let (Some(oh), Some(ow)) = (rows.outputs(h), cols.outputs(w)) else { continue };
        let pooling = Window::valid(if oh > 3 && ow > 3 && pick(3) == 0 { 3 } else { 2 }, 3, 1);
        let pooling = Window { stride: pooling.size, ..pooling };
        let (Some(ph), Some(pw)) = (pooling.outputs(oh), pooling.outputs(ow)) else { continue };
        let conv = ConvDims { n, h, w, c, k, oh, ow, rows, cols, groups: 1 };
        let pool = PoolDims { n, h: oh, w: ow, c: k, oh: ph, ow: pw, rows: pooling, cols: pooling };

        let mut g = Graph::new();
        let x = g.input("x", Type::f32(&conv.image()));
        let filter = g.input("filter", Type::f32(&conv.filter()));
        let weight = g.input("weight", Type::f32(&pool.output()));
        let scaled = g.scale(x, 2.0);
        let y = g.op(Op::Conv(conv), &[scaled, filter]);
        let y = g.relu(y);
        let y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
        let y = g.mul(y, weight);
        let grads = gradients(&mut g, y, &[x, filter]).expect("gradients");
        g.output("dx", grads[0]);
        g.output("dfilter", grads[1]);
        let types: Vec<Type> = g.inputs.iter().map(|i| i.ty.clone()).collect();
        let mut random = |ty: &Type| {
            let data = (0..ty.len()).map(|_| f64::from(2.0 * s.next_unit() - 1.0)).collect();
            Tensor::new(&ty.shape, data)
        };
        let feeds = Feeds { inputs: types.iter().map(&mut random).collect(), states: Vec::new() };
        let found = run(device, &g, &feeds);
        if let Err(problem) = compare_results(&run_reference(&g, &feeds), &found, Tolerance::GRAPH) {
            panic!("trial {trial}: {problem}\n{g}");
        }
    }
}

/// A max pooling of windows of one element behind a convolution: with strides it leaves results out, and its positions are
/// all 0. With few channels, and with as many as make tiles of the product; with a sum short and long.
fn pools_of_single_elements(device: &mut dyn Device) {
    for (c, k, strides) in [(3, 5, (2, 2)), (16, 32, (2, 1)), (64, 8, (3, 2)), (4, 4, (1, 1))] {
        let conv = Geometry { size: (3, 3), strides: (1, 1), dilation: (1, 1), padding: Padding::Same };
        let pool = Geometry { size: (1, 1), strides, dilation: (1, 1), padding: Padding::Valid };
        let conv = conv.conv([2, 7, 6, c], k, 1).expect("a window fits");
        let pool = pool.pool(conv.output()).expect("a window fits");
        let mut g = Graph::new();
        let x = g.input("x", Type::f32(&conv.image()));
        let filter = g.input("filter", Type::f32(&conv.filter()));
        let weight = g.input("weight", Type::f32(&pool.output()));
        let y = g.op(Op::Conv(conv), &[x, filter]);
        let y = g.relu(y);
        let [pooled, positions] = [Op::Pool(PoolKind::Max, pool), Op::ArgPool(pool)].map(|op| g.op(op, &[y]));
        let weighted = g.mul(pooled, weight);
        let grads = gradients(&mut g, weighted, &[x, filter]).expect("gradients");
        for (name, node) in [("y", pooled), ("at", positions), ("dx", grads[0]), ("dfilter", grads[1])] {
            g.output(name, node);
        }
        let mut s = philox::Sequence::new(7, 4, 0);
        let mut random = |ty: &Type| {
            let data = (0..ty.len()).map(|_| f64::from(2.0 * s.next_unit() - 1.0)).collect();
            Tensor::new(&ty.shape, data)
        };
        let types: Vec<Type> = g.inputs.iter().map(|i| i.ty.clone()).collect();
        let feeds = Feeds { inputs: types.iter().map(&mut random).collect(), states: Vec::new() };
        let found = run(device, &g, &feeds);
        if let Err(problem) = compare_results(&run_reference(&g, &feeds), &found, Tolerance::GRAPH) {
            panic!("{c} to {k} channels, strides {strides:?}: {problem}\n{g}");
        }
    }
}

/// The same step twice gives the same bits: nothing depends on what memory held before.
fn repeated_runs_are_equal(device: &mut dyn Device) {
    for seed in 1000..1020 {
        let (graph, feeds) = thalweg_testkit::random_graph(seed);
        let first = run(device, &graph, &feeds);
        assert_eq!(first, run(device, &graph, &feeds), "random graph {seed}\n{graph}");
    }
}

/// Several runs started at once are as many runs: each goes on from what the one before left. The program adds up the rows of
/// a table, one a run, and counts them.
fn many_runs_are_runs(device: &mut dyn Device) {
    let mut g = Graph::new();
    let table = g.input("table", Type::f32(&[100, 3]));
    let (place, sum) = (g.state("place", Type::new(DType::I32, &[])), g.state("sum", Type::f32(&[3])));
    let at = g.reshape(place, &[1]);
    let row = g.op(Op::Gather(0), &[table, at]);
    let row = g.reshape(row, &[3]);
    let one = g.constant_of(DType::I32, 1.0);
    let (next, total) = (g.add(place, one), g.add(sum, row));
    g.update(place, next);
    g.update(sum, total);
    let plan = Arc::new(compile(&g, &Options::of(&device.info())).plan);
    let storage: Vec<_> = plan.bindings.iter().map(|b| device.allocate(b.bytes()).expect("memory")).collect();
    let of = |name: &str| storage[plan.bindings.iter().position(|b| b.name == name).expect("a binding")];
    let values: Vec<f32> = (0..300).map(|i| (i * i % 17) as f32).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    device.write(of("table"), 0, &bytes).expect("it is as large");
    let program = device.load(Arc::clone(&plan), &storage).expect("a good plan");
    let mut done = 0;
    // More and fewer than any device starts at once; and behind another program, which may have moved the arena.
    for (times, other) in [(1, false), (37, false), (0, false), (40, true), (2, false)] {
        if other {
            let (graph, feeds) = thalweg_testkit::random_graph(7);
            run(device, &graph, &feeds);
        }
        device.run_many(program, times).expect("it runs");
        done += times;
        let (mut place, mut sum) = ([0; 4], [0; 12]);
        device.read(of("place"), 0, &mut place).expect("it is as large");
        device.read(of("sum"), 0, &mut sum).expect("it is as large");
        assert_eq!(i32::from_le_bytes(place), done as i32);
        let wanted = (0..3).map(|c| values.chunks(3).take(done).map(|row| row[c]).sum::<f32>());
        let wanted: Vec<u8> = wanted.flat_map(f32::to_le_bytes).collect();
        assert_eq!(sum[..], wanted, "{done} runs");
    }
    device.unload(program);
    storage.into_iter().for_each(|a| device.free(a));
}

/// What was allocated and loaded is counted, and gone when given back.
fn memory_is_given_back(device: &mut dyn Device) {
    let (graph, _) = thalweg_testkit::random_graph(7);
    let options = Options::of(&device.info());
    let plan = Arc::new(compile(&graph, &options).plan);
    let before = device.memory().allocated;
    let storage: Vec<_> = plan.bindings.iter().map(|b| device.allocate(b.bytes()).expect("memory")).collect();
    let bindings: usize =
        [Role::State, Role::Input, Role::Output].into_iter().map(|r| plan.binding_bytes(r)).sum();
    assert_eq!(device.memory().allocated - before, bindings);
    let program = device.load(Arc::clone(&plan), &storage).expect("a good plan");
    assert!(device.memory().arena >= plan.arena);
    device.unload(program);
    storage.into_iter().for_each(|a| device.free(a));
    assert_eq!(device.memory().allocated, before);
}

#[test]
fn cpu_with_every_instruction_set() {
    for isa in Isa::available() {
        conforms(&mut CpuDevice::new(Some(2), Some(Target::fast(isa))).unwrap(), 300);
    }
}

/// The kernels of GPUs, interpreted: no thread disturbs another, nothing is read before it is stored.
#[test]
fn interpreted_gpu_kernels() {
    conforms(&mut InterpretedGpu::new(Abilities::LEAST), 40);
    // As large as GPUs are: sums are cut into more pieces.
    conforms(&mut InterpretedGpu::new(Abilities { parallel: 1 << 17, ..Abilities::LEAST }), 20);
}

/// The suite on a device that may not be there: then that is said, unless a variable asks for it.
fn conforms_if_there(name: &str, needed: &str, random: u64) {
    match open(name, None) {
        Ok(mut device) => conforms(&mut *device, random),
        Err(e) if std::env::var_os(needed).is_none() => println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn on_wgpu() {
    // A software adapter takes long to compile.
    conforms_if_there("wgpu", "THALWEG_NEED_WGPU", 30);
}

/// Where an adapter has cooperative matrices, which Mesa's in software has from version 26 on.
#[test]
fn with_cooperative_matrices() {
    conforms_if_there("wgpu:coop", "THALWEG_NEED_COOP", 30);
}

#[test]
fn on_cuda() {
    // In software, compiling takes long.
    let random = if std::env::var_os("SOFTWARE_CUDA").is_some() { 10 } else { 100 };
    conforms_if_there("cuda", "THALWEG_NEED_CUDA", random);
}

/// The same with a driver and a compiler in software, so that the CUDA device and the CUDA C of the kernels run anywhere.
#[test]
fn on_cuda_in_software() {
    match SoftwareCuda::new() {
        Ok(software) => {
            let run = software.run_test("on_cuda", &[("THALWEG_NEED_CUDA", "1")]).unwrap();
            let told = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success() && told.contains("1 passed"), "{}: {told}", run.status);
        }
        Err(e) if std::env::var_os("THALWEG_NEED_CXX").is_none() => println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn cpu_with_one_thread_and_with_more_threads_than_cores() {
    for threads in [1, 7] {
        conforms(&mut CpuDevice::new(Some(threads), None).unwrap(), 300);
    }
}

/// Results do not depend on how many workers there are, to the bit.
#[test]
fn threads_do_not_change_results() {
    for seed in 0..100 {
        let (graph, feeds) = thalweg_testkit::random_graph(seed);
        let mut results =
            [1, 2, 5].map(|n| run(&mut CpuDevice::new(Some(n), None).unwrap(), &graph, &feeds)).into_iter();
        let first = results.next().unwrap();
        assert!(results.all(|r| r == first), "random graph {seed}\n{graph}");
    }
}
