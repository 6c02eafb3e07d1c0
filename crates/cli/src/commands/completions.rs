//! `thalweg completions`: a script that completes the command's arguments.

use crate::args::{Arguments, CompletionsArgs};
use crate::error::Result;
use clap::CommandFactory;
use std::io::Write;

/// Runs it.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "thalweg", &mut script);
    std::io::stdout().write_all(&script).ok();
    Ok(())
}
