//! Task-aligned assignment against plain loops, in f64 and in f32, on random pictures and on unusual ones.

use crate::{Fed, Random, points};
use thalweg_graph::reference::{Tensor, evaluate};
use thalweg_graph::{DType, gradients};
use thalweg_nn::detection::{Assigner, Predictions, Truth};
use thalweg_testkit::run_rounded;

const SIDE: usize = 96;
const CLASSES: usize = 4;

/// One picture: what was predicted at every point, and what is there.
#[derive(Clone)]
struct Picture {
    boxes: Vec<[f64; 4]>,
    logits: Vec<[f64; CLASSES]>,
    truth: Vec<([f64; 4], i32)>,
}

/// Per point: the true box it learns, and its score.
type Learnt = Vec<Option<(usize, f64)>>;

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both + f64::from(1e-7_f32))
}

/// The paper's algorithm (section 3.2), box by box.
fn by_loops(assigner: &Assigner, picture: &Picture) -> Learnt {
    let points = points(SIDE);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut owner: Vec<Option<(usize, f64)>> = vec![None; points.len()];
    let aligned = |m: usize, a: usize| {
        let (truth, class) = &picture.truth[m];
        let s = sigmoid(picture.logits[a][*class as usize]);
        s.powf(assigner.alpha) * iou(truth, &picture.boxes[a]).powf(assigner.beta)
    };
    for (m, (truth, class)) in picture.truth.iter().enumerate() {
        if *class < 0 || truth[2] <= truth[0] || truth[3] <= truth[1] {
            continue;
        }
        let inside = |p: &[f64; 3], i: usize| {
            let half = ((truth[i + 2] - truth[i]) / 2.0).max(4.0);
            (p[i] - (truth[i] + truth[i + 2]) / 2.0).abs() <= half
        };
        let mut best: Vec<(f64, usize)> = points
            .iter()
            .enumerate()
            .filter(|(_, p)| inside(p, 0) && inside(p, 1))
            .map(|(a, _)| (aligned(m, a), a))
            .collect();
        best.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        for &(_, a) in best.iter().take(assigner.candidates) {
            let u = iou(truth, &picture.boxes[a]);
            if owner[a].is_none_or(|(_, other)| u > other) {
                owner[a] = Some((m, u));
            }
        }
    }
    let mut most = vec![(0f64, 0f64); picture.truth.len()];
    for (a, own) in owner.iter().enumerate() {
        if let Some((m, u)) = own {
            most[*m] = (most[*m].0.max(aligned(*m, a)), most[*m].1.max(*u));
        }
    }
    let score = |(a, own): (usize, &Option<(usize, f64)>)| {
        let (m, _) = (*own)?;
        let (t, u) = most[m];
        Some((m, if t > 0.0 { aligned(m, a) / t * u } else { 0.0 })).filter(|(_, s)| *s > 0.0)
    };
    owner.iter().enumerate().map(score).collect()
}

/// The same by graph, for pictures with as many true boxes each; computed in f64, and with every operation in f32.
fn by_graph(assigner: &Assigner, pictures: &[Picture]) -> [Vec<Learnt>; 2] {
    let mut fed = Fed::new();
    let (n, a, m) = (pictures.len(), pictures[0].boxes.len(), pictures[0].truth.len());
    let all = |f: &dyn Fn(&Picture) -> Vec<f64>| pictures.iter().flat_map(f).collect::<Vec<_>>();
    let boxes = Tensor::new(&[n, a, 4], all(&|p| p.boxes.concat()));
    let logits = Tensor::new(&[n, a, CLASSES], all(&|p| p.logits.concat()));
    let grid = Tensor::new(&[n, a, 3], all(&|_| points(SIDE).concat()));
    let truth = Tensor::new(&[n, m, 4], all(&|p| p.truth.iter().flat_map(|t| t.0).collect()));
    let classes = Tensor::new(&[n, m], all(&|p| p.truth.iter().map(|t| f64::from(t.1)).collect()));
    let predictions = Predictions {
        boxes: fed.input(DType::F32, &boxes),
        points: fed.input(DType::F32, &grid),
        logits: fed.input(DType::F32, &logits),
        distances: None,
    };
    let truth = Truth { boxes: fed.input(DType::F32, &truth), classes: fed.input(DType::I32, &classes) };
    let assignment = assigner.assign(&mut fed.g, &predictions, &truth);
    let wrt = [predictions.boxes, predictions.logits, truth.boxes];
    let none = gradients(&mut fed.g, assignment.score, &wrt).unwrap();
    fed.g.output("matched", assignment.matched);
    fed.g.output("score", assignment.score);
    let exact = evaluate(&fed.g, &fed.feeds, &none);
    for d in none {
        assert!(exact[&d].data.iter().all(|&v| v == 0.0), "no gradient passes");
    }
    let rounded = run_rounded(&fed.g, &fed.feeds).outputs;
    [
        (exact[&assignment.matched].clone(), exact[&assignment.score].clone()),
        (rounded[0].1.clone(), rounded[1].1.clone()),
    ]
    .map(|(matched, score)| {
        let learnt =
            matched.data.iter().zip(&score.data).map(|(&m, &s)| (s > 0.0).then_some((m as usize, s)));
        learnt.collect::<Vec<_>>().chunks_exact(a).map(<[_]>::to_vec).collect()
    })
}

fn same(what: &str, found: &Learnt, want: &Learnt, tolerance: f64) {
    for (a, (found, want)) in found.iter().zip(want).enumerate() {
        let equal = match (found, want) {
            (None, None) => true,
            (Some((m, s)), Some((n, t))) => m == n && (s - t).abs() <= tolerance,
            // A score that f32 cannot tell from nothing.
            (None, Some((_, s))) | (Some((_, s)), None) => *s < 1e-20,
        };
        assert!(equal, "{what}, point {a}: {found:?} for {want:?}");
    }
}

fn holds(what: &str, assigner: &Assigner, pictures: &[Picture]) -> Vec<Learnt> {
    let [exact, rounded] = by_graph(assigner, pictures);
    for (i, picture) in pictures.iter().enumerate() {
        let want = by_loops(assigner, picture);
        same(&format!("{what}, picture {i}"), &exact[i], &want, 1e-7);
        same(&format!("{what}, picture {i}, f32"), &rounded[i], &want, 2e-5);
    }
    exact
}

const PAPER: Assigner = Assigner { candidates: 13, alpha: 1.0, beta: 6.0 };

/// Predictions near true boxes and anywhere; some true boxes missing.
fn random_picture(random: &mut Random, truths: usize) -> Picture {
    let side = SIDE as f64;
    let mut truth = Vec::new();
    for _ in 0..truths {
        let (x, y) = (random.within(0.0, side - 8.0), random.within(0.0, side - 8.0));
        let (w, h) = (random.within(3.0, side / 2.0), random.within(3.0, side / 2.0));
        let round = |v: f64| f64::from(v as f32);
        truth.push(([x, y, round(x + w), round(y + h)], random.below(CLASSES + 1) as i32 - 1));
    }
    let boxes = points(SIDE)
        .iter()
        .map(|[x, y, stride]| {
            let [l, t, r, b] = [0; 4].map(|_| random.within(0.2, 2.5) * stride);
            let mut own = [x - l, y - t, x + r, y + b];
            if truths > 0 && random.below(2) == 0 {
                own = truth[random.below(truths)].0.map(|v| v + random.within(-2.0, 2.0));
            }
            own.map(|v| f64::from(v as f32))
        })
        .collect();
    let logits = points(SIDE).iter().map(|_| [0; CLASSES].map(|_| random.within(-5.0, 3.0))).collect();
    Picture { boxes, logits, truth }
}

#[test]
fn random_pictures() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let truths = [1, 2, 5, 12][seed as usize % 4];
        let pictures: Vec<Picture> = (0..3).map(|_| random_picture(&mut random, truths)).collect();
        let assigner = [
            PAPER,
            Assigner { candidates: 10, alpha: 0.5, beta: 6.0 },
            Assigner { candidates: 3, alpha: 0.7, beta: 2.5 },
        ][seed as usize % 3];
        let learnt = holds(&format!("seed {seed}"), &assigner, &pictures);
        let count = learnt.iter().flatten().flatten().count();
        assert!(truths < 5 || count > 10, "seed {seed} assigns {count} points");
    }
}

#[test]
fn three_hundred_boxes() {
    let picture = random_picture(&mut Random::new(77), 300);
    let learnt = holds("300 boxes", &PAPER, &[picture]);
    assert!(learnt[0].iter().flatten().count() > 50);
}

#[test]
fn no_boxes() {
    let mut picture = random_picture(&mut Random::new(5), 3);
    picture.truth.iter_mut().for_each(|t| t.1 = -1);
    let learnt = holds("no boxes", &PAPER, &[picture]);
    assert!(learnt[0].iter().all(Option::is_none));
}

#[test]
fn boxes_without_size_are_nobodys() {
    let mut picture = random_picture(&mut Random::new(6), 4);
    picture.truth[0] = ([20.0, 20.0, 20.0, 40.0], 1);
    picture.truth[1] = ([50.0, 50.0, 50.0, 50.0], 1);
    picture.truth[2] = ([70.0, 30.0, 60.0, 40.0], 1);
    picture.truth[3] = ([0.0, 0.0, 60.0, 60.0], 1);
    let learnt = holds("no size", &PAPER, &[picture]);
    assert!(learnt[0].iter().flatten().all(|l| l.0 == 3) && learnt[0].iter().flatten().count() > 0);
}

/// A box between the points of the finest map has a point all the same.
#[test]
fn the_smallest_boxes_have_a_point() {
    let mut picture = random_picture(&mut Random::new(7), 1);
    let small = [47.0, 47.25, 49.0, 49.0];
    picture.truth[0] = (small, 2);
    picture.boxes.iter_mut().for_each(|b| *b = [40.0, 40.0, 56.0, 56.0]);
    let learnt = holds("small", &PAPER, &[picture]);
    assert!((1..=4).contains(&learnt[0].iter().flatten().count()), "{learnt:?}");
}

/// The same box twice: every point overlaps both alike, and goes to the first.
#[test]
fn identical_boxes() {
    let mut picture = random_picture(&mut Random::new(8), 2);
    picture.truth = vec![([10.0, 10.0, 70.0, 60.0], 1); 2];
    let learnt = holds("identical", &PAPER, &[picture]);
    assert!(learnt[0].iter().flatten().all(|l| l.0 == 0));
    assert_eq!(learnt[0].iter().flatten().count(), 13);
}

/// All points alike: of equals the first are taken; and everything that is sure at once.
#[test]
fn ties_go_to_the_first_points() {
    let mut picture = random_picture(&mut Random::new(9), 1);
    picture.truth = vec![([0.0, 0.0, 96.0, 96.0], 0)];
    picture.boxes.iter_mut().for_each(|b| *b = [0.0, 0.0, 96.0, 48.0]);
    picture.logits.iter_mut().for_each(|l| *l = [200.0; CLASSES]);
    let learnt = holds("ties", &PAPER, &[picture]);
    let taken: Vec<usize> = learnt[0].iter().enumerate().filter_map(|(a, l)| l.map(|_| a)).collect();
    assert_eq!(taken, (0..13).collect::<Vec<_>>());
    assert!(learnt[0].iter().flatten().all(|l| (l.1 - 0.5).abs() < 1e-6));
}
