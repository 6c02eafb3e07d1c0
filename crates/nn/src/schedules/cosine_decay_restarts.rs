//! Cosine decay with warm restarts.

use super::{Rate, steps};
use crate::table::{Config, fraction, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// Half cosines one after another, each `t_mul` times as long and `m_mul` times as high as the one before.
/// Source: Loshchilov & Hutter 2016, "SGDR".
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CosineDecayRestarts {
    /// The rate at step 0.
    pub initial_learning_rate: f64,
    /// Steps of the first cosine.
    pub first_decay_steps: u64,
    /// Factor of the length, at least 1. Default 2.
    #[serde(default = "double")]
    pub t_mul: f64,
    /// Factor of the height, above 0. Default 1.
    #[serde(default = "same")]
    pub m_mul: f64,
    /// The lowest rate as a fraction of the initial one. Default 0.
    #[serde(default)]
    pub alpha: f64,
}

fn double() -> f64 {
    2.0
}

fn same() -> f64 {
    1.0
}

impl Config for CosineDecayRestarts {
    fn validate(&self) -> Result<(), String> {
        positive("initial_learning_rate", self.initial_learning_rate)?;
        steps::at_least_one("first_decay_steps", self.first_decay_steps)?;
        if !(self.t_mul >= 1.0 && self.t_mul.is_finite()) {
            return Err(format!("t_mul must be >= 1; got {}", self.t_mul));
        }
        positive("m_mul", self.m_mul)?;
        fraction("alpha", self.alpha)
    }
}

impl Rate for CosineDecayRestarts {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let (restarts, done) = if self.t_mul == 1.0 {
            let restarts = steps::completed(g, iteration, self.first_decay_steps);
            let periods = steps::over(g, iteration, self.first_decay_steps);
            (restarts, g.sub(periods, restarts))
        } else {
            self.growing(g, iteration)
        };
        let zero = g.constant(0.0);
        let done = g.max(done, zero);
        let cosine = steps::half_cosine(g, done);
        let height = g.scale(restarts, self.m_mul.ln());
        let height = g.exp(height);
        let decayed = g.mul(cosine, height);
        let above = g.scale(decayed, self.initial_learning_rate * (1.0 - self.alpha));
        g.offset(above, self.initial_learning_rate * self.alpha)
    }
}

impl CosineDecayRestarts {
    /// (restarts so far, done fraction of the current cosine) for t = t_mul > 1: in units of the first cosine
    /// the i-th starts at s_i = (t^i - 1) / (t - 1) and lasts t^i.
    fn growing(&self, g: &mut Graph, iteration: NodeId) -> (NodeId, NodeId) {
        let t = self.t_mul;
        // A nudge, so that rounding cannot put a restart's own step before it: less than a step up to a
        // million steps, where f32 logarithms end anyway.
        let step = steps::as_f32(g, iteration);
        let nudged = g.scale(step, 1.0 + 1e-6);
        let nudged = g.offset(nudged, 0.01);
        let periods = g.scale(nudged, (t - 1.0) / self.first_decay_steps as f64);
        let power = g.offset(periods, 1.0);
        let log = g.log(power);
        let log = g.scale(log, 1.0 / t.ln());
        let restarts = g.floor(log);
        let exponent = g.scale(restarts, t.ln());
        let length = g.exp(exponent);
        let before = g.offset(length, -1.0);
        let before = g.scale(before, 1.0 / (t - 1.0));
        let periods = steps::over(g, iteration, self.first_decay_steps);
        let inside = g.sub(periods, before);
        (restarts, g.div(inside, length))
    }
}
