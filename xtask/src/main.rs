//! `cargo xtask <command>`: what developers and CI run. In: a command; out: its exit code.

mod bench;
mod check;
mod golden;
mod gpu_kit;
mod run;
mod source;
mod tidy;
mod web;

use run::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask check [--doc]      format, lints, tidy, tests (and documentation): what CI runs
cargo xtask tidy               only the project's own rules
cargo xtask golden [NAME]...   makes goldens/*.safetensors with real Keras and PyTorch (needs python3)
cargo xtask bench [ARGUMENT].. runs bench/compare.py
cargo xtask gpu-kit            target/gpu-kit: all that a GPU machine without Rust needs to test and measure us
cargo xtask web [--check]      target/web: the package for browsers; with --check proven in a headless Chromium";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let root = root();
    let result = match command {
        "check" => check::check(&root, rest),
        "tidy" => check::tidy_only(&root),
        "golden" => golden::golden(&root, rest),
        "bench" => bench::bench(&root, rest),
        "gpu-kit" => gpu_kit::gpu_kit(&root),
        "web" => web::web(&root, rest),
        #[cfg(feature = "web")]
        "web-glue" => web::glue(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::Usage(format!("'{other}' is not a command\n{USAGE}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
