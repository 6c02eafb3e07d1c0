//! Losses against Keras, finite differences, and their logits forms.

use crate::{config, feed, input, spread, typed};
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{DType, Graph, NodeId, gradients, verify};
use thalweg_nn::losses::{Logits, Loss, SparseCategoricalCrossentropy, reduce};
use thalweg_testkit::{Golden, Tolerance, compare, run_rounded};

#[test]
fn keras_goldens() {
    let golden = Golden::open("losses");
    let mut problems = Vec::new();
    for case in golden.list("losses") {
        let name = case["name"].as_str().unwrap();
        let loss = Loss::from_value(config(case)).unwrap();
        let (mut g, mut feeds) = (Graph::new(), Feeds::default());
        let y_true = feed(&mut g, &mut feeds, &golden, &format!("{name}/y_true")).unwrap();
        let y_pred = feed(&mut g, &mut feeds, &golden, &format!("{name}/y_pred")).unwrap();
        let weight = feed(&mut g, &mut feeds, &golden, &format!("{name}/sample_weight"));
        loss.check(g.shape(y_pred), g.shape(y_true), g.ty(y_true).dtype).unwrap();
        let costs = loss.per_element(&mut g, y_true, y_pred, None);
        let value = reduce(&mut g, costs, weight);
        let grad = gradients(&mut g, value, &[y_pred]).unwrap()[0];
        g.output("loss", value);
        g.output("grad", grad);
        verify::verify(&g, "building a loss");
        let values = evaluate(&g, &feeds, &[value, grad]);
        let loss = Tensor::new(&[1], values[&value].data.clone());
        let want = golden.tensor(&format!("{name}/loss"));
        let want_grad = golden.tensor(&format!("{name}/dy_pred"));
        // Constants are f32: 1e-7 and 1 - 1e-7 too.
        let exact = Tolerance { abs: 1e-7, rel: 3e-7, scale: 3e-7 };
        problems.extend(compare(&format!("{name} loss"), want, &loss, exact).err());
        problems.extend(compare(&format!("{name} gradient"), want_grad, &values[&grad], exact).err());
        let rounded = run_rounded(&g, &feeds);
        let loss = Tensor::new(&[1], rounded.outputs[0].1.data.clone());
        let grad = &rounded.outputs[1].1;
        problems.extend(compare(&format!("{name} loss, f32"), want, &loss, Tolerance::F32).err());
        problems.extend(compare(&format!("{name} gradient, f32"), want_grad, grad, Tolerance::F32).err());
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Every loss with predictions of every kind it takes: (config, labels or targets, predictions).
fn cases() -> Vec<(Loss, bool, Tensor)> {
    let positive = |t: Tensor| Tensor::new(&t.shape, t.data.iter().map(|v| 0.5 + 0.4 * v).collect());
    let mut all = Vec::new();
    for json in [
        r#"{"name": "sparse_categorical_crossentropy", "ignore_class": 1}"#,
        r#"{"name": "categorical_crossentropy", "label_smoothing": 0.2}"#,
        r#"{"name": "binary_crossentropy", "label_smoothing": 0.2}"#,
        r#""mse""#,
        r#""mae""#,
        r#"{"name": "huber", "delta": 0.3}"#,
    ] {
        let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
        let loss = Loss::from_value(value.clone()).unwrap();
        let sparse = loss.target_dtype() == DType::I32;
        for shape in [&[4, 3][..], &[2, 2, 3, 4]] {
            all.push((loss.clone(), sparse, positive(spread(shape, 0.3))));
            if value.get("name").is_some_and(|n| n.as_str().unwrap().ends_with("entropy")) {
                value["from_logits"] = true.into();
                all.push((Loss::from_value(value.clone()).unwrap(), sparse, spread(shape, 0.7)));
            }
        }
    }
    all
}

#[test]
fn finite_differences() {
    for (loss, sparse, pred) in cases() {
        let (mut g, mut feeds) = (Graph::new(), Feeds::default());
        let shape = loss.target_shape(&pred.shape);
        let y_true = if sparse {
            let mut i = 0.0;
            let labels = Tensor::generate(&shape, |_| {
                i += 1.0;
                i % *pred.shape.last().unwrap() as f64
            });
            typed(&mut g, &mut feeds, "y_true", DType::I32, labels)
        } else {
            input(&mut g, &mut feeds, "y_true", spread(&shape, 2.0))
        };
        let y_pred = input(&mut g, &mut feeds, "y_pred", pred.clone());
        let w = input(&mut g, &mut feeds, "w", spread(&pred.shape[..1], 5.0));
        let costs = loss.per_example(&mut g, y_true, y_pred, None);
        assert_eq!(g.shape(costs), &pred.shape[..1]);
        let value = reduce(&mut g, costs, Some(w));
        let grad = gradients(&mut g, value, &[y_pred]).unwrap()[0];
        let grad = evaluate(&g, &feeds, &[grad])[&grad].clone();
        let step = 1e-6;
        for i in 0..pred.data.len() {
            let mut at = |x: f64| {
                feeds.inputs[1].data[i] = x;
                evaluate(&g, &feeds, &[value])[&value].data[0]
            };
            let x = pred.data[i];
            let slope = (at(x + step) - at(x - step)) / (2.0 * step);
            at(x);
            assert!((slope - grad.data[i]).abs() < 1e-7, "{loss:?} at {i}: {} for {slope}", grad.data[i]);
        }
    }
}

/// Value and gradient (of the logits) of a loss on an activation of logits, with and without saying so.
fn through(name: &str, kind: Logits, x: Tensor, y: Tensor, dtype: DType) -> [(f64, Tensor); 2] {
    let loss: Loss = name.parse().unwrap();
    [true, false].map(|told| {
        let (mut g, mut feeds) = (Graph::new(), Feeds::default());
        let x = input(&mut g, &mut feeds, "x", x.clone());
        let y = typed(&mut g, &mut feeds, "y", dtype, y.clone());
        let last = g.shape(x).len() - 1;
        let p = match kind {
            Logits::Softmax => g.softmax(x, last),
            Logits::Sigmoid => g.sigmoid(x),
        };
        let costs = loss.per_example(&mut g, y, p, told.then_some((kind, x)));
        let value = reduce(&mut g, costs, None);
        let grad = gradients(&mut g, value, &[x]).unwrap()[0];
        let values = evaluate(&g, &feeds, &[value, grad]);
        (values[&value].data[0], values[&grad].clone())
    })
}

#[test]
fn known_logits_give_the_same_and_more() {
    let labels = Tensor::new(&[4], vec![0.0, 2.0, 1.0, 1.0]);
    let x = spread(&[4, 3], 0.1);
    let ones = Tensor::generate(&[4, 3], |i| f64::from(u8::from(i[1] == i[0] % 3)));
    for (name, kind, y, dtype) in [
        ("sparse_categorical_crossentropy", Logits::Softmax, &labels, DType::I32),
        ("categorical_crossentropy", Logits::Softmax, &ones, DType::F32),
        ("binary_crossentropy", Logits::Sigmoid, &ones, DType::F32),
    ] {
        let [told, untold] = through(name, kind, x.clone(), y.clone(), dtype);
        assert!((told.0 - untold.0).abs() < 1e-9, "{name}");
        compare(name, &told.1, &untold.1, Tolerance::abs(1e-9)).unwrap();
        // Saturated: the probability of the truth is below what is clipped.
        let far = Tensor::generate(&[4, 3], |i| if i[1] == 0 { 60.0 } else { -60.0 });
        let [told, untold] = through(name, kind, far, y.clone(), dtype);
        assert!(told.0 > untold.0 + 10.0, "{name}: {told:?} {untold:?}");
        assert!(told.1.data.iter().any(|v| v.abs() > 0.05) && told.1.data.iter().all(|v| v.is_finite()));
    }
}

fn sparse(loss: &SparseCategoricalCrossentropy, labels: Vec<f64>, x: Tensor) -> (Vec<f64>, Tensor) {
    let (mut g, mut feeds) = (Graph::new(), Feeds::default());
    let y = typed(&mut g, &mut feeds, "y", DType::I32, Tensor::new(&[labels.len()], labels));
    let x = input(&mut g, &mut feeds, "x", x);
    let loss: Loss = loss.clone().into();
    let costs = loss.per_example(&mut g, y, x, None);
    let value = reduce(&mut g, costs, None);
    let grad: NodeId = gradients(&mut g, value, &[x]).unwrap()[0];
    let values = evaluate(&g, &feeds, &[costs, grad]);
    (values[&costs].data.clone(), values[&grad].clone())
}

#[test]
fn labels_out_of_range_cost_nothing() {
    let loss = SparseCategoricalCrossentropy { from_logits: true, ..Default::default() };
    let (costs, grad) = sparse(&loss, vec![-1.0, 3.0, 1.0], spread(&[3, 3], 0.0));
    assert_eq!(costs[..2], [0.0, 0.0]);
    assert!(costs[2] > 0.0 && grad.data[..6].iter().all(|&v| v == 0.0) && grad.data[6] != 0.0);
}

#[test]
fn an_ignored_class_leaves_the_mean() {
    let all = SparseCategoricalCrossentropy { from_logits: true, ..Default::default() };
    let void = SparseCategoricalCrossentropy { ignore_class: Some(2), ..all.clone() };
    let x = spread(&[4, 3], 0.0);
    let (plain, _) = sparse(&all, vec![0.0, 2.0, 1.0, 2.0], x.clone());
    let (costs, _) = sparse(&void, vec![0.0, 2.0, 1.0, 2.0], x.clone());
    assert_eq!(costs, [2.0 * plain[0], 0.0, 2.0 * plain[2], 0.0]);
    let (none, grad) = sparse(&void, vec![2.0; 4], x);
    assert!(none.iter().chain(&grad.data).all(|&v| v == 0.0));
}

#[test]
fn the_sigmoid_form_has_its_gradient_at_zero() {
    let [told, _] = through(
        "binary_crossentropy",
        Logits::Sigmoid,
        Tensor::new(&[1, 1], vec![0.0]),
        Tensor::new(&[1, 1], vec![1.0]),
        DType::F32,
    );
    assert_eq!(told.1.data, [-0.5]);
}
