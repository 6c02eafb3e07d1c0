//! What no golden file can hold: random layers, frozen statistics, bytes as input, merging, activation options.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::{Value, json};
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{DType, Graph, NodeId, Type};
use thalweg_nn::{ForwardArgs, ModelConfig, Network};

/// A chain of layers behind an input.
fn chain(input: Value, layers: Value) -> Network {
    let mut all = vec![json!({"class_name": "Input", "config": input})];
    all.extend(layers.as_array().unwrap().clone());
    Network::new(ModelConfig::try_from(json!({ "layers": all })).unwrap()).unwrap()
}

/// The output for `xs`, and how many weights are updated. Weights have their initial values.
fn run(network: &Network, xs: &[Tensor], training: bool, step: i32) -> (Tensor, usize) {
    let mut g = Graph::new();
    let weights: Vec<NodeId> =
        network.weights().iter().map(|w| g.state(&w.path, Type::f32(&w.shape))).collect();
    let step_node = g.state("step", Type::new(DType::I32, &[]));
    let mut states: Vec<Tensor> = network
        .initial_weights(1)
        .into_iter()
        .zip(network.weights())
        .map(|(v, w)| Tensor::new(&w.shape, v.into_iter().map(f64::from).collect()))
        .collect();
    states.push(Tensor::scalar(f64::from(step)));
    let inputs: Vec<NodeId> = network
        .inputs()
        .iter()
        .zip(xs)
        .map(|(i, x)| g.input(&i.name, Type::new(i.dtype, &x.shape)))
        .collect();
    let args = ForwardArgs { weights: &weights, inputs: &inputs, training, step: step_node, seed: 11 };
    let forward = network.forward(&mut g, &args);
    let feeds = Feeds { inputs: xs.to_vec(), states };
    (evaluate(&g, &feeds, &forward.outputs)[&forward.outputs[0]].clone(), forward.updates.len())
}

fn counting(shape: &[usize]) -> Tensor {
    let mut i = 0.0;
    Tensor::generate(shape, |_| {
        i += 1.0;
        i
    })
}

#[test]
fn dropout_keeps_the_mean_and_changes_with_step_and_layer() {
    let drop = json!({"class_name": "Dropout", "config": {"rate": 0.25}});
    let network = chain(json!({"shape": [1000]}), json!([drop]));
    let x = Tensor::new(&[4, 1000], vec![1.0; 4000]);
    let (y, _) = run(&network, std::slice::from_ref(&x), true, 0);
    let dropped = y.data.iter().filter(|&&v| v == 0.0).count();
    assert!((dropped as f64 - 1000.0).abs() < 120.0, "{dropped} of 4000 dropped");
    assert!(y.data.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(run(&network, std::slice::from_ref(&x), true, 0).0, y);
    assert_ne!(run(&network, std::slice::from_ref(&x), true, 1).0, y);
    assert_eq!(run(&network, std::slice::from_ref(&x), false, 0).0, x);
    // Two layers, two streams: what one keeps the other may drop.
    let twice = chain(json!({"shape": [1000]}), json!([drop, drop]));
    let left = run(&twice, &[x], true, 0).0.data.iter().filter(|&&v| v != 0.0).count();
    assert!((left as f64 - 2250.0).abs() < 150.0, "{left} of 4000 left");
}

#[test]
fn flips_are_whole_images() {
    let flip = json!([{"class_name": "RandomFlip", "config": {"mode": "horizontal"}}]);
    let network = chain(json!({"shape": [2, 3, 1]}), flip);
    let x = Tensor::new(&[64, 2, 3, 1], counting(&[2, 3]).data.repeat(64));
    let (y, _) = run(&network, &[x], true, 5);
    let (mut plain, mut flipped) = (0, 0);
    for image in y.data.chunks(6) {
        match image {
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] => plain += 1,
            [3.0, 2.0, 1.0, 6.0, 5.0, 4.0] => flipped += 1,
            other => panic!("{other:?} is neither"),
        }
    }
    assert!(plain > 16 && flipped > 16, "{plain} plain, {flipped} flipped");
}

#[test]
fn translations_stay_in_bounds() {
    let config = json!({"height_factor": [0.25, 0.5], "width_factor": 0, "fill_mode": "constant", "interpolation": "nearest"});
    let network =
        chain(json!({"shape": [4, 1, 1]}), json!([{"class_name": "RandomTranslation", "config": config}]));
    let x = Tensor::new(&[32, 4, 1, 1], [1.0, 2.0, 3.0, 4.0].repeat(32));
    let (y, _) = run(&network, &[x], true, 0);
    // Down by a quarter to a half of four rows: one or two.
    let (one, two): (Vec<&[f64]>, Vec<&[f64]>) = y.data.chunks(4).partition(|r| **r == [0.0, 1.0, 2.0, 3.0]);
    assert!(two.iter().all(|r| **r == [0.0, 0.0, 1.0, 2.0]), "{two:?}");
    assert!(one.len() > 5 && two.len() > 5);
}

#[test]
fn a_frozen_batch_normalisation_uses_and_keeps_its_statistics() {
    let norm = |trainable: bool| {
        chain(
            json!({"shape": [3]}),
            json!([{"class_name": "BatchNormalization", "config": {"trainable": trainable}}]),
        )
    };
    let x = counting(&[5, 3]);
    let (learning, updates) = run(&norm(true), std::slice::from_ref(&x), true, 0);
    assert_eq!(updates, 2);
    let (frozen, updates) = run(&norm(false), std::slice::from_ref(&x), true, 0);
    assert_eq!(updates, 0);
    assert_ne!(learning, frozen);
    assert_eq!(run(&norm(true), &[x], false, 0).0, frozen);
    assert!(norm(false).weights().iter().all(|w| !w.trainable));
}

#[test]
fn bytes_become_numbers_where_they_are_first_used() {
    let scale = json!([{"class_name": "Rescaling", "config": {"scale": 0.5, "offset": -1}}]);
    let network = chain(json!({"shape": [2], "dtype": "uint8"}), scale);
    assert_eq!(network.inputs()[0].dtype, DType::U8);
    let (y, _) = run(&network, &[Tensor::new(&[1, 2], vec![0.0, 255.0])], false, 0);
    assert_eq!(y.data, [-1.0, 126.5]);
}

#[test]
fn activation_layers_have_options() {
    let x = Tensor::new(&[1, 5], vec![-4.0, -1.0, 0.5, 2.0, 9.0]);
    let apply = |class: &str, config: Value| {
        let layers = json!([{"class_name": class, "config": config}]);
        run(&chain(json!({"shape": [5]}), layers), std::slice::from_ref(&x), false, 0).0.data
    };
    assert_eq!(apply("ReLU", json!({"max_value": 6})), [0.0, 0.0, 0.5, 2.0, 6.0]);
    assert_eq!(
        apply("ReLU", json!({"negative_slope": 0.5, "threshold": 1.0, "max_value": 8})),
        [-2.5, -1.0, -0.25, 2.0, 8.0]
    );
    assert_eq!(apply("LeakyReLU", json!({"negative_slope": 0.25})), [-1.0, -0.25, 0.5, 2.0, 9.0]);
    let softmax = apply("Softmax", json!({}));
    assert!((softmax.iter().sum::<f64>() - 1.0).abs() < 1e-12 && softmax[4] > softmax[3]);
    assert_eq!(apply("Normalization", json!({"mean": 1, "variance": 4}))[..2], [-2.5, -1.0]);
    assert_eq!(apply("Normalization", json!({"mean": 1, "variance": 4, "invert": true}))[..2], [-7.0, -1.0]);
    assert_eq!(apply("Normalization", json!({})), x.data);
}

#[test]
fn merging_goes_element_by_element() {
    let (a, b) = (Tensor::new(&[1, 3], vec![1.0, 5.0, -2.0]), Tensor::new(&[1, 3], vec![4.0, 2.0, -2.0]));
    for (class, want) in [
        ("Add", [5.0, 7.0, -4.0]),
        ("Subtract", [-3.0, 3.0, 0.0]),
        ("Multiply", [4.0, 10.0, 4.0]),
        ("Average", [2.5, 3.5, -2.0]),
        ("Maximum", [4.0, 5.0, -2.0]),
        ("Minimum", [1.0, 2.0, -2.0]),
    ] {
        let layers = json!([
            {"class_name": "Input", "name": "a", "config": {"shape": [3]}, "inbound": []},
            {"class_name": "Input", "name": "b", "config": {"shape": [3]}, "inbound": []},
            {"class_name": class, "inbound": ["a", "b"]},
        ]);
        let network = Network::new(ModelConfig::try_from(json!({ "layers": layers })).unwrap()).unwrap();
        assert_eq!(run(&network, &[a.clone(), b.clone()], false, 0).0.data, want, "{class}");
    }
}

#[test]
fn a_shared_layer_has_one_set_of_weights_and_its_own_random_stream_per_call() {
    let layers = json!([
        {"class_name": "Input", "name": "x", "config": {"shape": [8]}, "inbound": []},
        {"class_name": "Dense", "name": "d", "config": {"units": 8}, "inbound": [["x"], ["d"]]},
        {"class_name": "Dropout", "name": "drop", "config": {"rate": 0.5}, "inbound": [["x"], ["x"]]},
        {"class_name": "Subtract", "inbound": ["drop", "drop:1"]},
        {"class_name": "BatchNormalization", "name": "bn", "inbound": [["d"], ["d:1"]]},
        {"class_name": "Add", "inbound": ["bn", "bn:1"]},
    ]);
    let config = json!({"layers": layers, "outputs": ["subtract", "add"]});
    let network = Network::new(ModelConfig::try_from(config).unwrap()).unwrap();
    assert_eq!(network.weights().len(), 2 + 4);
    let (y, updates) = run(&network, &[counting(&[4, 8])], true, 0);
    assert_eq!(updates, 2, "the statistics move once per step, through both calls");
    assert!(y.data.iter().any(|&v| v != 0.0));
    let misfit = json!({"layers": [
        {"class_name": "Input", "name": "x", "config": {"shape": [8]}, "inbound": []},
        {"class_name": "Dense", "name": "d", "config": {"units": 4}, "inbound": [["x"], ["d"]]},
    ]});
    let e = Network::new(ModelConfig::try_from(misfit).unwrap()).unwrap_err().to_string();
    assert_eq!(e, "layer 'd': Dense got [N, 4]; its first call got [N, 8], and all calls share its weights");
}
