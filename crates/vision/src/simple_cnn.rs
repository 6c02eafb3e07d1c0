//! The seed program's network.

use thalweg_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D};
use thalweg_nn::{ModelConfig, NnError, Sequential};

/// Conv 32, pool, conv 64, pool, dense 64, dense `classes`: `[N, h, w, c]` to `[N, classes]`. On 32 x 32 x 3 and
/// 10 classes 167,562 parameters. Images need at least 10 pixels a side.
pub fn simple_cnn(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    Sequential::new()
        .name("simple_cnn")
        .input(&input)
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new())
        .add(Conv2D::new(64, 3).activation("relu"))
        .add(MaxPooling2D::new())
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(Dense::new(classes).activation("softmax"))
        .build()
}
