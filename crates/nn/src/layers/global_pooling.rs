//! `GlobalAveragePooling2D` and `GlobalMaxPooling2D`: one number per channel.

use super::class::{Call, Layer, layer};
use crate::{LayerError, Shape};
use thalweg_graph::{NodeId, ReduceKind};

layer! {
    /// The mean of each channel (<https://keras.io/api/layers/pooling_layers/global_average_pooling2d/>):
    /// `[N, h, w, c]` to `[N, c]`.
    GlobalAveragePooling2D
    required {}
    optional {
        keepdims: bool = false, "Whether the result is [N, 1, 1, c]; default false.";
    }
}

layer! {
    /// The maximum of each channel (<https://keras.io/api/layers/pooling_layers/global_max_pooling2d/>):
    /// `[N, h, w, c]` to `[N, c]`.
    GlobalMaxPooling2D
    required {}
    optional {
        keepdims: bool = false, "Whether the result is [N, 1, 1, c]; default false.";
    }
}

/// The image's extents that stay.
fn shape([_, _, c]: [usize; 3], keepdims: bool) -> Shape {
    if keepdims { vec![1, 1, c] } else { vec![c] }
}

/// `kept` is `[n, 1, 1, c]`.
fn finish(cx: &mut Call, kept: NodeId, keepdims: bool) -> NodeId {
    let &[n, _, _, c] = cx.graph.shape(kept) else { unreachable!("the layer accepted an image") };
    if keepdims { kept } else { cx.graph.reshape(kept, &[n, c]) }
}

impl Layer for GlobalAveragePooling2D {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        Ok(shape(self.image(inputs)?, self.keepdims))
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let kept = cx.graph.mean_keep(inputs[0], &[1, 2]);
        finish(cx, kept, self.keepdims)
    }
}

impl Layer for GlobalMaxPooling2D {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        Ok(shape(self.image(inputs)?, self.keepdims))
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let kept = cx.graph.reduce_keep(ReduceKind::Max, inputs[0], &[1, 2]);
        finish(cx, kept, self.keepdims)
    }
}
