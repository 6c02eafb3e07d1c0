//! Running another program: printed before, judged by its exit code.

use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thiserror::Error;

/// Why a command of ours failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// A program could not be started.
    #[error("cannot run {program}: {problem}; is it installed?")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        problem: std::io::Error,
    },
    /// A program ended with an error.
    #[error("failed: {command}")]
    Program {
        /// As typed.
        command: String,
    },
    /// Rules of the project are broken.
    #[error("tidy: {0} rules are broken")]
    Tidy(usize),
}

/// The cargo that runs us.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A program in the workspace's root.
pub fn program(root: &Path, program: impl Into<OsString>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root).args(arguments);
    command
}

/// Runs to the end with its output shown; fails if it fails.
pub fn run(mut command: Command) -> Result<(), Failure> {
    let shown: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|a| Path::new(a).file_name().unwrap_or(a).to_string_lossy().into_owned())
        .collect();
    let shown = shown.join(" ");
    println!("\n== {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::Program { command: shown }),
        Err(problem) => Err(Failure::Start { program: shown, problem }),
    }
}

/// Builds and says where the program of that name is, or the WebAssembly module.
pub fn built(root: &Path, arguments: &[&str], name: &str) -> Result<PathBuf, Failure> {
    let arguments = [arguments, &["--message-format", "json"]].concat();
    let shown = format!("cargo {}", arguments.join(" "));
    let mut command = program(root, cargo(), &arguments);
    command.stderr(Stdio::inherit());
    println!("\n== {shown}");
    let output = command.output().map_err(|problem| Failure::Start { program: "cargo".into(), problem })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).find_map(|m| {
        let named = m["target"]["name"].as_str() == Some(name);
        let module = |f: &&str| f.ends_with(".wasm");
        let modules = m["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        m["executable"].as_str().or(modules.into_iter().find(module)).filter(|_| named).map(PathBuf::from)
    });
    executable.filter(|_| output.status.success()).ok_or(Failure::Program { command: shown })
}
