//! The device for every GPU that Vulkan, Metal, Direct3D 12 or a browser's WebGPU reaches, through the `wgpu` crate.
//!
//! Nothing is linked: the system's graphics library is loaded at run time, and where there is none the device says so.
//! Software adapters (Mesa's lavapipe) work as well, slowly: they are for tests, and `auto` leaves them alone.

mod adapters;
#[cfg(target_family = "wasm")]
mod browser;
mod device;
mod extras;
mod faults;
mod loaded;
#[cfg(not(target_family = "wasm"))]
mod profile;
mod shaders;
#[cfg(not(target_family = "wasm"))]
mod waiting;

pub use adapters::{Adapter, Class};
pub use device::WgpuDevice;
pub use extras::Extras;
#[cfg(not(target_family = "wasm"))]
pub use waiting::{adapters, found};

#[cfg(target_family = "wasm")]
use browser::{guarded, shelf};
#[cfg(not(target_family = "wasm"))]
use waiting::{guarded, shelf};

/// What is said where there is no adapter.
#[cfg(not(target_family = "wasm"))]
pub const NONE: &str =
    "no adapter was found: install the GPU's driver with Vulkan (on Linux also libvulkan1)";
