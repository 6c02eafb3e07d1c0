//! The CUDA device with a driver and a compiler in software: it runs, gives everything back, and what goes wrong comes back as
//! one line that says what to do.

use std::sync::Arc;
use thalweg_compile::{Options, compile};
use thalweg_device::open;
use thalweg_testkit::gpu::SoftwareCuda;
use thalweg_testkit::{random_graph, run_plan};

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

/// Run by the test below, in a process of its own.
#[test]
fn told() {
    if std::env::var_os("SOFTWARE_CUDA").is_some() {
        println!("told: {}", step());
    }
}

#[test]
fn what_goes_wrong_is_one_line() {
    let software = match SoftwareCuda::new() {
        Ok(software) => software,
        Err(e) if std::env::var_os("THALWEG_NEED_CXX").is_none() => return println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    };
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
        let run = software.run_test("told", environment).unwrap();
        let all = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{environment:?}: {}: {all}", run.status);
        let line = all.lines().find_map(|l| l.split_once("told: ")).map(|(_, line)| line);
        assert!(line.is_some_and(|l| l.contains(wanted)), "{environment:?}: {all}");
    }
}
