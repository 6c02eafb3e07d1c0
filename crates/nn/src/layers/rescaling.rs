//! `Rescaling`.

use super::class::{Call, Layer, layer};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::NodeId;

layer! {
    /// `x * scale + offset` (<https://keras.io/api/layers/preprocessing_layers/image_preprocessing/rescaling/>);
    /// same shape. `Rescaling(1/255)` takes images of bytes to 0..1.
    Rescaling
    required {
        scale: f64, "Factor.";
    }
    optional {
        offset: f64 = 0.0, "Added afterwards; default 0.";
    }
}

impl Layer for Rescaling {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.single(inputs).cloned()
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let y = cx.graph.scale(inputs[0], self.scale);
        if self.offset == 0.0 { y } else { cx.graph.offset(y, self.offset) }
    }
}
