//! What people and scripts see.

mod confusion;
mod console;
mod numbers;
mod paste;
mod progress;
mod table;

pub use confusion::confusion_text;
pub use console::Console;
pub use numbers::{counted, grouped, megabytes, rounded, short_bytes, short_flops};
pub use paste::pasted;
pub use progress::{Bar, Tally, Watch};
pub use table::Table;
