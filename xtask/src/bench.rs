//! `cargo xtask bench`: builds the command for speed and runs `bench/compare.py`, which holds it to its peers.

use crate::run::{Failure, cargo, program, run};
use std::path::Path;

/// Passes all arguments on.
pub fn bench(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let script = "bench/compare.py";
    if !root.join(script).exists() {
        return Err(Failure::Usage(format!("{script} does not exist")));
    }
    run(program(root, cargo(), &["build", "--release", "-p", "thalweg-cli"]))?;
    let mut compare = program(root, "python3", &[script]);
    compare.args(arguments);
    run(compare)
}
