//! From predictions to detections: the best scores, overlapping boxes of a class suppressed, a fixed number of rows.

use super::Predictions;
use thalweg_graph::derived::Boxes;
use thalweg_graph::{DType, Graph, NodeId, Op};

/// How detections are selected.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Select {
    /// Scores must be above it.
    pub confidence_threshold: f64,
    /// A box is left out where its overlap (IoU) with a better one of its class is above it.
    pub iou_threshold: f64,
    /// How many of the best scores are looked at.
    pub candidates: usize,
    /// Rows of the result.
    pub max_detections: usize,
}

/// The candidates of every picture, best first.
struct List {
    /// `[n, k, 4]`.
    boxes: NodeId,
    /// f32 `[n, k]`.
    score: NodeId,
    /// f32 `[n, k]`.
    class: NodeId,
}

impl Select {
    /// Detections `[n, max_detections, 6]`, best first: corners in pixels, score, class; behind them rows of zeros with
    /// class -1. A box may be detected as several classes. No gradient passes.
    pub fn select(&self, g: &mut Graph, predictions: &Predictions) -> NodeId {
        let list = self.best(g, predictions);
        let confidence = g.constant(self.confidence_threshold);
        let sure = g.lt(confidence, list.score);
        let conflict = self.conflicts(g, &list, sure);
        let kept = g.op(Op::Suppress, &[conflict]);
        let kept = g.and(kept, sure);
        // Kept scores stay in order; the rest goes behind them.
        let minus = g.constant(-1.0);
        let key = g.select(kept, list.score, minus);
        let (n, k) = (g.shape(key)[0], g.shape(key)[1]);
        let rows = self.max_detections.min(k);
        let at = g.top_k(key, rows);
        let key = g.gather(key, 1, at);
        let zero = g.constant(0.0);
        let empty = g.lt(key, zero);
        let class = g.gather(list.class, 1, at);
        let [score, class] = [(key, zero), (class, minus)].map(|(full, none)| {
            let value = g.select(empty, none, full);
            g.reshape(value, &[n, rows, 1])
        });
        let boxes = g.gather(list.boxes, 1, at);
        let empty = g.reshape(empty, &[n, rows, 1]);
        let boxes = g.select(empty, zero, boxes);
        let found = g.op(Op::Concat(2), &[boxes, score, class]);
        self.padded(g, found)
    }

    /// The best scores over all points and classes.
    fn best(&self, g: &mut Graph, predictions: &Predictions) -> List {
        let &[n, a, c] = g.shape(predictions.logits) else { unreachable!("class logits of points") };
        let logits = g.reshape(predictions.logits, &[n, a * c]);
        let k = self.candidates.min(a * c);
        // The order of logits is that of probabilities, without their rounding.
        let at = g.top_k(logits, k);
        let logit = g.gather(logits, 1, at);
        let score = g.sigmoid(logit);
        // at = point * c + class; exact in f32, as the layer says how many there may be.
        let index = g.cast(at, DType::F32);
        let middle = g.offset(index, 0.5);
        let point = g.scale(middle, 1.0 / c as f64);
        let point = g.floor(point);
        let before = g.scale(point, c as f64);
        let class = g.sub(index, before);
        let point = g.cast(point, DType::I32);
        let boxes = g.gather(predictions.boxes, 1, point);
        List { boxes, score, class }
    }

    /// Whether candidate i, if kept, rules out the later candidate j: bool `[n, k, k]`.
    fn conflicts(&self, g: &mut Graph, list: &List, sure: NodeId) -> NodeId {
        let &[n, k] = g.shape(list.class) else { unreachable!("a class per candidate") };
        let corners = g.corners(list.boxes);
        let [row, column]: [Boxes; 2] = [[n, k, 1], [n, 1, k]].map(|shape| g.reshape_boxes(&corners, &shape));
        // intersection > threshold * union: no division, which devices round differently.
        let (intersection, union) = g.intersection_and_union(&row, &column);
        let limit = g.scale(union, self.iou_threshold);
        let overlaps = g.lt(limit, intersection);
        let (a, b) = (g.reshape(list.class, &[n, k, 1]), g.reshape(list.class, &[n, 1, k]));
        let same = g.eq(a, b);
        let conflict = g.and(overlaps, same);
        let sure = g.reshape(sure, &[n, k, 1]);
        g.and(conflict, sure)
    }

    /// Rows up to `max_detections`.
    fn padded(&self, g: &mut Graph, found: NodeId) -> NodeId {
        let (n, rows) = (g.shape(found)[0], g.shape(found)[1]);
        let missing = self.max_detections - rows;
        if missing == 0 {
            return found;
        }
        let (zero, minus) = (g.constant(0.0), g.constant(-1.0));
        let blank = g.broadcast_to(zero, &[n, missing, 5]);
        let none = g.broadcast_to(minus, &[n, missing, 1]);
        let rest = g.op(Op::Concat(2), &[blank, none]);
        g.op(Op::Concat(1), &[found, rest])
    }
}
