//! One test for every layer of the table: it reads its own configuration back, its shape rule agrees with its
//! graph, its weights are what its graph takes, and every class has a case here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use thalweg_graph::{DType, Graph, NodeId, Op, Type, gradients};
use thalweg_nn::arguments::Map;
use thalweg_nn::layers::{AnyLayer, Call};
use thalweg_nn::{Shape, batched};

/// Class, arguments, per-example input shapes.
fn cases() -> Vec<(&'static str, Value, Vec<Shape>)> {
    let image = || vec![vec![6, 7, 4]];
    let two = || vec![vec![6, 7, 4]; 2];
    let maps = |sides| vec![vec![4, 6, 3], vec![4, 6, sides], vec![2, 3, 3], vec![2, 3, sides]];
    vec![
        ("InputLayer", json!({"batch_shape": [null, 6, 7, 4]}), vec![]),
        ("InputLayer", json!({"batch_shape": [null, 6, 7, 4], "dtype": "uint8"}), vec![]),
        ("Conv2D", json!({"filters": 5, "kernel_size": 3, "activation": "relu"}), image()),
        (
            "Conv2D",
            json!({"filters": 6, "kernel_size": [2, 3], "strides": 2, "padding": "same", "groups": 2}),
            image(),
        ),
        (
            "Conv2D",
            json!({"filters": 6, "kernel_size": 3, "dilation_rate": [2, 3], "use_bias": false}),
            image(),
        ),
        ("DepthwiseConv2D", json!({"kernel_size": 3, "depth_multiplier": 2, "activation": "silu"}), image()),
        ("Dense", json!({"units": 3, "activation": "softmax"}), vec![vec![5]]),
        ("Dense", json!({"units": 3}), vec![vec![4, 5]]),
        ("Dense", json!({"units": 3, "last_axis": true, "use_bias": false}), image()),
        ("MaxPooling2D", json!({}), image()),
        ("MaxPooling2D", json!({"pool_size": 3, "strides": [2, 1], "padding": "same"}), image()),
        ("AveragePooling2D", json!({"pool_size": 2}), image()),
        ("AveragePooling2D", json!({"pool_size": [3, 2], "strides": 2, "padding": "same"}), image()),
        ("GlobalAveragePooling2D", json!({}), image()),
        ("GlobalAveragePooling2D", json!({"keepdims": true}), image()),
        ("GlobalMaxPooling2D", json!({}), image()),
        ("BatchNormalization", json!({}), image()),
        ("BatchNormalization", json!({"scale": false, "axis": 1, "trainable": false}), vec![vec![9]]),
        ("Dropout", json!({"rate": 0.3}), image()),
        ("Dropout", json!({"rate": 0.3, "seed": 9}), vec![vec![9]]),
        ("Flatten", json!({}), image()),
        ("Flatten", json!({}), vec![vec![]]),
        ("Reshape", json!({"target_shape": [-1, 8]}), image()),
        ("Activation", json!({"activation": "gelu"}), image()),
        ("ReLU", json!({}), image()),
        ("ReLU", json!({"max_value": 6, "negative_slope": 0.1, "threshold": 0.5}), image()),
        ("LeakyReLU", json!({}), image()),
        ("Softmax", json!({}), image()),
        ("Softmax", json!({"axis": 1}), image()),
        ("Add", json!({}), two()),
        ("Subtract", json!({}), two()),
        ("Multiply", json!({}), vec![vec![6, 7, 4], vec![1, 1, 4], vec![6, 7, 1]]),
        ("Average", json!({}), two()),
        ("Maximum", json!({}), two()),
        ("Minimum", json!({}), two()),
        ("Concatenate", json!({}), vec![vec![6, 7, 4], vec![6, 7, 1]]),
        ("Concatenate", json!({"axis": 2}), vec![vec![6, 7, 4], vec![6, 2, 4]]),
        ("ZeroPadding2D", json!({"padding": [[0, 1], [2, 0]]}), image()),
        ("UpSampling2D", json!({"size": [2, 3]}), image()),
        ("UpSampling2D", json!({"interpolation": "bilinear"}), image()),
        ("Rescaling", json!({"scale": 0.5, "offset": 1.0}), image()),
        ("Normalization", json!({}), image()),
        ("Normalization", json!({"axis": null}), image()),
        ("Normalization", json!({"axis": [1, 3], "invert": true}), image()),
        ("Normalization", json!({"mean": [1, 2, 3, 4], "variance": [1, 2, 3, 4]}), image()),
        ("RandomFlip", json!({}), image()),
        ("RandomFlip", json!({"mode": "vertical"}), image()),
        ("RandomTranslation", json!({"height_factor": 0.2, "width_factor": [-0.3, 0.1]}), image()),
        (
            "RandomTranslation",
            json!({"height_factor": 0.2, "width_factor": 0.0, "interpolation": "nearest"}),
            image(),
        ),
        ("DecodeBoxes", json!({"strides": [8, 16]}), maps(4)),
        ("DecodeBoxes", json!({"strides": [8, 16]}), maps(24)),
        ("NonMaxSuppression", json!({}), vec![vec![20, 10]]),
        (
            "NonMaxSuppression",
            json!({"bins": 5, "confidence_threshold": 0.5, "iou_threshold": 0.7, "candidates": 9, "max_detections": 4}),
            vec![vec![20, 30]],
        ),
    ]
}

fn map(v: &Value) -> &Map {
    v.as_object().unwrap()
}

#[test]
fn every_layer_keeps_its_word() {
    for (class, config, inputs) in cases() {
        let layer = AnyLayer::read(class, map(&config)).unwrap();
        let case = format!("{class} {config}");
        let written = layer.get().config();
        let again = AnyLayer::read(class, &written).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(again, layer, "{case}");
        assert_eq!(again.get().config(), written, "{case}");
        let shape = layer.get().output_shape(&inputs).unwrap_or_else(|e| panic!("{case}: {e}"));
        for training in [false, true] {
            for n in [1, 3] {
                check_graph(&case, &layer, &inputs, &shape, n, training);
            }
        }
    }
}

fn check_graph(case: &str, layer: &AnyLayer, inputs: &[Shape], shape: &[usize], n: usize, training: bool) {
    let mut g = Graph::new();
    let specs = layer.get().weights(inputs);
    let names: BTreeSet<&str> = specs.iter().map(|w| w.name).collect();
    assert_eq!(names.len(), specs.len(), "{case}: weight names are unique");
    let weights: Vec<NodeId> = specs.iter().map(|w| g.state(w.name, Type::f32(&w.shape))).collect();
    let step = g.state("step", Type::new(DType::I32, &[]));
    let batch = |s: &[usize]| [&[n], s].concat();
    let mut nodes: Vec<NodeId> =
        inputs.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), Type::f32(&batch(s)))).collect();
    if let AnyLayer::InputLayer(input) = layer {
        nodes.push(g.input("x", Type::new(input.dtype.get().0, &batch(shape))));
    }
    let mut cx = Call {
        graph: &mut g,
        weights: &weights,
        training,
        step,
        stream: 7,
        seed: 3,
        output: false,
        updates: Vec::new(),
        logits: None,
    };
    let y = layer.get().call(&mut cx, &nodes);
    let updates = cx.updates;
    assert_eq!(*g.ty(y), Type::f32(&batch(shape)), "{case}: inferred {}", batched(shape));
    for (i, node) in updates {
        assert!(training && !specs[i].trainable, "{case}: only statistics are updated, in training");
        assert_eq!(g.shape(node), specs[i].shape, "{case}: update of {}", specs[i].name);
    }
    let random = g.ids().any(|id| matches!(g.node(id).op, Op::Random { .. }));
    assert!(training || !random, "{case}: predictions are not random");
    let total = g.sum_all(y);
    let wrt: Vec<NodeId> = nodes.into_iter().chain(weights).filter(|&x| g.ty(x).dtype.is_float()).collect();
    gradients(&mut g, total, &wrt).unwrap_or_else(|e| panic!("{case}: {e}"));
}

#[test]
fn every_class_has_a_case_and_documentation() {
    let tested: BTreeSet<&str> = cases().iter().map(|c| c.0).collect();
    for doc in AnyLayer::docs() {
        assert!(tested.contains(doc.class_name), "{} has no case in this file", doc.class_name);
        for argument in doc.arguments {
            assert!(argument.doc.ends_with('.'), "{} {}", doc.class_name, argument.name);
        }
    }
}

#[test]
fn what_keras_writes_besides_is_taken_where_it_changes_nothing() {
    let keras = json!({
        "name": "c", "trainable": true, "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
        "filters": 3, "kernel_size": [3, 3], "data_format": "channels_last", "kernel_regularizer": null,
        "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": null}},
    });
    assert!(AnyLayer::read("Conv2D", map(&keras)).is_ok());
    let first = json!({"filters": 3, "kernel_size": 3, "data_format": "channels_first"});
    let e = AnyLayer::read("Conv2D", map(&first)).unwrap_err().to_string();
    assert_eq!(e, "Conv2D: data_format \"channels_first\" is not supported; only null or \"channels_last\"");
}

#[test]
fn wrong_values_are_refused() {
    for (class, config, message) in [
        ("Dropout", json!({"rate": 1.5}), "Dropout: rate must be in 0..1, not 1.5"),
        ("Dropout", json!({"rate": "x"}), "Dropout: rate must be a number, not \"x\""),
        (
            "MaxPooling2D",
            json!({"pool_size": 0}),
            "MaxPooling2D: pool_size must be a positive integer or a pair of them, not 0",
        ),
        (
            "MaxPooling2D",
            json!({"padding": "sme"}),
            "MaxPooling2D: padding 'sme' is not known; did you mean 'same'? known: valid, same",
        ),
        (
            "Reshape",
            json!({"target_shape": [-1, -1]}),
            "Reshape: target_shape must be a list of positive integers, of which one may be -1, not [-1,-1]",
        ),
        (
            "BatchNormalization",
            json!({"momentum": 99}),
            "BatchNormalization: momentum must be in 0..=1, not 99",
        ),
        (
            "RandomTranslation",
            json!({"height_factor": 3, "width_factor": 0}),
            "RandomTranslation: height_factor must be a number in -1..1, or a pair (lower, upper) of them, not 3",
        ),
        (
            "Conv2D",
            json!({"filters": 3, "kernel_size": 3, "strides": 2, "dilation_rate": 2}),
            "Conv2D: strides (2, 2) and dilation_rate (2, 2) cannot both be above 1",
        ),
    ] {
        assert_eq!(AnyLayer::read(class, map(&config)).unwrap_err().to_string(), message);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    for (class, config, inputs, message) in [
        (
            "Conv2D",
            json!({"filters": 3, "kernel_size": 3}),
            vec![vec![28, 28]],
            "Conv2D got [N, 28, 28]; it takes images [N, rows, columns, channels]; put a Reshape before it (grey images have 1 channel)",
        ),
        (
            "Add",
            json!({}),
            vec![vec![4, 4, 8], vec![4, 4, 16]],
            "Add got [N, 4, 4, 8] and [N, 4, 4, 16]; all inputs need one shape; a Conv2D of kernel_size 1 on one of them can fit channels and size",
        ),
        ("Add", json!({}), vec![vec![4]], "Add got [N, 4]; it takes two or more inputs"),
        ("Flatten", json!({}), vec![vec![4], vec![4]], "Flatten got [N, 4] and [N, 4]; it takes one input"),
        (
            "Concatenate",
            json!({}),
            vec![vec![4, 4, 8], vec![4, 3, 8]],
            "Concatenate got [N, 4, 4, 8] and [N, 4, 3, 8]; inputs may differ along axis 3 only",
        ),
        (
            "Reshape",
            json!({"target_shape": [5, -1]}),
            vec![vec![4, 4]],
            "Reshape got [N, 4, 4]; 16 elements cannot take target_shape [5, -1]",
        ),
        (
            "Conv2D",
            json!({"filters": 4, "kernel_size": 1, "groups": 2}),
            vec![vec![4, 4, 3]],
            "Conv2D got [N, 4, 4, 3]; 3 channels cannot form 2 groups",
        ),
    ] {
        let layer = AnyLayer::read(class, map(&config)).unwrap();
        assert_eq!(layer.get().output_shape(&inputs).unwrap_err().to_string(), message);
    }
}
