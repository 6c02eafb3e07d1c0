//! Training on the real devices of a build: the CPU trains, saves and resumes as it should; the null device
//! plans and counts all of it.

use crate::support::{Notes, blobs, mlp};
use thalweg_nn::ModelConfig;
use thalweg_train::{Compile, End, Fit, Kind, Model, TrainError};

fn model(device: &str) -> Model {
    let mut model = Model::from_config(mlp(32, 3, true), 7).unwrap();
    let names = ("adam", "sparse_categorical_crossentropy");
    let mut compile = Compile::from_names(names.0, names.1, &["accuracy"]).unwrap();
    compile.optimizer = compile.optimizer.learning_rate(0.01);
    model.compile(compile).unwrap();
    model.set_device(device, Some(2)).unwrap();
    model
}

#[test]
fn the_cpu_learns_and_agrees_with_its_files() {
    let (train, test) = (blobs(300, 3, 1), blobs(77, 3, 2));
    let mut first = model("cpu");
    let fitted = first.fit(train, Fit::epochs(10).validation_data(test.clone())).unwrap();
    let last = fitted.history.last().unwrap();
    assert!(last.get("val_accuracy").unwrap() > 0.95, "{last:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    first.save(&path).unwrap();
    let mut second = Model::load(&path).unwrap();
    second.set_device("cpu", Some(1)).unwrap();
    assert_eq!(second.weights_sha256().unwrap(), first.weights_sha256().unwrap());
    let (a, b) = (first.evaluate(test.clone(), 32).unwrap(), second.evaluate(test, 32).unwrap());
    assert!((a.get("loss").unwrap() - b.get("loss").unwrap()).abs() < 1e-5);
}

#[test]
fn the_cpu_agrees_with_the_interpreter() {
    let run = |mut model: Model| {
        let history = model.fit(blobs(100, 3, 1), Fit::epochs(2).batch_size(16)).unwrap().history;
        history.get("loss")
    };
    let mut slow = model("cpu");
    slow.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
    for (a, b) in run(model("cpu")).iter().zip(run(slow)) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

/// What is trained on another device differs by the name of the device alone: the same first weights, order of examples and
/// dropped units.
#[test]
fn gpus_agree_with_the_cpu() {
    let run = |name: &str| {
        let mut model = model(name);
        let fit = Fit::epochs(3).batch_size(16).validation_data(blobs(45, 3, 2));
        let history = model.fit(blobs(100, 3, 1), fit).unwrap().history;
        let memory = model.memory().unwrap();
        assert_eq!(model.planned_bytes().unwrap(), memory.total(), "{name}");
        (history.get("loss"), history.get("val_loss"), model.predict(blobs(45, 3, 2), 32).unwrap()[0].clone())
    };
    let wanted = run("cpu");
    let gpus = thalweg_device::list().into_iter().filter(|f| f.usable && f.name.starts_with("wgpu"));
    for gpu in gpus {
        let found = run(&gpu.name);
        for (a, b) in wanted.0.iter().chain(&wanted.1).zip(found.0.iter().chain(&found.1)) {
            assert!((a - b).abs() < 1e-4 * a, "{}: {a} and {b}", gpu.name);
        }
        let (a, b) = (wanted.2.to_f32(), found.2.to_f32());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{}", gpu.name);
    }
}

/// A layer whose weight is large enough for its gradient to run by slices of rows.
fn wide(limits: [Option<f64>; 2]) -> Model {
    let dense = |units: usize, activation: &str| serde_json::json!({"class_name": "Dense", "config": {"units": units, "activation": activation}});
    let input = serde_json::json!({"class_name": "InputLayer", "config": {"batch_shape": [null, 2]}});
    let layers = [input, dense(256, "relu"), dense(128, "relu"), dense(3, "softmax")];
    let config = serde_json::json!({"name": "wide", "layers": layers}).to_string();
    let mut model = Model::from_config(ModelConfig::from_json(&config).unwrap(), 7).unwrap();
    let mut compile = Compile::from_names("adam", "sparse_categorical_crossentropy", &[]).unwrap();
    [compile.optimizer.clipnorm, compile.optimizer.global_clipnorm] = limits;
    model.compile(compile).unwrap();
    model
}

#[test]
fn large_dense_weights_train_the_same_everywhere() {
    // As many examples as rows, too: the two kinds of slices must not be mixed up.
    for (batch, limits) in
        [(64, [None; 2]), (256, [None; 2]), (64, [Some(0.1), None]), (64, [None, Some(0.1)])]
    {
        let run = |mut model: Model| {
            let fit = Fit::epochs(1).batch_size(batch).shuffle(false);
            let history = model.fit(blobs(2 * batch, 3, 1), fit).unwrap().history;
            (history.get("loss")[0], model.weights_sha256().unwrap())
        };
        let on = |threads: usize| {
            let mut model = wide(limits);
            model.set_device("cpu", Some(threads)).unwrap();
            run(model)
        };
        let (loss, sha) = on(1);
        assert_eq!((on(2).1, on(3).1), (sha.clone(), sha), "batch {batch}, {limits:?}");
        let mut slow = wide(limits);
        slow.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
        let want = run(slow).0;
        assert!((loss - want).abs() < 1e-5, "batch {batch}, {limits:?}: {loss} and {want}");
    }
}

#[test]
fn the_cpu_resumes_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let mut whole = model("cpu");
    let history = whole.fit(blobs(150, 3, 1), Fit::epochs(4)).unwrap().history;
    let mut part = model("cpu");
    part.fit(blobs(150, 3, 1), Fit::epochs(2).checkpoint_to(&path)).unwrap();
    let mut rest = model("cpu");
    let fitted = rest.fit(blobs(150, 3, 1), Fit::epochs(4).resume(&path)).unwrap();
    assert_eq!(fitted.history, history);
    assert_eq!(rest.weights_sha256().unwrap(), whole.weights_sha256().unwrap());
}

#[test]
fn planned_memory_is_what_the_cpu_holds() {
    let mut model = model("cpu");
    model.fit(blobs(90, 3, 1), Fit::epochs(1).validation_data(blobs(31, 3, 2))).unwrap();
    let memory = model.memory().unwrap();
    assert_eq!(model.session().unwrap().planned_bindings(), memory.allocated);
    assert_eq!(model.planned_bytes().unwrap(), memory.total());
    assert!(memory.arena > 0 && memory.workspace > 0, "{memory:?}");
}

/// What does not fit is told before the first step, with a batch size that does.
#[test]
fn a_batch_that_does_not_fit_is_told_what_would() {
    let mut model = model("cpu");
    let data = blobs(3, 3, 1);
    let batch = 1 << 32;
    let spec = model.program_spec(&*data, batch, false, 7).unwrap();
    match model.program(Kind::Train, &spec) {
        Ok(_) => println!("skipped: this system promises any amount of memory"),
        Err(TrainError::Memory { fits: Some(fits), error, .. }) => {
            assert!(fits < batch && fits.is_power_of_two(), "{fits}");
            let text = TrainError::Memory { error, batch, fits: Some(fits) }.to_string();
            let wanted = format!(": batches of {batch} do not fit, batches of {fits} do");
            assert!(text.starts_with("cpu: cannot allocate ") && text.ends_with(&wanted), "{text}");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_null_device_does_everything_but_arithmetic() {
    let mut model = model("null");
    let notes = Notes::default();
    let data = blobs(90, 3, 1);
    let fit = Fit::epochs(2).validation_split(0.1).observer(notes.clone());
    let fitted = model.fit(data.clone(), fit).unwrap();
    assert_eq!(fitted.end, End::Complete);
    assert_eq!(notes.with("EpochEnd").len(), 2);
    assert_eq!(model.predict(data, 32).unwrap()[0].shape(), [90, 3]);
    assert_eq!(model.planned_bytes().unwrap(), model.memory().unwrap().total());
}
