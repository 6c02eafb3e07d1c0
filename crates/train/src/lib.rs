//! Models that train.

pub mod callbacks;
mod error;
pub mod files;
mod logs;
mod tensor;

pub use error::{Result, TrainError};
pub use logs::{History, Logs};
pub use tensor::Tensor;
