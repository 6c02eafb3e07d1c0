//! Layers: each is data (its arguments), a shape rule, weights, and graph.
//!
//! In: per-example shapes and nodes. Out: nodes. Invariant: where [`Layer::output_shape`] agrees, [`Layer::call`]
//! cannot fail. A layer is its file and one line of the table in `table.rs`.

mod class;
mod table;

mod activation;
mod average_pooling;
mod batch_normalization;
mod concatenate;
mod conv;
mod decode_boxes;
mod dense;
mod depthwise;
mod dropout;
mod global_pooling;
mod input;
mod max_pooling;
mod merge;
mod non_max_suppression;
mod normalization;
mod random_flip;
mod random_translation;
mod rectifiers;
mod rescaling;
mod shape;
mod up_sampling;
mod zero_padding;

pub use activation::Activation;
pub use average_pooling::AveragePooling2D;
pub use batch_normalization::BatchNormalization;
pub use class::{Call, Class, Layer, WeightSpec};
pub use concatenate::Concatenate;
pub use conv::{Conv2D, Padding};
pub use decode_boxes::DecodeBoxes;
pub use dense::Dense;
pub use depthwise::DepthwiseConv2D;
pub use dropout::Dropout;
pub use global_pooling::{GlobalAveragePooling2D, GlobalMaxPooling2D};
pub use input::{InputLayer, InputType};
pub use max_pooling::MaxPooling2D;
pub use merge::{Add, Average, Maximum, Minimum, Multiply, Subtract};
pub use non_max_suppression::NonMaxSuppression;
pub use normalization::Normalization;
pub use random_flip::{FlipMode, RandomFlip};
pub use random_translation::{FillMode, RandomTranslation};
pub use rectifiers::{LeakyReLU, ReLU, Softmax};
pub use rescaling::Rescaling;
pub use shape::{Flatten, Reshape};
pub use table::{AnyLayer, ClassDoc};
pub use up_sampling::{Interpolation, UpSampling2D};
pub use zero_padding::ZeroPadding2D;

/// The per-example axis (from 0) that Keras' `axis` means, where the batch is axis 0 and negative ones count from
/// the end; `None` where there is none, or it is the batch. `rank` is that of an example.
fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 + 1 } else { axis };
    usize::try_from(axis - 1).ok().filter(|&a| a < rank)
}
