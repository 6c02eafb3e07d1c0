//! `cargo xtask gpu-kit`: gathers what a machine with a GPU needs to test and measure us, without Rust or network.
//!
//! In: the workspace. Out: `target/gpu-kit`, with the command, test programs, goldens, recipes, the peers' scripts and
//! `run.sh`, which runs all of it. Invariant: it is under 60 MB.

use crate::run::{Failure, built, cargo, program, run};
use std::fs;
use std::path::Path;

/// Bytes that a kit may have.
const MOST: u64 = 60_000_000;

/// Test programs: package, name.
const TESTS: [(&str, &str); 3] =
    [("thalweg-compile", "conformance"), ("thalweg-compile", "cuda"), ("thalweg-train", "parity")];

/// Files and folders, from the workspace's root, and their names in the kit.
const FILES: [(&str, &str); 8] = [
    ("bench/gpu/run.sh", "run.sh"),
    ("bench/peers/pytorch_gpu.py", "peers/pytorch_gpu.py"),
    ("bench/peers/jax_gpu.py", "peers/jax_gpu.py"),
    ("bench/peers/networks.py", "peers/networks.py"),
    ("bench/peers/shapes.py", "peers/shapes.py"),
    ("examples/cifar10.toml", "cifar10.toml"),
    ("bench/recipes/resnet18_32.toml", "resnet18_32.toml"),
    ("goldens", "goldens"),
];

/// Makes it.
pub fn gpu_kit(root: &Path) -> Result<(), Failure> {
    let kit = root.join("target/gpu-kit");
    let _ = fs::remove_dir_all(&kit);
    run(program(root, cargo(), &["build", "--release", "-p", "thalweg-cli"]))?;
    let command = built(root, &["build", "--release", "-p", "thalweg-cli"], "thalweg")?;
    copy(&command, &kit.join("thalweg"))?;
    for (package, name) in TESTS {
        let test = built(root, &["test", "--release", "--no-run", "-p", package, "--test", name], name)?;
        copy(&test, &kit.join(name))?;
    }
    for (from, to) in FILES {
        copy(&root.join(from), &kit.join(to))?;
    }
    let bytes = size(&kit)?;
    println!("\n{}: {:.1} MB; carry it over and run run.sh there", kit.display(), bytes as f64 / 1e6);
    if bytes > MOST {
        return Err(Failure::Usage(format!("the kit has {bytes} bytes, more than {MOST}")));
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |problem: std::io::Error| Failure::Usage(format!("{}: {problem}", from.display()));
    if from.is_dir() {
        for entry in fs::read_dir(from).map_err(failed)?.flatten() {
            let path = entry.path();
            // Of the goldens, the numbers; not the scripts that made them.
            if path.extension().is_some_and(|e| e == "safetensors" || e == "json") {
                copy(&path, &to.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    fs::copy(from, to).map(|_| ()).map_err(failed)
}

fn size(folder: &Path) -> Result<u64, Failure> {
    let failed = |problem: std::io::Error| Failure::Usage(format!("{}: {problem}", folder.display()));
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let meta = entry.metadata().map_err(failed)?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}
