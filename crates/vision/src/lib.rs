//! Named vision models: functions from an input shape and a number of classes to a [`ModelConfig`].
//!
//! In: `[rows, columns, channels]` and the classes. Out: configurations in Keras' words, f32 input; classifiers with a
//! softmax at the end, and detectors. A model is its file and one line of [`MODELS`] or [`DETECTORS`], which feed the command
//! line and its suggestions.

pub mod detector;
mod lenet5;
mod mobilenet_v2;
mod resnet18;
mod simple_cnn;

pub use lenet5::lenet5;
pub use mobilenet_v2::{mobilenet_v2, mobilenet_v2_with};
pub use resnet18::resnet18;
pub use simple_cnn::simple_cnn;

use thalweg_nn::{ModelConfig, NnError, suggest};

/// Images up to this many pixels a side get the stem for small images: no early downsampling.
const SMALL: usize = 64;

/// A model by name.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub doc: &'static str,
    /// Its configuration for a shape of image and a number of classes.
    pub build: fn([usize; 3], usize) -> Result<ModelConfig, NnError>,
}

/// Every named classifier.
pub const MODELS: &[Model] = &[
    Model {
        name: "simple_cnn",
        doc: "two convolutions and two dense layers; 168 k parameters on CIFAR",
        build: simple_cnn,
    },
    Model { name: "lenet5", doc: "LeCun et al. 1998; 62 k parameters on MNIST", build: lenet5 },
    Model { name: "resnet18", doc: "He et al. 2015, 18 layers; 11 M parameters", build: resnet18 },
    Model { name: "mobilenet_v2", doc: "Sandler et al. 2018, width 1; 2 M parameters", build: mobilenet_v2 },
];

/// Every named detector.
pub const DETECTORS: &[Model] = &[
    Model {
        name: detector::NANO.name,
        doc: "detector without anchor boxes, the smallest",
        build: detector::detector_nano,
    },
    Model {
        name: detector::NANO_DEPTHWISE.name,
        doc: "the same of depthwise convolutions, for CPUs",
        build: detector::detector_nano_depthwise,
    },
    Model { name: detector::TINY.name, doc: "larger", build: detector::detector_tiny },
    Model {
        name: detector::SMALL.name,
        doc: "the largest detector; distances are distributions",
        build: detector::detector_small,
    },
];

/// The model of that name, or the line that says which there are.
pub fn model(name: &str) -> Result<&'static Model, String> {
    let all = || MODELS.iter().chain(DETECTORS);
    let names: Vec<&str> = all().map(|m| m.name).collect();
    all().find(|m| m.name == name).ok_or_else(|| suggest::unknown("model", name, &names))
}
