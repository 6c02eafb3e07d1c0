//! `cargo xtask check`: everything CI holds the project to, cheapest first.

use crate::run::{Failure, cargo, program, run};
use crate::tidy;
use std::path::Path;
use std::time::Instant;

/// Format, lints, tidy, tests; with `--doc`, documentation too.
pub fn check(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = arguments.iter().find(|a| *a != "--doc") {
        return Err(Failure::Usage(format!("'{unknown}' is not an option of check; known: --doc")));
    }
    let started = Instant::now();
    run(program(root, cargo(), &["fmt", "--all", "--check"]))?;
    tidy_only(root)?;
    run(program(root, cargo(), &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(program(root, cargo(), &["test", "--workspace"]))?;
    if !arguments.is_empty() {
        let mut doc = program(root, cargo(), &["doc", "--workspace", "--no-deps"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        run(doc)?;
    }
    println!("\n== all good after {} s", started.elapsed().as_secs());
    Ok(())
}

/// The project's own rules.
pub fn tidy_only(root: &Path) -> Result<(), Failure> {
    println!("\n== tidy");
    let report = tidy::tidy(root);
    report.warnings.iter().for_each(|w| println!("warning: {w}"));
    report.errors.iter().for_each(|e| println!("error: {e}"));
    if report.errors.is_empty() { Ok(()) } else { Err(Failure::Tidy(report.errors.len())) }
}
