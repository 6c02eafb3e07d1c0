//! What the command ends with: one line for people, one exit code for scripts.
//!
//! In: errors of the crates below, each of which says what is wrong, where, and what to do. Out: [`Failure`].
//! Invariant: the exit code is chosen by kind of fault here, nowhere else: 1 the run failed, 2 bad usage or
//! recipe, 3 data, 4 device, 130 interrupted.

use std::process::ExitCode;
use thalweg::data::DataError;
use thalweg::device::DeviceError;
use thalweg::nn::NnError;
use thalweg::train::TrainError;

/// Why the command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was asked for well, and failed.
    #[error("{0}")]
    Run(String),
    /// It was asked for wrongly: flags or recipe.
    #[error("{0}")]
    Usage(String),
    /// Data that is missing or damaged.
    #[error("{0}")]
    Data(String),
    /// A device that is not there or cannot do it.
    #[error("{0}")]
    Device(String),
    /// Ctrl-C. What was saved has been said already.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The exit code's number.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Run(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Data(_) => 3,
            Failure::Device(_) => 4,
            Failure::Interrupted => 130,
        }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> ExitCode {
        ExitCode::from(failure.code())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        match error {
            DataError::UnknownName { .. } => Failure::Usage(error.to_string()),
            _ => Failure::Data(error.to_string()),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        Failure::Device(error.to_string())
    }
}

impl From<NnError> for Failure {
    fn from(error: NnError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Failure {
        match error {
            TrainError::Data(e) => e.into(),
            TrainError::Device(e) => e.into(),
            TrainError::Memory { .. } => Failure::Device(error.to_string()),
            TrainError::Label { .. } => Failure::Data(error.to_string()),
            TrainError::Argument { .. } | TrainError::Resume { .. } => Failure::Usage(error.to_string()),
            other => Failure::Run(other.to_string()),
        }
    }
}

/// Results of the command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
