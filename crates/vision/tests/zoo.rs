//! Every named model builds, and has the parameters its paper's reference implementation has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use thalweg_nn::layers::{RandomFlip, Rescaling};
use thalweg_nn::{ModelConfig, Network};
use thalweg_vision::{MODELS, lenet5, mobilenet_v2, mobilenet_v2_with, model, resnet18, simple_cnn};

fn trainable(config: ModelConfig) -> usize {
    Network::new(config).unwrap().summary().trainable_params
}

#[test]
fn parameters_are_those_of_the_references() {
    assert_eq!(trainable(simple_cnn([32, 32, 3], 10).unwrap()), 167_562);
    assert_eq!(trainable(lenet5([28, 28, 1], 10).unwrap()), 61_706);
    assert_eq!(trainable(lenet5([32, 32, 1], 10).unwrap()), 61_706);
    // torchvision's counts.
    assert_eq!(trainable(resnet18([224, 224, 3], 1000).unwrap()), 11_689_512);
    assert_eq!(trainable(mobilenet_v2([224, 224, 3], 1000).unwrap()), 3_504_872);
    // Keras' count of MobileNetV2 with alpha=0.5, trainable.
    assert_eq!(trainable(mobilenet_v2_with([224, 224, 3], 1000, 0.5).unwrap()), 1_968_680);
    assert_eq!(trainable(resnet18([32, 32, 3], 10).unwrap()), 11_173_962);
}

#[test]
fn every_model_builds_for_small_and_large_images() {
    for m in MODELS {
        for shape in [[32, 32, 3], [96, 64, 1]] {
            let config = (m.build)(shape, 7).unwrap();
            assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config, "{}", m.name);
            assert_eq!(config.name, m.name);
            let network = Network::new(config).unwrap();
            assert_eq!(network.outputs()[0].shape, [7], "{}", m.name);
            assert!(network.summary().flops > 0);
        }
    }
}

#[test]
fn flops_are_those_of_the_papers() {
    let flops = |config: ModelConfig| Network::new(config).unwrap().summary().flops as f64;
    // 1.8 G and 300 M multiply-adds.
    let resnet = flops(resnet18([224, 224, 3], 1000).unwrap());
    assert!((3.5e9..3.8e9).contains(&resnet), "{resnet}");
    let mobile = flops(mobilenet_v2([224, 224, 3], 1000).unwrap());
    assert!((5.9e8..6.8e8).contains(&mobile), "{mobile}");
}

#[test]
fn raw_images_go_through_preprocessing() {
    let config = simple_cnn([32, 32, 3], 10).unwrap();
    let layers = vec![Rescaling::new(1.0 / 255.0).into(), RandomFlip::new().mode("horizontal").into()];
    let network = Network::new(config.preprocess("uint8", layers)).unwrap();
    let names: Vec<String> = network.summary().rows.into_iter().take(4).map(|r| r.name).collect();
    assert_eq!(names, ["input_layer", "rescaling", "random_flip", "conv2d"]);
    assert_eq!(network.inputs()[0].dtype.to_string(), "u8");
}

#[test]
fn names_are_suggested() {
    assert_eq!(
        model("resnet").unwrap_err(),
        "model 'resnet' is not known; did you mean 'resnet18'? known: simple_cnn, lenet5, resnet18, mobilenet_v2, \
         detector_nano, detector_nano_depthwise, detector_tiny, detector_small"
    );
}
