//! What is computed: layers, networks, losses, metrics, optimizers and schedules, as data that builds graph.
//!
//! In: a [`ModelConfig`], written by hand, read from JSON or made by the builders [`Sequential`] and
//! [`Functional`]. Out: a checked [`Network`] that adds its computation to a [`thalweg_graph::Graph`].
//! Invariant: a configuration is data in Keras' words; whatever is wrong with it is said when the network is
//! made, in one line with the layer's name and the fix.

pub mod activations;
pub mod arguments;
mod builder;
mod config;
pub mod detection;
mod dtype_policy;
mod error;
pub mod initializers;
pub mod layers;
pub mod losses;
pub mod metrics;
mod naming;
mod network;
pub mod optimizers;
mod preprocess;
pub mod schedules;
mod table;

pub use activations::Logits;
pub use builder::{Functional, Sequential, Shared, Tensor};
pub use config::{LayerConfig, ModelConfig, TensorRef};
pub use dtype_policy::{DTypePolicy, Precision};
pub use error::{LayerError, NnError, batched};
pub use initializers::Initializer;
pub use layers::{AnyLayer, Layer};
pub use network::{
    Adapting, Forward, ForwardArgs, InputInfo, Network, OutputInfo, Summary, SummaryRow, Weight,
};
pub use thalweg_base::suggest;

/// The extents of one example, without the batch axis.
pub type Shape = Vec<usize>;
