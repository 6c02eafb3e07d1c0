//! An interpreter of the kernel IR: GPU kernels run, and are held to the IR's rules, where there is no GPU.
//!
//! [`InterpretedGpu`] is a device like any other, so that the conformance suite runs on it; [`run_kernel`] runs a single
//! kernel. A rule that is broken (a race, a barrier that only some threads reach, an element out of bounds) panics with
//! the kernel's name and the statement. [`SoftwareCuda`] runs the CUDA device itself, and the text that kernels are rendered
//! to.

mod calls;
mod cooperative;
mod device;
mod machine;
mod memory;
mod software;
mod tensor;

pub use device::InterpretedGpu;
pub use machine::{Clock, run_kernel};
pub use memory::{Memory, Window};
pub use software::SoftwareCuda;
