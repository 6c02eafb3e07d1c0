//! `Dropout`.

use super::class::{Call, Layer, layer};
use crate::arguments::Seed;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

layer! {
    /// In training, sets a part of the elements to zero and scales up the rest
    /// (<https://keras.io/api/layers/regularization_layers/dropout/>); same shape.
    Dropout
    required {
        rate: f64, "The part to drop, in 0..1.";
    }
    optional {
        seed: Seed = Seed(None), "Key of its random numbers; default the model's seed.";
    }
}

impl Layer for Dropout {
    fn check(&self) -> Result<(), String> {
        if (0.0..1.0).contains(&self.rate) {
            Ok(())
        } else {
            Err(format!("rate must be in 0..1, not {}", self.rate))
        }
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.single(inputs).cloned()
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let x = inputs[0];
        if !cx.training || self.rate == 0.0 {
            return x;
        }
        let shape = cx.graph.shape(x).to_vec();
        let u = cx.random(self.seed, &shape);
        let g = &mut *cx.graph;
        let rate = g.constant(self.rate);
        let drop = g.lt(u, rate);
        let kept = g.scale(x, 1.0 / (1.0 - self.rate));
        let zero = g.constant(0.0);
        g.select(drop, zero, kept)
    }
}
