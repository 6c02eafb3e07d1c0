//! Adam and AdamW.

use super::bias::one_minus_power;
use super::{Now, SlotSpec, UpdateRule, Updated, Var, toward};
use crate::table::{Config, below_one, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::Graph;

/// `m += (g - m)(1 - b1); v += (g^2 - v)(1 - b2); w -= m a / (sqrt v + epsilon)` with
/// `a = lr sqrt(1 - b2^t) / (1 - b1^t)`; learning rate 0.001 by default.
///
/// Source: keras.io/api/optimizers/adam; Kingma & Ba 2014 (epsilon is the paper's "epsilon hat").
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adam {
    /// Decay of the mean, in [0, 1). Default 0.9.
    pub beta_1: f64,
    /// Decay of the mean square, in [0, 1). Default 0.999.
    pub beta_2: f64,
    /// Added to the root, above 0. Default 1e-7.
    pub epsilon: f64,
    /// Whether to divide by the largest mean square so far (Reddi et al. 2018). Default false.
    pub amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false }
    }
}

impl Config for Adam {
    fn validate(&self) -> Result<(), String> {
        below_one("beta_1", self.beta_1)?;
        below_one("beta_2", self.beta_2)?;
        positive("epsilon", self.epsilon)
    }
}

impl UpdateRule for Adam {
    const LEARNING_RATE: f64 = 0.001;

    fn slots(&self) -> Vec<SlotSpec> {
        let names = ["momentum", "velocity", "velocity_hat"];
        names[..if self.amsgrad { 3 } else { 2 }].iter().map(|n| SlotSpec::zeros(n)).collect()
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        let c1 = one_minus_power(g, self.beta_1, now.t);
        let c2 = one_minus_power(g, self.beta_2, now.t);
        let root = g.sqrt(c2);
        let a = g.mul(now.learning_rate, root);
        let a = g.div(a, c1);

        let m = toward(g, var.slots[0], var.grad, 1.0 - self.beta_1);
        let gg = g.mul(var.grad, var.grad);
        let v = toward(g, var.slots[1], gg, 1.0 - self.beta_2);
        let mut slots = vec![m, v];
        if self.amsgrad {
            slots.push(g.max(var.slots[2], v));
        }
        let root = g.sqrt(slots[slots.len() - 1]);
        let divisor = g.offset(root, self.epsilon);
        let ma = g.mul(m, a);
        let change = g.div(ma, divisor);
        Updated { value: g.sub(var.value, change), slots }
    }
}

/// [`Adam`] with a weight decay of 0.004 by default, as in Loshchilov & Hutter 2017.
///
/// Source: keras.io/api/optimizers/adamw; like there, `Adam` with the same `weight_decay` does the same.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamW {
    /// As [`Adam::beta_1`].
    pub beta_1: f64,
    /// As [`Adam::beta_2`].
    pub beta_2: f64,
    /// As [`Adam::epsilon`].
    pub epsilon: f64,
    /// As [`Adam::amsgrad`].
    pub amsgrad: bool,
}

impl AdamW {
    fn adam(&self) -> Adam {
        Adam { beta_1: self.beta_1, beta_2: self.beta_2, epsilon: self.epsilon, amsgrad: self.amsgrad }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { beta_1, beta_2, epsilon, amsgrad } = Adam::default();
        AdamW { beta_1, beta_2, epsilon, amsgrad }
    }
}

impl Config for AdamW {
    fn validate(&self) -> Result<(), String> {
        self.adam().validate()
    }
}

impl UpdateRule for AdamW {
    const LEARNING_RATE: f64 = 0.001;
    const WEIGHT_DECAY: Option<f64> = Some(0.004);

    fn slots(&self) -> Vec<SlotSpec> {
        self.adam().slots()
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        self.adam().update(g, var, now)
    }
}
