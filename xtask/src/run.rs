//! Running another program: printed before, judged by its exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
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
