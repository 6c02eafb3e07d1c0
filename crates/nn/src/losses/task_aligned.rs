//! The loss of a detector without anchor boxes.

use super::distribution_focal::distribution_focal;
use super::focal::Varifocal;
use super::logits::sigmoid_crossentropy;
use super::{Cost, Target};
use crate::detection::{Assigner, Predictions, Truth};
use crate::table::{Config, not_negative};
use serde::{Deserialize, Serialize};
use thalweg_graph::derived::Overlap;
use thalweg_graph::{DType, Graph, NodeId, Op, ReduceKind};

/// What the classes of points cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// Crossentropy.
    #[default]
    BinaryCrossentropy,
    /// [`Varifocal`] loss with its defaults.
    Varifocal,
}

/// Points of feature maps learn true boxes that task-aligned assignment gives them (Feng et al. 2021, "TOOD"): classes by
/// crossentropy with how well they should fit, boxes by CIoU, and where distances are distributions these by
/// distribution focal loss. All weighed by, and divided by the batch's sum of, what the points should score.
///
/// Predictions are those of the layer `DecodeBoxes`, targets the boxes `[n, m, 4]` (corners in pixels) and classes `[n, m]` of
/// each picture, -1 where there is none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskAligned {
    /// Bins of each distance's distribution; 0: distances are numbers. Default 0.
    pub bins: usize,
    /// Most points a true box takes. Default 13.
    pub candidates: usize,
    /// Exponent of the score in the alignment. Default 1.
    pub alpha: f64,
    /// Exponent of the overlap. Default 6.
    pub beta: f64,
    /// What points' classes cost. Default `binary_crossentropy`.
    pub classification: Classification,
    /// Weight of the classes. Default 1.
    pub class_weight: f64,
    /// Weight of the boxes. Default 2.5.
    pub box_weight: f64,
    /// Weight of the distances' distributions. Default 0.5.
    pub distribution_weight: f64,
}

impl Default for TaskAligned {
    fn default() -> Self {
        TaskAligned {
            bins: 0,
            candidates: 13,
            alpha: 1.0,
            beta: 6.0,
            classification: Classification::default(),
            class_weight: 1.0,
            box_weight: 2.5,
            distribution_weight: 0.5,
        }
    }
}

impl Config for TaskAligned {
    fn validate(&self) -> Result<(), String> {
        if self.bins == 1 {
            return Err("bins must be 0 (distances are numbers) or at least 2; got 1".into());
        }
        if self.candidates == 0 {
            return Err("candidates must be at least 1; got 0".into());
        }
        for (name, value) in [
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("class_weight", self.class_weight),
            ("box_weight", self.box_weight),
            ("distribution_weight", self.distribution_weight),
        ] {
            not_negative(name, value)?;
        }
        Ok(())
    }
}

impl Cost for TaskAligned {
    /// Costs of pictures `[n]`, whose mean is the loss.
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
        let predictions = Predictions::unpack(g, y_pred, self.bins);
        let (boxes, classes) = (g.slice(y_true, 2, 0, 4), g.slice(y_true, 2, 4, 5));
        let (n, m) = (g.shape(y_true)[0], g.shape(y_true)[1]);
        let classes = g.reshape(classes, &[n, m]);
        let truth = Truth { boxes, classes: g.cast(classes, DType::I32) };
        let assigner = Assigner { candidates: self.candidates, alpha: self.alpha, beta: self.beta };
        let assignment = assigner.assign(g, &predictions, &truth);

        let class = self.class_costs(g, &predictions, &truth, assignment.matched, assignment.score);
        let mut costs = g.scale(class, self.class_weight);
        let matched = g.gather(truth.boxes, 1, assignment.matched);
        let boxes = box_costs(g, &predictions, matched, assignment.score);
        let boxes = g.scale(boxes, self.box_weight);
        costs = g.add(costs, boxes);
        if let Some(logits) = predictions.distances {
            let d = distance_costs(g, &predictions, logits, matched, assignment.score);
            let d = g.scale(d, self.distribution_weight);
            costs = g.add(costs, d);
        }
        // The sum over the batch divided by the batch's scores, as a mean over pictures; of nothing, by 1.
        let total = g.sum_all(assignment.score);
        let one = g.constant(1.0);
        let total = g.max(total, one);
        let costs = g.scale(costs, n as f64);
        g.div(costs, total)
    }

    fn target(&self) -> Target {
        Target::Objects { bins: self.bins }
    }
}

impl TaskAligned {
    /// Per picture, what all points cost for all classes: `[n]`.
    fn class_costs(
        &self,
        g: &mut Graph,
        predictions: &Predictions,
        truth: &Truth,
        matched: NodeId,
        score: NodeId,
    ) -> NodeId {
        let shape = g.shape(predictions.logits).to_vec();
        let (n, a) = (shape[0], shape[1]);
        let class = g.gather(truth.classes, 1, matched);
        let class = g.reshape(class, &[n, a, 1]);
        let index = g.op(Op::Iota { axis: 2, shape }, &[]);
        let own = g.eq(index, class);
        let score = g.reshape(score, &[n, a, 1]);
        let zero = g.constant(0.0);
        let target = g.select(own, score, zero);
        let costs = match self.classification {
            Classification::BinaryCrossentropy => sigmoid_crossentropy(g, target, predictions.logits),
            Classification::Varifocal => Varifocal::default().elements(g, target, predictions.logits, true),
        };
        g.reduce(ReduceKind::Sum, costs, &[1, 2])
    }
}

/// Per picture, what the boxes cost: `[n]`.
fn box_costs(g: &mut Graph, predictions: &Predictions, matched: NodeId, score: NodeId) -> NodeId {
    let (pred, truth) = (predictions.corners(g), g.corners(matched));
    let overlap = g.box_overlap(Overlap::CIoU, &pred, &truth);
    let one = g.constant(1.0);
    let cost = g.sub(one, overlap);
    let cost = g.mul(cost, score);
    g.reduce(ReduceKind::Sum, cost, &[1])
}

/// Per picture, what the distributions of distances cost, the mean of the four sides: `[n]`.
fn distance_costs(
    g: &mut Graph,
    predictions: &Predictions,
    logits: NodeId,
    matched: NodeId,
    score: NodeId,
) -> NodeId {
    let [x, y, stride] = predictions.point(g);
    let truth = g.corners(matched);
    let sides = [(x, truth.x1), (y, truth.y1), (truth.x2, x), (truth.y2, y)].map(|(to, from)| {
        let reach = g.sub(to, from);
        let reach = g.div(reach, stride);
        let &[n, a] = g.shape(reach) else { unreachable!("a number per point") };
        g.reshape(reach, &[n, a, 1])
    });
    let target = g.op(Op::Concat(2), &sides);
    let target = g.stop_gradient(target);
    let costs = distribution_focal(g, target, logits); // n a 4
    let costs = g.mean_keep(costs, &[2]);
    let shape = g.shape(score).to_vec();
    let costs = g.reshape(costs, &shape);
    let costs = g.mul(costs, score);
    g.reduce(ReduceKind::Sum, costs, &[1])
}
