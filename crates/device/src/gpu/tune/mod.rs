//! Products computed in the way that was the fastest on this very device.
//!
//! A [`tune`] measures the ways of a plan's products and leaves the best in the device's [`Tuning`], which keeps them in a
//! file ([`Shelf`]) for the next time. Lowering asks it ([`Choices`]) and computes everything else as the account says.
//! Invariants: without a tuning nothing is measured and nothing chosen; with the same file a plan is lowered to the same
//! launches. Another way adds in another order, so that a tuned product may round differently.

mod choices;
mod mini;
mod shelf;
mod stopwatch;
mod tuner;

pub use choices::{Choices, Tuning};
pub use shelf::{Shelf, tuned};
pub use stopwatch::Effort;
pub use tuner::{Measured, Report, tune};
