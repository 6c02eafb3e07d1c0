//! The CPU device.

mod bases;
mod isa;
mod tape;

pub use bases::Bases;
pub use isa::Isa;
pub use tape::{MAX_LANES, Tape};
