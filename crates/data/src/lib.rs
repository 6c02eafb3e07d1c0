//! Data sets of Thalweg: sources, formats, decoding, batching and prefetch on the host.
//!
//! Input: files of known formats (CIFAR binary, MNIST idx, image folders), arrays in memory, or a name that
//! can be downloaded. Output: a [`Dataset`] whose examples are raw little-endian bytes, and a [`Loader`] that
//! turns an order of examples into batches. Invariant: what a loader yields depends on the data set and the
//! order alone, never on the number of threads or their timing.

mod arrays;
pub mod cifar;
mod dataset;
pub mod decode;
pub mod detection;
pub mod draw;
mod error;
pub mod folder;
#[cfg(not(target_family = "wasm"))]
mod get;
mod loader;
mod memory;
pub mod mnist;
mod named;
mod order;
mod pages;
mod picture;
mod resize;
mod subset;

pub use arrays::{Arrays, ArraysBuilder, Values};
pub use dataset::{Dataset, Epoch, Field, Role, Split, class_counts};
pub use error::{DataError, Result};
#[cfg(not(target_family = "wasm"))]
pub use get::{Progress, get};
pub use loader::{Batch, Loader, LoaderOptions};
pub use named::{NAMES, default_root, dir_of, open_named};
pub use order::epoch_order;
pub use picture::Picture;
pub use subset::Subset;
