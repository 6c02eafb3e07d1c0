//! `AveragePooling2D`.

use super::class::{Call, Layer, layer};
use super::conv::{Padding, outputs};
use super::max_pooling::{dims, geometry};
use crate::arguments::{Choice, Pair, PoolStrides};
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;
use thalweg_graph::derived::Geometry;

layer! {
    /// The mean of each window (<https://keras.io/api/layers/pooling_layers/average_pooling2d/>); padding is not
    /// counted.
    ///
    /// `[N, h, w, c]` to `[N, oh, ow, c]`.
    AveragePooling2D
    required {
        pool_size: Pair, "Extent of the window: one integer or (rows, columns).";
    }
    optional {
        strides: PoolStrides = PoolStrides(None), "Step of the window; default the window's extent.";
        padding: Choice<Padding> = Choice::of("valid"), "`valid` (none; default) or `same`.";
    }
}

impl AveragePooling2D {
    fn geometry(&self) -> Geometry {
        geometry(self.pool_size, self.strides, self.padding.get().0)
    }
}

impl Layer for AveragePooling2D {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [_, _, c] = self.image(inputs)?;
        let (oh, ow) = outputs(self, &self.geometry(), inputs)?;
        Ok(vec![oh, ow, c])
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let dims = dims(cx, &self.geometry(), inputs[0]);
        cx.graph.average_pool(inputs[0], dims)
    }
}
