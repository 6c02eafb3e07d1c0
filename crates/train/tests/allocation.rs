//! A training step allocates nothing: an epoch of four times the steps makes no more allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_data::{Arrays, LoaderOptions};
use thalweg_nn::Sequential;
use thalweg_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D};
use thalweg_train::{Compile, Fit, Model};

static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one epoch of `steps` steps, after a first epoch compiled everything.
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
    let before = COUNT.load(Ordering::Relaxed);
    model.fit(data, fit(2)).unwrap();
    COUNT.load(Ordering::Relaxed) - before
}

#[test]
fn a_training_step_allocates_nothing() {
    let (few, many) = (allocations(100), allocations(400));
    // Progress is reported by the clock, a few times a second at most: that may differ, a step may not.
    assert!(many < few + 100, "{few} allocations in an epoch of 100 steps, {many} in one of 400");
}
