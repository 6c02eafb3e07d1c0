//! `MaxPooling2D`, and what it shares with `AveragePooling2D`.

use super::class::{Call, Layer, layer};
use super::conv::{Padding, outputs};
use crate::arguments::{Choice, Pair, PoolStrides};
use crate::{LayerError, Shape};
use thalweg_graph::derived::{Geometry, Padding as Pad};
use thalweg_graph::{NodeId, PoolDims};

layer! {
    /// The maximum of each window (<https://keras.io/api/layers/pooling_layers/max_pooling2d/>).
    ///
    /// `[N, h, w, c]` to `[N, oh, ow, c]`.
    MaxPooling2D
    required {}
    optional {
        pool_size: Pair = Pair(2, 2), "Extent of the window: one integer or (rows, columns); default 2.";
        strides: PoolStrides = PoolStrides(None), "Step of the window; default the window's extent.";
        padding: Choice<Padding> = Choice::of("valid"), "`valid` (none; default) or `same`.";
    }
}

pub(super) fn geometry(size: Pair, strides: PoolStrides, padding: Pad) -> Geometry {
    let strides = strides.0.unwrap_or(size);
    Geometry { size: (size.0, size.1), strides: (strides.0, strides.1), dilation: (1, 1), padding }
}

pub(super) fn dims(cx: &Call, geometry: &Geometry, x: NodeId) -> PoolDims {
    let &[n, h, w, c] = cx.graph.shape(x) else { unreachable!("the layer accepted an image") };
    match geometry.pool([n, h, w, c]) {
        Some(dims) => dims,
        None => unreachable!("the layer accepted the image's size"),
    }
}

impl MaxPooling2D {
    fn geometry(&self) -> Geometry {
        geometry(self.pool_size, self.strides, self.padding.get().0)
    }
}

impl Layer for MaxPooling2D {
    fn check(&self) -> Result<(), String> {
        let Pair(r, c) = self.pool_size;
        if r * c > 255 {
            return Err(format!("a pool of {r} x {c} has more than 255 positions; use GlobalMaxPooling2D"));
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [_, _, c] = self.image(inputs)?;
        let (oh, ow) = outputs(self, &self.geometry(), inputs)?;
        Ok(vec![oh, ow, c])
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let dims = dims(cx, &self.geometry(), inputs[0]);
        cx.graph.max_pool(inputs[0], dims)
    }
}
