//! What detectors are built of: convolution with normalisation and activation, the CSP block.

use super::DetectorSize;
use thalweg_nn::layers::{Activation, Add, BatchNormalization, Concatenate, Conv2D, DepthwiseConv2D};
use thalweg_nn::{Functional, Tensor};

/// A detector being built.
pub struct Net<'a> {
    /// The builder.
    pub b: Functional,
    /// What is built.
    pub size: &'a DetectorSize,
}

/// A convolution: channels, extent of the window, stride.
#[derive(Clone, Copy)]
pub struct Conv {
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
}

/// A convolution of stride 1.
pub fn conv(filters: usize, kernel: usize) -> Conv {
    Conv { filters, kernel, stride: 1 }
}

impl<'a> Net<'a> {
    /// An empty detector.
    pub fn new(b: Functional, size: &'a DetectorSize) -> Self {
        Net { b, size }
    }

    /// `channels` times the width, a multiple of 8.
    pub fn channels(&self, channels: usize) -> usize {
        ((channels as f64 * self.size.width / 8.0).round() as usize * 8).max(8)
    }

    /// `blocks` times the depth, at least 1.
    pub fn blocks(&self, blocks: usize) -> usize {
        ((blocks as f64 * self.size.depth).round() as usize).max(1)
    }

    /// Convolution without bias, normalisation, activation.
    pub fn conv(&mut self, name: &str, x: Tensor, c: Conv) -> Tensor {
        let layer = Conv2D::new(c.filters, c.kernel)
            .strides(c.stride)
            .padding("same")
            .use_bias(false)
            .kernel_initializer("he_normal")
            .name(&format!("{name}_conv"));
        let x = self.b.layer(layer, &[x]);
        self.norm(name, x)
    }

    /// The same where the window is larger than 1 x 1 and the detector depthwise: each channel by itself, then across.
    pub fn light_conv(&mut self, name: &str, x: Tensor, c: Conv) -> Tensor {
        if !self.size.depthwise || c.kernel == 1 {
            return self.conv(name, x, c);
        }
        let layer = DepthwiseConv2D::new(c.kernel)
            .strides(c.stride)
            .padding("same")
            .use_bias(false)
            .depthwise_initializer("he_normal")
            .name(&format!("{name}_depthwise_conv"));
        let x = self.b.layer(layer, &[x]);
        let x = self.norm(&format!("{name}_depthwise"), x);
        self.conv(name, x, conv(c.filters, 1))
    }

    fn norm(&mut self, name: &str, x: Tensor) -> Tensor {
        let norm = BatchNormalization::new().momentum(0.97).epsilon(1e-3).name(&format!("{name}_bn"));
        let x = self.b.layer(norm, &[x]);
        let activation = Activation::new(self.size.activation).name(&format!("{name}_act"));
        self.b.layer(activation, &[x])
    }

    /// One after another along the channels.
    pub fn join(&mut self, name: &str, parts: &[Tensor]) -> Tensor {
        self.b.layer(Concatenate::new().name(name), parts)
    }

    /// A cross-stage partial block (Wang et al. 2020, figure 3b): half of the channels go through `blocks` bottlenecks, half
    /// go past them.
    pub fn csp(&mut self, name: &str, x: Tensor, filters: usize, blocks: usize, residual: bool) -> Tensor {
        let half = filters / 2;
        let past = self.conv(&format!("{name}_past"), x, conv(half, 1));
        let mut y = self.conv(&format!("{name}_in"), x, conv(half, 1));
        for i in 0..blocks {
            let block = format!("{name}_block{i}");
            let z = self.conv(&format!("{block}_1"), y, conv(half, 1));
            let z = self.light_conv(&format!("{block}_2"), z, conv(half, 3));
            y = if residual { self.b.layer(Add::new().name(&format!("{block}_add")), &[y, z]) } else { z };
        }
        let joined = self.join(&format!("{name}_join"), &[y, past]);
        self.conv(&format!("{name}_out"), joined, conv(filters, 1))
    }
}
