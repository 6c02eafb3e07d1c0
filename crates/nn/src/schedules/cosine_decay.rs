//! Cosine decay, with an optional linear warmup.

use super::{Rate, steps};
use crate::table::{Config, fraction, not_negative, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId};

/// Half a cosine from the initial rate (or the warmup's target) down to `alpha` times it.
/// Source: Loshchilov & Hutter 2016, "SGDR"; without restarts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CosineDecay {
    /// The rate at step 0: where the decay, or the warmup, starts.
    pub initial_learning_rate: f64,
    /// Steps of the decay, after the warmup.
    pub decay_steps: u64,
    /// The rate at the end as a fraction of the rate where the decay starts. Default 0.
    #[serde(default)]
    pub alpha: f64,
    /// The rate that the warmup reaches; none: no warmup. Default none.
    #[serde(default)]
    pub warmup_target: Option<f64>,
    /// Steps of the warmup. Default 0.
    #[serde(default)]
    pub warmup_steps: u32,
}

impl Config for CosineDecay {
    fn validate(&self) -> Result<(), String> {
        match self.warmup_target {
            None => {
                positive("initial_learning_rate", self.initial_learning_rate)?;
                if self.warmup_steps > 0 {
                    return Err("warmup_steps needs a warmup_target, the rate that the warmup reaches".into());
                }
            }
            Some(target) => {
                not_negative("initial_learning_rate", self.initial_learning_rate)?;
                positive("warmup_target", target)?;
            }
        }
        fraction("alpha", self.alpha)?;
        if i32::try_from(self.warmup_steps).is_err() {
            return Err(format!("warmup_steps must be below 2^31; got {}", self.warmup_steps));
        }
        steps::at_least_one("decay_steps", self.decay_steps)
    }
}

impl Rate for CosineDecay {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let Some(target) = self.warmup_target else {
            return self.decay(g, iteration, self.initial_learning_rate);
        };
        if self.warmup_steps == 0 {
            return self.decay(g, iteration, target);
        }
        let warmup = g.constant_of(DType::I32, f64::from(self.warmup_steps));
        let after = g.sub(iteration, warmup);
        let decayed = self.decay(g, after, target);
        let done = steps::over(g, iteration, u64::from(self.warmup_steps));
        let rise = g.scale(done, target - self.initial_learning_rate);
        let warm = g.offset(rise, self.initial_learning_rate);
        let warming = g.lt(iteration, warmup);
        g.select(warming, warm, decayed)
    }
}

impl CosineDecay {
    fn decay(&self, g: &mut Graph, iteration: NodeId, from: f64) -> NodeId {
        let done = steps::over(g, iteration, self.decay_steps);
        let one = g.constant(1.0);
        let done = g.min(done, one);
        let cosine = steps::half_cosine(g, done);
        let above = g.scale(cosine, from * (1.0 - self.alpha));
        g.offset(above, from * self.alpha)
    }
}
