//! Whole models against real Keras, read from the golden files' own descriptions: predictions and the gradients
//! of the first batch's loss, in f64.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::json;
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{DType, Graph, NodeId, Type, gradients};
use thalweg_nn::{ForwardArgs, Logits, ModelConfig, Network};
use thalweg_testkit::{Golden, Tolerance, assert_close};

const BATCH: usize = 32;

fn check(file: &str) {
    let golden = Golden::open(file);
    let config = ModelConfig::try_from(json!({ "layers": golden.list("model") })).unwrap();
    let network = Network::new(config).unwrap();
    let shape = [&[BATCH], network.inputs()[0].shape.as_slice()].concat();
    let size: usize = shape.iter().product();
    let images = golden.tensor("images").data[..size].iter().map(|v| v / 255.0).collect();
    let labels = golden.tensor("labels").data[..BATCH].to_vec();

    let mut feeds = Feeds::default();
    let mut g = Graph::new();
    let weights: Vec<NodeId> =
        network.weights().iter().map(|w| g.state(&w.path, Type::f32(&w.shape))).collect();
    feeds.states = network.weights().iter().map(|w| golden.tensor(&w.path).clone()).collect();
    let step = g.state("step", Type::new(DType::I32, &[]));
    feeds.states.push(Tensor::scalar(0.0));
    let x = g.input("x", Type::f32(&shape));
    let y = g.input("y", Type::f32(&[BATCH, 10]));
    feeds.inputs = vec![
        Tensor::new(&shape, images),
        Tensor::generate(&[BATCH, 10], |i| f64::from(labels[i[0]] as usize == i[1])),
    ];
    let args = ForwardArgs { weights: &weights, inputs: &[x], training: false, step, seed: 0 };
    let predictions = network.forward(&mut g, &args).outputs[0];
    let forward = network.forward(&mut g, &ForwardArgs { training: true, ..args });
    let Some((Logits::Softmax, logits)) = forward.logits[0] else { panic!("the model ends in a softmax") };
    let log = g.log_softmax(logits, 1);
    let hit = g.mul(log, y);
    let sum = g.sum_all(hit);
    let loss = g.scale(sum, -1.0 / BATCH as f64);
    let trainable: Vec<usize> = (0..weights.len()).filter(|&i| network.weights()[i].trainable).collect();
    let wrt: Vec<NodeId> = trainable.iter().map(|&i| weights[i]).collect();
    let grads = gradients(&mut g, loss, &wrt).unwrap();

    let mut also = grads.clone();
    also.extend([predictions, loss]);
    let values = evaluate(&g, &feeds, &also);
    let close = Tolerance { abs: 1e-9, rel: 1e-5, scale: 1e-6 };
    assert_close("predictions", golden.tensor("predictions"), &values[&predictions], close);
    for (&i, node) in trainable.iter().zip(&grads) {
        let name = format!("grad/{}", network.weights()[i].path);
        assert_close(&name, golden.tensor(&name), &values[node], close);
    }
    let first = golden.tensor("loss64").data[0];
    assert!(
        (first - values[&loss].data[0]).abs() < 1e-6,
        "loss {} instead of {first}",
        values[&loss].data[0]
    );
}

#[test]
fn the_seed_model_is_keras() {
    check("seed");
}

#[test]
fn a_residual_model_is_keras() {
    check("resnet");
}
