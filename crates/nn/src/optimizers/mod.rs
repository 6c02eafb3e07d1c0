//! Optimizers: how variables follow their gradients, as data that builds graph.
//!
//! In: variables, gradients, slots, the iteration and the learning rate as nodes. Out: the nodes of their new
//! values. Everything is element-wise f32 (and two scalars), part of the compiled step. Formulas and defaults
//! are Keras 3's (keras.io/api/optimizers): clip, then decay weights, then the rule. Invariant: bias
//! corrections follow from the iteration alone, exact to f32 rounding at every step.
//! To add a rule: its file, its line in the table.

mod adagrad;
mod adam;
mod bias;
mod clip;
mod nadam;
mod optimizer;
mod rmsprop;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use nadam::Nadam;
pub use optimizer::{AVERAGE, Apply, Ema, Optimizer, Updates};
pub use rmsprop::RMSprop;
pub use sgd::SGD;

use crate::table::{Config, keras_table};
use thalweg_graph::{Graph, NodeId};

/// A state that a rule keeps: for each variable and of its shape, or one scalar for all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlotSpec {
    /// Keras' name: "momentum", "velocity".
    pub name: &'static str,
    /// What its elements are before the first step.
    pub initial: f64,
}

impl SlotSpec {
    fn zeros(name: &'static str) -> Self {
        SlotSpec { name, initial: 0.0 }
    }
}

/// A variable in a step: nodes of f32, all of one shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Var {
    /// Its value before the step.
    pub value: NodeId,
    /// The gradient of the loss.
    pub grad: NodeId,
    /// Its slots before the step, in the order of [`Optimizer::slots`].
    pub slots: Vec<NodeId>,
    /// Whether weight decay applies to it. Keras: yes, unless excluded.
    pub decay: bool,
}

/// A variable after the step.
#[derive(Clone, PartialEq, Debug)]
pub struct Updated {
    /// Its new value.
    pub value: NodeId,
    /// Its new slots, in order.
    pub slots: Vec<NodeId>,
}

/// What all variables share in a step.
pub(crate) struct Now {
    /// Steps including this one: f32 scalar, 1 in the first step.
    t: NodeId,
    /// f32 scalar.
    learning_rate: NodeId,
    /// The rule's scalar slots after the step, in order.
    scalars: Vec<NodeId>,
}

/// How one optimizer changes a variable.
pub(crate) trait UpdateRule: Config {
    /// Keras' default.
    const LEARNING_RATE: f64;
    /// Keras' default.
    const WEIGHT_DECAY: Option<f64> = None;

    /// States per variable.
    fn slots(&self) -> Vec<SlotSpec>;

    /// States for all variables together.
    fn scalar_slots(&self) -> Vec<SlotSpec> {
        Vec::new()
    }

    /// New values of the scalar slots; `t` as in [`Now`].
    fn next_scalars(&self, _g: &mut Graph, _scalars: &[NodeId], _t: NodeId) -> Vec<NodeId> {
        Vec::new()
    }

    /// The variable after the step; its gradient is clipped and its value decayed already.
    fn update(&self, g: &mut Graph, var: &Var, now: &Now) -> Updated;
}

keras_table! {
    ($)
    /// An optimizer's rule with its own arguments; [`Optimizer`] adds what all have.
    Rule "optimizer":
    SGD "sgd" [];
    Adam "adam" [];
    AdamW "adamw" [];
    RMSprop "rmsprop" [];
    Adagrad "adagrad" [];
    Nadam "nadam" [];
}

use each;

/// `old + (new - old) * rate`: an exponential mean's step.
fn toward(g: &mut Graph, old: NodeId, new: NodeId, rate: f64) -> NodeId {
    let difference = g.sub(new, old);
    let step = g.scale(difference, rate);
    g.add(old, step)
}
