//! Which crate may use which. The table is the project's architecture; `cargo metadata` is what is true.

use super::Report;
use crate::run::{cargo, program};
use serde_json::Value;
use std::path::Path;

/// Each crate with the crates of ours that it may use. Indirect use must be listed, too.
const ARROWS: [(&str, &[&str]); 14] = [
    ("thalweg-base", &[]),
    ("thalweg-graph", &["base"]),
    ("thalweg-device", &["base"]),
    ("thalweg-compile", &["base", "graph", "device"]),
    ("thalweg-data", &["base"]),
    ("thalweg-nn", &["base", "graph"]),
    ("thalweg-train", &["base", "graph", "device", "compile", "data", "nn"]),
    ("thalweg-vision", &["nn"]),
    ("thalweg", &["base", "graph", "device", "compile", "data", "nn", "train", "vision"]),
    ("thalweg-cli", &["thalweg"]),
    ("thalweg-web", &["base", "data", "device", "nn", "train"]),
    ("thalweg-testkit", &["base", "graph", "device"]),
    ("xtask", &[]),
    // Development only, so that anybody's tests may use it; never an ordinary dependency.
    ("(tests of any crate)", &["testkit"]),
];

pub fn check(root: &Path, report: &mut Report) {
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = match program(root, cargo(), &arguments).output() {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => {
            return report.error(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Err(e) => return report.error(format!("cargo metadata: {e}")),
    };
    match serde_json::from_slice::<Value>(&output) {
        Ok(metadata) => packages(&metadata, report),
        Err(e) => report.error(format!("cargo metadata: {e}")),
    }
}

fn packages(metadata: &Value, report: &mut Report) {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    if names.is_empty() {
        report.error("cargo metadata lists no packages");
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            report.error(format!("{name}: a new crate needs its line in xtask/src/tidy/arrows.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or("?");
            let development = dependency["kind"].as_str() == Some("dev");
            if names.contains(&to) && !allows(allowed, to, development) {
                report.error(format!("{name} must not use {to}: see xtask/src/tidy/arrows.rs"));
            }
        }
    }
}

fn allows(allowed: &[&str], to: &str, development: bool) -> bool {
    let short = to.strip_prefix("thalweg-").unwrap_or(to);
    allowed.contains(&short) || development && short == "testkit"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_forbidden_arrow_is_found() {
        let dependency = |name: &str, kind: Value| json!({"name": name, "kind": kind});
        let metadata = json!({"packages": [
            {"name": "thalweg-base", "dependencies": []},
            {"name": "thalweg-graph", "dependencies": [dependency("thalweg-base", Value::Null)]},
            {"name": "thalweg-testkit", "dependencies": []},
            {"name": "thalweg-device", "dependencies": [
                dependency("thalweg-graph", Value::Null),
                dependency("thalweg-testkit", json!("dev")),
                dependency("thiserror", Value::Null),
            ]},
            {"name": "thalweg-nn", "dependencies": [dependency("thalweg-testkit", Value::Null)]},
        ]});
        let mut report = Report::default();
        packages(&metadata, &mut report);
        assert_eq!(report.errors.len(), 2, "{:?}", report.errors);
        assert!(report.errors[0].starts_with("thalweg-device must not use thalweg-graph"));
        assert!(report.errors[1].starts_with("thalweg-nn must not use thalweg-testkit"));
    }
}
