//! The seed program and its messages: shapes, weights, automatic names, the classic mistakes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::json;
use thalweg_graph::{Graph, Type};
use thalweg_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D};
use thalweg_nn::{ForwardArgs, Functional, Logits, ModelConfig, Network, Sequential};

fn seed(flatten: bool) -> ModelConfig {
    let mut s = Sequential::new()
        .input(&[32, 32, 3])
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new())
        .add(Conv2D::new(64, (3, 3)).activation("relu"))
        .add(MaxPooling2D::new().pool_size(2));
    if flatten {
        s = s.add(Flatten::new());
    }
    s.add(Dense::new(64).activation("relu")).add(Dense::new(10).activation("softmax")).build().unwrap()
}

fn error(config: ModelConfig) -> String {
    Network::new(config).unwrap_err().to_string()
}

fn layers(layers: serde_json::Value) -> String {
    match ModelConfig::try_from(json!({ "layers": layers })) {
        Ok(config) => error(config),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_seed_network() {
    let network = Network::new(seed(true)).unwrap();
    let paths: Vec<&str> = network.weights().iter().map(|w| w.path.as_str()).collect();
    let want = [
        "conv2d/kernel",
        "conv2d/bias",
        "conv2d_1/kernel",
        "conv2d_1/bias",
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
    ];
    assert_eq!(paths, want);
    let summary = network.summary();
    assert_eq!(summary.params, 167_562);
    assert_eq!(summary.rows[5].name, "flatten");
    assert_eq!(summary.rows[5].output_shape, [2304]);
    assert_eq!(summary.rows[5].connected_to, ["max_pooling2d_1"]);
    assert_eq!(summary.rows[1].flops, 900 * 32 * (2 * 27 + 1 + 1));
    // 8.08 MFLOP in products; the rest is bias, ReLU, comparisons and softmax.
    assert!((8_000_000..8_500_000).contains(&summary.flops), "{}", summary.flops);
    assert_eq!(network.initial_weights(7), network.initial_weights(7));
    assert_ne!(network.initial_weights(7)[0], network.initial_weights(8)[0]);

    let mut g = Graph::new();
    let weights: Vec<_> = network.weights().iter().map(|w| g.state(&w.path, Type::f32(&w.shape))).collect();
    let step = g.state("step", Type::new(thalweg_graph::DType::I32, &[]));
    let x = g.input("x", Type::f32(&[8, 32, 32, 3]));
    let args = ForwardArgs { weights: &weights, inputs: &[x], training: true, step, seed: 1 };
    let forward = network.forward(&mut g, &args);
    assert_eq!(g.shape(forward.outputs[0]), [8, 10]);
    assert_eq!(g.scope_of(forward.outputs[0]), "dense_1");
    assert!(matches!(forward.logits[0], Some((Logits::Softmax, _))));
}

#[test]
fn the_forgotten_flatten() {
    let want = "layer 'dense': Dense got [N, 6, 6, 64]; put a Flatten (or GlobalAveragePooling2D) before it";
    assert_eq!(error(seed(false)), want);
}

#[test]
fn configurations_survive_json() {
    let config = seed(true);
    assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    let mut b = Functional::new();
    let x = b.input("image", &[8, 8, 3]);
    let shared = b.define(Conv2D::new(3, 3).padding("same"));
    let y = b.call(shared, &[x]);
    let z = b.call(shared, &[y]);
    let config = b.build(&[x], &[z, y]).unwrap();
    assert_eq!(config.layers[1].inbound.len(), 2);
    assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    let network = Network::new(config).unwrap();
    assert_eq!(network.outputs()[0].name, "conv2d:1");
    assert_eq!(network.weights().len(), 2);
}

#[test]
fn wrong_words_are_refused_with_the_right_ones() {
    let input = json!({"class_name": "Input", "config": {"shape": [8, 8, 3]}});
    let with = |class: &str, config: serde_json::Value| {
        layers(json!([input, {"class_name": class, "config": config}]))
    };
    let known = "known: filters, kernel_size, strides, padding, dilation_rate, groups, activation, use_bias, \
                 kernel_initializer, bias_initializer, name, trainable";
    assert_eq!(
        with("Conv2D", json!({"filtrs": 3})),
        format!("layer 'conv2d': Conv2D has no argument 'filtrs'; did you mean 'filters'? {known}")
    );
    let starts = |class, config, start: &str| {
        let e = with(class, config);
        assert!(e.starts_with(start), "{e}");
    };
    starts("Conv2d", json!({}), "layer 'conv2d': layer class 'Conv2d' is not known; did you mean 'Conv2D'?");
    starts(
        "Conv2D",
        json!({"filters": 3, "kernel_size": 3, "activation": "rleu"}),
        "layer 'conv2d': Conv2D: activation 'rleu' is not known; did you mean 'relu'? known: linear, relu,",
    );
    for (config, end) in [
        (json!({"filters": 0, "kernel_size": 3}), "filters must be a positive integer, not 0"),
        (json!({"filters": -4, "kernel_size": 3}), "filters must be a positive integer, not -4"),
        (json!({"filters": "3", "kernel_size": 3}), "filters must be a positive integer, not \"3\""),
        (
            json!({"filters": 3, "kernel_size": [3, 0]}),
            "kernel_size must be a positive integer or a pair of them, not [3,0]",
        ),
        (json!({"filters": 3, "kernel_size": 3, "use_bias": 1}), "use_bias must be true or false, not 1"),
        (json!({"filters": 5, "kernel_size": 3, "groups": 3}), "5 filters cannot form 3 groups"),
    ] {
        assert_eq!(with("Conv2D", config), format!("layer 'conv2d': Conv2D: {end}"));
    }
    assert_eq!(
        with("Conv2D", json!({"filters": 3})),
        "layer 'conv2d': Conv2D needs the argument 'kernel_size', a positive integer or a pair of them"
    );
    starts(
        "Conv2D",
        json!({"filters": 3, "kernel_size": 9}),
        "layer 'conv2d': Conv2D got [N, 8, 8, 3]; its window of 9 x 9 does not fit into 8 x 8;",
    );
    starts(
        "Dense",
        json!({"units": 3, "kernel_initializer": "glorot"}),
        "layer 'dense': Dense: kernel_initializer: initializer 'glorot' is not known; did you mean 'glorot_",
    );
}

#[test]
fn wrong_graphs_are_refused() {
    let input = json!({"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [null, 8]}});
    let dense = |name: &str, inbound: serde_json::Value| json!({"class_name": "Dense", "name": name, "config": {"units": 8}, "inbound": inbound});
    assert_eq!(
        layers(json!([input, dense("a", json!(["b"])), dense("b", json!(["a"]))])),
        "model 'model': layer 'a' depends on its own output"
    );
    assert_eq!(
        layers(json!([input, dense("first", json!(["x"])), dense("b", json!(["frist"]))])),
        "model 'model': inbound of layer 'b': layer 'frist' is not known; did you mean 'first'? known: x, first, b"
    );
    assert_eq!(
        layers(json!([input, dense("x", json!(["x"]))])),
        "model configuration: two layers are called 'x'; names must be unique"
    );
    assert_eq!(
        layers(json!([{"class_name": "Dense", "config": {"units": 2}}])),
        "model configuration: the first layer must be an InputLayer (with its batch_shape)"
    );
}

#[test]
fn freezing_by_pattern() {
    let mut network = Network::new(seed(true)).unwrap();
    assert_eq!(network.set_trainable("conv2d*", false), 2);
    assert_eq!(network.weights().iter().filter(|w| w.trainable).count(), 4);
    assert_eq!(Network::new(network.config().clone()).unwrap().weights(), network.weights());
}

/// Every size that the arguments allow is either built or refused in one line; none overflows.
#[test]
fn absurd_sizes_are_refused() {
    let most = u32::MAX;
    let input = |shape: serde_json::Value| json!({"class_name": "Input", "config": {"shape": shape}});
    let layer = |class: &str, config: serde_json::Value| json!({"class_name": class, "config": config});
    let error = layers(json!([input(json!([most, most, most]))]));
    assert!(error.contains("more than 2^32 elements"), "{error}");
    let dense = layer("Dense", json!({"units": most}));
    let error = layers(json!([input(json!([1])), dense.clone(), dense]));
    assert!(error.contains("weight 'dense_1/kernel' [4294967295, 4294967295] has more"), "{error}");
    let error =
        layers(json!([input(json!([6])), layer("Reshape", json!({"target_shape": [-1, most, most, most]}))]));
    assert!(error.contains("6 elements cannot take target_shape"), "{error}");
    for (class, config) in [
        ("UpSampling2D", json!({"size": most})),
        ("ZeroPadding2D", json!({"padding": most})),
        ("DepthwiseConv2D", json!({"kernel_size": 1, "depth_multiplier": most})),
        ("Conv2D", json!({"filters": most, "kernel_size": most, "padding": "same"})),
        ("Conv2D", json!({"filters": 1, "kernel_size": most, "dilation_rate": most})),
        ("AveragePooling2D", json!({"pool_size": most})),
    ] {
        let error = layers(json!([input(json!([9, 9, 3])), layer(class, config)]));
        assert!(error.contains("more than 2^32") || error.contains("does not fit"), "{class}: {error}");
    }
    let error = layers(json!([input(json!([6])), layer("Normalization", json!({"axis": [1, -1]}))]));
    assert!(error.contains("comes twice"), "{error}");
    let scaling = json!({"class_name": "VarianceScaling", "config": {"scale": -1.0}});
    let error = layers(json!([
        input(json!([6])),
        layer("Dense", json!({"units": 1, "kernel_initializer": scaling}))
    ]));
    assert!(error.contains("scale must be > 0"), "{error}");
}

/// A name that would be read back as something else makes a file that cannot be loaded.
#[test]
fn names_come_back_from_files() {
    for name in ["a:1", "a/b", ""] {
        let config = Sequential::new().input(&[2]).add(Dense::new(1).name(name)).add(Dense::new(1)).build();
        let error = error(config.unwrap());
        assert!(error.contains("a layer cannot be called"), "{name}: {error}");
    }
    let mut twice = Sequential::new().input(&[2]).add(Dense::new(1)).add(Dense::new(1)).build().unwrap();
    twice.layers[2].name = "dense".into();
    assert!(error(twice).contains("two layers are called 'dense'"));
}
