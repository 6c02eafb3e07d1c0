//! Training as a whole: learning, files, resuming, bad values, devices.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod adapting;
mod asking;
mod bad_values;
mod devices;
mod interpreted;
mod kept;
mod mixed;
mod resume;
mod support;
mod training;
