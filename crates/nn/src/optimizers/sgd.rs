//! Stochastic gradient descent, plain, with momentum, or with Nesterov's momentum.

use super::{Now, SlotSpec, UpdateRule, Updated, Var};
use crate::table::{Config, fraction};
use serde::{Deserialize, Serialize};
use thalweg_graph::Graph;

/// `v = momentum v - lr g; w += v`, with Nesterov `w += momentum v - lr g`; learning rate 0.01 by default.
/// Source: keras.io/api/optimizers/sgd.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SGD {
    /// In [0, 1]. Default 0: no momentum, no slot.
    pub momentum: f64,
    /// Whether to look ahead. Default false; without momentum it changes nothing.
    pub nesterov: bool,
}

impl Config for SGD {
    fn validate(&self) -> Result<(), String> {
        fraction("momentum", self.momentum)
    }
}

impl UpdateRule for SGD {
    const LEARNING_RATE: f64 = 0.01;

    fn slots(&self) -> Vec<SlotSpec> {
        if self.momentum == 0.0 { Vec::new() } else { vec![SlotSpec::zeros("momentum")] }
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        let step = g.mul(var.grad, now.learning_rate);
        let [m] = var.slots[..] else {
            return Updated { value: g.sub(var.value, step), slots: Vec::new() };
        };
        let kept = g.scale(m, self.momentum);
        let m = g.sub(kept, step);
        let change = if self.nesterov {
            let ahead = g.scale(m, self.momentum);
            g.sub(ahead, step)
        } else {
            m
        };
        Updated { value: g.add(var.value, change), slots: vec![m] }
    }
}
