//! Adagrad.

use super::{Now, SlotSpec, UpdateRule, Updated, Var};
use crate::table::{Config, not_negative, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::Graph;

/// `s += g^2; w -= lr g / sqrt(s + epsilon)`; learning rate 0.001 by default.
/// Source: keras.io/api/optimizers/adagrad; Duchi et al. 2011.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adagrad {
    /// What the sum of squares starts with, at least 0. Default 0.1.
    pub initial_accumulator_value: f64,
    /// Added under the root, above 0. Default 1e-7.
    pub epsilon: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Adagrad { initial_accumulator_value: 0.1, epsilon: 1e-7 }
    }
}

impl Config for Adagrad {
    fn validate(&self) -> Result<(), String> {
        not_negative("initial_accumulator_value", self.initial_accumulator_value)?;
        positive("epsilon", self.epsilon)
    }
}

impl UpdateRule for Adagrad {
    const LEARNING_RATE: f64 = 0.001;

    fn slots(&self) -> Vec<SlotSpec> {
        vec![SlotSpec { name: "accumulator", initial: self.initial_accumulator_value }]
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        let gg = g.mul(var.grad, var.grad);
        let sum = g.add(var.slots[0], gg);
        let under = g.offset(sum, self.epsilon);
        let root = g.sqrt(under);
        let step = g.mul(now.learning_rate, var.grad);
        let change = g.div(step, root);
        Updated { value: g.sub(var.value, change), slots: vec![sum] }
    }
}
