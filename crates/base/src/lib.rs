//! What the graph and the devices of Thalweg share: data types, the table of scalar operations, the
//! geometry of windows (convolution, pooling), the counter-based random generator, and the words of messages.
//!
//! Nothing here knows of graphs, plans or hardware. Invariant: `eval` of every scalar operation in f64 is
//! the meaning of that operation; every device is tested against it.

mod count;
mod dtype;
mod geometry;
pub mod half;
pub mod philox;
mod scalar;
pub mod suggest;

pub use count::{counted, plural};
pub use dtype::{DType, Scalar};
pub use geometry::{ConvDims, PoolDims, Window};
pub use scalar::ScalarOp;
