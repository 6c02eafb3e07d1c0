//! MobileNetV2.

use crate::SMALL;
use thalweg_nn::layers::{
    Add, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, Dropout, GlobalAveragePooling2D, ReLU,
};
use thalweg_nn::{Functional, ModelConfig, NnError, Tensor};

/// Table 2 of the paper: expansion, channels, repetitions, stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// MobileNetV2 of width 1; see [`mobilenet_v2_with`].
pub fn mobilenet_v2(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    mobilenet_v2_with(input, classes, 1.0)
}

/// MobileNetV2 (Sandler et al., "Inverted residuals and linear bottlenecks", 2018) with its channels times
/// `width` (0.35 to 1.4 in the paper): `[N, h, w, c]` to `[N, classes]`. All padding is `same`.
///
/// For images up to 64 pixels a side the first two strides are 1.
pub fn mobilenet_v2_with(input: [usize; 3], classes: usize, width: f64) -> Result<ModelConfig, NnError> {
    let mut net = Net { b: Functional::new().name("mobilenet_v2") };
    let image = net.b.input("image", &input);
    let small = input[0].max(input[1]) <= SMALL;
    let mut channels = divisible(32.0 * width);
    let stem = conv(channels, 3).strides(if small { 1 } else { 2 });
    let mut x = net.conv_norm("stem", image, stem, true);
    let mut block = 0;
    for (expansion, filters, repetitions, first) in STAGES {
        let filters = divisible(filters as f64 * width);
        for i in 0..repetitions {
            let stride = if i > 0 || (small && block == 1) { 1 } else { first };
            let residual = stride == 1 && channels == filters;
            let name = format!("block{block}");
            let y = net.inverted(&name, x, (channels * expansion, filters), expansion > 1, stride);
            x = if residual { net.b.layer(Add::new().name(&format!("{name}_add")), &[x, y]) } else { y };
            channels = filters;
            block += 1;
        }
    }
    // The paper's last layer is not narrowed.
    x = net.conv_norm("top", x, conv(divisible(1280.0 * width.max(1.0)), 1), true);
    x = net.b.layer(GlobalAveragePooling2D::new().name("pool"), &[x]);
    x = net.b.layer(Dropout::new(0.2).name("dropout"), &[x]);
    x = net.b.layer(Dense::new(classes).activation("softmax").name("predictions"), &[x]);
    net.b.build(&[image], &[x])
}

/// The nearest multiple of 8, not more than a tenth below (the paper's reference code).
fn divisible(channels: f64) -> usize {
    let nearest = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

fn conv(filters: usize, size: usize) -> Conv2D {
    Conv2D::new(filters, size).padding("same").use_bias(false).kernel_initializer("he_normal")
}

struct Net {
    b: Functional,
}

impl Net {
    fn norm(&mut self, name: &str, x: Tensor, activate: bool) -> Tensor {
        let norm = BatchNormalization::new().momentum(0.9).name(&format!("{name}_bn"));
        let x = self.b.layer(norm, &[x]);
        if activate {
            self.b.layer(ReLU::new().max_value(6.0).name(&format!("{name}_relu")), &[x])
        } else {
            x
        }
    }

    fn conv_norm(&mut self, name: &str, x: Tensor, conv: Conv2D, activate: bool) -> Tensor {
        let x = self.b.layer(conv.name(&format!("{name}_conv")), &[x]);
        self.norm(name, x, activate)
    }

    /// Expand, filter depthwise, project: figure 4(d) of the paper.
    fn inverted(
        &mut self,
        name: &str,
        mut x: Tensor,
        (wide, filters): (usize, usize),
        expand: bool,
        stride: usize,
    ) -> Tensor {
        if expand {
            x = self.conv_norm(&format!("{name}_expand"), x, conv(wide, 1), true);
        }
        let depthwise = DepthwiseConv2D::new(3)
            .strides(stride)
            .padding("same")
            .use_bias(false)
            .depthwise_initializer("he_normal")
            .name(&format!("{name}_depthwise_conv"));
        x = self.b.layer(depthwise, &[x]);
        x = self.norm(&format!("{name}_depthwise"), x, true);
        self.conv_norm(&format!("{name}_project"), x, conv(filters, 1), false)
    }
}
