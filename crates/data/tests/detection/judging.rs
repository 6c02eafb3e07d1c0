//! Judging detections: equal to pycocotools on what is hard, and fast enough.

use std::time::{Duration, Instant};
use thalweg_base::philox::Sequence;
use thalweg_data::detection::evaluate::{Confusion, Evaluator, Judge, VocEvaluator, iou_thresholds};
use thalweg_data::detection::{Detection, Object, Rect};
use thalweg_testkit::Golden;

fn object(class: usize, [x, y, width, height]: [f64; 4]) -> Object {
    let rect = Rect { x, y, width, height };
    Object { rect, class, area: rect.area(), crowd: false, difficult: false }
}

fn detection(class: usize, [x, y, width, height]: [f64; 4], score: f64) -> Detection {
    Detection { rect: Rect { x, y, width, height }, class, score }
}

/// A picture: what is in it and what was found.
type Picture = (Vec<Object>, Vec<Detection>);

struct Fixture {
    pictures: Vec<Picture>,
    classes: usize,
}

fn fixtures(golden: &Golden) -> Vec<Fixture> {
    let rows = |name: &str, columns: usize| {
        golden.tensor(name).data.chunks_exact(columns).map(<[f64]>::to_vec).collect::<Vec<_>>()
    };
    let (truth_keys, truths) = (rows("truth_keys", 3), rows("truths", 5));
    let (detection_keys, detections) = (rows("detection_keys", 2), rows("detections", 5));
    let (mut truth, mut found) = (0, 0);
    let mut fixture = |f: &[f64]| {
        let [images, classes, truth_end, found_end] = [f[0], f[1], f[2], f[3]].map(|n| n as usize);
        let mut pictures = vec![Picture::default(); images];
        for at in truth..truth_end {
            let (key, row) = (&truth_keys[at], &truths[at]);
            let mut object = object(key[1] as usize, [row[0], row[1], row[2], row[3]]);
            (object.area, object.crowd) = (row[4], key[2] != 0.0);
            pictures[key[0] as usize].0.push(object);
        }
        for at in found..found_end {
            let (key, row) = (&detection_keys[at], &detections[at]);
            let detection = detection(key[1] as usize, [row[0], row[1], row[2], row[3]], row[4]);
            pictures[key[0] as usize].1.push(detection);
        }
        (truth, found) = (truth_end, found_end);
        Fixture { pictures, classes }
    };
    rows("fixtures", 4).iter().map(|f| fixture(f)).collect()
}

#[track_caller]
fn equal(found: &[f64], expected: &[f64], what: &str) {
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-12, "{what}, number {i}: {a} is not {b}");
    }
}

#[test]
fn all_numbers_equal_pycocotools() {
    let golden = Golden::open("coco");
    assert_eq!(iou_thresholds()[..], golden.tensor("iou_thresholds").data[..]);
    let fixtures = fixtures(&golden);
    assert_eq!(fixtures.len(), 200);
    let numbers = golden.tensor("numbers").data.chunks_exact(12);
    let per_class = golden.tensor("per_class").data.chunks_exact(5 * 4);
    for (number, ((fixture, expected), per_class)) in fixtures.iter().zip(numbers).zip(per_class).enumerate()
    {
        let mut evaluator = Evaluator::new(fixture.classes);
        for (truths, found) in &fixture.pictures {
            evaluator.add(truths, found).unwrap();
        }
        let summary = evaluator.summary();
        equal(&summary.numbers, expected, &format!("fixture {number}"));
        for (class, expected) in summary.classes.iter().zip(per_class.chunks_exact(4)) {
            let found = [class.ap, class.ap50, class.ap75, class.ar].map(|v| v.unwrap_or(-1.0));
            equal(&found, expected, &format!("a class of fixture {number}"));
        }
    }
}

#[test]
fn voc_equals_its_definition() {
    let golden = Golden::open("coco");
    for (number, (fixture, expected)) in
        fixtures(&golden).iter().zip(golden.tensor("voc").data.chunks_exact(5)).enumerate()
    {
        let mut evaluator = VocEvaluator::new(fixture.classes);
        for (truths, found) in &fixture.pictures {
            evaluator.add(truths, found).unwrap();
        }
        let summary = evaluator.summary();
        let found: Vec<f64> = summary.ap50.iter().map(|v| v.unwrap_or(-1.0)).collect();
        equal(&found, expected, &format!("fixture {number}"));
        let known: Vec<f64> = found.into_iter().filter(|v| *v >= 0.0).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        assert_eq!(summary.map50, (!known.is_empty()).then_some(mean));
    }
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let mut evaluator = Evaluator::new(2);
    let at = [0.0, 0.0, 4.0, 4.0];
    let mut error = |t: &[Object], d: &[Detection]| evaluator.add(t, d).unwrap_err().to_string();
    assert!(error(&[object(2, at)], &[]).contains("class 2 cannot be judged: there are 2 classes"));
    assert!(error(&[], &[detection(9, at, 0.5)]).contains("class 9"));
    assert!(error(&[], &[detection(0, at, f64::NAN)]).contains("not finite"));
    assert!(error(&[], &[detection(0, [0.0, f64::INFINITY, 1.0, 1.0], 0.5)]).contains("not finite"));
    assert_eq!(Evaluator::new(0).summary().numbers, [-1.0; 12]);
}

#[test]
fn numbers_have_names() {
    let mut evaluator = Evaluator::new(1);
    let at = [0.0, 0.0, 40.0, 40.0];
    evaluator
        .add(&[object(0, at)], &[detection(0, at, 0.5), detection(0, [90.0, 0.0, 40.0, 40.0], 0.4)])
        .unwrap();
    let summary = evaluator.summary();
    let near = |name: &str| summary.get(name).is_some_and(|v| (v - 1.0).abs() < 1e-12);
    assert!(near("AP") && near("AP50") && near("AR_1") && near("AP_medium"), "{summary:?}");
    assert_eq!((summary.get("AP_small"), summary.get("AP51"), summary.images), (None, None, 1));
    assert_eq!((summary.classes[0].truths, summary.classes[0].detections), (1, 2));
    let curve = evaluator.curve(0, 9);
    assert_eq!((curve.positives, curve.points.len(), curve.final_recall()), (1, 2, 1.0));
    assert_eq!(curve.best().map(|b| b.score), Some(0.5));
}

#[test]
fn classes_are_confused() {
    let (a, b, crowd) = ([0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 10.0, 10.0], [100.0, 0.0, 50.0, 50.0]);
    let truths = [object(0, a), object(1, b), Object { crowd: true, ..object(1, crowd) }];
    let found = [
        detection(1, a, 0.9),
        detection(0, a, 0.8),
        detection(1, [51.0, 0.0, 10.0, 10.0], 0.3),
        detection(0, [120.0, 10.0, 5.0, 5.0], 0.7),
        detection(0, b, 0.1),
    ];
    let mut confusion = Confusion::new(2, Judge::default());
    confusion.add(&truths, &found).unwrap();
    let rows: Vec<Vec<u64>> = (0..3).map(|i| (0..3).map(|j| confusion.get(i, j)).collect()).collect();
    // The second detection of `a` comes too late; the one in the crowd is not counted; the last is too unsure.
    assert_eq!(rows, [[0, 1, 0], [0, 1, 0], [1, 0, 0]]);
    confusion.add(&truths, &[]).unwrap();
    assert_eq!((confusion.get(0, 2), confusion.get(1, 2)), (1, 1));
}

/// 5,000 pictures of 100 detections take seconds even in a test build.
#[test]
fn many_pictures_are_judged_in_seconds() {
    const CLASSES: u32 = 80;
    let mut random = Sequence::new(1, 2, 3);
    let mut place = |side: f64| {
        let [x, y, w, h] = [0; 4].map(|_| f64::from(random.next_unit()));
        [x * 500.0, y * 500.0, 4.0 + w * side, 4.0 + h * side]
    };
    let mut class = Sequence::new(1, 2, 4);
    let pictures: Vec<Picture> = (0..5000)
        .map(|_| {
            let truths: Vec<Object> =
                (0..8).map(|_| object(class.below(CLASSES) as usize, place(150.0))).collect();
            let found = (0..100).map(|i| {
                let mut at = place(150.0);
                let truth = &truths[i % 8];
                if i % 3 == 0 {
                    at = [truth.rect.x + at[0] / 50.0, truth.rect.y, truth.rect.width, truth.rect.height];
                }
                detection(
                    if i % 3 == 0 { truth.class } else { class.below(CLASSES) as usize },
                    at,
                    at[1] / 500.0,
                )
            });
            let found = found.collect();
            (truths, found)
        })
        .collect();
    let began = Instant::now();
    let mut evaluator = Evaluator::new(CLASSES as usize);
    for (truths, found) in &pictures {
        evaluator.add(truths, found).unwrap();
    }
    let summary = evaluator.summary();
    let took = began.elapsed();
    assert!(summary.get("AP").is_some_and(|ap| ap > 0.01), "{:?}", summary.numbers);
    eprintln!("5,000 pictures of 100 detections in {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
