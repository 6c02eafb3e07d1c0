//! RMSprop.

use super::{Now, SlotSpec, UpdateRule, Updated, Var};
use crate::table::{Config, below_one, not_negative, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// `v = rho v + (1 - rho) g^2; i = lr g / sqrt(v + epsilon); w -= i`, centered with `v - a^2` in place of `v`
/// and `a` the mean gradient, with momentum `m = momentum m + i; w -= m`; learning rate 0.001 by default.
/// Source: keras.io/api/optimizers/rmsprop.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSprop {
    /// Decay of the mean square, in [0, 1). Default 0.9.
    pub rho: f64,
    /// At least 0. Default 0: no momentum, no slot.
    pub momentum: f64,
    /// Added under the root, above 0. Default 1e-7.
    pub epsilon: f64,
    /// Whether to divide by the variance in place of the mean square. Default false.
    pub centered: bool,
}

impl Default for RMSprop {
    fn default() -> Self {
        RMSprop { rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

impl Config for RMSprop {
    fn validate(&self) -> Result<(), String> {
        below_one("rho", self.rho)?;
        not_negative("momentum", self.momentum)?;
        positive("epsilon", self.epsilon)
    }
}

impl UpdateRule for RMSprop {
    const LEARNING_RATE: f64 = 0.001;

    /// velocity, then momentum and average_gradient where they are used.
    fn slots(&self) -> Vec<SlotSpec> {
        let mut slots = vec![SlotSpec::zeros("velocity")];
        if self.momentum > 0.0 {
            slots.push(SlotSpec::zeros("momentum"));
        }
        if self.centered {
            slots.push(SlotSpec::zeros("average_gradient"));
        }
        slots
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        let gg = g.mul(var.grad, var.grad);
        let velocity = self.mean(g, var.slots[0], gg);
        let mut slots = vec![velocity];
        let mut under = velocity;
        let average = self.centered.then(|| {
            let average = self.mean(g, var.slots[var.slots.len() - 1], var.grad);
            let squared = g.mul(average, average);
            under = g.sub(velocity, squared);
            average
        });
        let under = g.offset(under, self.epsilon);
        let root = g.sqrt(under);
        let step = g.mul(now.learning_rate, var.grad);
        let mut change = g.div(step, root);
        if self.momentum > 0.0 {
            let kept = g.scale(var.slots[1], self.momentum);
            change = g.add(kept, change);
            slots.push(change);
        }
        slots.extend(average);
        Updated { value: g.sub(var.value, change), slots }
    }
}

impl RMSprop {
    fn mean(&self, g: &mut Graph, old: NodeId, new: NodeId) -> NodeId {
        let kept = g.scale(old, self.rho);
        let more = g.scale(new, 1.0 - self.rho);
        g.add(kept, more)
    }
}
