//! `InputLayer`: where examples enter.

use super::class::{Call, Layer, layer};
use crate::arguments::{BatchShape, Choice, Words};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::{DType, NodeId};

layer! {
    /// An input of the model (<https://keras.io/api/layers/core_layers/input/>). Images may come as `uint8`:
    /// the model converts them where they are first used.
    InputLayer
    required {
        batch_shape: BatchShape, "Shape of the input, `null` for the batch first; in Rust the shape of one example.";
    }
    optional {
        dtype: Choice<InputType> = Choice::of("float32"), "Element type: `float32`, `uint8` or `int32`.";
        sparse: bool = false, "Only false: sparse tensors are not supported.";
    }
}

/// Element type of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputType(pub DType);

impl Words for InputType {
    const KIND: &'static str = "dtype";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("float32", InputType(DType::F32)),
        ("uint8", InputType(DType::U8)),
        ("int32", InputType(DType::I32)),
    ];
}

impl Layer for InputLayer {
    fn check(&self) -> Result<(), String> {
        if self.sparse { Err("sparse inputs are not supported".into()) } else { Ok(()) }
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        if inputs.is_empty() {
            Ok(self.batch_shape.0.clone())
        } else {
            Err(self.refuse(inputs, "an input has none before it"))
        }
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    /// The given node, as numbers that layers compute with.
    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        cx.graph.cast(inputs[0], DType::F32)
    }
}
