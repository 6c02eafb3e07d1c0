//! The seed program: a small CNN on CIFAR-10. The same as a recipe: `examples/cifar10.toml` at the root.
//!
//!     cargo run --release -p thalweg --example cifar10

use thalweg::prelude::*;

fn main() -> Result<()> {
    let (train, test) = datasets::cifar10()?;
    let config = Sequential::new()
        .name("cifar10")
        .add(InputLayer::new([32, 32, 3]).dtype("uint8"))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new().pool_size(2))
        .add(Conv2D::new(64, 3).activation("relu"))
        .add(MaxPooling2D::new().pool_size(2))
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(Dense::new(10).activation("softmax"))
        .build()?;
    let mut model = Model::from_config(config, 0)?;
    print!("{}", model.summary());
    let loss = SparseCategoricalCrossentropy::default();
    model.compile(Compile::new(Adam::default(), loss).metric(Accuracy::default()))?;
    let progress = |event: &Event<'_>| {
        if let Event::EpochEnd { epoch, logs, images_per_second, .. } = event {
            println!(
                "epoch {}: {images_per_second:.0} images/s, {:?}",
                epoch + 1,
                logs.iter().collect::<Vec<_>>()
            );
        }
    };
    model.fit(train, Fit::epochs(10).batch_size(32).validation_data(test.clone()).observer(progress))?;
    let scores = model.evaluate(test.clone(), 128)?;
    println!("test accuracy {:.4}", scores.get("accuracy").unwrap_or(f64::NAN));
    let probabilities = &model.predict(test.clone(), 128)?[0];
    let first: Vec<f32> = probabilities.to_f32()[..10].to_vec();
    for (name, p) in test.class_names().iter().zip(first) {
        println!("{name:>12} {:5.1}%", 100.0 * p);
    }
    model.save("cifar10.safetensors")
}
