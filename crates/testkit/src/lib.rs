//! What tests are made of: golden files, tolerances, operands of test cases, random graphs, shrinking, and
//! running a plan on a device.
//!
//! A test of a device is one line: [`check_random`] and [`check_cases`] take a function that runs a graph
//! somehow and hold its [`Results`] to the f64 reference; a failing graph is made small and printed.
//! Invariant: everything is a pure function of its seed.

mod check;
mod compare;
mod golden;
pub mod gpu;
mod on_device;
mod operands;
mod random;
mod results;
mod shrink;

pub use check::{check_cases, check_random};
pub use compare::{Tolerance, assert_close, compare};
pub use golden::{Golden, GoldenError};
pub use on_device::{run_plan, run_plan_often};
pub use operands::operands;
pub use random::random_graph;
pub use results::{Results, compare_results, run_reference, run_rounded};
pub use shrink::{rebuild, shrink};
