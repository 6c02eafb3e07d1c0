//! Inverse time decay, smooth or in stairs.

use super::{Rate, steps};
use crate::table::{Config, not_negative, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `initial_learning_rate / (1 + decay_rate * step / decay_steps)`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InverseTimeDecay {
    /// The rate at step 0.
    pub initial_learning_rate: f64,
    /// Steps of one period.
    pub decay_steps: u64,
    /// What a period adds to the divisor, at least 0.
    pub decay_rate: f64,
    /// Whether the periods are rounded down. Default false.
    #[serde(default)]
    pub staircase: bool,
}

impl Config for InverseTimeDecay {
    fn validate(&self) -> Result<(), String> {
        positive("initial_learning_rate", self.initial_learning_rate)?;
        not_negative("decay_rate", self.decay_rate)?;
        steps::at_least_one("decay_steps", self.decay_steps)
    }
}

impl Rate for InverseTimeDecay {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let periods = if self.staircase {
            steps::completed(g, iteration, self.decay_steps)
        } else {
            steps::over(g, iteration, self.decay_steps)
        };
        let more = g.scale(periods, self.decay_rate);
        let divisor = g.offset(more, 1.0);
        let initial = g.constant(self.initial_learning_rate);
        g.div(initial, divisor)
    }
}
