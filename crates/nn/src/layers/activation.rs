//! `Activation`, an activation as a layer of its own.

use super::class::{Call, Layer, layer};
use crate::arguments::Choice;
use crate::{LayerError, Shape, activations};
use thalweg_graph::NodeId;

layer! {
    /// An activation by name (<https://keras.io/api/layers/core_layers/activation/>); same shape.
    Activation
    required {
        activation: Choice<activations::Activation>, "Its name: `relu`, `softmax`, ...";
    }
    optional {}
}

impl Layer for Activation {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.single(inputs).cloned()
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        self.activation.get().apply(cx, inputs[0])
    }
}
