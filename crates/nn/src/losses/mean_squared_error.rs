//! Mean squared error.

use super::{Cost, Target, like, target};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `(p - t)^2`, mean over the last axis: targets and predictions [n, .., c] (targets of [n, 1] also as
/// `[n]`).
/// Source: keras.io/api/losses/regression_losses.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MeanSquaredError {}

impl Config for MeanSquaredError {}

impl Cost for MeanSquaredError {
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
        let t = like(g, y_true, y_pred);
        let error = g.sub(y_pred, t);
        let square = g.mul(error, error);
        target::mean_last(g, square)
    }

    fn target(&self) -> Target {
        Target::Values
    }
}
