//! Every layer against real Keras: outputs, input and weight gradients, updated statistics, in f64.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::{Value, json};
use std::collections::HashMap;
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{DType, Graph, NodeId, Type, gradients};
use thalweg_nn::{ForwardArgs, ModelConfig, Network};
use thalweg_testkit::{Golden, Tolerance, compare};

/// f64 throughout, but constants of the graph (epsilon, momentum, slopes) are rounded to f32.
const CLOSE: Tolerance = Tolerance { abs: 1e-9, rel: 1e-6, scale: 1e-7 };

/// A network of inputs and the case's layer.
fn network(case: &Value) -> Network {
    let shapes: Vec<Vec<usize>> = serde_json::from_value(case["inputs"].clone()).unwrap();
    let mut config = case["config"].clone();
    // Keras maps an image's last axis without asking; we ask.
    if case["class_name"] == "Dense" && shapes[0].len() == 4 {
        config["last_axis"] = json!(true);
    }
    let mut layers: Vec<Value> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| json!({"class_name": "Input", "name": format!("in{i}"), "config": {"shape": s[1..]}, "inbound": []}))
        .collect();
    let inbound: Vec<String> = (0..shapes.len()).map(|i| format!("in{i}")).collect();
    layers
        .push(json!({"class_name": case["class_name"], "name": "it", "config": config, "inbound": inbound}));
    Network::new(ModelConfig::try_from(json!({ "layers": layers })).unwrap()).unwrap()
}

fn check(golden: &Golden, case: &Value) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    let tensor = |suffix: &str| golden.tensor(&format!("{name}/{suffix}"));
    let network = network(case);
    let output: Vec<usize> = serde_json::from_value(case["output"].clone()).unwrap();
    if network.outputs()[0].shape != output[1..] {
        return Err(format!("{name}: inferred {:?}, Keras {output:?}", network.outputs()[0].shape));
    }
    let names: Vec<&str> = network.weights().iter().map(|w| w.path.strip_prefix("it/").unwrap()).collect();
    if json!(names) != case["weights"] {
        return Err(format!("{name}: weights {names:?}, Keras {}", case["weights"]));
    }
    let mut feeds = Feeds::default();
    let mut g = Graph::new();
    let mut weights: Vec<NodeId> = Vec::new();
    for w in network.weights() {
        weights.push(g.state(&w.path, Type::f32(&w.shape)));
        feeds.states.push(tensor(&format!("w/{}", w.path.strip_prefix("it/").unwrap())).clone());
    }
    let step = g.state("step", Type::new(DType::I32, &[]));
    feeds.states.push(Tensor::scalar(0.0));
    let mut inputs: Vec<NodeId> = Vec::new();
    for i in 0..network.inputs().len() {
        let x = tensor(&format!("in{i}"));
        inputs.push(g.input(&format!("in{i}"), Type::f32(&x.shape)));
        feeds.inputs.push(x.clone());
    }
    let training = case["training"].as_bool().unwrap();
    let args = ForwardArgs { weights: &weights, inputs: &inputs, training, step, seed: 1 };
    let forward = network.forward(&mut g, &args);
    let out = forward.outputs[0];
    let factor = g.input("g", Type::f32(&output));
    feeds.inputs.push(tensor("g").clone());
    let weighted = g.mul(out, factor);
    let total = g.sum_all(weighted);
    let wrt: Vec<NodeId> = inputs.iter().chain(&weights).copied().collect();
    let grads = gradients(&mut g, total, &wrt).map_err(|e| format!("{name}: {e}"))?;

    let mut expected: Vec<(String, NodeId)> = vec![("out".into(), out)];
    expected.extend((0..inputs.len()).map(|i| (format!("din{i}"), grads[i])));
    for (i, w) in network.weights().iter().enumerate().filter(|(_, w)| w.trainable) {
        expected.push((format!("dw/{}", &w.path[3..]), grads[inputs.len() + i]));
    }
    for &(i, node) in &forward.updates {
        expected.push((format!("after/{}", &network.weights()[i].path[3..]), node));
    }
    let also: Vec<NodeId> = expected.iter().map(|e| e.1).collect();
    let values: HashMap<NodeId, Tensor> = evaluate(&g, &feeds, &also);
    for (suffix, node) in &expected {
        compare(&format!("{name}/{suffix}"), tensor(suffix), &values[node], CLOSE)?;
    }
    let count = golden.names(&format!("{name}/")).len();
    let used = expected.len() + inputs.len() + weights.len() + 1;
    if count == used {
        Ok(())
    } else {
        Err(format!("{name}: {used} of {count} golden tensors were compared"))
    }
}

#[test]
fn layers_are_keras() {
    let golden = Golden::open("layers");
    let failures: Vec<String> = golden.list("cases").iter().filter_map(|c| check(&golden, c).err()).collect();
    let total = golden.list("cases").len();
    assert!(failures.is_empty(), "{} of {total} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn dense_on_an_image_must_be_asked_for() {
    let golden = Golden::open("layers");
    let case = golden.list("cases").iter().find(|c| c["name"] == "dense_4d").unwrap();
    let layers = json!([
        {"class_name": "Input", "config": {"shape": case["inputs"][0].as_array().unwrap()[1..]}},
        {"class_name": "Dense", "config": case["config"]},
    ]);
    let config = ModelConfig::try_from(json!({ "layers": layers })).unwrap();
    let message = Network::new(config).unwrap_err().to_string();
    assert_eq!(
        message,
        "layer 'dense': Dense got [N, 3, 4, 5]; put a Flatten (or GlobalAveragePooling2D) before it"
    );
}
