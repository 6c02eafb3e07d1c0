//! "accuracy": the accuracy that suits the shapes of predictions and targets.

use super::{BinaryAccuracy, CategoricalAccuracy, Measure, Metric, SparseCategoricalAccuracy};
use crate::losses::Target;
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// Binary for predictions [.., 1], else sparse for targets of fewer axes or [.., 1], else categorical.
/// Source: Keras' `compile(metrics=["accuracy"])`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Accuracy {}

impl Config for Accuracy {}

/// The accuracy for these shapes, batch axis included.
pub(super) fn suited(pred: &[usize], target: &[usize]) -> Metric {
    let last = |shape: &[usize]| shape.last().copied().unwrap_or(1);
    if last(pred) == 1 {
        BinaryAccuracy::default().into()
    } else if target.len() < pred.len() || last(target) == 1 {
        SparseCategoricalAccuracy::default().into()
    } else {
        CategoricalAccuracy::default().into()
    }
}

/// [`Metric::resolve`] comes first; these are for completeness of the table.
impl Measure for Accuracy {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        suited(g.shape(y_pred), g.shape(y_true)).per_element(g, y_true, y_pred)
    }

    fn target(&self) -> Target {
        Target::Values
    }
}
