//! Every named detector builds, has its two outputs and the size its documentation tells.

use thalweg_nn::{ModelConfig, Network};
use thalweg_vision::{DETECTORS, model};

#[test]
fn every_detector_builds_for_any_multiple_of_32() {
    for m in DETECTORS {
        for shape in [[64, 96, 3], [320, 320, 3], [32, 32, 1]] {
            for classes in [1, 3, 80] {
                let config = (m.build)(shape, classes).unwrap();
                assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config, "{}", m.name);
                assert_eq!(config.name, m.name);
                let outputs = Network::new(config).unwrap().outputs();
                let points = [8, 16, 32].map(|s| (shape[0] / s) * (shape[1] / s)).iter().sum::<usize>();
                let bins = if m.name == "detector_small" { 16 } else { 0 };
                assert_eq!(outputs[0].shape, [points, 7 + classes + 4 * bins], "{}", m.name);
                assert_eq!(
                    (outputs[0].name.as_str(), outputs[1].name.as_str()),
                    ("predictions", "detections")
                );
                assert_eq!(outputs[1].shape, [100, 6]);
            }
        }
    }
}

#[test]
fn sizes() {
    for m in DETECTORS {
        let summary = Network::new((m.build)([320, 320, 3], 3).unwrap()).unwrap().summary();
        println!(
            "{}: {} parameters, {:.3} GFLOP at 320",
            m.name,
            summary.trainable_params,
            summary.flops as f64 / 1e9
        );
    }
}

#[test]
fn other_sizes_are_refused_with_the_fix() {
    let error = (model("detector_nano").unwrap().build)([300, 320, 3], 3).unwrap_err().to_string();
    assert!(error.contains("300 x 320") && error.contains("multiples of 32"), "{error}");
    assert!((model("detector_nano").unwrap().build)([320, 320, 3], 0).is_err());
}
