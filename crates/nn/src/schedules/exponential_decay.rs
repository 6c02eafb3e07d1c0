//! Exponential decay, smooth or in stairs.

use super::{Rate, steps};
use crate::table::{Config, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `initial_learning_rate * decay_rate ^ (step / decay_steps)`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExponentialDecay {
    /// The rate at step 0.
    pub initial_learning_rate: f64,
    /// Steps in which the rate is multiplied by `decay_rate` once.
    pub decay_steps: u64,
    /// The factor, above 0.
    pub decay_rate: f64,
    /// Whether the exponent is rounded down to whole periods. Default false.
    #[serde(default)]
    pub staircase: bool,
}

impl Config for ExponentialDecay {
    fn validate(&self) -> Result<(), String> {
        positive("initial_learning_rate", self.initial_learning_rate)?;
        positive("decay_rate", self.decay_rate)?;
        steps::at_least_one("decay_steps", self.decay_steps)
    }
}

impl Rate for ExponentialDecay {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let periods = if self.staircase {
            steps::completed(g, iteration, self.decay_steps)
        } else {
            steps::over(g, iteration, self.decay_steps)
        };
        let exponent = g.scale(periods, self.decay_rate.ln());
        let factor = g.exp(exponent);
        g.scale(factor, self.initial_learning_rate)
    }
}
