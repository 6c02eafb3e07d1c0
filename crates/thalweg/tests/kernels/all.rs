//! The kernels: of training, evaluation and prediction of every named model, classifiers and detectors.

use std::collections::{BTreeMap, HashSet};
use thalweg::compile::{Options, compile};
use thalweg::data::{Arrays, ArraysBuilder};
use thalweg::device::gpu::build::Builder;
use thalweg::device::gpu::call::{Libraries, Version};
use thalweg::device::gpu::ir::{Kernel, Stmt, Tensor, Value};
use thalweg::device::gpu::launch::{Abilities, Launches};
use thalweg::device::gpu::lower::{Way, legal, lower};
use thalweg::device::gpu::tune::Choices;
use thalweg::device::plan::{Entry, Kernel as PlanKernel};
use thalweg::graph::{ConvDims, DType, Graph, Op, PoolDims, PoolKind, Type, Window};
use thalweg::nn::layers::{RandomFlip, RandomTranslation, Rescaling};
use thalweg::nn::losses::TaskAligned;
use thalweg::nn::{DTypePolicy, ModelConfig};
use thalweg::prelude::*;
use thalweg::train::{Kept, Kind, ProgramSpec};
use thalweg::vision::{DETECTORS, MODELS};

/// What an H100 can do.
pub const LARGE: Abilities =
    Abilities { shared_bytes: 48 << 10, parallel: 132 * 2048, memories: 1 << 10, ..Abilities::LEAST };

/// The same with products by tensor cores.
pub const TF32: Abilities = Abilities { tensor: true, tf32: true, ..LARGE };

/// Per model and program, what it is lowered to.
pub fn programs(abilities: &Abilities) -> Vec<(String, Launches)> {
    let mut all = Vec::new();
    let mixed = MODELS
        .iter()
        .filter(|m| m.name == "simple_cnn")
        .flat_map(|m| [(m, DTypePolicy::MixedBfloat16), (m, DTypePolicy::MixedFloat16)]);
    for (m, policy) in MODELS.iter().map(|m| (m, DTypePolicy::Float32)).chain(mixed) {
        let side = if m.name == "mobilenet_v2" { 96 } else { 32 };
        let shape = [side, side, 3];
        let layers = vec![
            Rescaling::new(1.0 / 255.0).into(),
            RandomFlip::new().mode("horizontal").into(),
            RandomTranslation::new(0.1, 0.1).into(),
        ];
        let config = ModelConfig { dtype_policy: policy, ..(m.build)(shape, 10).unwrap() };
        let config = config.preprocess("uint8", layers);
        let how = Compile::new(Adam::default(), SparseCategoricalCrossentropy::default());
        let data = image(shape).target("label", &[], vec![0i32]).build().unwrap();
        let how = how.metric(Accuracy::default());
        if m.name == "simple_cnn" && policy == DTypePolicy::Float32 {
            all.extend(kept(config.clone(), how.clone(), &data, abilities));
        }
        all.extend(of(config, how, data, 32, abilities));
    }
    // The sizes differ in their numbers; these two in their kernels: full and depthwise convolutions.
    for m in DETECTORS.iter().filter(|m| m.name.starts_with("detector_nano")) {
        let shape = [64, 64, 3];
        let layers = vec![Rescaling::new(1.0 / 255.0).into()];
        let config = (m.build)(shape, 3).unwrap().preprocess("uint8", layers);
        let loss = TaskAligned::default();
        let boxes = image(shape).target("boxes", &[5, 4], vec![0f32; 20]);
        let data = boxes.target("classes", &[5], vec![0i32; 5]).build().unwrap();
        all.extend(of(config, Compile::new(Adam::default(), loss), data, 4, abilities));
    }
    all
}

/// A data set of one black picture, so far.
fn image(shape: [usize; 3]) -> ArraysBuilder {
    Arrays::new().input("image", &shape, vec![0u8; shape.iter().product()])
}

/// The programs of a model.
fn of(
    config: ModelConfig,
    how: Compile,
    data: Arrays,
    batch: usize,
    abilities: &Abilities,
) -> Vec<(String, Launches)> {
    let name = format!("{} {}", config.name, config.dtype_policy.name());
    let mut model = Model::from_config(config, 7).unwrap();
    model.compile(how).unwrap();
    [Kind::Train, Kind::Evaluate, Kind::Predict]
        .into_iter()
        .map(|kind| {
            let spec = match kind {
                Kind::Predict => model.predict_spec(&data, batch).unwrap(),
                _ => model.program_spec(&data, batch, false, 7).unwrap(),
            };
            let options = Options::gpu();
            let plan = compile(&model.graph(kind, &spec).unwrap(), &options).plan;
            (format!("{name} {}", kind.name()), lower(&plan, abilities, &Choices::default()).unwrap())
        })
        .collect()
}

/// The programs that take their batches of data on the device: whole batches, and the last one.
fn kept(config: ModelConfig, how: Compile, data: &Arrays, abilities: &Abilities) -> [(String, Launches); 2] {
    let mut model = Model::from_config(config, 7).unwrap();
    model.compile(how).unwrap();
    let spec = model.program_spec(data, 32, false, 7).unwrap();
    [32, 16].map(|batch| {
        let kept = Kept { kind: Kind::Train, examples: 50_000, batch: 32 };
        let spec = ProgramSpec { batch, kept: Some(kept), ..spec.clone() };
        let options = Options { regions: false, ..Options::default() };
        let plan = compile(&model.graph(Kind::Train, &spec).unwrap(), &options).plan;
        // The data are no part of the arena.
        assert!(plan.arena < 50_000 * 3072, "{} bytes", plan.arena);
        (
            format!("{} kept, {batch}", model.network().config().name),
            lower(&plan, abilities, &Choices::default()).unwrap(),
        )
    })
}

/// A convolution and a product of matrices in 16 bits, by every tile that a tuner may choose, and the tiles as text.
pub fn ways(abilities: &Abilities) -> Vec<(String, Kernel)> {
    let window = Window::same(32, 3, 1, 1);
    let conv =
        ConvDims { n: 8, h: 32, w: 32, c: 64, k: 128, oh: 32, ow: 32, rows: window, cols: window, groups: 1 };
    let mut by_threads = Graph::new();
    let (x, filter) = (Type::f32(&conv.image()), Type::f32(&conv.filter()));
    let (x, filter) = (by_threads.input("x", x), by_threads.input("filter", filter));
    let y = by_threads.op(Op::Conv(conv), &[x, filter]);
    let y = by_threads.relu(y);
    by_threads.output("y", y);
    let mut by_warps = Graph::new();
    let half = |n| Type::new(DType::BF16, &[n, 512]);
    let (a, b) = (by_warps.input("a", half(512)), by_warps.input("b", half(512)));
    let y = by_warps.op(Op::Dot { ta: false, tb: true }, &[a, b]);
    by_warps.output("y", y);
    let mut kernels = Vec::new();
    for (graph, only) in [(by_threads, "threads"), (by_warps, "bf16")] {
        let plan = compile(&graph, &Options::gpu()).plan;
        let product = |e: &Entry| match &e.kernel {
            PlanKernel::Contraction(c) => Some(c.clone()),
            _ => None,
        };
        let c = plan.kernels.iter().find_map(product).unwrap();
        for (product, ways) in legal(&plan, &c, abilities) {
            for way in ways.iter().map(Way::to_string) {
                if way.starts_with(only) && way.ends_with(" 1 pieces") {
                    let mut choices = Choices::default();
                    choices.set(product.as_str(), way.as_str());
                    let launches = lower(&plan, abilities, &choices).unwrap();
                    let kernel = launches.kernels.iter().find(|k| k.name.starts_with("contract")).unwrap();
                    kernels.push((way, kernel.clone()));
                }
            }
        }
    }
    assert!(kernels.len() > 20, "{} tiles", kernels.len());
    kernels
}

/// What is launched around calls of libraries: filters in another order, sums finished, of windows and of filter gradients too.
pub fn around_calls() -> Vec<Kernel> {
    let (cublaslt, cudnn) = (Some(Version(13, 0, 0)), Some(Version(9, 0, 0)));
    let abilities = Abilities { libraries: Libraries { cublaslt, cudnn, workspace: 1 << 10 }, ..LARGE };
    let (window, half) = (Window::same(32, 3, 1, 1), Window::valid(2, 2, 1));
    let d =
        ConvDims { n: 8, h: 32, w: 32, c: 64, k: 64, oh: 32, ow: 32, rows: window, cols: window, groups: 1 };
    let pool = PoolDims { n: 8, h: 32, w: 32, c: 64, oh: 16, ow: 16, rows: half, cols: half };
    let mut kernels = Vec::new();
    for dtype in [DType::F32, DType::BF16] {
        // The parts of a filter's gradient are f32, which cuDNN has not of 16 bits.
        let gradient = (dtype == DType::F32).then_some((true, false));
        for (gradient, pooled) in [(false, false), (false, true)].into_iter().chain(gradient) {
            let mut g = Graph::new();
            let other = if gradient { d.output() } else { d.filter() };
            let (a, b) = (g.input("a", Type::new(dtype, &d.image())), g.input("b", Type::new(dtype, &other)));
            let mut y = g.op(if gradient { Op::ConvFilterGrad(d) } else { Op::Conv(d) }, &[a, b]);
            if !gradient {
                y = g.relu(y);
            }
            if pooled {
                y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
            }
            g.output("y", y);
            let plan = compile(&g, &Options::gpu()).plan;
            let mut choices = Choices::default();
            for entry in &plan.kernels {
                let PlanKernel::Contraction(c) = &entry.kernel else { continue };
                for (product, ways) in legal(&plan, c, &abilities) {
                    choices.set(product, ways.last().unwrap().to_string());
                }
            }
            let launches = lower(&plan, &abilities, &choices).unwrap();
            assert_eq!(launches.calls().count(), 1, "{choices:?}");
            kernels.extend(launches.kernels);
        }
    }
    kernels
}

/// What no program's kernels have yet, so that every statement is compiled: four elements at once of each type, eight
/// of 16 bits as they are, asynchronous copies into more shared memory than a kernel may declare.
pub fn others() -> Vec<Kernel> {
    let quads = |dtype: DType| {
        let mut b = Builder::new(format!("four_{dtype}"), 32);
        let (from, to) = (b.param(dtype, false), b.param(dtype, true));
        let thread = b.thread();
        let at = b.mul(thread, Value::index(4));
        let four = b.load4(from, at);
        b.store4(to, at, four);
        b.finish()
    };
    let mut b = Builder::new("copies", 32);
    let (from, to, shared) =
        (b.param(DType::F32, false), b.param(DType::F32, true), b.shared(DType::F32, 1 << 14));
    let thread = b.thread();
    let at = b.mul(thread, Value::index(4));
    let valid = b.lt(thread, Value::index(31));
    b.statement(Stmt::Tensor(Tensor::CopyAsync { to: (shared, at), from: (from, at), valid }));
    b.statement(Stmt::Tensor(Tensor::Commit));
    b.statement(Stmt::Tensor(Tensor::Wait(0)));
    b.barrier();
    let v = b.load_shared(shared, at);
    b.store(to, thread, v);
    let copies = b.finish();
    let mut b = Builder::new("words", 32);
    let (from, to, shared) =
        (b.param(DType::F16, false), b.param(DType::F16, true), b.shared(DType::F16, 256));
    let thread = b.thread();
    let at = b.mul(thread, Value::index(8));
    let words = b.load_words(from, at);
    b.store_shared_words(shared, at, words);
    b.barrier();
    let v = b.load_shared(shared, thread);
    b.store(to, thread, v);
    let words = b.finish();
    DType::ALL.map(quads).into_iter().chain([copies, words]).collect()
}

/// Different kernels of all programs, by what they are, in a fixed order.
pub fn kernels(abilities: &Abilities) -> BTreeMap<String, Vec<Kernel>> {
    let mut all: BTreeMap<String, Vec<Kernel>> = BTreeMap::new();
    for (_, launches) in programs(abilities) {
        for kernel in launches.kernels {
            let same = all.entry(kernel.name.clone()).or_default();
            if !same.contains(&kernel) {
                same.push(kernel);
            }
        }
    }
    all
}

/// The same with whether what a launch stores is apart from all else that it is given, as kernels for CUDA are rendered.
pub fn variants(abilities: &Abilities) -> Vec<(Kernel, bool)> {
    let mut all = HashSet::new();
    for (_, launches) in programs(abilities) {
        for (launch, kernel) in launches.of_kernels() {
            all.insert((kernel.clone(), launch.apart(kernel)));
        }
    }
    all.into_iter().collect()
}
