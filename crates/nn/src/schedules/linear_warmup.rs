//! A linear warmup before any schedule.

use super::{Rate, Schedule, steps};
use crate::table::{Config, not_negative};
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId};

/// Rises linearly from `initial_learning_rate` to the schedule's first rate in `warmup_steps` steps, then
/// follows the schedule from its start. Ours, after Goyal et al. 2017 ("Accurate, Large Minibatch SGD"); the
/// rule is that of Keras' `CosineDecay(warmup_steps)`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinearWarmup {
    /// Steps of the warmup.
    pub warmup_steps: u32,
    /// The rate at step 0. Default 0.
    #[serde(default)]
    pub initial_learning_rate: f64,
    /// What follows: a number or a schedule.
    pub schedule: Box<Schedule>,
}

impl Config for LinearWarmup {
    fn validate(&self) -> Result<(), String> {
        not_negative("initial_learning_rate", self.initial_learning_rate)?;
        if self.warmup_steps == 0 || i32::try_from(self.warmup_steps).is_err() {
            return Err(format!("warmup_steps must be in 1..2^31; got {}", self.warmup_steps));
        }
        self.schedule.validate()
    }
}

impl Rate for LinearWarmup {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let warmup = g.constant_of(DType::I32, f64::from(self.warmup_steps));
        let zero = g.constant_of(DType::I32, 0.0);
        let after = g.sub(iteration, warmup);
        let after = g.max(after, zero);
        // During the warmup this is the schedule's first rate.
        let follows = self.schedule.value(g, after);
        let one = g.constant(1.0);
        let done = steps::over(g, iteration, u64::from(self.warmup_steps));
        let done = g.min(done, one);
        let rest = g.sub(one, done);
        let start = g.scale(rest, self.initial_learning_rate);
        let rise = g.mul(done, follows);
        g.add(start, rise)
    }
}
