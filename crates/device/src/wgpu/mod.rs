//! The device for every GPU that Vulkan, Metal or Direct3D 12 reaches, through the `wgpu` crate.
//!
//! Nothing is linked: the system's graphics library is loaded at run time, and where there is none the device says so.
//! Software adapters (Mesa's lavapipe) work as well, slowly: they are for tests, and `auto` leaves them alone.

mod adapters;
mod device;
mod faults;
mod loaded;
mod profile;
mod shaders;

pub use adapters::{Adapter, Class, adapters, found};
pub use device::WgpuDevice;

/// What is said where there is no adapter.
pub const NONE: &str =
    "no adapter was found: install the GPU's driver with Vulkan (on Linux also libvulkan1)";
