//! The device for NVIDIA GPUs, through the driver and its run-time compiler.
//!
//! Neither is linked: both are loaded when they are there, and [`found`] says what is missing where they are not. A plan's
//! launches are captured once into a CUDA graph, which a run starts with one call. Kernels are compiled for just this GPU
//! and kept on disk. cuBLASLt and cuDNN may compute products where they are there and were measured to be faster.

mod cache;
mod cublaslt;
mod cudnn;
mod device;
mod driver;
mod find;
mod kernels;
mod libraries;
mod loaded;
mod nvrtc;
mod places;
mod staging;
mod status;

pub use device::{CudaDevice, found};
pub use libraries::optional;
pub use nvrtc::Nvrtc;
pub use places::Places;
