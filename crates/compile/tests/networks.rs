//! Training steps of small networks at many batch sizes, compiled and run on the CPU, against the f64 reference.
//!
//! Random graphs are too small for slices of several images, a short last slice, and sums in parts; these are not.
//! Residual joins, batch normalisation, depthwise and strided convolutions, pools, upsampling, concatenation and
//! dropout; every weight with momentum, guarded by the loss. Results must not depend on the number of workers.

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::Device;
use thalweg_device::cpu::CpuDevice;
use thalweg_device::plan::{Entry, Kernel, Stage};
use thalweg_graph::derived::{BatchNorm, Geometry, Padding};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, NodeId, Op, Type, gradients, philox};
use thalweg_testkit::{Results, Tolerance, compare_results, run_plan, run_reference};

/// One image at a time; pairs; slices of one, two and four images, with and without a short last one.
const BATCHES: [usize; 8] = [1, 2, 3, 7, 16, 19, 32, 33];

/// A network being built, with the values of what it reads.
struct Net {
    g: Graph,
    feeds: Feeds,
    random: philox::Sequence,
    weights: Vec<NodeId>,
    step: NodeId,
    streams: u32,
}

impl Net {
    fn new(seed: u64) -> Net {
        let mut g = Graph::new();
        let step = g.state("step", Type::new(DType::I32, &[]));
        let mut feeds = Feeds::default();
        feeds.states.push(Tensor::scalar(5.0));
        Net { g, feeds, random: philox::Sequence::new(seed, 77, 0), weights: Vec::new(), step, streams: 0 }
    }

    fn values(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor {
        let mut value = || f64::from((low + (high - low) * f64::from(self.random.next_unit())) as f32);
        Tensor::new(shape, (0..shape.iter().product()).map(|_| value()).collect())
    }

    fn input(&mut self, shape: &[usize]) -> NodeId {
        let value = self.values(shape, -1.0, 1.0);
        self.feeds.inputs.push(value);
        self.g.input(&format!("x{}", self.g.inputs.len()), Type::f32(shape))
    }

    fn state(&mut self, shape: &[usize], low: f64, high: f64) -> NodeId {
        let value = self.values(shape, low, high);
        self.feeds.states.push(value);
        self.g.state(&format!("s{}", self.g.states.len()), Type::f32(shape))
    }

    fn weight(&mut self, shape: &[usize], size: f64) -> NodeId {
        let w = self.state(shape, -size, size);
        self.weights.push(w);
        w
    }

    fn conv(&mut self, x: NodeId, k: usize, size: usize, stride: usize, groups: usize) -> NodeId {
        let &[n, h, w, c] = self.g.shape(x) else { panic!("not an image") };
        let padding = if size > 1 { Padding::Same } else { Padding::Valid };
        let geometry = Geometry { size: (size, size), strides: (stride, stride), dilation: (1, 1), padding };
        let d = geometry.conv([n, h, w, c], k, groups).expect("a window fits");
        let fan = (size * size * c / groups) as f64;
        let filter = self.weight(&d.filter(), (3.0 / fan).sqrt());
        self.g.op(Op::Conv(d), &[x, filter])
    }

    fn bias(&mut self, x: NodeId) -> NodeId {
        let c = self.g.shape(x).last().copied().expect("has channels");
        let b = self.weight(&[c], 0.1);
        self.g.add(x, b)
    }

    /// Batch normalisation by the batch's own statistics, which also move the moving ones.
    fn norm(&mut self, x: NodeId) -> NodeId {
        let c = self.g.shape(x)[3];
        let (gamma, beta) = (self.state(&[c], 0.5, 1.5), self.weight(&[c], 0.2));
        self.weights.push(gamma);
        let moments = self.g.moments(x);
        for new in [moments.mean, moments.variance] {
            let old = self.state(&[c], 0.0, 1.0);
            let moved = self.g.moving(old, new, 0.9);
            self.g.update(old, moved);
        }
        self.g.batch_norm(x, &BatchNorm { moments, gamma: Some(gamma), beta: Some(beta), epsilon: 1e-3 })
    }

    fn pool(&mut self, x: NodeId, size: usize, stride: usize, padding: Padding) -> NodeId {
        let &[n, h, w, c] = self.g.shape(x) else { panic!("not an image") };
        let geometry = Geometry { size: (size, size), strides: (stride, stride), dilation: (1, 1), padding };
        self.g.max_pool(x, geometry.pool([n, h, w, c]).expect("a window fits"))
    }

    fn dense(&mut self, x: NodeId, units: usize) -> NodeId {
        let inputs = self.g.shape(x)[1];
        let kernel = self.weight(&[inputs, units], (3.0 / inputs as f64).sqrt());
        let y = self.g.dot(x, kernel, false, false);
        self.bias(y)
    }

    fn dropout(&mut self, x: NodeId, rate: f64) -> NodeId {
        let shape = self.g.shape(x).to_vec();
        self.streams += 1;
        let random = self.g.op(Op::Random { seed: 99, stream: self.streams, shape }, &[self.step]);
        let rate_node = self.g.constant(rate);
        let dropped = self.g.lt(random, rate_node);
        let zero = self.g.constant(0.0);
        let kept = self.g.scale(x, 1.0 / (1.0 - rate));
        self.g.select(dropped, zero, kept)
    }

    fn flat(&mut self, x: NodeId) -> NodeId {
        let shape = self.g.shape(x).to_vec();
        self.g.reshape(x, &[shape[0], shape[1..].iter().product()])
    }

    /// Cross-entropy of classes against soft targets, meaned.
    fn classify(&mut self, logits: NodeId) -> NodeId {
        let shape = self.g.shape(logits).to_vec();
        let target = self.input(&shape);
        let target = self.g.softmax(target, 1);
        let log = self.g.log_softmax(logits, 1);
        let product = self.g.mul(target, log);
        let sum = self.g.sum_all(product);
        self.g.scale(sum, -1.0 / shape[0] as f64)
    }

    /// Momentum on every weight, if the loss is finite; the step counter.
    fn train(mut self, loss: NodeId) -> (Graph, Feeds) {
        self.g.output("loss", loss);
        let weights = std::mem::take(&mut self.weights);
        let grads = gradients(&mut self.g, loss, &weights).expect("all is differentiable");
        let magnitude = self.g.abs(loss);
        let most = self.g.constant(1e30);
        let fine = self.g.lt(magnitude, most);
        for (w, grad) in weights.into_iter().zip(grads) {
            let shape = self.g.shape(w).to_vec();
            let m = self.state(&shape, -0.1, 0.1);
            let kept = self.g.scale(m, 0.9);
            let moved = self.g.add(kept, grad);
            let change = self.g.scale(moved, 0.1);
            let new = self.g.sub(w, change);
            for (state, value) in [(m, moved), (w, new)] {
                let guarded = self.g.select(fine, value, state);
                self.g.update(state, guarded);
            }
        }
        let one = self.g.constant_of(DType::I32, 1.0);
        let next = self.g.add(self.step, one);
        self.g.update(self.step, next);
        (self.g, self.feeds)
    }
}

/// Two stages of a residual network, the second with a strided shortcut.
fn residual(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(n as u64);
    let x = net.input(&[n, 9, 8, 3]);
    let y = net.conv(x, 16, 3, 1, 1);
    let y = net.norm(y);
    let stem = net.g.relu(y);
    let pooled = net.pool(stem, 3, 2, Padding::Same);
    let y = net.conv(pooled, 16, 3, 1, 1);
    let y = net.norm(y);
    let y = net.g.relu(y);
    let y = net.conv(y, 16, 3, 1, 1);
    let y = net.norm(y);
    let joined = net.g.add(y, pooled);
    let joined = net.g.relu(joined);
    let y = net.conv(joined, 24, 3, 2, 1);
    let y = net.norm(y);
    let y = net.g.relu(y);
    let y = net.conv(y, 24, 3, 1, 1);
    let y = net.norm(y);
    let short = net.conv(joined, 24, 1, 2, 1);
    let short = net.norm(short);
    let y = net.g.add(y, short);
    let y = net.g.relu(y);
    let y = net.g.mean_keep(y, &[1, 2]);
    let y = net.flat(y);
    let y = net.dense(y, 5);
    let loss = net.classify(y);
    net.train(loss)
}

/// Inverted residuals: expansion, depthwise, projection, join; grouped convolution; dropout.
fn inverted(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(100 + n as u64);
    let x = net.input(&[n, 7, 9, 3]);
    let y = net.conv(x, 8, 3, 2, 1);
    let y = net.norm(y);
    let mut y = net.g.silu(y);
    for stride in [1, 2] {
        let short = y;
        y = net.conv(y, 40, 1, 1, 1);
        y = net.norm(y);
        y = net.g.relu6(y);
        y = net.conv(y, 40, 3, stride, 40);
        y = net.norm(y);
        y = net.g.relu6(y);
        y = net.conv(y, 8, 1, 1, 1);
        y = net.norm(y);
        if stride == 1 {
            y = net.g.add(y, short);
        }
    }
    let y = net.conv(y, 12, 3, 1, 4);
    let y = net.bias(y);
    let y = net.g.gelu(y);
    let y = net.flat(y);
    let y = net.dropout(y, 0.3);
    let y = net.dense(y, 4);
    let loss = net.classify(y);
    net.train(loss)
}

/// Inverted residuals that predict: pairs with epilogues that a tile knows and one that none does, of odd sizes, the image
/// larger than what a unit makes of it.
fn predicting(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(400 + n as u64);
    let mut y = net.input(&[n, 33, 41, 3]);
    for (size, stride, kind) in [(3, 2, 0), (5, 1, 1), (3, 1, 2)] {
        let short = y;
        y = net.conv(y, 40, 1, 1, 1);
        y = net.bias(y);
        y = if kind == 1 { net.g.silu(y) } else { net.g.relu6(y) };
        y = net.conv(y, 40, size, stride, 40);
        y = net.bias(y);
        y = if kind == 2 { net.g.silu(y) } else { net.g.relu6(y) };
        y = net.conv(y, 8, 1, 1, 1);
        y = net.bias(y);
        if kind > 0 {
            y = net.g.add(y, short);
        }
    }
    net.g.output("y", y);
    (net.g, net.feeds)
}

/// Down and up again: pools, nearest and bilinear upsampling, concatenation with what was kept, squared error.
fn hourglass(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(200 + n as u64);
    let x = net.input(&[n, 8, 8, 2]);
    let y = net.conv(x, 16, 3, 1, 1);
    let y = net.bias(y);
    let wide = net.g.relu(y);
    let y = net.pool(wide, 2, 2, Padding::Valid);
    let y = net.conv(y, 20, 3, 1, 1);
    let y = net.bias(y);
    let kept = net.g.relu(y);
    let y = net.pool(kept, 2, 2, Padding::Valid);
    let y = net.conv(y, 6, 3, 1, 1);
    let y = net.g.tanh(y);
    let y = net.g.upsample_nearest(y, (2, 2));
    let y = net.g.op(Op::Concat(3), &[y, kept]);
    let y = net.conv(y, 5, 3, 1, 1);
    let y = net.bias(y);
    let y = net.g.leaky_relu(y, 0.2);
    let y = net.g.upsample_bilinear(y, (2, 2));
    let y = net.g.op(Op::Concat(3), &[wide, y]);
    let y = net.dropout(y, 0.25);
    let y = net.conv(y, 2, 1, 1, 1);
    let y = net.bias(y);
    let target = net.input(&[n, 8, 8, 2]);
    let error = net.g.sub(y, target);
    let square = net.g.mul(error, error);
    let sum = net.g.sum_all(square);
    let loss = net.g.scale(sum, 1.0 / (n * 128) as f64);
    net.train(loss)
}

/// The seed program's layers on small images whose odd row the first pool drops.
fn seed(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(300 + n as u64);
    let x = net.input(&[n, 13, 13, 3]);
    let mut y = x;
    for k in [32, 17] {
        let &[n, h, w, c] = net.g.shape(y) else { panic!("not an image") };
        let geometry = Geometry { size: (3, 3), strides: (1, 1), dilation: (1, 1), padding: Padding::Valid };
        let d = geometry.conv([n, h, w, c], k, 1).expect("a window fits");
        let filter = net.weight(&d.filter(), (1.0 / (3 * c) as f64).sqrt());
        y = net.g.op(Op::Conv(d), &[y, filter]);
        y = net.bias(y);
        y = net.g.relu(y);
        y = net.pool(y, 2, 2, Padding::Valid);
    }
    let y = net.flat(y);
    let y = net.dense(y, 20);
    let y = net.g.relu(y);
    let y = net.dropout(y, 0.5);
    let y = net.dense(y, 7);
    let loss = net.classify(y);
    net.train(loss)
}

/// Images so large that slices of one image are all that fits a cache, normalised and clipped.
fn large(n: usize) -> (Graph, Feeds) {
    let mut net = Net::new(400 + n as u64);
    let x = net.input(&[n, 54, 54, 1]);
    let y = net.conv(x, 16, 1, 1, 1);
    let y = net.norm(y);
    let y = net.g.relu6(y);
    let y = net.conv(y, 16, 3, 2, 16);
    let y = net.norm(y);
    let y = net.g.relu(y);
    let y = net.g.mean_keep(y, &[1, 2]);
    let y = net.flat(y);
    let y = net.dense(y, 3);
    let loss = net.classify(y);
    net.train(loss)
}

/// Against f64, and equal bits for one, two and three workers. Returns whether the plan has a region.
fn check(what: &str, n: usize, (graph, feeds): &(Graph, Feeds)) -> bool {
    let plan = Arc::new(compile(graph, &Options::default()).plan);
    let run = |threads| -> Results {
        let mut device = CpuDevice::new(Some(threads), None).expect("threads");
        let device: &mut dyn Device = &mut device;
        run_plan(device, &plan, graph, feeds).expect("it runs")
    };
    let found = run(1);
    if let Err(problem) = compare_results(&run_reference(graph, feeds), &found, Tolerance::GRAPH) {
        panic!("{what}, batch {n}: {problem}\n{plan}");
    }
    for threads in [2, 3] {
        assert!(run(threads) == found, "{what}, batch {n}: {threads} workers give other bits");
    }
    plan.stages.iter().any(|s| matches!(s, Stage::Region { .. }))
}

fn check_all(what: &str, build: fn(usize) -> (Graph, Feeds)) {
    let mut regions = 0;
    for n in BATCHES {
        regions += usize::from(check(what, n, &build(n)));
    }
    // Otherwise slices are not what is tested here. One image has none.
    assert_eq!(regions, BATCHES.len() - 1, "{what}: regions");
}

#[test]
fn residual_networks() {
    check_all("residual", residual);
}

#[test]
fn inverted_residuals_and_groups() {
    check_all("inverted", inverted);
}

#[test]
fn inverted_residuals_predict_without_their_images() {
    for n in [1, 2, 9] {
        let net = predicting(n);
        check("predicting", n, &net);
        let plan = compile(&net.0, &Options::default()).plan;
        let expands = |e: &&Entry| matches!(&e.kernel, Kernel::Contraction(c) if c.expansion.is_some());
        assert_eq!(plan.kernels.iter().filter(expands).count(), 3, "{plan}");
    }
}

/// Pairs that look like such and are none: pooled behind, read twice, a state of its own.
#[test]
fn images_that_others_need_are_stored() {
    for kind in 0..4 {
        let mut net = Net::new(500 + kind);
        let x = if kind == 2 { net.state(&[2, 8, 8, 16], -1.0, 1.0) } else { net.input(&[2, 8, 8, 16]) };
        let image = net.conv(x, 16, 1, 1, 1);
        let image = if kind == 3 { net.g.reshape(image, &[2, 4, 8, 32]) } else { image };
        let c = net.g.shape(image)[3];
        let mut y = net.conv(image, c, 3, 1, c);
        match kind {
            0 => y = net.pool(y, 2, 2, Padding::Valid),
            1 => y = net.g.add(image, y),
            2 => net.g.update(x, y),
            _ => {}
        }
        if kind != 2 {
            net.g.output("y", y);
        }
        check("stored", kind as usize, &(net.g, net.feeds));
    }
    // One channel is no depthwise convolution.
    let mut net = Net::new(510);
    let mut y = net.input(&[2, 5, 6, 3]);
    for size in [1, 1, 3] {
        y = net.conv(y, 1, size, 1, 1);
    }
    net.g.output("y", y);
    check("one channel", 2, &(net.g, net.feeds));
}

#[test]
fn down_and_up_again() {
    check_all("hourglass", hourglass);
}

#[test]
fn the_seed_program() {
    check_all("seed", seed);
    // Slices of eight images, and a short last one.
    assert!(check("seed", 130, &seed(130)), "a region");
}

#[test]
fn large_images_run_one_at_a_time_and_are_made_again() {
    let net = large(16);
    assert!(check("large", 16, &net), "a region");
    let plan = compile(&net.0, &Options::default()).plan;
    let single = |s: &Stage| matches!(s, Stage::Region { slice: 1, batch: 16, .. });
    assert!(plan.stages.iter().any(single), "{plan}");
    let again = |e: &Entry| e.label.ends_with(" again");
    assert!(plan.kernels.iter().any(again), "{plan}");
    // Of the activations only the convolutions' own results and their gradients are stored.
    let image = 54 * 54 * 16 * 4 * 16;
    assert!(plan.arena < 3 * image, "arena {} of images of {image}", plan.arena);
}
