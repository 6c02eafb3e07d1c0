//! Rules for Rust files: how they open, how long they are, which words they do without.

use super::{File, Report};
use crate::source::{has_word, lines};

const WARN_LINES: usize = 600;
const FAIL_LINES: usize = 1000;

/// Not outside tests.
const NOT_OUTSIDE_TESTS: [(&str, &str); 4] = [
    (".unwrap()", "give the error on, or say with `let .. else` what is wrong"),
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("dbg!", "remove it"),
];

pub fn check(file: &File, report: &mut Report) {
    if !file.path.ends_with(".rs") {
        return;
    }
    let path = &file.path;
    let count = file.text.lines().count();
    if count > FAIL_LINES {
        report.error(format!("{path}: {count} lines, at most {FAIL_LINES}: split it by concept"));
    } else if count > WARN_LINES {
        report.warn(format!("{path}: {count} lines, better below {WARN_LINES}"));
    }
    let opening = file.text.lines().find(|l| !l.trim().is_empty() && !l.starts_with("#!"));
    if !opening.is_some_and(|l| l.starts_with("//!")) {
        report.error(format!("{path}: opens without `//!`: say what it is for"));
    }
    let device = path.starts_with("crates/device/");
    for line in lines(&file.text) {
        let at = format!("{path}:{}", line.number);
        if line.code.contains("#[allow(") || line.code.contains("#![allow(") {
            report.error(format!("{at}: `#[expect(.., reason = \"..\")]` instead of `allow`"));
        }
        if !device && has_word(&line.code, "unsafe") {
            report.error(format!("{at}: `unsafe` belongs in crates/device"));
        }
        if line.test || file.test {
            continue;
        }
        for (word, instead) in NOT_OUTSIDE_TESTS {
            if line.code.contains(word) {
                report.error(format!("{at}: `{word}` outside tests: {instead}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, text: &str) -> Vec<String> {
        let mut report = Report::default();
        check(&File { path: path.into(), text: text.into(), test: path.contains("tests/") }, &mut report);
        report.errors
    }

    #[test]
    fn rules_bite_where_they_should() {
        assert!(errors("crates/a/src/a.rs", "#![no_std]\n//! A.\nfn a() {}\n").is_empty());
        assert_eq!(errors("crates/a/src/a.rs", "fn a() {}\n").len(), 1);
        // In pieces, so that a search for what is unfinished does not find the rule's own test.
        let text = format!(
            "//! A.\nfn a() {{ b.unwrap(); unsafe {{ {}!() }} }}\n#[allow(x)]\nfn b() {{}}\n",
            "todo"
        );
        assert_eq!(errors("crates/a/src/a.rs", &text).len(), 4);
        assert_eq!(errors("crates/device/src/a.rs", &text).len(), 3);
        assert_eq!(errors("crates/device/tests/a.rs", &text).len(), 1);
        assert_eq!(errors("crates/a/src/a.rs", &"//! A.\n".repeat(1001)).len(), 1);
    }
}
