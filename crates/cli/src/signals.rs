//! Ctrl-C while a model trains: the first asks training to end its step and save, the second ends the program.
//!
//! Invariant: the handler is set only when somebody looks at the flag; before that Ctrl-C ends the program as
//! usual.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of an interrupted program.
pub const INTERRUPTED: u8 = 130;

/// A flag that Ctrl-C (or a request to terminate) sets.
pub fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let outcome = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\ninterrupted: ending this step and saving (Ctrl-C again ends at once)");
    });
    if let Err(error) = outcome {
        eprintln!("note: Ctrl-C will not save: {error}");
    }
    flag
}
