//! What the tests of training share: small data, small models, a device.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use thalweg_base::philox::Sequence;
use thalweg_data::{Arrays, Dataset};
use thalweg_nn::ModelConfig;
use thalweg_train::{Compile, Event, Model, Observer};

/// What a future has, of a device that answers at once.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the device did not answer at once"),
    }
}

/// Points around `classes` centres in the plane.
pub fn blobs(n: usize, classes: usize, seed: u64) -> Arc<dyn Dataset> {
    let mut random = Sequence::new(seed, 9, 0);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for i in 0..n {
        let class = i % classes;
        let angle = class as f32 / classes as f32 * std::f32::consts::TAU;
        x.push(2.0 * angle.cos() + 0.3 * random.next_normal());
        x.push(2.0 * angle.sin() + 0.3 * random.next_normal());
        y.push(class as i32);
    }
    Arc::new(Arrays::new().input("x", &[2], x).target("y", &[], y).name("blobs").build().unwrap())
}

/// The four points of XOR.
pub fn xor() -> Arc<dyn Dataset> {
    let x = vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
    let y = vec![0i32, 1, 1, 0];
    Arc::new(Arrays::new().input("x", &[2], x).target("y", &[], y).name("xor").build().unwrap())
}

/// Two inputs, a hidden layer, so many classes; with dropout where asked for.
pub fn mlp(hidden: usize, classes: usize, dropout: bool) -> ModelConfig {
    let mut layers = vec![
        serde_json::json!({"class_name": "InputLayer", "config": {"batch_shape": [null, 2]}}),
        serde_json::json!({"class_name": "Dense", "name": "hidden",
                           "config": {"units": hidden, "activation": "relu"}}),
    ];
    if dropout {
        layers.push(serde_json::json!({"class_name": "Dropout", "config": {"rate": 0.2}}));
    }
    layers.push(serde_json::json!({"class_name": "Dense", "name": "scores",
                                   "config": {"units": classes, "activation": "softmax"}}));
    ModelConfig::from_json(&serde_json::json!({"name": "mlp", "layers": layers}).to_string()).unwrap()
}

/// A compiled model on the slow device.
pub fn model(config: ModelConfig, optimizer: &str) -> Model {
    let mut model = Model::from_config(config, 7).unwrap();
    let compile = Compile::from_names(optimizer, "sparse_categorical_crossentropy", &["accuracy"]).unwrap();
    model.compile(compile).unwrap();
    model.use_device(Box::new(crate::interpreted::Interpreted::default())).unwrap();
    model
}

/// Notes the debug form of every event.
#[derive(Clone, Default)]
pub struct Notes(pub Arc<Mutex<Vec<String>>>);

impl Observer for Notes {
    fn event(&mut self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Notes {
    pub fn with(&self, part: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|e| e.contains(part)).cloned().collect()
    }
}
