//! Selection of detections against torchvision's non-maximum suppression, and its fixed shape.

use crate::{Fed, Random};
use thalweg_graph::DType;
use thalweg_graph::reference::{Tensor, evaluate};
use thalweg_nn::detection::{Predictions, Select};
use thalweg_testkit::{Golden, run_rounded};

fn logit(p: f64) -> f64 {
    // Scores 0 and 1 as what f32's sigmoid makes them.
    if p <= 0.0 {
        -2000.0
    } else if p >= 1.0 {
        200.0
    } else {
        (p / (1.0 - p)).ln()
    }
}

/// Detections of one picture with these boxes, each of one class with its score, all other classes impossible.
fn detections(select: &Select, boxes: &[Vec<f64>], scores: &[f64], classes: &[usize]) -> Vec<[f64; 6]> {
    let mut fed = Fed::new();
    let (a, c) = (boxes.len(), classes.iter().max().map_or(1, |c| c + 1));
    let logits = Tensor::generate(&[1, a, c], |i| {
        if classes[i[1]] == i[2] { f64::from(logit(scores[i[1]]) as f32) } else { -3000.0 }
    });
    let predictions = Predictions {
        boxes: fed.input(DType::F32, &Tensor::new(&[1, a, 4], boxes.concat())),
        points: fed.input(DType::F32, &Tensor::new(&[1, a, 3], vec![0.0; 3 * a])),
        logits: fed.input(DType::F32, &logits),
        distances: None,
    };
    let found = select.select(&mut fed.g, &predictions);
    assert_eq!(fed.g.shape(found), [1, select.max_detections, 6]);
    fed.g.output("found", found);
    let exact = evaluate(&fed.g, &fed.feeds, &[])[&found].clone();
    let rounded = &run_rounded(&fed.g, &fed.feeds).outputs[0].1;
    for (a, b) in exact.data.iter().zip(&rounded.data) {
        assert!((a - b).abs() < 1e-5, "f64 and f32 select the same: {a} {b}");
    }
    exact.data.chunks_exact(6).map(|r| [r[0], r[1], r[2], r[3], r[4], r[5]]).collect()
}

#[test]
fn torchvision_keeps_the_same() {
    let golden = Golden::open("boxes");
    let mut suppressed = 0;
    for case in golden.list("lists") {
        let name = case["name"].as_str().unwrap();
        let of = |part: &str| golden.tensor(&format!("{name}/{part}")).data.clone();
        let boxes: Vec<Vec<f64>> = of("boxes").chunks_exact(4).map(<[f64]>::to_vec).collect();
        let (scores, classes) = (of("scores"), of("classes"));
        let classes: Vec<usize> = classes.iter().map(|&c| c as usize).collect();
        let kept: Vec<usize> =
            case["kept"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        let select = Select {
            confidence_threshold: 0.0,
            iou_threshold: case["threshold"].as_f64().unwrap(),
            candidates: boxes.len(),
            max_detections: boxes.len(),
        };
        let found = detections(&select, &boxes, &scores, &classes);
        let want: Vec<usize> = kept.into_iter().filter(|&i| scores[i] > 0.0).collect();
        for (row, &i) in found.iter().zip(&want) {
            assert_eq!(row[..4], boxes[i][..], "{name}");
            assert!((row[4] - scores[i]).abs() < 1e-6 && row[5] == classes[i] as f64, "{name}: {row:?}");
        }
        assert!(found[want.len()..].iter().all(|r| *r == [0.0, 0.0, 0.0, 0.0, 0.0, -1.0]), "{name}");
        suppressed += boxes.len() - want.len();
    }
    assert!(suppressed > 500, "{suppressed} boxes were suppressed");
}

const PLAIN: Select =
    Select { confidence_threshold: 0.25, iou_threshold: 0.5, candidates: 300, max_detections: 6 };

#[test]
fn thresholds_and_rows() {
    let boxes: Vec<Vec<f64>> =
        (0..9).map(|i| vec![10.0 * i as f64, 0.0, 10.0 * i as f64 + 8.0, 8.0]).collect();
    let scores = [0.3, 0.9, 0.2, 0.5, 0.24, 0.26, 0.0, 1.0, 0.7];
    let found = detections(&PLAIN, &boxes, &scores, &[0; 9]);
    let order: Vec<f64> = found.iter().map(|r| r[0] / 10.0).collect();
    assert_eq!(order, [7.0, 1.0, 8.0, 3.0, 0.0, 5.0], "all above the threshold, best first");
    let few = detections(&Select { max_detections: 2, ..PLAIN }, &boxes, &scores, &[0; 9]);
    assert_eq!(few.iter().map(|r| r[0]).collect::<Vec<_>>(), [70.0, 10.0]);
    let none = detections(&PLAIN, &boxes, &[0.1; 9], &[0; 9]);
    assert!(none.iter().all(|r| r[5] == -1.0 && r[4] == 0.0));
    let one = detections(&Select { candidates: 1, ..PLAIN }, &boxes, &scores, &[0; 9]);
    assert_eq!((one[0][0], one[1][5]), (70.0, -1.0));
}

#[test]
fn classes_do_not_suppress_each_other() {
    let boxes = vec![vec![0.0, 0.0, 10.0, 10.0]; 4];
    let found = detections(&PLAIN, &boxes, &[0.5, 0.9, 0.6, 0.8], &[0, 1, 0, 1]);
    let rows: Vec<(f64, f64)> = found.iter().filter(|r| r[5] >= 0.0).map(|r| (r[4], r[5])).collect();
    assert_eq!(rows.len(), 2);
    assert!((rows[0].0 - 0.9).abs() < 1e-6 && rows[0].1 == 1.0 && (rows[1].0 - 0.6).abs() < 1e-6);
}

/// Boxes without size overlap nothing, not even themselves.
#[test]
fn empty_boxes_stay() {
    let boxes = vec![vec![5.0, 5.0, 5.0, 5.0]; 3];
    let found = detections(&PLAIN, &boxes, &[0.5, 0.9, 0.6], &[0; 3]);
    assert_eq!(found.iter().filter(|r| r[5] == 0.0).count(), 3);
}

/// A chain of boxes, each overlapping its neighbours: every second goes, as what is suppressed suppresses nothing.
#[test]
fn suppression_is_greedy() {
    let mut random = Random::new(1);
    let boxes: Vec<Vec<f64>> =
        (0..40).map(|i| vec![2.0 * i as f64, 0.0, 2.0 * i as f64 + 8.0, 8.0]).collect();
    let scores: Vec<f64> = (0..40).map(|i| 0.99 - 0.01 * i as f64 - random.within(0.0, 0.005)).collect();
    let select = Select { max_detections: 40, ..PLAIN };
    let found = detections(&select, &boxes, &scores, &[0; 40]);
    let kept: Vec<f64> = found.iter().filter(|r| r[5] == 0.0).map(|r| r[0]).collect();
    assert_eq!(kept, (0..20).map(|i| 4.0 * i as f64).collect::<Vec<_>>());
}
