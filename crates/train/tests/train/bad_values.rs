//! What is not finite, out of range or in the way is named, and no training is lost.

use crate::support::{Notes, blobs, mlp, model};
use std::sync::Arc;
use thalweg_data::{Arrays, Dataset};
use thalweg_nn::ModelConfig;
use thalweg_train::callbacks::{EarlyStopping, TerminateOnNaN};
use thalweg_train::{Compile, End, Fit, Model, OnNan, Tensor};

/// Blobs in which one example is not a number.
fn poisoned(at: usize) -> Arc<dyn Dataset> {
    let mut x: Vec<f32> = (0..80).map(|i| (i as f32 * 0.7).sin()).collect();
    x[2 * at] = f32::NAN;
    let y: Vec<i32> = (0..40).map(|i| i % 3).collect();
    Arc::new(Arrays::new().input("x", &[2], x).target("y", &[], y).name("points").build().unwrap())
}

#[test]
fn a_bad_record_is_named_and_the_weights_survive() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let fit = || Fit::epochs(1).batch_size(8).shuffle(false);
    let error = model.fit(poisoned(21), fit()).unwrap_err().to_string();
    assert!(error.contains("at step 2 (epoch 1, batch 3): field 'x' of example 21 of points"), "{error}");
    assert!(model.weights().unwrap().iter().all(|(_, t)| t.first_not_finite().is_none()));
    // The weights are those after the two good steps.
    let mut good = crate::support::model(mlp(4, 3, false), "sgd");
    good.fit(poisoned(21), fit().steps_per_epoch(2)).unwrap();
    assert_eq!(model.weights_sha256().unwrap(), good.weights_sha256().unwrap());
}

#[test]
fn shuffled_records_keep_their_numbers() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let error = model.fit(poisoned(21), Fit::epochs(1).batch_size(8)).unwrap_err().to_string();
    assert!(error.contains("example 21 of points"), "{error}");
}

#[test]
fn terminate_and_skip() {
    let mut first = model(mlp(4, 3, false), "sgd");
    let fit = || Fit::epochs(2).batch_size(8).shuffle(false);
    let fitted = first.fit(poisoned(21), fit().callback(TerminateOnNaN::default())).unwrap();
    assert!(matches!(fitted.end, End::Stopped(ref why) if why.contains("not finite")), "{:?}", fitted.end);
    assert!(fitted.history.epochs.is_empty());
    let notes = Notes::default();
    let mut second = model(mlp(4, 3, false), "sgd");
    let fitted = second.fit(poisoned(21), fit().on_nan(OnNan::Skip).observer(notes.clone())).unwrap();
    assert_eq!(fitted.end, End::Complete);
    assert_eq!(notes.with("passed over a batch").len(), 2);
    assert!(fitted.history.get("loss").iter().all(|l| l.is_finite()));
}

/// A network whose second layer divides by nothing: its weights overflow f32.
#[test]
fn the_first_bad_layer_is_named() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let mut weights: Vec<Tensor> = model.weights().unwrap().into_iter().map(|w| w.1).collect();
    weights[0] = Tensor::f32(&[2, 4], &[3e38; 8]).unwrap();
    model.set_weights(&weights).unwrap();
    let error = model.fit(blobs(16, 3, 1), Fit::epochs(1)).unwrap_err().to_string();
    assert!(error.contains("layer 'hidden' is the first whose output is not finite"), "{error}");
    weights[0] = Tensor::f32(&[2, 4], &[f32::NAN; 8]).unwrap();
    model.set_weights(&weights).unwrap();
    let error = model.fit(blobs(16, 3, 1), Fit::epochs(1)).unwrap_err().to_string();
    assert!(error.contains("weight 'hidden/kernel' is not finite"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = model.save(folder.path().join("m.safetensors")).unwrap_err().to_string();
    assert!(error.contains("not written, as weight 'hidden/kernel'"), "{error}");
}

#[test]
fn a_label_out_of_range_is_named() {
    let data = |last: i32| -> Arc<dyn Dataset> {
        let y = vec![0, 1, 2, 1, last];
        let built = Arrays::new().input("x", &[2], vec![0.5f32; 10]).target("y", &[], y).name("points");
        Arc::new(built.build().unwrap())
    };
    let mut model = model(mlp(4, 3, false), "sgd");
    for last in [3, -1] {
        let error = model.fit(data(last), Fit::epochs(1).batch_size(2)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("example 4 has the label {last}, but output 'scores' has 3 classes")),
            "{error}"
        );
        let error = model.evaluate(data(last), 2).unwrap_err().to_string();
        assert!(error.contains("example 4"), "{error}");
    }
    model.fit(data(0), Fit::epochs(1)).unwrap();
}

/// Integers that are neither 0 nor 1 are no targets of a binary crossentropy; floats between are.
#[test]
fn a_binary_label_out_of_range_is_named() {
    let config = r#"{"layers": [{"class_name": "Input", "config": {"shape": [2]}},
                     {"class_name": "Dense", "name": "p", "config": {"units": 1, "activation": "sigmoid"}}]}"#;
    let mut model = Model::from_config(ModelConfig::from_json(config).unwrap(), 1).unwrap();
    model.compile(Compile::from_names("sgd", "binary_crossentropy", &[]).unwrap()).unwrap();
    let data = || Arrays::new().input("x", &[2], vec![0.5f32; 6]).name("points");
    let wrong = Arc::new(data().target("y", &[], vec![1u8, 0, 2]).build().unwrap());
    let error = model.fit(wrong, Fit::epochs(1)).unwrap_err().to_string();
    assert!(error.contains("example 2 has the label 2, but output 'p' has 2 classes (0 to 1)"), "{error}");
    let soft = Arc::new(data().target("y", &[], vec![0.9f32, 0.0, 1.2]).build().unwrap());
    model.fit(soft, Fit::epochs(1)).unwrap();
}

/// A data set of one's own may have weights of any shape; what fits no cost is refused before the first step.
#[test]
fn weights_of_a_wrong_shape_are_named() {
    struct Odd(Vec<thalweg_data::Field>);
    impl Dataset for Odd {
        fn len(&self) -> usize {
            4
        }
        fn fields(&self) -> &[thalweg_data::Field] {
            &self.0
        }
        fn class_names(&self) -> &[String] {
            &[]
        }
        fn describe(&self) -> String {
            "odd".into()
        }
        fn read(&self, _: usize, out: &mut [&mut [u8]]) -> thalweg_data::Result<()> {
            out.iter_mut().for_each(|o| o.fill(0));
            Ok(())
        }
    }
    let fields = |shape: &[usize]| {
        let mut all = blobs(4, 3, 1).fields().to_vec();
        let mut weight = thalweg_data::Field::target("w", shape, thalweg_base::DType::F32);
        weight.role = thalweg_data::Role::SampleWeight;
        all.push(weight);
        Arc::new(Odd(all))
    };
    let mut model = model(mlp(4, 3, false), "sgd");
    let error = model.fit(fields(&[5]), Fit::epochs(1)).unwrap_err().to_string();
    assert!(error.contains("'w' holds sample weights of shape [5]"), "{error}");
    model.fit(fields(&[1]), Fit::epochs(1)).unwrap();
}

#[test]
fn arguments_that_cannot_be_meant() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let mut error = |fit: Fit| model.fit(blobs(16, 3, 1), fit).unwrap_err().to_string();
    assert!(error(Fit::epochs(0)).contains("epochs is 0"));
    assert!(error(Fit::epochs(1).batch_size(0)).contains("batch size is 0"));
    assert!(error(Fit::epochs(2).initial_epoch(2)).contains("initial_epoch is 2"));
    assert!(error(Fit::epochs(1).class_weight(&[(5, 1.0)])).contains("names class 5"));
    let monitor = error(Fit::epochs(1).callback(EarlyStopping::default()));
    assert!(
        monitor.contains("watches 'val_loss', which will not be logged; give validation data"),
        "{monitor}"
    );
    // Keras' default means none.
    model.fit(blobs(16, 3, 1), Fit::epochs(1).validation_split(0.0)).unwrap();
    let named = mlp(4, 3, false).to_json().replace("hidden", "state");
    let error = Model::from_config(ModelConfig::from_json(&named).unwrap(), 1).err().unwrap().to_string();
    assert!(error.contains("layers may not be named golden, state or kept"), "{error}");
    let mut plain = Model::from_config(mlp(4, 3, false), 1).unwrap();
    let error = plain.fit(blobs(16, 3, 1), Fit::epochs(1)).unwrap_err().to_string();
    assert!(error.contains("call compile before"), "{error}");
}

#[test]
fn two_inputs_and_two_outputs() {
    let config = serde_json::json!({"name": "two", "layers": [
        {"class_name": "InputLayer", "name": "a", "config": {"batch_shape": [null, 2]}, "inbound": []},
        {"class_name": "InputLayer", "name": "b", "config": {"batch_shape": [null, 3]}, "inbound": []},
        {"class_name": "Concatenate", "name": "both", "config": {}, "inbound": ["a", "b"]},
        {"class_name": "Dense", "name": "kind", "config": {"units": 3, "activation": "softmax"},
         "inbound": ["both"]},
        {"class_name": "Dense", "name": "size", "config": {"units": 1}, "inbound": ["both"]}],
        "inputs": ["a", "b"], "outputs": ["kind", "size"]});
    let config = ModelConfig::from_json(&config.to_string()).unwrap();
    let mut model = Model::from_config(config, 1).unwrap();
    let mse: thalweg_nn::losses::Loss = "mse".parse().unwrap();
    let accuracy: thalweg_nn::metrics::Metric = "accuracy".parse().unwrap();
    let compile = Compile::from_names("sgd", "sparse_categorical_crossentropy", &[]).unwrap();
    model.compile(compile.output_loss("size", mse, 0.5).output_metric("kind", accuracy)).unwrap();
    model.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
    let data = Arrays::new()
        .input("b", &[3], (0..36).map(|i| i as f32 * 0.02).collect::<Vec<_>>())
        .input("a", &[2], (0..24).map(|i| i as f32 * 0.05).collect::<Vec<_>>())
        .target("size", &[], (0..12).map(|i| i as f32 * 0.1).collect::<Vec<_>>())
        .target("kind", &[], (0..12).map(|i| i % 3).collect::<Vec<i32>>())
        .build()
        .unwrap();
    let fitted = model.fit(Arc::new(data), Fit::epochs(2).batch_size(4)).unwrap();
    let last = fitted.history.last().unwrap();
    assert_eq!(last.names()[..4], ["loss", "kind_loss", "size_loss", "kind_accuracy"]);
    let sum = last.get("kind_loss").unwrap() + 0.5 * last.get("size_loss").unwrap();
    assert!((sum - last.get("loss").unwrap()).abs() < 1e-5, "{last:?}");
}
