//! Mixed precision against Keras: a small CNN in each policy. What is computed in 16 bits depends on the order of sums,
//! so numbers agree within the type's own step; f32 shows that the network is the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use thalweg_graph::reference::{Feeds, evaluate};
use thalweg_graph::{DType, Graph, Type};
use thalweg_nn::layers::{
    Activation, Add, BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D, ReLU,
};
use thalweg_nn::{ForwardArgs, Functional, ModelConfig, Network};
use thalweg_testkit::{Golden, Tolerance, compare};

fn network(policy: &str) -> ModelConfig {
    let mut b = Functional::new().dtype_policy(policy);
    let input = b.input("images", &[8, 8, 3]);
    let x = b.layer(Conv2D::new(8, 3).padding("same").activation("relu").name("a"), &[input]);
    let y = b.layer(Conv2D::new(8, 3).padding("same").use_bias(false).name("b"), &[x]);
    let y = b.layer(BatchNormalization::new().name("n"), &[y]);
    let x = b.layer(Add::new().name("s"), &[x, y]);
    let x = b.layer(ReLU::new().name("r"), &[x]);
    let x = b.layer(MaxPooling2D::new().name("p"), &[x]);
    let x = b.layer(GlobalAveragePooling2D::new().name("g"), &[x]);
    let x = b.layer(Dense::new(5).name("d"), &[x]);
    let x = b.layer(Activation::new("softmax").name("o"), &[x]);
    b.build(&[input], &[x]).unwrap()
}

#[test]
fn a_small_cnn_in_every_policy() {
    let golden = Golden::open("mixed");
    let images = golden.tensor("images");
    for (policy, tolerance, dtype) in [
        ("float32", 1e-6, DType::F32),
        ("mixed_float16", 1e-3, DType::F16),
        ("mixed_bfloat16", 8e-3, DType::BF16),
    ] {
        let network = Network::new(network(policy)).unwrap();
        let mut g = Graph::new();
        let mut feeds = Feeds { inputs: vec![images.clone()], states: Vec::new() };
        let x = g.input("images", Type::f32(&images.shape));
        let weights: Vec<_> = network
            .weights()
            .iter()
            .map(|w| {
                feeds.inputs.push(golden.tensor(&format!("weight/{}", w.path)).clone());
                g.input(&w.path, Type::f32(&w.shape))
            })
            .collect();
        let step = g.constant_of(DType::I32, 0.0);
        let args = ForwardArgs { weights: &weights, inputs: &[x], training: false, step, seed: 0 };
        let forward = network.forward(&mut g, &args);
        let y = forward.outputs[0];
        assert_eq!(g.ty(y).dtype, DType::F32, "{policy}: outputs are f32");
        let inner =
            forward.layer_outputs.iter().filter(|(name, _)| !["images", "o"].contains(&name.as_str()));
        for (name, node) in inner {
            assert_eq!(g.ty(*node).dtype, dtype, "{policy}: {name}");
        }
        let logits = forward.logits[0].expect("a softmax").1;
        assert_eq!(g.ty(logits).dtype, DType::F32, "{policy}: the last activation is f32");
        let found = &evaluate(&g, &feeds, &[y])[&y];
        let keras = golden.tensor(&format!("{policy}/out"));
        compare(policy, keras, found, Tolerance::abs(tolerance)).unwrap();
        // Not the f32 numbers by another name.
        let apart = compare(policy, golden.tensor("float32/out"), found, Tolerance::abs(1e-5));
        assert_eq!(apart.is_ok(), policy == "float32", "{policy}");
    }
}

#[test]
fn the_policy_is_part_of_the_model() {
    let config = network("mixed_bfloat16");
    let text = config.to_json();
    assert!(text.contains(r#""dtype_policy": "mixed_bfloat16""#), "{text}");
    assert_eq!(ModelConfig::from_json(&text).unwrap(), config);
    assert!(!network("float32").to_json().contains("dtype_policy"), "the default is not written");
    let wrong = text.replace("mixed_bfloat16", "mixed_bfloat");
    let problem = ModelConfig::from_json(&wrong).unwrap_err().to_string();
    assert!(problem.contains("dtype_policy 'mixed_bfloat'") && problem.contains("did you mean"), "{problem}");
    assert!(!problem.contains('\n'));
}
