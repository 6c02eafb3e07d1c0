//! What can go wrong on a device.

use thiserror::Error;

/// An error of a device.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum DeviceError {
    /// No such device.
    #[error("there is no device '{asked}'; {known}")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What was perhaps meant, and what could be asked for.
        known: String,
    },
    /// Not enough memory.
    #[error("{device}: cannot allocate {needed} bytes ({what})")]
    OutOfMemory {
        /// Device name.
        device: String,
        /// Bytes asked for.
        needed: usize,
        /// For what.
        what: String,
    },
    /// A GPU is not there, refused something or was lost.
    #[error("{device}: {reason}")]
    Gpu {
        /// Device name.
        device: String,
        /// What happened and, where that is known, what to do.
        reason: String,
    },
    /// A worker could not be started.
    #[error("{device}: cannot start worker threads: {reason}; ask for fewer with --threads")]
    Workers {
        /// Device name.
        device: String,
        /// The system's reason.
        reason: String,
    },
    /// An allocation does not fit a plan's binding, or a transfer its allocation.
    #[error("{what}: expected {expected} bytes, got {found}")]
    Size {
        /// Which binding or transfer.
        what: String,
        /// Bytes it has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A plan is bound to too few or too many allocations.
    #[error("{what}: expected {expected}, got {found}")]
    Bindings {
        /// Of which plan.
        what: String,
        /// Bindings it has.
        expected: usize,
        /// Allocations given.
        found: usize,
    },
    /// A plan breaks its own rules: a mistake of the compiler's.
    #[error("plan {plan}: {problem}; this is a bug, please report it with the plan (`thalweg explain`)")]
    Plan {
        /// The plan's name.
        plan: String,
        /// The first rule it breaks.
        problem: String,
    },
}
