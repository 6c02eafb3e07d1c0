//! Normalization layers take their statistics from data, as Keras' `adapt` does.

use crate::support::blobs;
use std::sync::Arc;
use thalweg_data::{Arrays, Dataset};
use thalweg_nn::layers::{Dense, Normalization, Rescaling};
use thalweg_nn::{ModelConfig, Sequential};
use thalweg_train::{Model, Tensor};

fn model(config: ModelConfig) -> Model {
    let mut model = Model::from_config(config, 1).unwrap();
    model.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
    model
}

fn weight(model: &mut Model, path: &str) -> Vec<f32> {
    model.weights().unwrap().into_iter().find(|(p, _)| p == path).unwrap().1.to_f32()
}

/// Five images of 2 x 1 pixels and two channels, far from zero: a naive sum of squares would cancel.
fn images() -> Arc<dyn Dataset> {
    let bytes: Vec<f32> = (0..20).map(|i| 4096.0 + (i * i % 7) as f32).collect();
    Arc::new(Arrays::new().input("x", &[2, 1, 2], bytes).build().unwrap())
}

/// A mean and a variance.
type Statistics = (&'static [f32], &'static [f32]);
const KERAS_LAST: Statistics = (&[4098.0, 4098.1], &[2.2, 1.89]);
const KERAS_TWO: Statistics = (&[4098.2, 4098.4, 4097.8, 4097.8], &[2.56, 1.84, 1.76, 1.76]);
const KERAS_ALL: Statistics = (&[4098.05], &[2.0475]);

/// Numbers of Keras 3.15.1: `layer = Normalization(axis=..); layer.adapt(x)` for `x` as in [`images`].
#[test]
fn statistics_are_keras() {
    let cases: [(Vec<i64>, &[f32], &[f32]); 3] = [
        (vec![-1], KERAS_LAST.0, KERAS_LAST.1),
        (vec![1, -1], KERAS_TWO.0, KERAS_TWO.1),
        (vec![], KERAS_ALL.0, KERAS_ALL.1),
    ];
    for (axis, mean, variance) in cases {
        let layer = Normalization::new().axis(axis.clone());
        for (batch, device) in [(2, "cpu"), (5, "interpreted")] {
            let mut model = model(Sequential::new().input(&[2, 1, 2]).add(layer.clone()).build().unwrap());
            if device == "cpu" {
                model.set_device(device, Some(1)).unwrap();
            }
            assert_eq!(model.adapt(&images(), batch).unwrap(), 1);
            for (path, want) in [("normalization/mean", mean), ("normalization/variance", variance)] {
                let got = weight(&mut model, path);
                let near =
                    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g / w - 1.0).abs() < 1e-5);
                assert!(near, "axis {axis:?}, {path}: {got:?} for {want:?}");
            }
        }
    }
}

/// The second layer sees what the first, adapted, makes of the data.
#[test]
fn layers_before_count() {
    let config = Sequential::new()
        .input(&[2])
        .add(Rescaling::new(3.0).offset(1.0))
        .add(Normalization::new().name("first"))
        .add(Dense::new(3))
        .add(Normalization::new().name("second"))
        .build()
        .unwrap();
    let mut model = model(config);
    let data = blobs(40, 3, 1);
    assert_eq!(model.adapt(&data, 16).unwrap(), 2);
    let y: Tensor = model.predict(data.clone(), 40).unwrap().remove(0);
    for c in 0..3 {
        let column: Vec<f32> = y.to_f32().into_iter().skip(c).step_by(3).collect();
        let mean = column.iter().sum::<f32>() / 40.0;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 40.0;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }
    // Statistics are part of the file, and adapting again changes nothing.
    let before = model.weights_sha256().unwrap();
    model.adapt(&data, 16).unwrap();
    assert_eq!(model.weights_sha256().unwrap(), before);
}

#[test]
fn what_cannot_be_adapted_is_said() {
    let mut none = model(Sequential::new().input(&[2]).add(Dense::new(1)).build().unwrap());
    let error = none.adapt(&blobs(4, 2, 1), 2).unwrap_err().to_string();
    assert!(error.contains("no Normalization layer"), "{error}");
    let mut bad = model(Sequential::new().input(&[2]).add(Normalization::new()).build().unwrap());
    let data = Arrays::new().input("x", &[2], vec![1.0f32, f32::NAN]).build().unwrap();
    let error = bad.adapt(&(Arc::new(data) as Arc<dyn Dataset>), 2).unwrap_err().to_string();
    assert!(error.contains("layer 'normalization' cannot be adapted"), "{error}");
    assert_eq!(weight(&mut bad, "normalization/variance"), [1.0, 1.0]);
}
