//! Metrics against Keras: the running mean after each of three batches.

use crate::{config, feed, input, typed};
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{DType, Graph};
use thalweg_nn::metrics::{Metric, accumulate, result};
use thalweg_testkit::Golden;

#[test]
fn keras_goldens() {
    let golden = Golden::open("losses");
    for case in golden.list("metrics") {
        let name = case["name"].as_str().unwrap();
        let want = golden.tensor(&format!("{name}/result"));
        let exact = Metric::from_value(config(case)).unwrap();
        // The name as given to compile; where there are arguments, the class.
        let given = case["metric"].as_str().unwrap();
        let metric = match case["config"].as_object().unwrap().is_empty() {
            true => given.parse().unwrap(),
            false => exact.clone(),
        };
        assert_eq!(metric.name(), given);
        let (mut total, mut count) = (0.0, 0.0);
        for batch in 0..3 {
            let (mut g, mut feeds) = (Graph::new(), Feeds::default());
            let t = input(&mut g, &mut feeds, "total", Tensor::scalar(total));
            let c = input(&mut g, &mut feeds, "count", Tensor::scalar(count));
            let at = format!("{name}/batch{batch}");
            let y_true = feed(&mut g, &mut feeds, &golden, &format!("{at}/y_true")).unwrap();
            let y_pred = feed(&mut g, &mut feeds, &golden, &format!("{at}/y_pred")).unwrap();
            let weight = feed(&mut g, &mut feeds, &golden, &format!("{at}/sample_weight"));
            let (pred, truth) = (g.shape(y_pred).to_vec(), g.shape(y_true).to_vec());
            assert_eq!(metric.resolve(&pred, &truth), exact, "{name}");
            metric.check(&pred, &truth, g.ty(y_true).dtype).unwrap();
            let values = metric.value(&mut g, y_true, y_pred);
            assert_eq!(g.shape(values), &pred[..1]);
            let (t, c) = accumulate(&mut g, t, c, values, weight);
            let values = evaluate(&g, &feeds, &[t, c]);
            (total, count) = (values[&t].data[0], values[&c].data[0]);
            let got = result(total, count);
            assert!((got - want.data[batch]).abs() < 1e-6, "{name}, batch {batch}: {got} for {want:?}");
        }
    }
}

fn one(metric: &Metric, labels: Vec<f64>, scores: Tensor) -> Vec<f64> {
    let (mut g, mut feeds) = (Graph::new(), Feeds::default());
    let y = typed(&mut g, &mut feeds, "y", DType::I32, Tensor::new(&[labels.len()], labels));
    let p = input(&mut g, &mut feeds, "p", scores);
    let v = metric.value(&mut g, y, p);
    evaluate(&g, &feeds, &[v])[&v].data.clone()
}

#[test]
fn top_k_counts_strictly_larger_scores() {
    let scores = Tensor::new(&[4, 4], [0.1, 0.4, 0.4, 0.1].repeat(4));
    let metric = Metric::from_value(serde_json::json!({"name": "sparse_top_k_categorical_accuracy", "k": 2}));
    assert_eq!(one(&metric.clone().unwrap(), vec![0.0, 1.0, 2.0, 3.0], scores.clone()), [0.0, 1.0, 1.0, 0.0]);
    assert_eq!(one(&metric.unwrap(), vec![-1.0, 4.0, 1.0, 2.0], scores), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn maps_and_weights_per_element() {
    // Two examples of two elements: hits (1, 0) and (1, 1), weights (1, 3) and (0, 2).
    let (mut g, mut feeds) = (Graph::new(), Feeds::default());
    let zero = g.constant(0.0);
    let hits = input(&mut g, &mut feeds, "hits", Tensor::new(&[2, 2], vec![1.0, 0.0, 1.0, 1.0]));
    let w = input(&mut g, &mut feeds, "w", Tensor::new(&[2, 2], vec![1.0, 3.0, 0.0, 2.0]));
    let per_example = input(&mut g, &mut feeds, "v", Tensor::new(&[2], vec![1.0, 3.0]));
    let (t, c) = accumulate(&mut g, zero, zero, hits, Some(w));
    let (t1, c1) = accumulate(&mut g, zero, zero, hits, Some(per_example));
    let values = evaluate(&g, &feeds, &[t, c, t1, c1]);
    assert_eq!([t, c, t1, c1].map(|n| values[&n].data[0]), [1.5, 3.0, 3.5, 4.0]);
    assert_eq!(result(0.0, 0.0), 0.0);
}
