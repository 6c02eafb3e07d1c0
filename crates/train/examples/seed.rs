//! The seed program on the CIFAR-10 sample, with a run folder: `cargo run --release -p thalweg-train --example
//! seed -- <folder> [epochs] [device]`.

use std::sync::Arc;
use thalweg_data::{Dataset, Split, cifar};
use thalweg_nn::ModelConfig;
use thalweg_train::{Compile, Event, Fit, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder for the run")?;
    let epochs = arguments.next().map_or(Ok(10), |n| n.parse())?;
    let device = arguments.next().unwrap_or("auto".into());
    let train: Arc<dyn Dataset> = Arc::new(cifar::sample(Split::Train)?);
    let test: Arc<dyn Dataset> = Arc::new(cifar::sample(Split::Test)?);
    let layers = serde_json::json!({"name": "seed", "layers": [
        {"class_name": "InputLayer", "config": {"batch_shape": [null, 32, 32, 3], "dtype": "uint8"}},
        {"class_name": "Rescaling", "config": {"scale": 1.0 / 255.0}},
        {"class_name": "Conv2D", "config": {"filters": 32, "kernel_size": [3, 3], "activation": "relu"}},
        {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2]}},
        {"class_name": "Conv2D", "config": {"filters": 64, "kernel_size": [3, 3], "activation": "relu"}},
        {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2]}},
        {"class_name": "Flatten", "config": {}},
        {"class_name": "Dense", "config": {"units": 64, "activation": "relu"}},
        {"class_name": "Dense", "config": {"units": 10, "activation": "softmax"}}]});
    let mut model = Model::from_config(ModelConfig::from_json(&layers.to_string())?, 1)?;
    model.compile(Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"])?)?;
    model.set_device(&device, None)?;
    print!("{}", model.summary());
    let observer = |event: &Event<'_>| match event {
        Event::EpochEnd { epoch, images_per_second, logs, .. } => {
            let logs: Vec<String> = logs.iter().map(|(n, v)| format!("{n} {v:.4}")).collect();
            println!("epoch {}: {images_per_second:.0} images/s, {}", epoch + 1, logs.join(", "));
        }
        Event::TrainBegin { device, planned_bytes, compile_seconds, .. } => {
            println!("{device}: {planned_bytes} bytes planned, compiled in {compile_seconds:.3} s");
        }
        Event::Note { line } => println!("{line}"),
        _ => {}
    };
    let fit = Fit::epochs(epochs).validation_data(test.clone()).run_folder(&folder).observer(observer);
    let fitted = model.fit(train, fit)?;
    let confusion = model.confusion(&test, 128)?;
    std::fs::write(format!("{folder}/confusion.svg"), confusion.svg("CIFAR-10 sample, test"))?;
    println!("{:?} after {:.1} s, weights {}", fitted.end, fitted.seconds, model.weights_sha256()?);
    Ok(())
}
