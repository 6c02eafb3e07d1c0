//! LeNet-5.

use thalweg_nn::layers::{AveragePooling2D, Conv2D, Dense, Flatten};
use thalweg_nn::{ModelConfig, NnError, Sequential};

/// LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998) with the usual
/// softmax at its end: `[N, h, w, c]` to `[N, classes]`. Images under 32 pixels are padded as in the paper.
pub fn lenet5(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    let padding = if input[0].min(input[1]) < 32 { "same" } else { "valid" };
    Sequential::new()
        .name("lenet5")
        .input(&input)
        .add(Conv2D::new(6, 5).padding(padding).activation("tanh"))
        .add(AveragePooling2D::new(2))
        .add(Conv2D::new(16, 5).activation("tanh"))
        .add(AveragePooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(120).activation("tanh"))
        .add(Dense::new(84).activation("tanh"))
        .add(Dense::new(classes).activation("softmax"))
        .build()
}
