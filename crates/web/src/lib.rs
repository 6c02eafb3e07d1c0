//! Trained models in a browser: the same file, the same plan and the same shaders as elsewhere, through WebGPU.
//!
//! In: a model file's bytes, pixels as the browser decoded them, typed arrays. Out: a JavaScript class, `Model`, whose
//! methods return promises. Invariants: what is wrong is a JavaScript error with one line that says what to do; nothing of a
//! file is run or believed here that is not elsewhere; a page never waits. `cargo xtask web` makes the package.

#![cfg(target_family = "wasm")]

mod model;
mod numbers;
mod object;
mod picture;
mod types;

pub use model::Model;

use wasm_bindgen::prelude::wasm_bindgen;

/// Lets a bug of ours be heard as an error, not as `unreachable`.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let line: Vec<String> = panic.to_string().split_whitespace().map(str::to_owned).collect();
        wasm_bindgen::throw_str(&format!("thalweg has a bug, please report it: {}", line.join(" ")))
    }));
}
