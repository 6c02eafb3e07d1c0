//! `Dense`.

use super::class::{Call, Layer, WeightSpec, layer};
use crate::activations::{Activation, LINEAR};
use crate::arguments::{Choice, Count};
use crate::initializers::InitializerArg;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

layer! {
    /// A fully connected layer (<https://keras.io/api/layers/core_layers/dense/>), on the last axis.
    ///
    /// `[N, .., c]` to `[N, .., units]`. Weights: `kernel` `[c, units]`, `bias` `[units]`. On an image Keras would
    /// silently do a 1 x 1 convolution; here that must be asked for with `last_axis`.
    Dense
    required {
        units: Count, "Number of outputs.";
    }
    optional {
        activation: Choice<Activation> = LINEAR, "Applied to the result; default `linear`.";
        use_bias: bool = true, "Whether a bias is added; default true.";
        kernel_initializer: InitializerArg = "glorot_uniform".into(), "First kernel; default `glorot_uniform`.";
        bias_initializer: InitializerArg = "zeros".into(), "First bias; default `zeros`.";
        last_axis: bool = false, "Whether an image is meant to be mapped pixel by pixel; default false. Not in Keras.";
    }
}

impl Layer for Dense {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let shape = self.single(inputs)?;
        let Some((_, before)) = shape.split_last() else {
            return Err(self.refuse(inputs, "it needs at least one number per example"));
        };
        if before.len() >= 2 && !self.last_axis {
            return Err(self.refuse(inputs, "put a Flatten (or GlobalAveragePooling2D) before it"));
        }
        Ok([before, &[self.units.0]].concat())
    }

    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        let c = inputs[0].last().copied().unwrap_or(0);
        let mut all = vec![WeightSpec::new("kernel", &[c, self.units.0], self.kernel_initializer.get())];
        if self.use_bias {
            all.push(WeightSpec::new("bias", &[self.units.0], self.bias_initializer.get()));
        }
        all
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let g = &mut *cx.graph;
        let mut shape = g.shape(inputs[0]).to_vec();
        let last = shape.len() - 1;
        let (rows, c) = (shape[..last].iter().product::<usize>(), shape[last]);
        let x = g.reshape(inputs[0], &[rows, c]);
        let mut y = g.dot(x, cx.weights[0], false, false);
        if self.use_bias {
            y = g.add(y, cx.weights[1]);
        }
        shape[last] = self.units.0;
        let y = g.reshape(y, &shape);
        self.activation.get().apply(cx, y)
    }
}
