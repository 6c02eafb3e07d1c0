//! Polynomial decay to an end, once or in cycles.

use super::{Rate, steps};
use crate::table::{Config, not_negative, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `(initial - end) (1 - step / decay_steps) ^ power + end`, and `end` afterwards; with `cycle`,
/// `decay_steps` is stretched to its first multiple that is not below the step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolynomialDecay {
    /// The rate at step 0.
    pub initial_learning_rate: f64,
    /// Steps until the end.
    pub decay_steps: u64,
    /// The rate at the end. Default 0.0001.
    #[serde(default = "end")]
    pub end_learning_rate: f64,
    /// The exponent, above 0. Default 1.
    #[serde(default = "linear")]
    pub power: f64,
    /// Whether to start over from a higher rate after the end. Default false.
    #[serde(default)]
    pub cycle: bool,
}

fn end() -> f64 {
    1e-4
}

fn linear() -> f64 {
    1.0
}

impl Config for PolynomialDecay {
    fn validate(&self) -> Result<(), String> {
        positive("initial_learning_rate", self.initial_learning_rate)?;
        not_negative("end_learning_rate", self.end_learning_rate)?;
        positive("power", self.power)?;
        steps::at_least_one("decay_steps", self.decay_steps)
    }
}

impl Rate for PolynomialDecay {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let one = g.constant(1.0);
        let periods = steps::over(g, iteration, self.decay_steps);
        let p = if self.cycle {
            // ceil(step / period) = floor((step + period - 1) / period), at least 1; half a step for safety.
            let step = steps::as_f32(g, iteration);
            let step = g.offset(step, self.decay_steps as f64 - 0.5);
            let period = g.constant(self.decay_steps as f64);
            let cycles = g.div(step, period);
            let cycles = g.floor(cycles);
            let cycles = g.max(cycles, one);
            let p = g.div(periods, cycles);
            g.min(p, one)
        } else {
            g.min(periods, one)
        };
        let rest = g.sub(one, p);
        let shape = if self.power == 1.0 {
            rest
        } else {
            let power = g.constant(self.power);
            g.pow(rest, power)
        };
        let above = g.scale(shape, self.initial_learning_rate - self.end_learning_rate);
        g.offset(above, self.end_learning_rate)
    }
}
