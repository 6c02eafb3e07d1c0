//! `DepthwiseConv2D`.

use super::class::{Call, Layer, WeightSpec, layer};
use super::conv::{Padding, check_geometry, convolve, outputs};
use crate::activations::{Activation, LINEAR};
use crate::arguments::{Choice, Count, Pair};
use crate::initializers::InitializerArg;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;
use thalweg_graph::derived::Geometry;

layer! {
    /// Convolution of each channel by itself
    /// (<https://keras.io/api/layers/convolution_layers/depthwise_convolution2d/>).
    ///
    /// `[N, h, w, c]` to `[N, oh, ow, c * depth_multiplier]`. Weights: `kernel` `[kh, kw, c, depth_multiplier]`,
    /// `bias` `[c * depth_multiplier]`.
    DepthwiseConv2D
    required {
        kernel_size: Pair, "Extent of the window: one integer or (rows, columns).";
    }
    optional {
        strides: Pair = Pair(1, 1), "Step of the window; default 1.";
        padding: Choice<Padding> = Choice::of("valid"), "`valid` (none; default) or `same`.";
        depth_multiplier: Count = Count(1), "Output channels per input channel; default 1.";
        dilation_rate: Pair = Pair(1, 1), "Step between the elements of the window; default 1.";
        activation: Choice<Activation> = LINEAR, "Applied to the result; default `linear`.";
        use_bias: bool = true, "Whether a bias is added; default true.";
        depthwise_initializer: InitializerArg = "glorot_uniform".into(), "First kernel; default `glorot_uniform`.";
        bias_initializer: InitializerArg = "zeros".into(), "First bias; default `zeros`.";
    }
}

impl DepthwiseConv2D {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: (self.kernel_size.0, self.kernel_size.1),
            strides: (self.strides.0, self.strides.1),
            dilation: (self.dilation_rate.0, self.dilation_rate.1),
            padding: self.padding.get().0,
        }
    }
}

impl Layer for DepthwiseConv2D {
    fn check(&self) -> Result<(), String> {
        check_geometry(self.strides, self.dilation_rate)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [_, _, c] = self.image(inputs)?;
        let (oh, ow) = outputs(self, &self.geometry(), inputs)?;
        Ok(vec![oh, ow, c * self.depth_multiplier.0])
    }

    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        let (c, m) = (inputs[0][2], self.depth_multiplier.0);
        let kernel = [self.kernel_size.0, self.kernel_size.1, c, m];
        let mut all = vec![WeightSpec::new("kernel", &kernel, self.depthwise_initializer.get())];
        if self.use_bias {
            all.push(WeightSpec::new("bias", &[c * m], self.bias_initializer.get()));
        }
        all
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        // Keras' [kh, kw, c, m] is, in the same order in memory, the grouped kernel [kh, kw, 1, c * m].
        let &[kh, kw, c, m] = cx.graph.shape(cx.weights[0]) else { unreachable!("kernels have rank 4") };
        let kernel = cx.graph.reshape(cx.weights[0], &[kh, kw, 1, c * m]);
        let y = convolve(cx, &self.geometry(), inputs[0], kernel, c);
        let y = if self.use_bias { cx.graph.add(y, cx.weights[1]) } else { y };
        self.activation.get().apply(cx, y)
    }
}
