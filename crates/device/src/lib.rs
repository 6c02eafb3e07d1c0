//! Plans, and the devices that run them.
//!
//! A [`Plan`] is pure data: buffers at fixed offsets, kernels, stages. A [`Device`] loads it and runs it; a run
//! allocates nothing. Invariant: devices never see the graph; all they know is in the plan.

mod bindings;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod error;
pub mod gpu;
mod host;
pub mod null;
pub mod plan;
mod select;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use bindings::bound;
pub use device::{Allocation, Device, DeviceInfo, MemoryUse, Program, StageTime};
pub use error::DeviceError;
pub use host::{Cache, Host};
pub use plan::Plan;
pub use select::{Found, auto, cpu_target, list, open};
