//! The command `thalweg`: trains, judges and uses vision models from recipe files in Keras' words.
//!
//! In: arguments, a recipe or a model file. Out: text for people on standard output, or with `--json` one object
//! per line; errors as one line on standard error and an exit code (see [`error::Failure`]). Invariant: the
//! environment is read here, once, and nowhere below.

mod annotated;
mod args;
mod commands;
mod environment;
mod error;
mod recipe;
mod sets;
mod show;
mod signals;

use args::{Arguments, Command};
use clap::Parser;
use environment::Environment;
use show::Console;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let environment = Environment::read();
    let console = Console::new(arguments.command.json(), environment.color);
    let outcome = match &arguments.command {
        Command::Fit(a) => commands::fit(a, &environment, &console),
        Command::Evaluate(a) => commands::evaluate(a, &environment, &console),
        Command::Predict(a) => commands::predict(a, &console),
        Command::Summary(a) => commands::summary(a, &console),
        Command::Explain(a) => commands::explain(a, &console),
        Command::Plan(a) => commands::plan(a, &console),
        Command::Devices(_) => commands::devices(&console),
        Command::Doctor(a) => commands::doctor(a, &environment, &console),
        Command::Data(a) => commands::data(a, &environment, &console),
        Command::Bench(a) => commands::bench(a, &environment, &console),
        Command::Tune(a) => commands::tune(a, &console),
        Command::Completions(a) => commands::completions(a),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(&failure)
        }
    }
}
