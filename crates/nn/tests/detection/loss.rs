//! The detector's loss: its parts by hand, its gradient by differences, pictures with nothing in them.

use crate::{Fed, Random, points};
use thalweg_graph::reference::{Tensor, evaluate};
use thalweg_graph::{DType, NodeId, gradients};
use thalweg_nn::detection::{Predictions, width};
use thalweg_nn::losses::{Loss, TaskAligned, reduce};
use thalweg_testkit::run_rounded;

const SIDE: usize = 64;
const CLASSES: usize = 3;

/// Predictions around random boxes, and true boxes `[2, m, 5]`.
fn case(random: &mut Random, bins: usize, truths: usize, present: bool) -> (Tensor, Tensor) {
    let points = points(SIDE);
    let y_true = Tensor::generate(&[2, truths, 5], |i| match i[2] {
        0 | 1 => random.within(0.0, 30.0),
        2 | 3 => random.within(34.0, 64.0),
        _ if present => (i[1] % CLASSES) as f64,
        _ => -1.0,
    });
    let y_pred = Tensor::generate(&[2, points.len(), width(CLASSES, bins)], |i| {
        let [x, y, stride] = points[i[1]];
        match i[2] {
            0 => f64::from((x - stride * random.within(0.3, 3.0)) as f32),
            1 => f64::from((y - stride * random.within(0.3, 3.0)) as f32),
            2 => f64::from((x + stride * random.within(0.3, 3.0)) as f32),
            3 => f64::from((y + stride * random.within(0.3, 3.0)) as f32),
            4..=6 => points[i[1]][i[2] - 4],
            _ => random.within(-3.0, 1.0),
        }
    });
    (y_true, y_pred)
}

/// (graph with the loss, prediction, the scalar loss).
fn build(loss: &Loss, y_true: &Tensor, y_pred: &Tensor) -> (Fed, NodeId, NodeId) {
    let mut fed = Fed::new();
    let t = fed.input(DType::F32, y_true);
    let p = fed.input(DType::F32, y_pred);
    loss.check(&y_pred.shape, &y_true.shape, DType::F32).unwrap();
    let costs = loss.per_element(&mut fed.g, t, p, None);
    assert_eq!(fed.g.shape(costs), [2], "a cost per picture");
    let value = reduce(&mut fed.g, costs, None);
    (fed, p, value)
}

fn losses() -> Vec<(Loss, usize)> {
    ["{}", r#"{"bins": 8}"#, r#"{"classification": "varifocal"}"#]
        .into_iter()
        .map(|config| {
            let config: serde_json::Value = serde_json::from_str(config).unwrap();
            let bins = config.get("bins").map_or(0, |b| b.as_u64().unwrap() as usize);
            (Loss::from_config("task_aligned", config.as_object().unwrap().clone()).unwrap(), bins)
        })
        .collect()
}

/// What is assigned is a constant to the gradient; differences in directions that leave it alone show the rest.
#[test]
fn gradients_are_finite_differences() {
    for (loss, bins) in losses() {
        // Neither score nor overlap changes the assignment's numbers, CIoU's weight still does: few percent.
        let loss = match loss {
            Loss::TaskAligned(l) => Loss::from(TaskAligned { alpha: 0.0, beta: 0.0, ..l }),
            other => other,
        };
        let mut random = Random::new(2);
        let (y_true, y_pred) = case(&mut random, bins, 2, true);
        let (mut fed, p, value) = build(&loss, &y_true, &y_pred);
        let grad = gradients(&mut fed.g, value, &[p]).unwrap()[0];
        let grad = evaluate(&fed.g, &fed.feeds, &[grad])[&grad].clone();
        let nonzero = grad.data.iter().filter(|v| **v != 0.0).count();
        assert!(nonzero > 200, "{nonzero} elements learn");
        let last = width(CLASSES, bins);
        for _ in 0..60 {
            let i = random.below(y_pred.data.len() / last) * last + 7 + random.below(last - 7);
            let mut at = |x: f64| {
                fed.feeds.inputs[1].data[i] = x;
                evaluate(&fed.g, &fed.feeds, &[value])[&value].data[0]
            };
            let (x, step) = (y_pred.data[i], 1e-5);
            let slope = (at(x + step) - at(x - step)) / (2.0 * step);
            at(x);
            let found = grad.data[i];
            assert!((slope - found).abs() < 1e-6 + 1e-4 * slope.abs(), "{loss:?}: {found} for {slope}");
        }
    }
}

/// Everything known: a picture whose every prediction is the only true box.
#[test]
fn parts_add_up() {
    let mut random = Random::new(4);
    let (_, mut y_pred) = case(&mut random, 0, 1, true);
    let truth = [8.0, 8.0, 56.0, 56.0];
    for row in y_pred.data.chunks_exact_mut(10) {
        row[..4].copy_from_slice(&truth);
        row[7..].copy_from_slice(&[0.0; 3]);
    }
    let y_true = Tensor::new(&[2, 1, 5], [truth.to_vec(), vec![1.0]].concat().repeat(2));
    let loss = Loss::from(TaskAligned::default());
    let (fed, _, value) = build(&loss, &y_true, &y_pred);
    let found = evaluate(&fed.g, &fed.feeds, &[value])[&value].data[0];
    // All logits 0: every class of every point costs log 2, whatever it should be; boxes cost nothing. The 13 best of each
    // picture should score 1.
    let (points, pictures) = (points(SIDE).len() as f64, 2.0);
    let want = pictures * points * 3.0 * 2f64.ln() / (pictures * 13.0);
    assert!((found - want).abs() < 1e-5 * want, "{found} for {want}");
    // Every corner off by a pixel or two: the boxes' part appears, with its weight.
    for row in y_pred.data.chunks_exact_mut(10) {
        row[..4].copy_from_slice(&[9.0, 10.0, 54.0, 56.0]);
    }
    let (fed, _, value) = build(&loss, &y_true, &y_pred);
    let found = evaluate(&fed.g, &fed.feeds, &[value])[&value].data[0];
    let iou: f64 = 45.0 * 46.0 / (48.0 * 48.0);
    let apart = (0.5 * 0.5 + 1.0) / (48.0 * 48.0 * 2.0);
    let angle = |w: f64, h: f64| (w / h).atan();
    let v = (2.0 / std::f64::consts::PI * (angle(48.0, 48.0) - angle(45.0, 46.0))).powi(2);
    let ciou = iou - apart - v / (1.0 - iou + v) * v;
    let class = pictures * points * 3.0 * 2f64.ln() / (pictures * 13.0 * iou);
    let want = class + 2.5 * (1.0 - ciou);
    assert!((found - want).abs() < 1e-5 * want, "{found} for {want}");
}

#[test]
fn nothing_to_see_costs_only_classes() {
    for (loss, bins) in losses() {
        for truths in [1, 300] {
            let (y_true, y_pred) = case(&mut Random::new(6), bins, truths, false);
            let (mut fed, p, value) = build(&loss, &y_true, &y_pred);
            let grad = gradients(&mut fed.g, value, &[p]).unwrap()[0];
            fed.g.output("loss", value);
            fed.g.output("grad", grad);
            let out = run_rounded(&fed.g, &fed.feeds).outputs;
            assert!(out[0].1.data[0].is_finite() && out[0].1.data[0] > 0.0);
            for row in out[1].1.data.chunks_exact(width(CLASSES, bins)) {
                assert!(row[..7].iter().all(|&v| v == 0.0), "boxes learn nothing");
                assert!(row[7..7 + CLASSES].iter().all(|&v| v > 0.0), "classes learn to be silent");
            }
        }
    }
}

#[test]
fn degenerate_truth_is_finite() {
    let (mut y_true, y_pred) = case(&mut Random::new(8), 8, 3, true);
    for (i, row) in y_true.data.chunks_exact_mut(5).enumerate() {
        match i % 3 {
            0 => row.copy_within(0..2, 2),
            1 => row[..5].copy_from_slice(&[0.0, 0.0, 64.0, 64.0, 1.0]),
            _ => row[..5].copy_from_slice(&[30.0, 30.0, 30.5, 30.5, 2.0]),
        }
    }
    let config = serde_json::json!({"bins": 8});
    let loss = Loss::from_config("task_aligned", config.as_object().unwrap().clone()).unwrap();
    let (mut fed, p, value) = build(&loss, &y_true, &y_pred);
    let grad = gradients(&mut fed.g, value, &[p]).unwrap()[0];
    fed.g.output("loss", value);
    fed.g.output("grad", grad);
    let out = run_rounded(&fed.g, &fed.feeds).outputs;
    assert!(out.iter().all(|(_, t)| t.data.iter().all(|v| v.is_finite())));
}

#[test]
fn shapes_that_do_not_fit_are_said() {
    let loss = Loss::from(TaskAligned::default());
    let error = loss.check(&[1, 84, 6], &[1, 4, 5], DType::F32).unwrap_err();
    assert!(error.contains("DecodeBoxes"), "{error}");
    let error = loss.check(&[1, 84, 10], &[1, 4], DType::F32).unwrap_err();
    assert!(error.contains("boxes f32[n,m,4]"), "{error}");
    let packed = Predictions::classes(&[84, 10], 0);
    assert_eq!(packed, Ok(3));
}
