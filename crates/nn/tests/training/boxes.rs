//! Losses of detection against torchvision, finite differences, and boxes that are hardly boxes.

use crate::{config, feed, input};
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{Graph, gradients, verify};
use thalweg_nn::losses::Loss;
use thalweg_testkit::{Golden, Tolerance, compare, run_rounded};

#[test]
fn torchvision_goldens() {
    let golden = Golden::open("boxes");
    let mut problems = Vec::new();
    for case in golden.list("losses") {
        let name = case["name"].as_str().unwrap();
        let loss = Loss::from_value(config(case)).unwrap();
        let (mut g, mut feeds) = (Graph::new(), Feeds::default());
        let y_true = feed(&mut g, &mut feeds, &golden, &format!("{name}/y_true")).unwrap();
        let y_pred = feed(&mut g, &mut feeds, &golden, &format!("{name}/y_pred")).unwrap();
        loss.check(g.shape(y_pred), g.shape(y_true), g.ty(y_true).dtype).unwrap();
        let costs = loss.per_element(&mut g, y_true, y_pred, None);
        let grad = gradients(&mut g, costs, &[y_pred]).unwrap()[0];
        g.output("costs", costs);
        g.output("grad", grad);
        verify::verify(&g, "building a loss");
        let values = evaluate(&g, &feeds, &[]);
        let rounded = run_rounded(&g, &feeds);
        // Constants are f32: 1e-7 too.
        let exact = Tolerance { abs: 1e-7, rel: 3e-7, scale: 3e-7 };
        for (i, (what, node)) in [("cost", costs), ("dy_pred", grad)].into_iter().enumerate() {
            let want = golden.tensor(&format!("{name}/{what}"));
            problems.extend(compare(&format!("{name} {what}"), want, &values[&node], exact).err());
            let found = &rounded.outputs[i].1;
            problems.extend(compare(&format!("{name} {what}, f32"), want, found, Tolerance::GRAPH).err());
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Cost of each box and its gradient, computed in f32.
fn overlap(loss: &str, pred: &[[f64; 4]], truth: &[[f64; 4]]) -> (Vec<f64>, Vec<f64>) {
    let loss: Loss = loss.parse().unwrap();
    let (mut g, mut feeds) = (Graph::new(), Feeds::default());
    let t = input(&mut g, &mut feeds, "t", Tensor::new(&[truth.len(), 4], truth.concat()));
    let p = input(&mut g, &mut feeds, "p", Tensor::new(&[pred.len(), 4], pred.concat()));
    let costs = loss.per_element(&mut g, t, p, None);
    let grad = gradients(&mut g, costs, &[p]).unwrap()[0];
    g.output("costs", costs);
    g.output("grad", grad);
    let mut results = run_rounded(&g, &feeds).outputs.into_iter().map(|(_, t)| t.data);
    (results.next().unwrap(), results.next().unwrap())
}

#[test]
fn degenerate_boxes_have_finite_costs_and_gradients() {
    let unit = [1.0, 1.0, 5.0, 3.0];
    let (point, line) = ([2.0, 2.0, 2.0, 2.0], [1.0, 2.0, 5.0, 2.0]);
    let (flipped, far) = ([5.0, 3.0, 1.0, 1.0], [4000.0, 3000.0, 4001.0, 3002.0]);
    let (tiny, zero) = ([2.0, 2.0, 2.0 + 1e-6, 2.0 + 1e-6], [0.0; 4]);
    let all = [unit, point, line, flipped, far, tiny, zero];
    for loss in ["iou", "giou", "diou", "ciou"] {
        for truth in all {
            let (costs, grad) = overlap(loss, &all, &[truth; 7]);
            assert!(
                costs.iter().chain(&grad).all(|v| v.is_finite()),
                "{loss} of {truth:?}: {costs:?} {grad:?}"
            );
        }
        let (costs, _) = overlap(loss, &[unit, far], &[unit, far]);
        assert!(costs.iter().all(|c| c.abs() < 1e-6), "{loss} of the same boxes: {costs:?}");
        let (costs, grad) = overlap(loss, &[unit], &[[11.0, 1.0, 15.0, 3.0]]);
        let pulls = grad[0] < 0.0 || grad[2] < 0.0;
        assert_eq!(pulls, loss != "iou", "{loss} of boxes apart: {costs:?} {grad:?}");
    }
    let (costs, _) = overlap("giou", &[unit], &[[5.0, 1.0, 9.0, 3.0]]);
    assert!((costs[0] - 1.0).abs() < 1e-6, "boxes side by side fill the box around them: {costs:?}");
}

/// Aspect ratios far from each other, near each other and across the diagonal, each against a difference.
#[test]
fn gradients_are_finite_differences() {
    let truth = [0.0, 0.0, 10.0, 4.0];
    for pred in [[1.0, 0.5, 9.0, 4.5], [2.0, 1.0, 4.0, 20.0], [-3.0, 1.0, 30.0, 2.0], [12.0, 5.0, 19.0, 8.0]]
    {
        for loss in ["iou", "giou", "diou", "ciou"] {
            let loss: Loss = loss.parse().unwrap();
            let (mut g, mut feeds) = (Graph::new(), Feeds::default());
            let t = input(&mut g, &mut feeds, "t", Tensor::new(&[1, 4], truth.to_vec()));
            let p = input(&mut g, &mut feeds, "p", Tensor::new(&[1, 4], pred.to_vec()));
            let cost = loss.per_element(&mut g, t, p, None);
            let grad = gradients(&mut g, cost, &[p]).unwrap()[0];
            let grad = evaluate(&g, &feeds, &[grad])[&grad].clone();
            // CIoU's weight of the aspect ratio is a constant to the gradient but not to a difference.
            let tolerance = if loss.name() == "ciou" { 0.02 } else { 1e-7 };
            for i in 0..4 {
                let mut at = |x: f64| {
                    feeds.inputs[1].data[i] = x;
                    evaluate(&g, &feeds, &[cost])[&cost].data[0]
                };
                let step = 1e-6;
                let slope = (at(pred[i] + step) - at(pred[i] - step)) / (2.0 * step);
                at(pred[i]);
                let found = grad.data[i];
                assert!((slope - found).abs() < tolerance, "{loss:?} of {pred:?}, {i}: {found} for {slope}");
            }
        }
    }
}

#[test]
fn saturated_predictions_cost_and_learn() {
    for loss in [
        r#"{"name": "focal", "apply_class_balancing": true, "from_logits": true, "gamma": 1.5}"#,
        r#"{"name": "varifocal", "from_logits": true, "gamma": 0.5}"#,
    ] {
        let loss = Loss::from_value(serde_json::from_str(loss).unwrap()).unwrap();
        let (mut g, mut feeds) = (Graph::new(), Feeds::default());
        let t = input(&mut g, &mut feeds, "t", Tensor::new(&[4, 1], vec![0.0, 1.0, 0.0, 1.0]));
        let x = input(&mut g, &mut feeds, "x", Tensor::new(&[4, 1], vec![200.0, -200.0, -200.0, 200.0]));
        let costs = loss.per_element(&mut g, t, x, None);
        let grad = gradients(&mut g, costs, &[x]).unwrap()[0];
        g.output("costs", costs);
        g.output("grad", grad);
        let out = run_rounded(&g, &feeds).outputs;
        let (costs, grad) = (&out[0].1.data, &out[1].1.data);
        assert!(costs.iter().chain(grad).all(|v| v.is_finite()), "{loss:?}: {costs:?} {grad:?}");
        assert!(
            costs[0] > 1.0 && costs[1] > 1.0 && costs[2].abs() < 1e-3 && costs[3].abs() < 1e-3,
            "{costs:?}"
        );
        assert!(grad[0] > 0.1 && grad[1] < -0.1, "{loss:?}: {grad:?}");
    }
}

#[test]
fn wrong_shapes_are_said() {
    use thalweg_graph::DType::F32;
    let iou: Loss = "iou".parse().unwrap();
    let error = iou.check(&[1, 7, 5], &[1, 7, 5], F32).unwrap_err();
    assert!(error.contains("boxes [.., 4]"), "{error}");
    assert!(iou.check(&[1, 7, 4], &[1, 7], F32).is_err() && iou.check(&[1, 4], &[1, 4], F32).is_ok());
    let dfl: Loss = "dfl".parse().unwrap();
    assert!(
        dfl.check(&[1, 4, 17], &[1, 4], F32).is_ok() && dfl.check(&[1, 4, 17], &[1, 4, 17], F32).is_err()
    );
    assert!(Loss::from_value(serde_json::json!({"name": "varifocal", "alpha": -1.0})).is_err());
}
