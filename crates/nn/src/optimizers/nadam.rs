//! Nadam: Adam with Nesterov's momentum.

use super::bias::{one_minus_power, power};
use super::{Now, SlotSpec, UpdateRule, Updated, Var, toward};
use crate::table::{Config, below_one, positive};
use serde::{Deserialize, Serialize};
use thalweg_graph::{Graph, NodeId};

/// The momentum's own schedule: `u_t = beta_1 (1 - 0.96^t / 2)`.
const DECAY: f64 = 0.96;

/// `m` and `v` as in Adam; `w -= lr m^ / (sqrt(v / (1 - b2^t)) + epsilon)` with
/// `m^ = u_(t+1) m / (1 - U u_(t+1)) + (1 - u_t) g / (1 - U)` and `U` the product of all `u` so far;
/// learning rate 0.001 by default. Source: keras.io/api/optimizers/Nadam; Dozat 2015.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Nadam {
    /// Decay of the mean, in [0, 1). Default 0.9.
    pub beta_1: f64,
    /// Decay of the mean square, in [0, 1). Default 0.999.
    pub beta_2: f64,
    /// Added to the root, above 0. Default 1e-7.
    pub epsilon: f64,
}

impl Default for Nadam {
    fn default() -> Self {
        Nadam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }
}

impl Config for Nadam {
    fn validate(&self) -> Result<(), String> {
        below_one("beta_1", self.beta_1)?;
        below_one("beta_2", self.beta_2)?;
        positive("epsilon", self.epsilon)
    }
}

impl UpdateRule for Nadam {
    const LEARNING_RATE: f64 = 0.001;

    fn slots(&self) -> Vec<SlotSpec> {
        vec![SlotSpec::zeros("momentum"), SlotSpec::zeros("velocity")]
    }

    fn scalar_slots(&self) -> Vec<SlotSpec> {
        vec![SlotSpec { name: "u_product", initial: 1.0 }]
    }

    fn next_scalars(&self, g: &mut Graph, scalars: &[NodeId], t: NodeId) -> Vec<NodeId> {
        let u = self.u(g, t);
        vec![g.mul(scalars[0], u)]
    }

    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated {
        let one = g.constant(1.0);
        let u = self.u(g, now.t);
        let next = g.add(now.t, one);
        let u_next = self.u(g, next);
        let product = now.scalars[0];
        let product_next = g.mul(product, u_next);

        let m = toward(g, var.slots[0], var.grad, 1.0 - self.beta_1);
        let gg = g.mul(var.grad, var.grad);
        let v = toward(g, var.slots[1], gg, 1.0 - self.beta_2);

        // Factors of m and g are scalars: computed once for all variables.
        let rest = g.sub(one, product_next);
        let of_m = g.div(u_next, rest);
        let numerator = g.sub(one, u);
        let rest = g.sub(one, product);
        let of_g = g.div(numerator, rest);
        let (a, b) = (g.mul(m, of_m), g.mul(var.grad, of_g));
        let m_hat = g.add(a, b);
        let c2 = one_minus_power(g, self.beta_2, now.t);
        let v_hat = g.div(v, c2);

        let root = g.sqrt(v_hat);
        let divisor = g.offset(root, self.epsilon);
        let step = g.mul(m_hat, now.learning_rate);
        let change = g.div(step, divisor);
        Updated { value: g.sub(var.value, change), slots: vec![m, v] }
    }
}

impl Nadam {
    fn u(&self, g: &mut Graph, t: NodeId) -> NodeId {
        let p = power(g, DECAY, t);
        let p = g.scale(p, -0.5 * self.beta_1);
        g.offset(p, self.beta_1)
    }
}
