//! Products left to cuBLASLt and cuDNN on the CUDA device, against the f64 reference: on a real GPU the real ones, elsewhere those
//! in software, which check what they are given. And what becomes of a program when a library is missing, too old or refuses.

use super::{software, told_by};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::gpu::call::{Libraries, Version};
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::gpu::lower::{Way, legal};
use thalweg_device::plan::Kernel;
use thalweg_device::{Device, Plan, open, optional};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{ConvDims, DType, Graph, Op, PoolDims, PoolKind, Type, Window, philox};
use thalweg_testkit::gpu::{InterpretedGpu, SoftwareCuda};
use thalweg_testkit::{Tolerance, compare_results, run_plan, run_plan_often, run_reference};

/// Operands are small whole numbers, which every type holds and which add up to the same in any order.
const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0, scale: 0.0 };

/// A product of two operands of a type; `then`: whether a bias and a ReLU follow.
fn product(dtype: DType, op: Op, [a, b]: [&[usize]; 2], then: bool) -> Graph {
    let mut g = Graph::new();
    let operands = [g.input("a", Type::new(dtype, a)), g.input("b", Type::new(dtype, b))];
    let mut y = g.op(op, &operands);
    if then {
        let channels = *g.shape(y).last().unwrap();
        let bias = g.input("bias", Type::new(dtype, &[channels]));
        y = g.add(y, bias);
        y = g.relu(y);
    }
    g.output("y", y);
    g
}

fn dot(dtype: DType, batch: &[usize], [ta, tb]: [bool; 2], then: bool) -> Graph {
    let (m, n, k) = (24, 20, 40);
    let shape = |of: [usize; 2]| batch.iter().copied().chain(of).collect::<Vec<usize>>();
    let a = shape(if ta { [k, m] } else { [m, k] });
    let b = shape(if tb { [n, k] } else { [k, n] });
    product(dtype, Op::Dot { ta, tb }, [&a, &b], then)
}

/// Of images of 7 by 7 pixels.
fn conv([c, k, groups]: [usize; 3], window: Window) -> ConvDims {
    let out = window.outputs(7).unwrap();
    ConvDims { n: 2, h: 7, w: 7, c, k, oh: out, ow: out, rows: window, cols: window, groups }
}

fn forward(dtype: DType, d: ConvDims, then: bool) -> Graph {
    product(dtype, Op::Conv(d), [&d.image(), &d.filter()], then)
}

/// Every kind of product, layout and type that is left to a library.
fn graphs() -> Vec<Graph> {
    let (f32, f16, bf16) = (DType::F32, DType::F16, DType::BF16);
    let mut all: Vec<Graph> = Vec::new();
    for transposed in [[false, false], [false, true], [true, false], [true, true]] {
        all.push(dot(f32, &[], transposed, false));
        all.push(dot(f16, &[3], transposed, false));
    }
    all.push(dot(bf16, &[], [false, true], true));
    all.push(dot(f32, &[2], [false, false], true));
    // Operands that lie where no more is promised than of any buffer.
    let mut g = Graph::new();
    let operands = [("a", [5, 5]), ("b", [5, 3])].map(|(name, shape)| {
        let x = g.input(name, Type::f32(&shape));
        g.relu(x)
    });
    let y = g.op(Op::Dot { ta: false, tb: false }, &operands);
    g.output("y", y);
    all.push(g);
    let same = Window::same(7, 3, 1, 1);
    let (plain, strided) = (conv([4, 6, 1], same), conv([4, 6, 1], Window::valid(3, 2, 1)));
    let (grouped, wide) = (conv([8, 6, 2], same), conv([4, 6, 1], Window::same(7, 3, 1, 2)));
    let pixels = conv([8, 12, 1], Window::valid(1, 1, 1));
    all.push(forward(f32, pixels, false));
    for d in [plain, strided, grouped, wide] {
        all.push(forward(f32, d, false));
        all.push(product(f32, Op::ConvInputGrad(d), [&d.output(), &d.filter()], false));
    }
    for d in [strided, grouped] {
        all.push(product(f32, Op::ConvFilterGrad(d), [&d.image(), &d.output()], false));
    }
    for dtype in [f16, bf16] {
        all.push(forward(dtype, plain, false));
        all.push(product(dtype, Op::ConvInputGrad(plain), [&plain.output(), &plain.filter()], false));
        all.push(product(dtype, Op::ConvFilterGrad(strided), [&strided.image(), &strided.output()], false));
    }
    all.push(forward(f16, plain, true));
    let half = Window::valid(2, 2, 1);
    let pool = PoolDims { n: 2, h: 7, w: 7, c: 6, oh: 3, ow: 3, rows: half, cols: half };
    let mut g = forward(f32, plain, true);
    let y = g.outputs.pop().unwrap().node;
    let y = g.op(Op::Pool(PoolKind::Max, pool), &[y]);
    g.output("y", y);
    all.push(g);
    all
}

/// Whole numbers from -2 to 2 for all inputs.
fn feeds(g: &Graph) -> Feeds {
    let mut random = philox::Sequence::new(5, 1, 0);
    let inputs = g.inputs.iter().map(|i| {
        let data = (0..i.ty.len()).map(|_| f64::from(random.below(5)) - 2.0).collect();
        Tensor::new(&i.ty.shape, data)
    });
    Feeds { inputs: inputs.collect(), states: Vec::new() }
}

/// The libraries' ways of a plan's products: product, way.
fn ways(device: &mut dyn Device, plan: &Plan) -> Vec<(String, String)> {
    let abilities = *device.tuning().unwrap().abilities();
    let mut found = Vec::new();
    for entry in &plan.kernels {
        let Kernel::Contraction(c) = &entry.kernel else { continue };
        for (product, ways) in legal(plan, c, &abilities) {
            let libraries = ways.iter().filter(|way| matches!(way, Way::Library(_)));
            found.extend(libraries.map(|way| (product.clone(), way.to_string())));
        }
    }
    found
}

/// Runs a graph; what it finds must be what the reference has.
fn exact(device: &mut dyn Device, plan: &Arc<Plan>, g: &Graph, what: &str) {
    let feeds = feeds(g);
    let found = run_plan(device, plan, g, &feeds).unwrap_or_else(|e| panic!("{what}: {e}"));
    if let Err(problem) = compare_results(&run_reference(g, &feeds), &found, EXACT) {
        panic!("{what}: {problem}\n{g}");
    }
}

/// Every library's way of every product, and ours, on this process' CUDA device. What a library refuses is told: real ones have
/// not all algorithms for all GPUs. One that is there has to do something of each type.
#[test]
fn libraries_agree_on_cuda() {
    let mut device = match open("cuda", None) {
        Ok(device) => device,
        Err(e) if std::env::var_os("THALWEG_NEED_CUDA").is_none() => return println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    };
    let software = std::env::var_os("SOFTWARE_CUDA").is_some();
    let (mut done, mut by) = (BTreeSet::new(), BTreeSet::new());
    let (mut pairs, mut refused, mut ours) = (0, 0, 0);
    for g in graphs() {
        let plan = Arc::new(compile(&g, &Options::gpu()).plan);
        ours += usize::from(ways(&mut *device, &plan).is_empty());
        if !software {
            exact(&mut *device, &plan, &g, "the account's way");
        }
        for (product, way) in ways(&mut *device, &plan) {
            let before = device.tuning().unwrap().choices().refusals().count();
            device.tuning().unwrap().choices_mut().set(product.as_str(), way.as_str());
            exact(&mut *device, &plan, &g, &format!("{product} by {way}"));
            let tuning = device.tuning().unwrap();
            if let Some(why) = tuning.choices().refusals().nth(before) {
                println!("refused: {product} by {way}: {why}");
                refused += 1;
            } else {
                let launches = tuning.lower(&plan).unwrap();
                assert_eq!(launches.calls().count(), 1, "{product} by {way}");
                by.extend(launches.calls().map(|c| (c.library(), c.types().operands.to_string())));
                done.insert(way);
                pairs += 1;
            }
            tuning.choices_mut().forget(&product);
        }
    }
    if optional().iter().any(|found| found.usable && found.name == "cuBLASLt") {
        two_at_once(&mut *device, "two at once");
    }
    for library in optional().into_iter().filter(|found| found.usable) {
        for dtype in [DType::F32, DType::F16, DType::BF16].map(|d| d.to_string()) {
            let some = by.iter().any(|(name, of)| *name == library.name && *of == dtype);
            assert!(some, "{} computed nothing of {dtype}", library.name);
        }
    }
    println!("told: {pairs} done, {refused} refused, {ours} graphs by nobody else, of {done:?}");
}

/// Two products that do not depend on each other, so that their calls are of one stage and share a workspace.
fn two_at_once(device: &mut dyn Device, what: &str) {
    let mut g = Graph::new();
    for (name, [m, n, k]) in [("first", [24, 20, 40]), ("second", [8, 12, 16])] {
        let [a, b] = [("a", [m, k]), ("b", [k, n])]
            .map(|(of, shape)| g.input(&format!("{name}.{of}"), Type::f32(&shape)));
        let y = g.op(Op::Dot { ta: false, tb: false }, &[a, b]);
        g.output(name, y);
    }
    let plan = Arc::new(compile(&g, &Options::gpu()).plan);
    let all = ways(device, &plan);
    for (product, way) in &all {
        device.tuning().unwrap().choices_mut().set(product.as_str(), way.as_str());
    }
    let launches = device.tuning().unwrap().lower(&plan).unwrap();
    let stages: Vec<usize> = launches.stages.iter().map(Vec::len).collect();
    assert_eq!((launches.calls().count(), &stages[..]), (2, &[2][..]), "{what}");
    let feeds = feeds(&g);
    let found = run_plan_often(device, &plan, &g, &feeds, 37).unwrap();
    compare_results(&run_reference(&g, &feeds), &found, EXACT).unwrap_or_else(|e| panic!("{what}: {e}"));
    all.iter().for_each(|(product, _)| device.tuning().unwrap().choices_mut().forget(product));
}

/// The interpreter finds who touches a workspace while calls do.
#[test]
fn two_at_once_interpreted() {
    let cublaslt = Some(Version(13, 1, 2));
    let libraries = Libraries { cublaslt, workspace: 1000, ..Libraries::NONE };
    let mut device = InterpretedGpu::new(Abilities { libraries, ..Abilities::LEAST });
    two_at_once(&mut device, "interpreted");
}

/// What the software libraries make of us, if there is a C++ compiler; made once for all of it.
#[test]
fn libraries_in_software() {
    let Some(software) = software() else { return };
    let software = software.with_libraries().unwrap();
    they_agree(&software);
    one_that_is_not_whole_is_refused(&software);
    what_they_refuse_is_computed_all_the_same(&software);
    one_that_was_tuned_is_found_and_missed(&software);
}

/// They take everything that they are asked.
fn they_agree(software: &SoftwareCuda) {
    let test = "libraries::libraries_agree_on_cuda";
    let line = told_by(software, test, &[("THALWEG_NEED_CUDA", "1")]);
    let all = "\"cublaslt 13.1.2, choice 0\", \"cublaslt 13.1.2, choice 1\", \"cublaslt 13.1.2, choice 2\", \
               \"cudnn 9.28.1, algorithm 0\", \"cudnn 9.28.1, algorithm 1\"";
    // A filter's gradient of 16 bits is summed in f32 and stored so, which cuDNN does not do.
    assert_eq!(line, format!("62 done, 0 refused, 2 graphs by nobody else, of {{{all}}}"));
}

/// A folder with nothing but cuDNN's first file, which would end the process; with a link to one that is whole; with nothing.
fn one_that_is_not_whole_is_refused(software: &SoftwareCuda) {
    let place = |name: &str| {
        let folder = software.libraries().join(name);
        std::fs::create_dir(&folder).unwrap();
        (folder.join("libcudnn.so.9"), folder.display().to_string())
    };
    let whole = software.libraries().join("libcudnn.so.9");
    let ((alone, of_alone), (link, of_link), (_, empty)) = (place("alone"), place("link"), place("empty"));
    std::fs::copy(&whole, &alone).unwrap();
    std::os::unix::fs::symlink(&whole, &link).unwrap();
    let missing = "libcudnn.so.9: its part libcudnn_graph.so.9 is missing beside it";
    for (folder, wanted) in [(&of_alone, missing), (&of_link, "9.28.1, /"), (&empty, "/empty has none")] {
        // A workspace that is too large: it is asked, and refuses.
        let environment =
            [("THALWEG_CUDA_LIBRARIES", folder.as_str()), ("SOFTWARE_CUDNN_WORKSPACE", "40000000")];
        let line = told_by(software, "libraries::refused_here", &environment);
        assert!(line.contains(wanted), "{folder}: {line}");
    }
}

/// What becomes of a product and a convolution that were left to libraries.
#[test]
fn refused_here() {
    if std::env::var_os("SOFTWARE_CUDA").is_none() {
        return;
    }
    let mut device = open("cuda", None).unwrap();
    let convolution = conv([4, 6, 1], Window::same(7, 3, 1, 1));
    for g in [dot(DType::F32, &[], [false, false], false), forward(DType::F32, convolution, false)] {
        let plan = Arc::new(compile(&g, &Options::gpu()).plan);
        if let Some((product, way)) = ways(&mut *device, &plan).pop() {
            device.tuning().unwrap().choices_mut().set(product, way);
        }
        exact(&mut *device, &plan, &g, "in the account's way");
        assert_eq!(
            device.tuning().unwrap().lower(&plan).unwrap().calls().count(),
            0,
            "nothing is left to it"
        );
    }
    let refusals: Vec<String> = device.tuning().unwrap().choices().refusals().map(str::to_owned).collect();
    let described = device.info().description;
    assert!(refusals.first().is_none_or(|first| described.contains(first.as_str())), "{described}");
    let looked: Vec<String> = optional().into_iter().map(|f| f.description).collect();
    println!("told: {} | {}", refusals.join(" | "), looked.join(" | "));
}

/// What is set in the environment, and what has to be told.
type Told<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);

/// A library that is missing, too old or refuses is one line, and the account's way.
fn what_they_refuse_is_computed_all_the_same(software: &SoftwareCuda) {
    let cases: [Told<'_>; 9] = [
        // Room for the operands and the workspace, but not for a first run.
        (
            &[
                ("SOFTWARE_LIBRARY_FAULT", "capture"),
                ("SOFTWARE_CUDNN_VERSION", "8907"),
                ("SOFTWARE_CUDA_MEMORY", "33566000"),
            ],
            &["cuBLASLt: ", "a library's first run"],
        ),
        (
            &[("THALWEG_CUDA_LIBRARIES", "none")],
            &["not looked for, as THALWEG_CUDA_LIBRARIES is none; nothing needs it"],
        ),
        (
            &[("SOFTWARE_CUBLASLT_VERSION", "110500"), ("SOFTWARE_CUDNN_VERSION", "8907")],
            &[
                "libcublasLt.so.13 is version 11.5.0; 12 or 13 is needed",
                "libcudnn.so.9: version 8; 9 is needed",
            ],
        ),
        (
            &[("SOFTWARE_LIBRARY_FAULT", "cublasLtCreate"), ("SOFTWARE_CUDNN_WORKSPACE", "40000000")],
            &[
                "cuBLASLt 13.1.2: cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED (1)",
                "cuDNN 9.28.1: it needs 40000000 bytes of workspace",
            ],
        ),
        (
            &[
                ("SOFTWARE_LIBRARY_FAULT", "cublasLtMatmulAlgoGetHeuristic"),
                ("SOFTWARE_CUDNN_WORKSPACE", "40000000"),
            ],
            &["cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED (15)"],
        ),
        (
            &[("SOFTWARE_LIBRARY_FAULT", "cublasLtMatmul"), ("SOFTWARE_CUDNN_WORKSPACE", "40000000")],
            &["cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED (13)"],
        ),
        (
            &[("SOFTWARE_LIBRARY_FAULT", "capture")],
            &[
                "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED (13)",
                "cudnnConvolutionForward: CUDNN_STATUS_EXECUTION_FAILED (5000)",
            ],
        ),
        (
            &[("SOFTWARE_LIBRARY_FAULT", "cudnnCreate"), ("SOFTWARE_CUBLASLT_VERSION", "110500")],
            &["cuDNN 9.28.1: cudnnCreate: CUDNN_STATUS_NOT_INITIALIZED (1001)"],
        ),
        (
            &[("SOFTWARE_LIBRARY_FAULT", "workspace"), ("SOFTWARE_CUBLASLT_VERSION", "110500")],
            &["cudnnConvolutionForward, workspace: CUDNN_STATUS_NOT_SUPPORTED (3000)", "9.28.1, /"],
        ),
    ];
    for (environment, wanted) in cases {
        let line = told_by(software, "libraries::refused_here", environment);
        for wanted in wanted {
            assert!(line.contains(wanted), "{environment:?}: {line}");
        }
    }
}

/// The tuner takes a library where it is the fastest, which those in software are beside kernels in software; the next process
/// finds the choice, and one without the library takes another.
fn one_that_was_tuned_is_found_and_missed(software: &SoftwareCuda) {
    let tuned = |environment: &[(&str, &str)], wanted: &str| {
        let line = told_by(software, "tuned_here", environment);
        assert!(line.starts_with(wanted), "{environment:?}: {line}");
        line
    };
    // The next process has a library that does what it is asked, or one at all, and measures it.
    let refused = tuned(&[("SOFTWARE_LIBRARY_FAULT", "cublasLtMatmul")], "0 known, 5 ways, ");
    let said = ", 3 refused: cuBLASLt 13.1.2: cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED";
    assert!(refused.contains(said) && !refused.contains("ways, cublaslt"), "{refused}");
    let none = [("THALWEG_CUDA_LIBRARIES", "none")];
    assert!(!tuned(&none, "1 known, 0 ways, ").contains("cublaslt"));
    tuned(&[], "0 known, 5 ways, cublaslt 13.1.2, choice ");
    tuned(&[], "1 known, 0 ways, cublaslt 13.1.2, choice ");
    let without = tuned(&none, "0 known, 2 ways, ");
    let missing = "what was tuned for cublaslt 13.1.2 is done without it (not looked for";
    assert!(!without.contains("ways, cublaslt") && without.contains(missing), "{without}");
    tuned(&[], "0 known, 5 ways, cublaslt 13.1.2, choice ");
    // What it does not support is not measured again.
    let update = ("SOFTWARE_CUBLASLT_VERSION", "130103");
    let never = [update, ("SOFTWARE_LIBRARY_FAULT", "cublasLtMatmulAlgoGetHeuristic")];
    assert!(tuned(&never, "0 known, 5 ways, ").contains("beside cublaslt 13.1.3"));
    tuned(&[update], "1 known, 0 ways, ");
}
