//! The CPU device.

mod bases;
mod denormals;
mod isa;
mod pin;
mod tape;
mod workers;

pub use bases::Bases;
pub use isa::Isa;
pub use tape::{MAX_LANES, Tape};
