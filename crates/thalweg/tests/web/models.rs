//! Small models of the kinds that a page may be given, trained for a moment, and a picture for them.

use crate::shapes;
use std::path::Path;
use std::sync::Arc;
use thalweg::data::{Dataset, Picture};
use thalweg::graph::philox::Sequence;
use thalweg::prelude::*;

/// Rows, columns and channels of the classifier's images.
pub const IMAGE: [usize; 3] = [10, 12, 3];
pub const CLASSES: [&str; 3] = ["red", "green", "blue"];
/// Pictures that the detector looks at.
pub const PICTURES: usize = 6;
/// Least score of boxes that are compared.
pub const CONFIDENCE: f64 = 0.1;

/// `classifier.safetensors`: the colour that is strongest; bytes in, convolutions, normalisation, pooling.
pub fn classifier(folder: &Path) {
    let mut random = Sequence::new(5, 0, 0);
    let [h, w, c] = IMAGE;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for label in (0..60).map(|i| i % 3) {
        pixels.extend((0..h * w * c).map(|i| (random.below(150) + 100 * u32::from(i % 3 == label)) as u8));
        labels.push(label as i32);
    }
    let data: Arc<dyn Dataset> = Arc::new(
        Arrays::new()
            .input("image", &IMAGE, pixels)
            .target("colour", &[], labels)
            .class_names(CLASSES)
            .build()
            .unwrap(),
    );
    let config = Sequential::new()
        .name("colours")
        .add(InputLayer::new(IMAGE).dtype("uint8").name("image"))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(8, 3).activation("relu"))
        .add(BatchNormalization::default())
        .add(DepthwiseConv2D::new(3))
        .add(MaxPooling2D::new().pool_size(2))
        .add(Flatten::new())
        .add(Dense::new(CLASSES.len()).activation("softmax"))
        .build()
        .unwrap();
    let mut model = Model::from_config(config, 2).unwrap();
    let loss = SparseCategoricalCrossentropy::default();
    model.compile(Compile::new(Adam::default(), loss)).unwrap();
    model.fit(data, Fit::epochs(30).batch_size(10).run_folder(folder.join("run"))).unwrap();
    std::fs::copy(folder.join("run/model.safetensors"), folder.join("classifier.safetensors")).unwrap();
}

/// `detector.safetensors`, and `picture0.png` and so on for it, which have not the model's size.
pub fn detector(folder: &Path) {
    let set = shapes::pictures(&folder.join("train"), 48, 1);
    let run = folder.join("detector");
    let mut model = shapes::model();
    model.fit(Arc::new(set.clone()), Fit::epochs(30).batch_size(8).run_folder(&run)).unwrap();
    std::fs::copy(run.join("model.safetensors"), folder.join("detector.safetensors")).unwrap();
    for (i, image) in set.annotations().images[..PICTURES].iter().enumerate() {
        let picture = Picture::open(&image.path).unwrap().resized(97 + 20 * i, 80 + 30 * i);
        picture.save(&folder.join(format!("picture{i}.png"))).unwrap();
    }
}

/// `two.safetensors`: two inputs, two outputs, not trained, without examples of its own.
pub fn two_inputs(folder: &Path) {
    let mut net = Functional::new();
    let (a, b) = (net.input("a", &[4]), net.input("b", &[4]));
    let joined = net.layer(Concatenate::new(), &[a, b]);
    let sum = net.layer(Dense::new(3).activation("tanh"), &[joined]);
    let last = net.layer(Dense::new(2), &[sum]);
    let config = net.build(&[a, b], &[sum, last]).unwrap();
    Model::from_config(config, 3).unwrap().save(folder.join("two.safetensors")).unwrap();
}
