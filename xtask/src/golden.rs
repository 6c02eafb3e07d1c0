//! `cargo xtask golden`: runs the golden makers in a Python environment of their own, `goldens/.venv`.

use crate::run::{Failure, program, run};
use std::path::Path;

/// Runs `goldens/make_<name>.py` for every given name, or all of them.
pub fn golden(root: &Path, names: &[String]) -> Result<(), Failure> {
    let makers = makers(root);
    if let Some(unknown) = names.iter().find(|n| !makers.contains(n)) {
        return Err(Failure::Usage(format!("no maker of '{unknown}'; known: {}", makers.join(", "))));
    }
    let environment = root.join("goldens/.venv");
    let python = environment.join("bin/python");
    if !python.exists() {
        let mut create = program(root, "python3", &["-m", "venv"]);
        create.arg(&environment);
        run(create)?;
    }
    run(program(root, &python, &["-m", "pip", "install", "--quiet", "-r", "goldens/requirements.txt"]))?;
    for name in if names.is_empty() { &makers } else { names } {
        run(program(root, &python, &[&format!("goldens/make_{name}.py")]))?;
    }
    Ok(())
}

/// Names of all makers, sorted.
fn makers(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("goldens")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            Some(name.strip_prefix("make_")?.strip_suffix(".py")?.to_string())
        })
        .collect();
    names.sort();
    names
}
