//! `ReLU`, `LeakyReLU` and `Softmax`: activations with arguments, as layers.

use super::class::{Call, Layer, layer};
use crate::activations::Logits;
use crate::arguments::Bound;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

layer! {
    /// `max(x, 0)`, with options (<https://keras.io/api/layers/activation_layers/relu/>); same shape.
    ReLU
    required {}
    optional {
        max_value: Bound = Bound(None), "Upper bound; default none.";
        negative_slope: f64 = 0.0, "Slope below the threshold; default 0.";
        threshold: f64 = 0.0, "Where the activation begins; default 0.";
    }
}

layer! {
    /// `x` above zero, `negative_slope * x` below
    /// (<https://keras.io/api/layers/activation_layers/leaky_relu/>); same shape.
    LeakyReLU
    required {}
    optional {
        negative_slope: f64 = 0.3, "Slope below zero; default 0.3.";
    }
}

layer! {
    /// `e^x / sum(e^x)` (<https://keras.io/api/layers/activation_layers/softmax/>); same shape.
    Softmax
    required {}
    optional {
        axis: i64 = -1, "The axis that sums to 1, the batch being axis 0; default the last.";
    }
}

impl Layer for ReLU {
    fn check(&self) -> Result<(), String> {
        if self.max_value.0.is_some_and(|m| m < 0.0) || self.negative_slope < 0.0 || self.threshold < 0.0 {
            return Err("max_value, negative_slope and threshold must not be negative".into());
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.single(inputs).cloned()
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let (g, x) = (&mut *cx.graph, inputs[0]);
        let y = if self.threshold == 0.0 && self.negative_slope == 0.0 {
            g.relu(x)
        } else {
            let threshold = g.constant(self.threshold);
            let above = g.lt(threshold, x);
            let below = g.sub(x, threshold);
            let below = g.scale(below, self.negative_slope);
            g.select(above, x, below)
        };
        match self.max_value.0 {
            None => y,
            Some(bound) => {
                let bound = g.constant(bound);
                g.min(bound, y)
            }
        }
    }
}

impl Layer for LeakyReLU {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.single(inputs).cloned()
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        cx.graph.leaky_relu(inputs[0], self.negative_slope)
    }
}

impl Layer for Softmax {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let shape = self.single(inputs)?;
        match super::axis_of(self.axis, shape.len()) {
            Some(_) => Ok(shape.clone()),
            None => Err(self.refuse(inputs, format!("it has no axis {} (the batch is axis 0)", self.axis))),
        }
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let x = cx.activated(inputs[0]);
        let last = cx.graph.shape(x).len() - 1;
        let axis = super::axis_of(self.axis, last).map_or(last, |a| a + 1);
        if axis == last {
            cx.logits = Some((Logits::Softmax, x));
        }
        cx.graph.softmax(x, axis)
    }
}
