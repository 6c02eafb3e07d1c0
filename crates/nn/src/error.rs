//! What can be wrong with a model, in the user's words.

use crate::Shape;
use crate::suggest::plain;
use thiserror::Error;

/// What one layer cannot do, without the layer's name: [`NnError::Layer`] adds it.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum LayerError {
    /// The shapes that reach the layer do not suit it.
    #[error("{class} got {}; {fix}", shapes(got))]
    Inputs {
        /// The layer's class.
        class: &'static str,
        /// Per-example shapes of its inputs.
        got: Vec<Shape>,
        /// What to do about it.
        fix: String,
    },
    /// An argument is missing, unknown, or has a wrong value.
    #[error("{}", plain(.0))]
    Argument(String),
}

/// An error of this crate.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum NnError {
    /// A layer is wrong, or stands in a wrong place.
    #[error("layer '{}': {source}", plain(layer))]
    Layer {
        /// The layer's name in the model.
        layer: String,
        /// What is wrong.
        source: LayerError,
    },
    /// The model as a whole is wrong.
    #[error("model '{}': {}", plain(model), plain(problem))]
    Model {
        /// The model's name.
        model: String,
        /// What is wrong, and the fix.
        problem: String,
    },
    /// The text of a configuration cannot be read.
    #[error("model configuration: {}", plain(.0))]
    Config(String),
}

/// `[N, 6, 6, 64]`: a per-example shape with the batch axis shown.
pub fn batched(shape: &[usize]) -> String {
    let axes: String = shape.iter().map(|d| format!(", {d}")).collect();
    format!("[N{axes}]")
}

fn shapes(all: &[Shape]) -> String {
    if all.is_empty() {
        return "no input".to_string();
    }
    all.iter().map(|s| batched(s)).collect::<Vec<_>>().join(" and ")
}
