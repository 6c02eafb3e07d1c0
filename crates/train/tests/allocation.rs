//! A training step allocates nothing: an epoch of four times the steps makes no more allocations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::sync::Arc;
use thalweg_data::{Arrays, LoaderOptions};
use thalweg_nn::Sequential;
use thalweg_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D};
use thalweg_train::{Compile, Fit, Model};

/// Allocations on the training thread (a test of the device counts its workers') in one epoch of `steps` steps, after a first epoch compiled everything.
fn allocations(steps: usize) -> u64 {
    let images = steps * 8;
    let data = Arrays::new()
        .input("image", &[8, 8, 3], (0..images * 192).map(|i| (i * 7) as u8).collect::<Vec<u8>>())
        .target("label", &[], (0..images).map(|i| (i % 4) as i32).collect::<Vec<i32>>())
        .build()
        .unwrap();
    let config = Sequential::new()
        .input(&[8, 8, 3])
        .add(Conv2D::new(8, 3).activation("relu"))
        .add(MaxPooling2D::new())
        .add(Flatten::new())
        .add(Dense::new(4).activation("softmax"))
        .build()
        .unwrap();
    let mut model = Model::from_config(config, 1).unwrap();
    model.set_device("cpu", Some(2)).unwrap();
    model
        .compile(Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"]).unwrap())
        .unwrap();
    let data = Arc::new(data);
    let fit = |epochs: usize| {
        let loader = LoaderOptions { workers: 0, ..LoaderOptions::default() };
        Fit::epochs(epochs)
            .initial_epoch(epochs - 1)
            .batch_size(8)
            .loader(loader)
            .checkpoint_every_seconds(None)
    };
    model.fit(data.clone(), fit(1)).unwrap();
    allocation_counter::measure(|| drop(model.fit(data, fit(2)).unwrap())).count_total
}

#[test]
fn a_training_step_allocates_nothing() {
    let (few, many) = (allocations(100), allocations(400));
    // Progress is reported by the clock, a few times a second at most: that may differ, a step may not.
    assert!(many < few + 100, "{few} allocations in an epoch of 100 steps, {many} in one of 400");
}
