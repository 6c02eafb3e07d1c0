//! The Huber loss: squared near zero, absolute far from it.

use super::{Cost, Target, like, target};
use crate::table::{Config, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `e^2 / 2` where `|e| <= delta`, else `delta |e| - delta^2 / 2`, with `e = p - t`; mean over the last axis:
/// targets and predictions [n, .., c] (targets of [n, 1] also as `[n]`).
/// Source: keras.io/api/losses/regression_losses; Huber 1964.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Huber {
    /// Where the square ends, in units of the target; above 0. Default 1.
    pub delta: f64,
}

impl Default for Huber {
    fn default() -> Self {
        Huber { delta: 1.0 }
    }
}

impl Config for Huber {
    fn validate(&self) -> Result<(), String> {
        positive("delta", self.delta)
    }
}

impl Cost for Huber {
    fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
        let t = like(g, y_true, y_pred);
        let e = g.sub(y_pred, t);
        let size = g.abs(e);
        let ee = g.mul(e, e);
        let square = g.scale(ee, 0.5);
        let slope = g.scale(size, self.delta);
        let line = g.offset(slope, -0.5 * self.delta * self.delta);
        let delta = g.constant(self.delta);
        let far = g.lt(delta, size);
        let costs = g.select(far, line, square);
        target::mean_last(g, costs)
    }

    fn target(&self) -> Target {
        Target::Values
    }
}
