//! `RandomTranslation`.

use super::class::{Call, Layer, layer};
use super::up_sampling::Interpolation;
use crate::arguments::{Choice, Factor, Seed, Words};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::NodeId;
use thalweg_graph::derived::Fill;

/// Keras' `fill_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FillMode(pub Fill);

impl Words for FillMode {
    const KIND: &'static str = "fill_mode";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("reflect", FillMode(Fill::Reflect)),
        ("constant", FillMode(Fill::Zero)),
        ("nearest", FillMode(Fill::Nearest)),
        ("wrap", FillMode(Fill::Wrap)),
    ];
}

layer! {
    /// In training, moves each image by a random part of its size
    /// (<https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_translation/>); same shape.
    RandomTranslation
    required {
        height_factor: Factor, "Parts of the height, down if positive: `0.1` for -0.1..0.1, or (lower, upper).";
        width_factor: Factor, "Parts of the width, right if positive: `0.1` for -0.1..0.1, or (lower, upper).";
    }
    optional {
        fill_mode: Choice<FillMode> = Choice::of("reflect"), "`reflect` (default), `constant`, `nearest` or `wrap`.";
        interpolation: Choice<Interpolation> = Choice::of("bilinear"), "`bilinear` (default), or `nearest`: whole pixels.";
        seed: Seed = Seed(None), "Key of its random numbers; default the model's seed.";
        fill_value: f64 = 0.0, "What `constant` fills with; only 0.";
    }
}

impl Layer for RandomTranslation {
    fn check(&self) -> Result<(), String> {
        if self.fill_value == 0.0 {
            Ok(())
        } else {
            Err(format!("fill_value {} is not supported; only 0", self.fill_value))
        }
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.image(inputs).map(|s| s.to_vec())
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let x = inputs[0];
        if !cx.training {
            return x;
        }
        let &[n, h, w, _] = cx.graph.shape(x) else { unreachable!("the layer accepted an image") };
        let u = cx.random(self.seed, &[2, n]);
        let fill = self.fill_mode.get().0;
        let down = self.pixels(cx, u, 0, self.height_factor, h);
        let right = self.pixels(cx, u, 1, self.width_factor, w);
        let x = down.map_or(x, |by| cx.graph.shift_rows(x, by, fill));
        right.map_or(x, |by| cx.graph.shift_cols(x, by, fill))
    }
}

impl RandomTranslation {
    /// Row `row` of the uniform numbers `[2, n]` as shifts in pixels, or `None` for no shift at all.
    fn pixels(&self, cx: &mut Call, u: NodeId, row: usize, factor: Factor, extent: usize) -> Option<NodeId> {
        if factor == Factor(0.0, 0.0) {
            return None;
        }
        let g = &mut *cx.graph;
        let n = g.shape(u)[1];
        let mine = g.slice(u, 0, row, row + 1);
        let mine = g.reshape(mine, &[n]);
        let span = g.scale(mine, (factor.1 - factor.0) * extent as f64);
        let by = g.offset(span, factor.0 * extent as f64);
        Some(match self.interpolation.get() {
            Interpolation::Bilinear => by,
            Interpolation::Nearest => {
                let shifted = g.offset(by, 0.5);
                g.floor(shifted)
            }
        })
    }
}
