//! The CPU device: its own threads, its own memory, plans compiled to vector loops and micro-kernels.
//!
//! `isa` what the processor has; `workers` the threads; `tape` scalar expressions over blocks; `loops`, `contract`,
//! `window`, `argmax`, `top_k`, `gather`, `suppress` the kernels; `program` a loaded plan. Invariant: nothing in `run` allocates, and no result
//! depends on the number of threads.

mod argmax;
mod bases;
pub mod contract;
mod denormals;
mod device;
mod gather;
mod isa;
mod loops;
mod memory;
mod pin;
mod program;
mod suppress;
mod tape;
mod top_k;
mod window;
mod workers;

pub use bases::Bases;
pub use device::CpuDevice;
pub use isa::{Isa, Target};
pub use tape::{MAX_LANES, Tape};
