//! ResNet-18.

use crate::SMALL;
use thalweg_nn::layers::{
    Add, BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D, ReLU,
};
use thalweg_nn::{Functional, ModelConfig, NnError, Tensor};

/// ResNet-18 (He et al., "Deep residual learning for image recognition", 2015, table 1):
/// `[N, h, w, c]` to `[N, classes]`. All padding is `same`.
///
/// Images up to 64 pixels a side begin with a 3 x 3 convolution of stride 1 and no pooling (the usual form for
/// CIFAR); larger ones with 7 x 7 of stride 2 and a max-pool.
pub fn resnet18(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    let mut net = Net { b: Functional::new().name("resnet18") };
    let image = net.b.input("image", &input);
    let small = input[0].max(input[1]) <= SMALL;
    let mut x =
        if small { net.conv_norm("stem", image, 64, 3, 1) } else { net.conv_norm("stem", image, 64, 7, 2) };
    x = net.b.layer(ReLU::new().name("stem_relu"), &[x]);
    if !small {
        x = net.b.layer(MaxPooling2D::new().pool_size(3).strides(2).padding("same").name("stem_pool"), &[x]);
    }
    for (stage, filters) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = net.block(&format!("stage{}_block{}", stage + 1, block + 1), x, filters, stride);
        }
    }
    x = net.b.layer(GlobalAveragePooling2D::new().name("pool"), &[x]);
    x = net.b.layer(Dense::new(classes).activation("softmax").name("predictions"), &[x]);
    net.b.build(&[image], &[x])
}

struct Net {
    b: Functional,
}

impl Net {
    /// Convolution without bias and its batch normalisation.
    fn conv_norm(&mut self, name: &str, x: Tensor, filters: usize, size: usize, stride: usize) -> Tensor {
        let conv = Conv2D::new(filters, size)
            .strides(stride)
            .padding("same")
            .use_bias(false)
            .kernel_initializer("he_normal")
            .name(&format!("{name}_conv"));
        let x = self.b.layer(conv, &[x]);
        // The paper's framework moves its statistics by a tenth; Keras' 0.99 lags behind in short runs.
        let norm = BatchNormalization::new().momentum(0.9).epsilon(1e-5).name(&format!("{name}_bn"));
        self.b.layer(norm, &[x])
    }

    /// The basic block; its shortcut is a projection where the size changes (option B).
    fn block(&mut self, name: &str, x: Tensor, filters: usize, stride: usize) -> Tensor {
        let y = self.conv_norm(&format!("{name}_1"), x, filters, 3, stride);
        let y = self.b.layer(ReLU::new().name(&format!("{name}_1_relu")), &[y]);
        let y = self.conv_norm(&format!("{name}_2"), y, filters, 3, 1);
        let shortcut =
            if stride > 1 { self.conv_norm(&format!("{name}_shortcut"), x, filters, 1, stride) } else { x };
        let sum = self.b.layer(Add::new().name(&format!("{name}_add")), &[y, shortcut]);
        self.b.layer(ReLU::new().name(&format!("{name}_out")), &[sum])
    }
}
