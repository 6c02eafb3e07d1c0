//! The CUDA device with a driver and a compiler in software: it runs, gives everything back, is tuned, leaves products to
//! libraries, and what goes wrong comes back as one line that says what to do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod libraries;

use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_compile::{Options, compile};
use thalweg_device::gpu::tune::{Effort, tune};
use thalweg_device::open;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{Graph, Op, Type};
use thalweg_testkit::gpu::SoftwareCuda;
use thalweg_testkit::{Tolerance, compare_results, random_graph, run_plan, run_reference};

/// What became of a step on this process' CUDA device.
fn step() -> String {
    let (graph, feeds) = random_graph(7);
    let plan = Arc::new(compile(&graph, &Options::gpu()).plan);
    let ran = open("cuda", None).and_then(|mut device| run_plan(&mut *device, &plan, &graph, &feeds));
    match ran {
        Ok(_) => "it ran".into(),
        Err(e) => e.to_string(),
    }
}

/// What tuning a product of whole numbers found on this process' CUDA device, which then runs it.
fn tuned() -> String {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", Type::f32(&[24, 40])), graph.input("b", Type::f32(&[40, 20])));
    let y = graph.op(Op::Dot { ta: false, tb: false }, &[a, b]);
    graph.output("y", y);
    let tensor = |shape: [usize; 2]| {
        Tensor::new(&shape, (0..shape[0] * shape[1]).map(|i| (i * i % 7) as f64 - 3.0).collect())
    };
    let feeds = Feeds { inputs: vec![tensor([24, 40]), tensor([40, 20])], states: Vec::new() };
    let plan = Arc::new(compile(&graph, &Options::gpu()).plan);
    let mut device = open("cuda", None).unwrap();
    let missing = device.info().description.split_once(", what was tuned").map(|(_, what)| what.to_owned());
    let missing = missing.map_or(String::new(), |what| format!(", what was tuned{what}"));
    let (began, short) = (Instant::now(), Duration::from_micros(100));
    let effort = Effort { budget: Duration::from_secs(60), sample: short, clock: &|| began.elapsed() };
    let report = tune(&mut *device, &[Arc::clone(&plan)], &effort, &mut |_, _, _| {}).unwrap().unwrap();
    let found = run_plan(&mut *device, &plan, &graph, &feeds).unwrap();
    compare_results(&run_reference(&graph, &feeds), &found, Tolerance { abs: 0.0, rel: 0.0, scale: 0.0 })
        .unwrap();
    assert!(!device.info().description.contains("refused"), "what was only measured was not chosen");
    let ways: usize = report.measured.iter().map(|m| m.ways).sum();
    let choice = device.tuning().and_then(|t| t.choices().iter().next().map(|(_, way)| way.to_owned()));
    let listed = thalweg_device::list().iter().any(|f| f.description.ends_with("1 tuned product"));
    let refused =
        report.library_said.map_or(String::new(), |why| format!(", {} refused: {why}", report.calls_refused));
    format!(
        "{} known, {ways} ways, {}, listed {listed}{refused}{missing}",
        report.known,
        choice.unwrap_or_default()
    )
}

/// Run by a test below, in a process of its own.
#[test]
fn tuned_here() {
    if std::env::var_os("SOFTWARE_CUDA").is_some() {
        println!("told: {}", tuned());
    }
}

/// Run by a test below, in a process of its own.
#[test]
fn told() {
    if std::env::var_os("SOFTWARE_CUDA").is_some() {
        println!("told: {}", step());
    }
}

/// The driver, if there is a C++ compiler.
fn software() -> Option<SoftwareCuda> {
    match SoftwareCuda::new() {
        Ok(software) => Some(software),
        Err(e) if std::env::var_os("THALWEG_NEED_CXX").is_none() => {
            println!("skipped: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// What one of the tests above has to tell.
fn told_by(software: &SoftwareCuda, test: &str, environment: &[(&str, &str)]) -> String {
    let run = software.run_test(test, environment).unwrap();
    let all = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{environment:?}: {}: {all}", run.status);
    let line = all.lines().find_map(|l| l.split_once("told: ")).map(|(_, line)| line.to_owned());
    line.unwrap_or_else(|| panic!("{environment:?}: {all}"))
}

/// The real tuner, and its file: another process finds what the first measured, and one for another driver does not.
#[test]
fn a_tuned_product_is_found_by_the_next_process() {
    let Some(software) = software() else { return };
    let first = told_by(&software, "tuned_here", &[]);
    let way = first.strip_prefix("0 known, 2 ways, ").unwrap_or_else(|| panic!("{first}"));
    assert_eq!(told_by(&software, "tuned_here", &[]), format!("1 known, 0 ways, {way}"));
    assert!(way.ends_with(", listed true"), "{way}");
    assert!(
        told_by(&software, "tuned_here", &[("SOFTWARE_CUDA_VERSION", "13010")]).starts_with("0 known, 2")
    );
}

#[test]
fn what_goes_wrong_is_one_line() {
    let Some(software) = software() else { return };
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "it ran"),
        (&[("SOFTWARE_CUDA_MEMORY", "1")], "are free"),
        (
            &[("SOFTWARE_CUDA_FAULT", "1")],
            "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS); a kernel is wrong",
        ),
        (&[("SOFTWARE_CUDA_VERSION", "11080")], "the driver is for CUDA 11.8; install one for 12.0 or later"),
        (&[("SOFTWARE_CUDA_VERSION", "12080")], "libnvrtc.so.13 is for drivers of CUDA 13"),
    ];
    for (environment, wanted) in cases {
        let line = told_by(&software, "told", environment);
        assert!(line.contains(wanted), "{environment:?}: {line}");
    }
}
