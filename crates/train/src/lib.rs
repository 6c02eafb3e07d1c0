//! Models that train.

mod error;
pub mod files;
mod tensor;

pub use error::{Result, TrainError};
pub use tensor::Tensor;
