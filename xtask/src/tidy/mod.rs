//! The project's own rules, as data about the working tree: which crate may use which, what a source file
//! looks like, whether the documents point at what exists.

mod architecture;
mod arrows;
mod rust;
mod texts;

use crate::source::lines;
use std::path::{Path, PathBuf};

/// What is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Worth a look.
    pub warnings: Vec<String>,
    /// Must not be.
    pub errors: Vec<String>,
}

impl Report {
    /// Adds a problem that must not be.
    pub fn error(&mut self, message: impl Into<String>) {
        self.errors.push(message.into());
    }

    /// Adds something worth a look.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }
}

/// A text file of the project.
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Content.
    pub text: String,
    /// Whether all of it is test code.
    pub test: bool,
}

/// Whether the path says that it is a test, an example or a benchmark.
fn is_test_path(path: &str) -> bool {
    let folder = |name| path.split('/').any(|part| part == name);
    ["tests", "benches", "examples"].into_iter().any(folder)
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// Checks everything.
pub fn tidy(root: &Path) -> Report {
    let mut report = Report::default();
    let files = files(root);
    arrows::check(root, &mut report);
    files.iter().for_each(|f| rust::check(f, &mut report));
    files.iter().for_each(|f| texts::check(f, &mut report));
    architecture::check(root, &mut report);
    report
}

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 6] = ["target", ".git", ".venv", "__pycache__", "runs", "node_modules"];
/// Endings of files that are text.
const TEXT: [&str; 9] = ["rs", "toml", "md", "py", "sh", "txt", "json", "yml", "yaml"];

/// All text files, sorted by path.
fn files(root: &Path) -> Vec<File> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            let skipped = SKIPPED.iter().any(|s| name == *s) || path == root.join("data");
            if kind.is_dir() && !skipped {
                folders.push(path);
            } else if kind.is_file() && is_text(&path) {
                read(root, path, &mut out);
            }
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_modules(&mut out);
    out
}

/// A file is test code, too, if its module is declared under `#[cfg(test)]`.
fn mark_test_modules(files: &mut [File]) {
    let mut stems = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".rs")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let folder = match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_string(),
            _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        for line in lines(&file.text).iter().filter(|l| l.test) {
            let words: Vec<&str> = line.code.split_whitespace().collect();
            if let [.., "mod", module] = words[..]
                && let Some(module) = module.strip_suffix(';')
            {
                stems.push(format!("{folder}/{module}"));
            }
        }
    }
    for file in files {
        let inside = |stem: &String| {
            file.path.strip_prefix(stem.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        file.test |= stems.iter().any(inside);
    }
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str());
    ending.is_some_and(|e| TEXT.contains(&e)) || path.ends_with(".ci/run")
}

fn read(root: &Path, path: PathBuf, out: &mut Vec<File>) {
    // A file that is no UTF-8 is none of ours to judge.
    let (Ok(text), Ok(short)) = (std::fs::read_to_string(&path), path.strip_prefix(root)) else { return };
    let path = short.to_string_lossy().replace('\\', "/");
    out.push(File { test: is_test_path(&path), path, text });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_under_cfg_test_are_tests() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into(), test: false };
        let mut files = [
            file("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod c;\n"),
            file("a/src/b.rs", "#[cfg(test)] pub(crate) mod d;"),
            file("a/src/b/d.rs", ""),
            file("a/src/c/mod.rs", ""),
            file("a/src/cc.rs", ""),
        ];
        mark_test_modules(&mut files);
        assert_eq!(files.map(|f| f.test), [false, false, true, true, false]);
    }

    #[test]
    fn the_tree_is_tidy() {
        let report = tidy(&crate::root());
        assert!(report.errors.is_empty(), "\n{}", report.errors.join("\n"));
    }
}
