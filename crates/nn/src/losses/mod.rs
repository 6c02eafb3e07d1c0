//! Losses: what a prediction costs, as data that builds graph.
//!
//! In: targets and predictions as nodes. Out: a cost per element or example, or the scalar that is minimised,
//! as Keras 3 computes it (keras.io/api/losses). Invariant: where the prediction is the softmax or sigmoid of
//! known logits, the cost is computed from the logits, as Keras' TensorFlow backend does, so that no
//! probability is ever clipped in training. To add a loss: its file, and its line in the table.

mod binary_crossentropy;
mod categorical_crossentropy;
mod distribution_focal;
mod focal;
mod huber;
mod logits;
mod mean_absolute_error;
mod mean_squared_error;
mod overlap;
mod reduction;
mod sparse_categorical_crossentropy;
mod target;
mod task_aligned;

pub use binary_crossentropy::BinaryCrossentropy;
pub use categorical_crossentropy::CategoricalCrossentropy;
pub use distribution_focal::DistributionFocal;
pub use focal::{BinaryFocalCrossentropy, Varifocal};
pub use huber::Huber;
pub use mean_absolute_error::MeanAbsoluteError;
pub use mean_squared_error::MeanSquaredError;
pub use overlap::{CIoU, DIoU, GIoU, IoU};
pub(crate) use reduction::align;
pub use reduction::{mean_over_rest, reduce};
pub use sparse_categorical_crossentropy::SparseCategoricalCrossentropy;
pub use target::Target;
pub(crate) use target::{class_labels, like, mean_last};
pub use task_aligned::{Classification, TaskAligned};

pub use crate::activations::Logits;
use crate::detection::Predictions;
use crate::table::{Config, keras_serde, keras_table};
use thalweg_graph::{DType, Graph, NodeId};

/// The smallest probability under a logarithm, and the distance of the largest from 1: Keras' `epsilon()`.
pub const EPSILON: f64 = 1e-7;

/// How one loss is computed.
pub(crate) trait Cost: Config {
    /// Which logits give this loss's predictions.
    const LOGITS: Option<Logits> = None;

    /// Costs, f32 of the prediction's shape without its last axis (a prediction of rank 1 keeps it).
    /// `y_pred` is logits where `from_logits`.
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, from_logits: bool) -> NodeId;

    /// What targets look like.
    fn target(&self) -> Target;

    /// Whether the user says that predictions are logits.
    fn given_logits(&self) -> bool {
        false
    }
}

keras_table! {
    ($)
    /// A loss. Source: keras.io/api/losses, Keras 3; those of detection from their papers.
    Loss "loss":
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy" [];
    CategoricalCrossentropy "categorical_crossentropy" [];
    BinaryCrossentropy "binary_crossentropy" ["bce"];
    MeanSquaredError "mean_squared_error" ["mse"];
    MeanAbsoluteError "mean_absolute_error" ["mae"];
    Huber "huber" ["huber_loss"];
    BinaryFocalCrossentropy "binary_focal_crossentropy" ["focal"];
    Varifocal "varifocal" [];
    DistributionFocal "distribution_focal" ["dfl"];
    IoU "iou" [];
    GIoU "giou" [];
    DIoU "diou" [];
    CIoU "ciou" [];
    TaskAligned "task_aligned" [];
}
keras_serde!(Loss "loss");

fn logits_of<C: Cost>(_: &C) -> Option<Logits> {
    C::LOGITS
}

impl Loss {
    /// Costs per element: f32 of the prediction's shape [n, .., c] without its last axis.
    ///
    /// `logits`: what `y_pred` is the activation of, where that is known. Elements of an ignored class cost
    /// nothing and the others are scaled up, so that the mean is over the others (Keras' mask rule).
    pub fn per_element(
        &self,
        g: &mut Graph,
        y_true: NodeId,
        y_pred: NodeId,
        logits: Option<(Logits, NodeId)>,
    ) -> NodeId {
        each!(self, c => match logits {
            Some((kind, node)) if logits_of(c) == Some(kind) => c.costs(g, y_true, node, true),
            _ => c.costs(g, y_true, y_pred, c.given_logits()),
        })
    }

    /// Costs per example, f32 `[n]`: [`Loss::per_element`] averaged over the axes after the first.
    pub fn per_example(
        &self,
        g: &mut Graph,
        y_true: NodeId,
        y_pred: NodeId,
        logits: Option<(Logits, NodeId)>,
    ) -> NodeId {
        let costs = self.per_element(g, y_true, y_pred, logits);
        mean_over_rest(g, costs)
    }

    /// What the targets of predictions of this shape must look like.
    pub fn target_shape(&self, pred: &[usize]) -> Vec<usize> {
        each!(self, c => c.target().shape(pred))
    }

    /// The fields that the targets are made of, where they are more than one: joined along the last axis, in this order.
    pub fn target_parts(&self) -> &'static [&'static str] {
        each!(self, c => c.target().parts())
    }

    /// The classes that i32 targets name, and the number that names none, for predictions of this shape [n, ..]; nothing
    /// where targets are no such numbers.
    pub fn class_range(&self, pred: &[usize]) -> Option<(usize, Option<i64>)> {
        match self {
            Loss::SparseCategoricalCrossentropy(l) => Some((*pred.last()?, l.ignore_class.map(i64::from))),
            Loss::TaskAligned(l) => Some((Predictions::classes(pred.get(1..)?, l.bins).ok()?, Some(-1))),
            _ => None,
        }
    }

    /// Element type of the targets: i32 for class indices, f32 otherwise.
    pub fn target_dtype(&self) -> DType {
        each!(self, c => c.target().dtype())
    }

    /// Refuses targets that do not fit the predictions, naming the loss that would.
    pub fn check(&self, pred: &[usize], target: &[usize], dtype: DType) -> Result<(), String> {
        each!(self, c => c.target().check(self.name(), pred, target, dtype))
    }

    /// A line of advice where the last activation does not suit the loss, which trains, but badly.
    /// `last`: the activation that gives the prediction, where it is a softmax or a sigmoid.
    pub fn advice(&self, last: Option<Logits>) -> Option<String> {
        let (expected, from_logits) = each!(self, c => (logits_of(c)?, c.given_logits()));
        logits::advice(self.name(), expected, from_logits, last)
    }
}
