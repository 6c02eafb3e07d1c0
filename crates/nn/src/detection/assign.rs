//! Task-aligned assignment: which point learns which true box, and how sure it should be (Feng et al. 2021, "TOOD").
//!
//! A point aligns with a true box by `t = s^alpha u^beta`: its score `s` for the box's class, the overlap `u` of its own
//! box with the true one. Each true box takes the `candidates` best aligned points inside it; a point that several want
//! goes to the one it overlaps most; ties go to the lower index. What a point should say is `t`, scaled so that the best
//! of each true box has the overlap of that box's best.
//!
//! Invariant: no gradient passes; every point learns at most one true box, and one without size or class is nobody's.

use super::Predictions;
use thalweg_graph::derived::{Boxes, Overlap};
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// Least divisor: alignments of nothing are nothing.
const LEAST: f64 = 1e-30;

/// How points are assigned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Assigner {
    /// Most points a true box takes.
    pub candidates: usize,
    /// Exponent of the score.
    pub alpha: f64,
    /// Exponent of the overlap.
    pub beta: f64,
}

/// What is in the pictures.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Truth {
    /// Corners in pixels, f32 `[n, m, 4]`.
    pub boxes: NodeId,
    /// Classes, i32 `[n, m]`; below 0 there is no box.
    pub classes: NodeId,
}

/// What each point learns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Assignment {
    /// The true box, i32 `[n, a]`; of no meaning where the score is 0.
    pub matched: NodeId,
    /// How sure the point should be of its box's class, f32 `[n, a]` in 0..=1; 0: there is nothing.
    pub score: NodeId,
}

impl Assigner {
    /// Assigns every point of every picture.
    pub fn assign(&self, g: &mut Graph, predictions: &Predictions, truth: &Truth) -> Assignment {
        let (&[n, a, _], &[_, m]) = (g.shape(predictions.logits), g.shape(truth.classes)) else {
            unreachable!("the loss accepted the shapes")
        };
        let fixed = |g: &mut Graph, x| g.stop_gradient(x);
        let predictions = Predictions {
            boxes: fixed(g, predictions.boxes),
            points: fixed(g, predictions.points),
            logits: fixed(g, predictions.logits),
            distances: None,
        };
        let (point, pred) = (predictions.point(g), predictions.corners(g));
        let truths = g.stop_gradient(truth.boxes);
        let truths = g.corners(truths);
        let truths = g.reshape_boxes(&truths, &[n, m, 1]);
        let pred = g.reshape_boxes(&pred, &[n, 1, a]);

        let overlap = g.box_overlap(Overlap::IoU, &truths, &pred); // n m a
        let score = score_of_class(g, predictions.logits, truth.classes);
        let (s, u) = (g.power(score, self.alpha), g.power(overlap, self.beta));
        let aligned = g.mul(s, u);
        let outside = outside(g, &truths, point);
        let there = there(g, &truths, truth.classes);
        let minus = g.constant(-1.0);
        // Below 0: never taken.
        let key = g.select(outside, minus, aligned);
        let key = g.select(there, key, minus);
        let chosen = best_of_row(g, key, self.candidates.min(a));

        // A point goes to the true box it overlaps most.
        let wanted = g.select(chosen, overlap, minus);
        let matched = g.op(Op::ArgMax(1), &[wanted]); // n a
        let own = g.op(Op::Iota { axis: 1, shape: vec![n, m, a] }, &[]);
        let same = g.reshape(matched, &[n, 1, a]);
        let same = g.eq(own, same);
        let kept = g.and(same, chosen);

        let zero = g.constant(0.0);
        let (t, u) = (g.select(kept, aligned, zero), g.select(kept, overlap, zero));
        let (most_t, most_u) = (g.reduce(ReduceKind::Max, t, &[2]), g.reduce(ReduceKind::Max, u, &[2]));
        let least = g.constant(LEAST);
        let most_t = g.max(most_t, least);
        let factor = g.div(most_u, most_t); // n m
        let factor = g.reshape(factor, &[n, m, 1]);
        let scores = g.mul(t, factor);
        Assignment { matched, score: g.reduce(ReduceKind::Max, scores, &[1]) }
    }
}

/// The probability that every point gives to every true box's class: `[n, m, a]`; 0 where there is no box.
fn score_of_class(g: &mut Graph, logits: NodeId, classes: NodeId) -> NodeId {
    let p = g.sigmoid(logits);
    let p = g.transpose(p, &[0, 2, 1]); // n c a
    g.gather(p, 1, classes)
}

/// Whether a point is outside a true box: bool `[n, m, a]`. A box narrower than a cell of the finest map counts as one
/// cell wide, so that there is a point in it.
fn outside(g: &mut Graph, truths: &Boxes, [x, y, stride]: [NodeId; 3]) -> NodeId {
    let &[n, a] = g.shape(x) else { unreachable!("a number per point") };
    let fine = g.negate(stride);
    let fine = g.reduce(ReduceKind::Max, fine, &[0, 1]);
    let fine = g.scale(fine, -0.5);
    let excess = [(truths.x1, truths.x2, x), (truths.y1, truths.y2, y)].map(|(from, to, at)| {
        let (sum, side) = (g.add(from, to), g.sub(to, from));
        let (centre, half) = (g.scale(sum, 0.5), g.scale(side, 0.5));
        let half = g.max(half, fine);
        let at = g.reshape(at, &[n, 1, a]);
        let away = g.sub(at, centre);
        let away = g.abs(away);
        g.sub(away, half)
    });
    let most = g.max(excess[0], excess[1]);
    let zero = g.constant(0.0);
    g.lt(zero, most)
}

/// Whether there is a true box, of some size: bool `[n, m, 1]`.
fn there(g: &mut Graph, truths: &Boxes, classes: NodeId) -> NodeId {
    let &[n, m] = g.shape(classes) else { unreachable!("a class per box") };
    let none = g.constant_of(DType::I32, -1.0);
    let named = g.lt(none, classes);
    let named = g.reshape(named, &[n, m, 1]);
    let (w, h) = g.box_sides(truths);
    let least = g.min(w, h);
    let zero = g.constant(0.0);
    let sized = g.lt(zero, least);
    g.and(named, sized)
}

/// Whether an element is one of the `k` largest of its row and not below 0: bool, of the key's shape `[n, m, a]`.
fn best_of_row(g: &mut Graph, key: NodeId, k: usize) -> NodeId {
    let shape = g.shape(key).to_vec();
    let best = g.top_k(key, k);
    let last = g.slice(best, 2, k - 1, k);
    let limit = g.gather(key, 2, last);
    // In the order of the list: larger than its last, or as large and not behind it.
    let larger = g.lt(limit, key);
    let equal = g.eq(key, limit);
    let one = g.constant_of(DType::I32, 1.0);
    let behind = g.add(last, one);
    let index = g.op(Op::Iota { axis: 2, shape }, &[]);
    let earlier = g.lt(index, behind);
    let tie = g.and(equal, earlier);
    let yes = g.constant_of(DType::Bool, 1.0);
    let listed = g.select(larger, yes, tie);
    let below = g.constant(-0.5);
    let taken = g.lt(below, key);
    g.and(listed, taken)
}
