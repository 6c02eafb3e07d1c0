//! `UpSampling2D`.

use super::class::{Call, Layer, layer};
use crate::arguments::{Choice, Pair, Words};
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

/// How pixels between pixels are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Linear in both directions.
    Bilinear,
}

impl Words for Interpolation {
    const KIND: &'static str = "interpolation";
    const WORDS: &'static [(&'static str, Self)] =
        &[("nearest", Interpolation::Nearest), ("bilinear", Interpolation::Bilinear)];
}

layer! {
    /// An image enlarged by whole factors (<https://keras.io/api/layers/reshaping_layers/up_sampling2d/>):
    /// `[N, h, w, c]` to `[N, h * size.0, w * size.1, c]`.
    UpSampling2D
    required {}
    optional {
        size: Pair = Pair(2, 2), "Factors: one integer or (rows, columns); default 2.";
        interpolation: Choice<Interpolation> = Choice::of("nearest"), "`nearest` (default) or `bilinear`.";
    }
}

impl Layer for UpSampling2D {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [h, w, c] = self.image(inputs)?;
        Ok(vec![h * self.size.0, w * self.size.1, c])
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let factors = (self.size.0, self.size.1);
        match self.interpolation.get() {
            Interpolation::Nearest => cx.graph.upsample_nearest(inputs[0], factors),
            Interpolation::Bilinear => cx.graph.upsample_bilinear(inputs[0], factors),
        }
    }
}
