//! Models train, judge, predict, and come back from files as they were.

use crate::support::{Notes, at_once, blobs, mlp, model, xor};
use std::sync::Arc;
use thalweg_data::{Arrays, Dataset};
use thalweg_train::callbacks::{EarlyStopping, ModelCheckpoint, SaveFreq};
use thalweg_train::{Compile, End, Fit, Model};

/// The same with another learning rate.
fn faster(mut model: Model, rate: f64) -> Model {
    let mut compile = model.compile_config().unwrap().clone();
    compile.optimizer = compile.optimizer.learning_rate(rate);
    model.compile(compile).unwrap();
    model
}

#[test]
fn xor_is_learned() {
    let mut model = faster(model(mlp(16, 2, false), "adam"), 0.05);
    let fit = Fit::epochs(300).batch_size(4);
    let fitted = model.fit(xor(), fit).unwrap();
    assert_eq!(fitted.end, End::Complete);
    assert_eq!(fitted.history.epochs.len(), 300);
    assert_eq!(fitted.history.last().unwrap().get("accuracy"), Some(1.0));
    let logs = model.evaluate(xor(), 4).unwrap();
    assert!(logs.get("loss").unwrap() < 0.1, "{logs:?}");
}

#[test]
fn fit_evaluate_predict_save_load_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (blobs(90, 3, 1), blobs(31, 3, 2));
    let mut first = faster(model(mlp(16, 3, true), "adam"), 0.02);
    let run = folder.path().join("runs/first");
    let notes = Notes::default();
    let fit =
        Fit::epochs(12).batch_size(16).validation_data(test.clone()).run_folder(&run).observer(notes.clone());
    let fitted = first.fit(train, fit.recipe("epochs = 12")).unwrap();
    let last = fitted.history.last().unwrap().clone();
    assert_eq!(last.names(), ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]);
    assert!(last.get("val_accuracy").unwrap() > 0.9, "{last:?}");

    // What validation said is what evaluation says, whatever the batch size.
    let logs = first.evaluate(test.clone(), 16).unwrap();
    assert_eq!(logs.get("loss"), last.get("val_loss"));
    assert_eq!(fitted.validation.as_ref(), Some(&logs));
    let other = first.evaluate(test.clone(), 7).unwrap();
    assert!((other.get("loss").unwrap() - logs.get("loss").unwrap()).abs() < 1e-6);

    // Accuracy by hand from predictions.
    let y = first.predict(test.clone(), 10).unwrap().remove(0);
    assert_eq!(y.shape(), [31, 3]);
    let confusion = first.confusion(&test, 10).unwrap();
    assert!((confusion.accuracy() - logs.get("accuracy").unwrap()).abs() < 1e-6);

    // The file holds the same model, and proves it.
    let path = run.join("model.safetensors");
    let mut second = Model::load(&path).unwrap();
    second.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
    assert_eq!(second.weights_sha256().unwrap(), first.weights_sha256().unwrap());
    assert_eq!(second.predict(test.clone(), 10).unwrap()[0], y);
    assert_eq!(second.evaluate(test, 16).unwrap(), logs);
    let golden = thalweg_train::files::ModelReader::open(&path).unwrap().golden().unwrap().unwrap();
    assert_eq!(second.verify(&golden).unwrap(), 0.0);
    let later = second.verify_later(&golden).unwrap();
    assert_eq!(at_once(later).unwrap(), 0.0);
    assert_eq!(second.info().provenance.epochs, 12);
    assert_eq!(second.info().provenance.recipe.as_deref(), Some("epochs = 12"));

    for file in ["recipe.toml", "history.csv", "curves.svg", "checkpoints/last.safetensors", "events/train"] {
        assert!(run.join(file).exists(), "{file}");
    }
    let csv = std::fs::read_to_string(run.join("history.csv")).unwrap();
    assert_eq!(csv.lines().count(), 13);
    assert!(csv.starts_with("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n0,"), "{csv}");
    assert_eq!(notes.with("EpochEnd").len(), 12);
    assert_eq!((notes.with("TrainBegin").len(), notes.with("TrainEnd").len()), (1, 1));
}

#[test]
fn validation_split_is_the_last_part() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let notes = Notes::default();
    model.fit(blobs(50, 3, 1), Fit::epochs(1).validation_split(0.2).observer(notes.clone())).unwrap();
    let begin = notes.with("TrainBegin").remove(0);
    assert!(begin.contains("examples: 40, validation_examples: 10"), "{begin}");
}

#[test]
fn class_and_sample_weights_are_the_same_thing() {
    let (x, y) = (vec![0.5f32, 1.0, -1.0, 2.0, 0.0, -0.5, 1.5, 1.0], vec![0i32, 1, 0, 2]);
    let plain = Arrays::new().input("x", &[2], x.clone()).target("y", &[], y.clone());
    let weights = vec![1.0f32, 3.0, 1.0, 0.5];
    let weighed = Arrays::new().input("x", &[2], x).target("y", &[], y).sample_weight(weights);
    let train = |data: Arc<dyn Dataset>, fit: Fit| {
        let mut model = model(mlp(4, 3, false), "sgd");
        let fitted = model.fit(data, fit.batch_size(4).shuffle(false)).unwrap();
        (model.weights_sha256().unwrap(), fitted.history)
    };
    let plain: Arc<dyn Dataset> = Arc::new(plain.build().unwrap());
    let by_class = train(plain.clone(), Fit::epochs(3).class_weight(&[(1, 3.0), (2, 0.5)]));
    let by_sample = train(Arc::new(weighed.build().unwrap()), Fit::epochs(3));
    assert_eq!(by_class, by_sample);
    assert_ne!(by_class, train(plain, Fit::epochs(3)));
}

/// Class weights by 0 and 1, and by one-hot targets: the same steps as sample weights, as in Keras.
#[test]
fn class_weights_of_binary_and_one_hot_targets() {
    let x = vec![0.5f32, 1.0, -1.0, 2.0, 0.0, -0.5, 1.5, 1.0];
    let one_hot: Vec<f32> =
        [0, 1, 2, 1].iter().flat_map(|&c| (0..3).map(move |i| f32::from(u8::from(i == c)))).collect();
    type Make = Box<dyn Fn() -> thalweg_data::ArraysBuilder>;
    let inputs = move || Arrays::new().input("x", &[2], x.clone());
    let (a, b) = (inputs.clone(), inputs);
    let binary: Make = Box::new(move || a().target("y", &[], vec![0.0f32, 1.0, 1.0, 0.0]));
    let classes: Make = Box::new(move || b().target("y", &[3], one_hot.clone()));
    let sigmoid = r#"{"layers": [{"class_name": "Input", "config": {"shape": [2]}},
                      {"class_name": "Dense", "config": {"units": 1, "activation": "sigmoid"}}]}"#;
    let sigmoid = thalweg_nn::ModelConfig::from_json(sigmoid).unwrap();
    let cases = [
        (sigmoid, "binary_crossentropy", binary, vec![(1, 3.0)], vec![1.0, 3.0, 3.0, 1.0]),
        (
            mlp(4, 3, false),
            "categorical_crossentropy",
            classes,
            vec![(1, 3.0), (2, 0.5)],
            vec![1.0, 3.0, 0.5, 3.0],
        ),
    ];
    for (config, loss, data, by_class, by_sample) in cases {
        let train = |data: Arrays, fit: Fit| {
            let mut model = Model::from_config(config.clone(), 7).unwrap();
            model.compile(Compile::from_names("sgd", loss, &[]).unwrap()).unwrap();
            model.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
            let fitted = model.fit(Arc::new(data), fit.batch_size(4).shuffle(false)).unwrap();
            (model.weights_sha256().unwrap(), fitted.history)
        };
        let built = || data();
        let weighed = train(built().sample_weight(by_sample).build().unwrap(), Fit::epochs(2));
        let classed = train(built().build().unwrap(), Fit::epochs(2).class_weight(&by_class));
        assert_eq!(classed, weighed, "{loss}");
        assert_ne!(classed, train(built().build().unwrap(), Fit::epochs(2)), "{loss}");
    }
}

/// Plain metrics pass over weights, `weighted_metrics` count them, as in Keras.
#[test]
fn only_weighted_metrics_count_weights() {
    let data = Arrays::new()
        .input("x", &[2], vec![0.0f32; 8])
        .target("y", &[], vec![0i32, 1, 1, 0])
        .sample_weight(vec![1.0, 0.0, 0.0, 3.0]);
    let mut model = model(mlp(4, 2, false), "sgd");
    let metric: thalweg_nn::metrics::Metric = "accuracy".parse().unwrap();
    model.compile(model.compile_config().unwrap().clone().weighted_metric(metric)).unwrap();
    let logs = model.evaluate(Arc::new(data.build().unwrap()), 3).unwrap();
    // Both classes score the same: the first is taken.
    assert_eq!(logs.names(), ["loss", "accuracy", "weighted_accuracy"]);
    assert_eq!((logs.get("accuracy"), logs.get("weighted_accuracy")), (Some(0.5), Some(1.0)));
}

#[test]
fn early_stopping_ends_a_real_training() {
    let mut model = model(mlp(4, 3, false), "sgd");
    let callback = EarlyStopping::new("loss").min_delta(10.0).patience(2).restore_best_weights(true);
    let fit = Fit::epochs(50).callback(callback).validation_data(blobs(9, 3, 2));
    let fitted = model.fit(blobs(30, 3, 1), fit).unwrap();
    assert_eq!(fitted.history.epochs.len(), 3);
    // The weights are the first epoch's now.
    assert_eq!(fitted.validation, None);
    assert!(matches!(fitted.end, End::Stopped(ref why) if why.contains("EarlyStopping")), "{:?}", fitted.end);
}

#[test]
fn a_frozen_layer_stays() {
    let mut model = model(mlp(4, 3, false), "sgd");
    model.set_trainable("hidden", false).unwrap();
    let before = model.weights().unwrap();
    model.fit(blobs(30, 3, 1), Fit::epochs(2)).unwrap();
    let after = model.weights().unwrap();
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    let error = model.set_trainable("hiden", true).unwrap_err().to_string();
    assert!(error.contains("did you mean 'hidden'"), "{error}");
}

#[test]
fn planned_memory_is_what_the_device_holds() {
    let mut model = model(mlp(8, 3, false), "adam");
    model.fit(blobs(90, 3, 1), Fit::epochs(1).batch_size(16).validation_data(blobs(31, 3, 2))).unwrap();
    assert_eq!(model.planned_bytes().unwrap(), model.memory().unwrap().total());
}

#[test]
fn the_summary_is_keras_like() {
    let model = model(mlp(8, 3, false), "adam");
    let text = model.summary();
    assert!(text.contains("hidden (Dense)") && text.contains("[N, 8]"), "{text}");
    assert!(text.contains("Parameters: 51 (204 B), trainable: 51"), "{text}");
}

/// Keras' `save_freq` counts steps through the epochs; what is saved are the weights of that step.
#[test]
fn files_by_steps_and_of_weights_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // 45 examples in batches of 8: six steps an epoch.
    let callback = ModelCheckpoint::new(&file("{epoch}-{batch:02d}-{loss:.0f}.safetensors"))
        .save_freq(SaveFreq::Steps(4))
        .save_weights_only(true);
    let mut first = model(mlp(4, 3, false), "sgd");
    first.fit(blobs(45, 3, 1), Fit::epochs(2).batch_size(8).callback(callback)).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap()[..4].to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["1-04", "2-02", "2-06"]);
    let mut saved = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
    let last = saved.find(|p| p.to_string_lossy().contains("2-06")).unwrap();
    let error = Model::load(&last).err().unwrap().to_string();
    assert!(error.contains("holds weights only, for `load_weights`"), "{error}");
    let mut second = model(mlp(4, 3, false), "sgd");
    second.load_weights(&last).unwrap();
    assert_eq!(second.weights_sha256().unwrap(), first.weights_sha256().unwrap());
    let best =
        ModelCheckpoint::new(&file("b.safetensors")).save_best_only(true).save_freq(SaveFreq::Steps(4));
    let fit = Fit::epochs(1).validation_split(0.2).callback(best);
    let error = first.fit(blobs(45, 3, 1), fit).unwrap_err().to_string();
    assert!(error.contains("'val_loss' is known at the end of an epoch only"), "{error}");
}
