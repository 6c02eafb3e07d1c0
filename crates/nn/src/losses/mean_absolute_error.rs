//! Mean absolute error.

use super::{Cost, Target, like, target};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `|p - t|`, mean over the last axis: targets and predictions [n, .., c] (targets of [n, 1] also as
/// `[n]`). Its gradient where they are equal is 0. Source: keras.io/api/losses/regression_losses.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MeanAbsoluteError {}

impl Config for MeanAbsoluteError {}

impl Cost for MeanAbsoluteError {
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
        let t = like(g, y_true, y_pred);
        let error = g.sub(y_pred, t);
        let size = g.abs(error);
        target::mean_last(g, size)
    }

    fn target(&self) -> Target {
        Target::Values
    }
}
