//! Layers: each is data (its arguments), a shape rule, weights, and graph.
//!
//! In: per-example shapes and nodes. Out: nodes. Invariant: where [`Layer::output_shape`] agrees, [`Layer::call`]
//! cannot fail. A layer is its file and one line of the table in `table.rs`.

mod class;
mod table;

mod activation;
mod conv;
mod dense;
mod depthwise;
mod input;
mod max_pooling;
mod shape;

pub use activation::Activation;
pub use class::{Call, Class, Layer, WeightSpec};
pub use conv::Conv2D;
pub use dense::Dense;
pub use depthwise::DepthwiseConv2D;
pub use input::InputLayer;
pub use max_pooling::MaxPooling2D;
pub use shape::{Flatten, Reshape};
pub use table::{AnyLayer, ClassDoc};
