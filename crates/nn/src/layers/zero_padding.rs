//! `ZeroPadding2D`.

use super::class::{Call, Layer, layer};
use crate::arguments::Edges;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

layer! {
    /// Zeros around an image (<https://keras.io/api/layers/reshaping_layers/zero_padding2d/>):
    /// `[N, h, w, c]` to `[N, top + h + bottom, left + w + right, c]`.
    ZeroPadding2D
    required {}
    optional {
        padding: Edges = Edges((1, 1), (1, 1)), "One integer, (rows, columns), or ((top, bottom), (left, right)); default 1.";
    }
}

impl Layer for ZeroPadding2D {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [h, w, c] = self.image(inputs)?;
        let Edges(rows, cols) = self.padding;
        Ok(vec![rows.0 + h + rows.1, cols.0 + w + cols.1, c])
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let Edges(rows, cols) = self.padding;
        if (rows, cols) == ((0, 0), (0, 0)) {
            return inputs[0];
        }
        cx.graph.pad(inputs[0], &[(0, 0), rows, cols, (0, 0)], 0.0)
    }
}
