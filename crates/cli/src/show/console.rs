//! Where lines go: text for people, or JSON for scripts.
//!
//! Invariant: with `--json` nothing but one object per line reaches standard output; without it, notes and errors
//! go to standard error, so that results can be piped. A reader that goes away ends nothing.

use crate::error::Failure;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};

/// The two streams and how to use them.
#[derive(Clone, Debug)]
pub struct Console {
    json: bool,
    /// Whether standard output takes colours.
    color: bool,
    /// Whether somebody watches standard error move.
    pub live: bool,
}

impl Console {
    /// `color`: whether the environment allows colours.
    pub fn new(json: bool, color: bool) -> Console {
        let live = !json && io::stderr().is_terminal();
        Console { json, color: color && io::stdout().is_terminal(), live }
    }

    /// Whether output is for scripts.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the result, for people.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            writeln!(io::stdout(), "{}", line.as_ref()).ok();
        }
    }

    /// An object of the result, for scripts.
    pub fn event(&self, event: &Value) {
        if self.json {
            // One write per line: whoever reads along sees whole objects.
            let mut out = io::stdout().lock();
            out.write_all(format!("{event}\n").as_bytes()).ok();
            out.flush().ok();
        }
    }

    /// Something that both should know.
    pub fn note(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        match self.json {
            true => self.event(&json!({ "event": "note", "text": line })),
            false => {
                writeln!(io::stderr(), "note: {line}").ok();
            }
        }
    }

    /// Why the command ends. Interruptions have been told already.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::Interrupted) {
            return;
        }
        self.event(&json!({ "event": "error", "text": failure.to_string(), "code": failure.code() }));
        writeln!(io::stderr(), "error: {failure}").ok();
    }

    /// The text in bold, where that shows.
    pub fn bold(&self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The text in the background, where that shows.
    pub fn dim(&self, text: &str) -> String {
        if self.color { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Whether colours are used.
    pub fn color(&self) -> bool {
        self.color
    }
}
