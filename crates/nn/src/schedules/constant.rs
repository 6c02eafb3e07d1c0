//! The schedule that does nothing: a number.

use super::Rate;
use crate::table::{Config, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// The same rate in every step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Constant {
    /// The rate, above 0.
    pub learning_rate: f64,
}

impl Config for Constant {
    fn validate(&self) -> Result<(), String> {
        positive("learning_rate", self.learning_rate)
    }
}

impl Rate for Constant {
    fn rate(&self, g: &mut Graph, _: NodeId) -> NodeId {
        g.constant(self.learning_rate)
    }
}
