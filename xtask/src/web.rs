//! `cargo xtask web`: the package for browsers.
//!
//! In: the workspace, and Rust's target wasm32-unknown-unknown. Out: `target/web`, with the module, its JavaScript, its types
//! and the example's page; any web server may serve it. Invariant: what makes the JavaScript is of the very version of
//! wasm-bindgen that the module was built with, as both are in one lock file.

use crate::run::{Failure, built, cargo, program, run};
use std::fs;
use std::path::Path;

const TARGET: &str = "wasm32-unknown-unknown";
const PAGE: &str = "examples/web/index.html";

/// Makes it; with `--check`, holds a browser's predictions to the CPU device's.
pub fn web(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = arguments.iter().find(|a| *a != "--check") {
        return Err(Failure::Usage(format!("'{unknown}' is not an option of web; known: --check")));
    }
    let module =
        built(root, &["build", "--profile", "web", "--target", TARGET, "-p", "thalweg-web"], "thalweg_web")?;
    let folder = root.join("target/web");
    let failed = |problem: std::io::Error| Failure::Usage(format!("{}: {problem}", folder.display()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(failed)?;
    // What makes the JavaScript takes long to build and no other command needs it: a build of ours for it alone.
    let glue = ["run", "-q", "-p", "xtask", "--features", "web", "--", "web-glue"];
    let mut glue = program(root, cargo(), &glue);
    glue.arg(&module).arg(&folder);
    run(glue)?;
    fs::copy(root.join(PAGE), folder.join("index.html")).map_err(failed)?;
    let bytes = fs::metadata(folder.join("thalweg_bg.wasm")).map_err(failed)?.len();
    println!(
        "\n{}: the module has {:.2} MB; serve the folder (python3 -m http.server -d target/web) and open index.html",
        folder.display(),
        bytes as f64 / 1e6
    );
    if arguments.is_empty() {
        return Ok(());
    }
    // On other targets the crate is empty: lints see it here alone.
    let lints = ["clippy", "--target", TARGET, "-p", "thalweg-web", "--", "-D", "warnings"];
    run(program(root, cargo(), &lints))?;
    let mut check = program(root, cargo(), &["test", "-p", "thalweg", "--test", "web", "--", "--nocapture"]);
    check.env("THALWEG_WEB", &folder).env("THALWEG_NEED_WEB", "1");
    run(check)
}

/// Writes the JavaScript of a module: its path, the folder.
#[cfg(feature = "web")]
pub fn glue(arguments: &[String]) -> Result<(), Failure> {
    let [module, folder] = arguments else {
        return Err(Failure::Usage("web-glue takes a module and a folder".into()));
    };
    let mut maker = wasm_bindgen_cli_support::Bindgen::new();
    maker.input_path(module).out_name("thalweg").typescript(true).omit_default_module_path(false);
    maker.remove_name_section(true).remove_producers_section(true);
    let made = maker.web(true).and_then(|maker| maker.generate(folder));
    made.map_err(|problem| Failure::Usage(format!("{module}: {problem:#}")))
}
