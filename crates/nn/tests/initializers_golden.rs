//! Initial weights by Keras' rules: bounds, mean, deviation, per kind of weight; and the layers' defaults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use serde_json::Value;
use thalweg_graph::philox::Sequence;
use thalweg_nn::initializers::Initializer;
use thalweg_nn::layers::AnyLayer;

fn rules() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/initializers.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn distributions_are_keras() {
    for (i, case) in rules()["cases"].as_array().unwrap().iter().enumerate() {
        let name = &case["initializer"];
        let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).unwrap();
        let number = |key: &str| case[key].as_f64();
        let init = Initializer::read(name).unwrap();
        // Enough values to measure a deviation, whatever the weight's size.
        let mut values: Vec<f64> = Vec::new();
        let mut random = Sequence::new(i as u64, 5, 0);
        while values.len() < 4000 {
            values.extend(init.fill(&shape, &mut random).iter().map(|&v| f64::from(v)));
        }
        let n = values.len() as f64;
        if let Some(value) = number("value") {
            assert!(values.iter().all(|&v| v == value), "{name} {shape:?}");
            continue;
        }
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (low, high) = (number("low"), number("high"));
        let want = match case["distribution"].as_str().unwrap() {
            "uniform" => (high.unwrap() - low.unwrap()) / 12f64.sqrt(),
            "truncated_normal" => number("stddev_after_cut").unwrap(),
            _ => number("stddev").unwrap(),
        };
        assert!(
            (deviation / want - 1.0).abs() < 4.0 / n.sqrt() + 1e-3,
            "{name} {shape:?}: {deviation} for {want}"
        );
        assert!(mean.abs() < 5.0 * want / n.sqrt(), "{name} {shape:?}: mean {mean}");
        for bound in [low, high].into_iter().flatten() {
            let reached = values.iter().fold(0.0, |m: f64, v| m.max(v / bound));
            assert!(reached <= 1.0 + 1e-6 && reached > 0.9, "{name} {shape:?}: reaches {reached} of {bound}");
        }
    }
}

#[test]
fn layers_start_as_in_keras() {
    let docs = AnyLayer::docs();
    for (class, defaults) in rules()["layer_defaults"].as_object().unwrap() {
        let doc = docs.iter().find(|d| d.class_name == class).unwrap();
        for (argument, name) in defaults.as_object().unwrap() {
            let default = doc.arguments.iter().find(|a| a.name == argument).unwrap().default.clone().unwrap();
            assert_eq!(Initializer::read(&default), Initializer::read(name), "{class} {argument}");
        }
    }
}

#[test]
fn orthogonal_matrices_are() {
    for shape in [[3, 3, 2, 10], [1, 1, 4, 9], [1, 1, 9, 4]] {
        let init = Initializer::Orthogonal { gain: 2.0 };
        let w = init.fill(&shape, &mut Sequence::new(1, 2, 0));
        let cols = shape[3];
        let rows = w.len() / cols;
        let (count, at): (usize, Box<dyn Fn(usize, usize) -> f64>) = if rows >= cols {
            (cols, Box::new(|v, i| f64::from(w[i * cols + v])))
        } else {
            (rows, Box::new(|v, i| f64::from(w[v * cols + i])))
        };
        for a in 0..count {
            for b in 0..count {
                let dot: f64 = (0..rows.max(cols)).map(|i| at(a, i) * at(b, i)).sum();
                assert!((dot - if a == b { 4.0 } else { 0.0 }).abs() < 1e-5, "{shape:?} {a} {b}: {dot}");
            }
        }
    }
}
