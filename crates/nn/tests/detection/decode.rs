//! From maps to boxes.

use crate::{Fed, Random, points};
use thalweg_graph::reference::{Tensor, evaluate};
use thalweg_graph::{DType, gradients};
use thalweg_nn::detection::{Level, Predictions, decode};

const SIDE: usize = 64;

/// Maps of three levels and what they decode to: (maps of distances, boxes, the packed tensor).
fn decoded(sides: usize, seed: u64) -> (Vec<Tensor>, Tensor, Tensor) {
    let (mut fed, mut random) = (Fed::new(), Random::new(seed));
    let (mut levels, mut maps) = (Vec::new(), Vec::new());
    for stride in [8, 16, 32] {
        let size = SIDE / stride;
        let logits = fed.input(DType::F32, &random.tensor(&[2, size, size, 3], -2.0, 2.0));
        maps.push(random.tensor(&[2, size, size, sides], -1.5, 1.5));
        let distances = fed.input(DType::F32, &maps[maps.len() - 1]);
        levels.push(Level { logits, distances, stride });
    }
    let predictions = decode(&mut fed.g, &levels);
    let packed = predictions.pack(&mut fed.g);
    let bins = if sides == 4 { 0 } else { sides / 4 };
    let again = Predictions::unpack(&mut fed.g, packed, bins);
    let nodes = [predictions.boxes, packed, again.boxes, predictions.logits, again.logits];
    let values = evaluate(&fed.g, &fed.feeds, &nodes);
    assert_eq!(values[&nodes[0]], values[&nodes[2]]);
    assert_eq!(values[&nodes[3]], values[&nodes[4]]);
    if let (Some(a), Some(b)) = (predictions.distances, again.distances) {
        let values = evaluate(&fed.g, &fed.feeds, &[a, b]);
        assert_eq!(values[&a], values[&b]);
    }
    (maps, values[&nodes[0]].clone(), values[&nodes[1]].clone())
}

fn check(sides: usize, reach: impl Fn(&[f64]) -> [f64; 4]) {
    let (maps, boxes, packed) = decoded(sides, 3);
    let points = points(SIDE);
    assert_eq!(boxes.shape, [2, points.len(), 4]);
    for n in 0..2 {
        let rows = maps.iter().flat_map(|m| {
            let each = m.data.len() / 2;
            m.data[n * each..(n + 1) * each].chunks_exact(sides)
        });
        for (a, (raw, [x, y, stride])) in rows.zip(&points).enumerate() {
            let [l, t, r, b] = reach(raw).map(|d| d * stride);
            let want = [x - l, y - t, x + r, y + b];
            for (i, want) in want.iter().enumerate() {
                let found = boxes.at(&[n, a, i]);
                assert!((found - want).abs() < 1e-9 * stride, "point {a}, corner {i}: {found} for {want}");
            }
            assert_eq!([0, 1, 2].map(|i| packed.at(&[n, a, 4 + i])), [*x, *y, *stride]);
        }
    }
}

#[test]
fn numbers_are_logarithms_of_distances() {
    check(4, |raw| [0, 1, 2, 3].map(|i| raw[i].exp()));
}

#[test]
fn distributions_have_means() {
    check(4 * 6, |raw| {
        [0, 1, 2, 3].map(|i| {
            let e: Vec<f64> = raw[6 * i..6 * (i + 1)].iter().map(|v| v.exp()).collect();
            e.iter().enumerate().map(|(k, e)| k as f64 * e).sum::<f64>() / e.iter().sum::<f64>()
        })
    });
}

/// However far a head goes astray, boxes are finite; there is nothing to learn beyond the bounds.
#[test]
fn extremes_are_finite() {
    let mut fed = Fed::new();
    let logits = fed.input(DType::F32, &Tensor::new(&[1, 1, 1, 1], vec![0.0]));
    let raw = fed.input(DType::F32, &Tensor::new(&[1, 1, 1, 4], vec![300.0, -300.0, 0.0, 7.9]));
    let boxes = decode(&mut fed.g, &[Level { logits, distances: raw, stride: 32 }]).boxes;
    let grad = gradients(&mut fed.g, boxes, &[raw]).unwrap()[0];
    let values = evaluate(&fed.g, &fed.feeds, &[boxes, grad]);
    assert!(values[&boxes].data.iter().all(|v| v.abs() < 1e6), "{:?}", values[&boxes]);
    let grad = &values[&grad].data;
    assert_eq!((grad[0], grad[1], grad[2]), (0.0, 0.0, 32.0), "{grad:?}");
}
