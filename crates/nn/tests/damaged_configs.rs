//! Damaged configurations: each is refused in one line, or what is built from it can be computed. None panics.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::{Value, json};
use thalweg_graph::philox::Sequence;
use thalweg_graph::{DType, Graph, NodeId, Type};
use thalweg_nn::{ForwardArgs, ModelConfig, Network, losses, metrics, optimizers, schedules};

/// A model in which most classes of layers take part.
fn model() -> Value {
    json!({"name": "m", "layers": [
        {"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 8, 8, 3], "dtype": "uint8"},
         "inbound": []},
        {"class_name": "Rescaling", "name": "r", "config": {"scale": 0.004, "offset": 0.1}, "inbound": ["x"]},
        {"class_name": "Normalization", "name": "n", "config": {"axis": [-1], "invert": false}, "inbound": ["r"]},
        {"class_name": "RandomTranslation", "name": "t",
         "config": {"height_factor": 0.1, "width_factor": [-0.1, 0.2], "fill_mode": "wrap"}, "inbound": ["n"]},
        {"class_name": "ZeroPadding2D", "name": "z", "config": {"padding": [[1, 0], [0, 1]]}, "inbound": ["t"]},
        {"class_name": "Conv2D", "name": "c", "config": {"filters": 6, "kernel_size": [3, 2], "strides": 1,
         "padding": "same", "groups": 3, "activation": "relu", "kernel_initializer": {"class_name":
         "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_in"}}}, "inbound": ["z"]},
        {"class_name": "DepthwiseConv2D", "name": "d", "config": {"kernel_size": 3, "depth_multiplier": 2,
         "dilation_rate": 1}, "inbound": ["c"]},
        {"class_name": "BatchNormalization", "name": "b", "config": {"axis": -1, "momentum": 0.9}, "inbound": ["d"]},
        {"class_name": "ReLU", "name": "a", "config": {"max_value": 6, "threshold": 0.1}, "inbound": ["b"]},
        {"class_name": "UpSampling2D", "name": "u", "config": {"size": 2, "interpolation": "bilinear"},
         "inbound": ["a"]},
        {"class_name": "MaxPooling2D", "name": "p", "config": {"pool_size": 2, "strides": null}, "inbound": ["u"]},
        {"class_name": "AveragePooling2D", "name": "v", "config": {"pool_size": 2, "padding": "same"},
         "inbound": ["p"]},
        {"class_name": "Concatenate", "name": "k", "config": {"axis": -1}, "inbound": ["v", "v"]},
        {"class_name": "Flatten", "name": "f", "config": {}, "inbound": ["k"]},
        {"class_name": "Reshape", "name": "s", "config": {"target_shape": [-1, 4]}, "inbound": ["f"]},
        {"class_name": "Softmax", "name": "o", "config": {"axis": -1}, "inbound": ["s"]},
        {"class_name": "Dropout", "name": "w", "config": {"rate": 0.2, "seed": 3}, "inbound": ["o"]},
        {"class_name": "Dense", "name": "y", "config": {"units": 3, "use_bias": true}, "inbound": ["w"]}],
        "inputs": ["x"], "outputs": ["y"]})
}

/// A value that nobody meant.
fn odd(random: &mut Sequence) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(2),
        json!(3),
        json!(7),
        json!(255),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(-1e-308),
        json!(0.5),
        json!(""),
        json!("same"),
        json!("x"),
        json!("y:1"),
        json!("Dense"),
        json!("softmax"),
        json!("é\n"),
        json!([]),
        json!([1]),
        json!([2, 2]),
        json!([-1, 0]),
        json!([[1, 2], [3, 4]]),
        json!([null]),
        json!([null, 5]),
        json!(["x"]),
        json!(["x", "y"]),
        json!([["x"], ["r"]]),
        json!({}),
        json!({"class_name": "Zeros"}),
        json!([1, 2, 3, 4, 5, 6, 7]),
        json!([u32::MAX, u32::MAX]),
    ];
    all[random.below(all.len() as u32) as usize].clone()
}

/// All places in a value that hold something.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| places(v, &format!("{at}/{k}"), all)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), all)),
        _ => {}
    }
    all.push(at.to_owned());
}

fn damage(value: &mut Value, random: &mut Sequence) {
    let mut all = Vec::new();
    places(value, "", &mut all);
    let at = &all[random.below(all.len() as u32) as usize];
    *value.pointer_mut(at).unwrap() = odd(random);
}

/// Whether a step of it fits into a test.
fn small(network: &Network) -> bool {
    let weights: usize = network.weights().iter().map(|w| w.shape.iter().product::<usize>()).sum();
    weights < 1 << 20 && network.inputs().iter().all(|i| i.shape.iter().product::<usize>() < 1 << 20)
}

fn compute(network: &Network) {
    let mut g = Graph::new();
    let mut state = |name: &str, dtype, shape: &[usize]| g.state(name, Type::new(dtype, shape));
    let weights: Vec<NodeId> =
        network.weights().iter().map(|w| state(&w.path, DType::F32, &w.shape)).collect();
    let step = state("step", DType::I32, &[]);
    let inputs = network.inputs();
    let input = |i: &thalweg_nn::InputInfo, g: &mut Graph| {
        g.input(&format!("input/{}", i.name), Type::new(i.dtype, &[&[2], i.shape.as_slice()].concat()))
    };
    let inputs: Vec<NodeId> = inputs.iter().map(|i| input(i, &mut g)).collect();
    for training in [false, true] {
        network.forward(&mut g, &ForwardArgs { weights: &weights, inputs: &inputs, training, step, seed: 1 });
    }
    network.initial_weights(1);
}

#[test]
fn damaged_models_never_panic() {
    let mut random = Sequence::new(2, 7, 0);
    let (mut built, mut refused) = (0, 0);
    compute(&Network::new(ModelConfig::try_from(model()).unwrap()).unwrap());
    for _ in 0..4000 {
        let mut value = model();
        (0..=random.below(2)).for_each(|_| damage(&mut value, &mut random));
        match ModelConfig::try_from(value.clone()).and_then(Network::new) {
            Ok(network) => {
                built += 1;
                if small(&network) {
                    compute(&network);
                }
            }
            Err(e) => {
                refused += 1;
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
    }
    assert!(built > 100 && refused > 100, "{built} were built, {refused} refused");
}

#[test]
fn damaged_arguments_never_panic() {
    let mut random = Sequence::new(3, 7, 0);
    let configs = [
        json!({"class_name": "Adam", "config": {"learning_rate": {"class_name": "CosineDecay", "config":
            {"initial_learning_rate": 0.1, "decay_steps": 10}}, "beta_1": 0.9, "clipnorm": 1.0}}),
        json!({"name": "categorical_crossentropy", "label_smoothing": 0.1}),
        json!({"name": "sparse_top_k_categorical_accuracy", "k": 3}),
        json!({"name": "linear_warmup", "warmup_steps": 3, "schedule": {"name": "polynomial_decay",
            "initial_learning_rate": 0.1, "decay_steps": 7, "power": 2.0, "cycle": true}}),
        json!({"name": "cosine_decay_restarts", "initial_learning_rate": 1.0, "first_decay_steps": 3, "t_mul": 2.0}),
        json!({"name": "piecewise_constant_decay", "boundaries": [3, 5], "values": [1.0, 0.5, 0.1]}),
    ];
    let mut read = 0;
    for round in 0..6000 {
        let mut value = configs[round % configs.len()].clone();
        (0..=random.below(2)).for_each(|_| damage(&mut value, &mut random));
        let rate = schedules::Schedule::from_value(value.clone());
        let optimizer = optimizers::Optimizer::from_value(value.clone());
        let schedule =
            optimizer.as_ref().map(|o| o.learning_rate.clone()).ok().or_else(|| rate.as_ref().ok().cloned());
        if let Some(schedule) = schedule {
            read += 1;
            for step in [0, 1, 4, 1000] {
                schedule.at(step);
            }
        }
        let errors = [
            rate.err(),
            optimizer.err(),
            losses::Loss::from_value(value.clone()).err(),
            metrics::Metric::from_value(value).err(),
        ];
        for error in errors.iter().flatten() {
            assert!(!error.contains('\n'), "{error}");
        }
    }
    assert!(read > 500, "{read} were read");
}
