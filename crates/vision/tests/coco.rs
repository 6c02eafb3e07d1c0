//! The evaluation of detections is pycocotools', number for number.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use thalweg_testkit::Golden;
use thalweg_vision::detection::{Detection, Size, Truth, evaluate};

/// The rows of a table that begin with a number, without it.
fn rows(data: &[f64], width: usize, fixture: usize) -> impl Iterator<Item = &[f64]> {
    data.chunks(width).filter(move |r| r[0] as usize == fixture).map(|r| &r[1..])
}

fn bbox(r: &[f64]) -> [f64; 4] {
    r[2..6].try_into().unwrap()
}

#[test]
fn the_twelve_numbers_are_pycocotools() {
    let golden = Golden::open("coco");
    let table = |name: &str| &golden.tensor(name).data;
    let mut worst = 0.0f64;
    for (f, (sizes, expected)) in table("sizes").chunks(2).zip(table("expected").chunks(12)).enumerate() {
        let truth = |r: &[f64]| Truth {
            image: r[0] as usize,
            class: r[1] as usize,
            bbox: bbox(r),
            area: r[6],
            crowd: r[7] != 0.0,
        };
        let detection =
            |r: &[f64]| Detection { image: r[0] as usize, class: r[1] as usize, bbox: bbox(r), score: r[6] };
        let truths: Vec<Truth> = rows(table("truths"), 9, f).map(truth).collect();
        let detections: Vec<Detection> = rows(table("detections"), 8, f).map(detection).collect();
        let found = evaluate(sizes[0] as usize, sizes[1] as usize, &truths, &detections).summary();
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-12, "fixture {f}, number {i}: {a}, not {b}");
            worst = worst.max((a - b).abs());
        }
    }
    println!("200 fixtures, at most {worst:e} apart");
}

#[test]
fn perfect_and_absent_detections() {
    let truth = Truth { image: 0, class: 1, bbox: [10.0, 10.0, 50.0, 50.0], area: 2500.0, crowd: false };
    let found = Detection { image: 0, class: 1, bbox: truth.bbox, score: 0.3 };
    let perfect = evaluate(2, 3, &[truth], &[found]);
    let wanted = [1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0];
    // A precision is of the right ones over all and a spacing of f64.
    let near = |a: f64, b: f64| (a - b).abs() < 1e-15;
    let summary = perfect.summary();
    assert!(summary.iter().zip(&wanted).all(|(a, b)| near(*a, *b)), "{summary:?}");
    assert!(near(perfect.average_precision(Some(0), Some(1), Size::All).unwrap(), 1.0));
    assert_eq!(perfect.average_precision(Some(0), Some(0), Size::All), None, "a class without true boxes");
    assert!(perfect.curve(0, 1).unwrap().iter().all(|p| near(*p, 1.0)));
    assert_eq!(evaluate(2, 3, &[truth], &[]).summary()[0], 0.0);
    assert_eq!(evaluate(0, 0, &[], &[]).summary(), [-1.0; 12]);
}
