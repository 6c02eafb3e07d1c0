//! From feature maps to predictions: where the boxes are that a head's maps speak of.
//!
//! A point says how far its box reaches to the left, up, right and down, in strides of its map: as four numbers, whose
//! exponentials these distances are, or as four distributions over 0, 1, .. bins - 1 (Li et al. 2020, "Generalized focal
//! loss"), whose means they are.

use super::Predictions;
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// Largest and (negated) least logarithm of a distance in strides: far beyond any picture, and of f32's overflow.
const MOST_LOG: f64 = 8.0;

/// The maps of one level.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Level {
    /// Class logits `[n, h, w, c]`.
    pub logits: NodeId,
    /// What gives the distances: `[n, h, w, 4]`, or `[n, h, w, 4 bins]`, side by side.
    pub distances: NodeId,
    /// Pixels between neighbouring points.
    pub stride: usize,
}

/// The predictions of all levels, in their order, rows first.
pub fn decode(g: &mut Graph, levels: &[Level]) -> Predictions {
    let (mut logits, mut raw, mut points) = (Vec::new(), Vec::new(), Vec::new());
    for level in levels {
        let &[n, h, w, c] = g.shape(level.logits) else { unreachable!("the layer accepted maps") };
        logits.push(g.reshape(level.logits, &[n, h * w, c]));
        let sides = g.shape(level.distances)[3];
        raw.push(g.reshape(level.distances, &[n, h * w, sides]));
        points.push(grid(g, [h, w], level.stride));
    }
    let [logits, raw] = [logits, raw].map(|parts| join(g, 1, &parts));
    let points = join(g, 0, &points);
    let &[n, a, sides] = g.shape(raw) else { unreachable!("joined along the points") };
    let distances = (sides > 4).then(|| g.reshape(raw, &[n, a, 4, sides / 4]));
    let reach = match distances {
        None => {
            let log = g.clip(raw, -MOST_LOG, MOST_LOG);
            g.exp(log)
        }
        Some(distances) => mean_bin(g, distances),
    };
    let stride = g.slice(points, 1, 2, 3);
    let reach = g.mul(reach, stride);
    // (x, y, x, y) + (-left, -top, right, bottom)
    let corner = g.op(Op::Iota { axis: 2, shape: vec![n, a, 4] }, &[]);
    let corner = g.cast(corner, DType::F32);
    let half = g.scale(corner, 0.5);
    let second = g.floor(half); // 0 0 1 1
    let sign = g.scale(second, 2.0);
    let vertical = g.sub(corner, sign); // 0 1 0 1
    let sign = g.offset(sign, -1.0);
    let away = g.mul(reach, sign);
    let zero = g.constant(0.0);
    let vertical = g.lt(zero, vertical);
    let (x, y) = (g.slice(points, 1, 0, 1), g.slice(points, 1, 1, 2));
    let centre = g.select(vertical, y, x);
    let boxes = g.add(centre, away);
    let points = g.broadcast_to(points, &[n, a, 3]);
    Predictions { boxes, points, logits, distances }
}

fn join(g: &mut Graph, axis: usize, parts: &[NodeId]) -> NodeId {
    if parts.len() == 1 { parts[0] } else { g.op(Op::Concat(axis), parts) }
}

/// (x, y, stride) of the centres of `h` x `w` cells: `[h * w, 3]`.
fn grid(g: &mut Graph, [h, w]: [usize; 2], stride: usize) -> NodeId {
    let s = stride as f64;
    let [x, y] = [1, 0].map(|axis| {
        let i = g.op(Op::Iota { axis, shape: vec![h, w] }, &[]);
        let i = g.cast(i, DType::F32);
        let first = g.offset(i, 0.5);
        let at = g.scale(first, s);
        g.reshape(at, &[h * w, 1])
    });
    let stride = g.constant(s);
    let stride = g.broadcast_to(stride, &[h * w, 1]);
    g.op(Op::Concat(1), &[x, y, stride])
}

/// The mean of 0, 1, .. under the softmax of the last axis.
fn mean_bin(g: &mut Graph, logits: NodeId) -> NodeId {
    let p = g.softmax(logits, 3);
    let shape = g.shape(logits).to_vec();
    let bin = g.op(Op::Iota { axis: 3, shape }, &[]);
    let bin = g.cast(bin, DType::F32);
    let weighed = g.mul(p, bin);
    g.reduce(ReduceKind::Sum, weighed, &[3])
}
