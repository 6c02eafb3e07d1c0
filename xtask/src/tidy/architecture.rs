//! Rules for ARCHITECTURE.md: short, and every path in it exists.

use super::Report;
use std::path::Path;

const NAME: &str = "ARCHITECTURE.md";
const MOST_LINES: usize = 300;

pub fn check(root: &Path, report: &mut Report) {
    let Ok(text) = std::fs::read_to_string(root.join(NAME)) else {
        return report.warn(format!("{NAME} does not exist yet"));
    };
    let count = text.lines().count();
    if count > MOST_LINES {
        report.error(format!("{NAME}: {count} lines, at most {MOST_LINES}"));
    }
    for (line, path) in paths(&text) {
        if !exists(root, path) {
            report.error(format!("{NAME}:{line}: `{path}` does not exist"));
        }
    }
}

/// What stands in backticks and looks like a path: a slash or a known ending, no spaces, nothing to fill in.
fn paths(text: &str) -> Vec<(usize, &str)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '*');
    let ending = |p: &str| [".rs", ".md", ".toml", ".py"].iter().any(|e| p.ends_with(e));
    let mut out = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let quoted = line.split('`').skip(1).step_by(2);
            let is_path = |p: &&str| {
                p.chars().all(plain) && (p.contains('/') || ending(p)) && !p.starts_with(['/', '-', '.'])
                    || p.starts_with(".ci/")
            };
            out.extend(quoted.filter(is_path).map(|p| (i + 1, p)));
        }
    }
    out
}

/// Whether the path is there; `*` stands for anything within one name.
fn exists(root: &Path, path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| name.contains('*')) else {
        return root.join(path).exists();
    };
    let (start, end) = name.split_once('*').unwrap_or((name, ""));
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return false };
    entries.flatten().any(|e| {
        let name = e.file_name();
        let name = name.to_string_lossy();
        name.starts_with(start) && name.ends_with(end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_and_checked() {
        let text = "See `xtask/src/main.rs`, `xtask/src/*.rs` and `cargo xtask check`.\n```\n`not/here`\n```\n`Graph` `nowhere/at.rs` `runs/<name>/`";
        let found = paths(text);
        assert_eq!(found, [(1, "xtask/src/main.rs"), (1, "xtask/src/*.rs"), (5, "nowhere/at.rs")]);
        let there: Vec<bool> = found.iter().map(|(_, p)| exists(&crate::root(), p)).collect();
        assert_eq!(there, [true, true, false]);
    }
}
