//! Plans, and the devices that run them.
//!
//! A [`Plan`] is pure data: buffers at fixed offsets, kernels, stages. A [`Device`] loads it and runs it; a run
//! allocates nothing. Invariant: devices never see the graph; all they know is in the plan.

mod bindings;
#[cfg(target_family = "wasm")]
mod browser;
mod caches;
#[cfg(not(target_family = "wasm"))]
pub mod cpu;
#[cfg(all(feature = "cuda", not(target_family = "wasm")))]
pub mod cuda;
mod device;
mod error;
pub mod gpu;
mod host;
pub mod null;
pub mod plan;
#[cfg(not(target_family = "wasm"))]
mod select;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use bindings::bound;
#[cfg(target_family = "wasm")]
pub use browser::open;
pub use device::{Allocation, Device, DeviceInfo, Later, MemoryUse, Program, StageTime};
pub use error::DeviceError;
pub use host::{Cache, Host};
pub use plan::Plan;
#[cfg(not(target_family = "wasm"))]
pub use select::{Found, auto, cpu_target, list, open, optional};
