//! Rules for every text file: the tree stands on its own, and asks no particular host for packages.

use super::{File, Report};

/// A folder beside a checkout that a reader does not have. Spelled in two parts, so that this file passes.
const OUTSIDE: &str = concat!("../", "shared");

/// Package registries: everybody has their own; the ordinary clients know which.
const REGISTRIES: [&str; 7] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("//pypi", ".org/simple"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("proxy.", "golang.org"),
];

pub fn check(file: &File, report: &mut Report) {
    let outside_allowed = file.test || file.path.starts_with(".ci/");
    for (i, line) in file.text.lines().enumerate() {
        let at = format!("{}:{}", file.path, i + 1);
        if line.contains(OUTSIDE) && !outside_allowed {
            report.error(format!("{at}: '{OUTSIDE}' is not part of the project"));
        }
        if let Some(host) = REGISTRIES.iter().find(|h| line.contains(**h)) {
            report.error(format!("{at}: names the registry host {host}; use the ordinary client's settings"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_neighbours_are_found() {
        let errors = |path: &str, text: String| {
            let mut report = Report::default();
            check(&File { path: path.into(), text, test: path.contains("tests/") }, &mut report);
            report.errors.len()
        };
        assert_eq!(errors("README.md", format!("see {OUTSIDE}/x")), 1);
        assert_eq!(errors("crates/a/tests/a.rs", format!("see {OUTSIDE}/x")), 0);
        assert_eq!(errors(".ci/run", format!("get https://{}/x", REGISTRIES[4])), 1);
    }
}
