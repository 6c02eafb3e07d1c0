//! Learning rate schedules: the rate as a function of the step, as data that builds graph.
//!
//! In: the iteration, an i32 scalar node, 0 in the first step. Out: the rate, an f32 scalar node, part of the
//! compiled step. Source: keras.io/api/optimizers/learning_rate_schedules. Invariant: one formula; what the
//! host shows ([`Schedule::at`]) is the graph's reference value. To add one: its file, its line in the table.

mod constant;
mod cosine_decay;
mod cosine_decay_restarts;
mod exponential_decay;
mod inverse_time_decay;
mod linear_warmup;
mod piecewise_constant_decay;
mod polynomial_decay;
mod steps;

pub use constant::Constant;
pub use cosine_decay::CosineDecay;
pub use cosine_decay_restarts::CosineDecayRestarts;
pub use exponential_decay::ExponentialDecay;
pub use inverse_time_decay::InverseTimeDecay;
pub use linear_warmup::LinearWarmup;
pub use piecewise_constant_decay::PiecewiseConstantDecay;
pub use polynomial_decay::PolynomialDecay;

use crate::table::{Config, keras_form, keras_table, split};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thalweg_graph::reference::{Feeds, evaluate};
use thalweg_graph::{DType, Graph, NodeId};

/// How one schedule is computed.
pub(crate) trait Rate: Config {
    /// The rate, f32 scalar, of the iteration, i32 scalar counted from 0.
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId;
}

keras_table! {
    ($)
    /// A learning rate schedule; a plain number is the constant one.
    Schedule "schedule":
    Constant "constant" [];
    ExponentialDecay "exponential_decay" [];
    PiecewiseConstantDecay "piecewise_constant_decay" [];
    PolynomialDecay "polynomial_decay" [];
    InverseTimeDecay "inverse_time_decay" [];
    CosineDecay "cosine_decay" [];
    CosineDecayRestarts "cosine_decay_restarts" [];
    LinearWarmup "linear_warmup" [];
}

impl Schedule {
    /// The rate in the step with this iteration (i32 scalar, 0 in the first step): f32 scalar.
    pub fn value(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        each!(self, s => s.rate(g, iteration))
    }

    /// The rate at a step counted from 0, on the host.
    pub fn at(&self, step: u64) -> f64 {
        let mut g = Graph::new();
        let iteration = g.constant_of(DType::I32, step.min(i32::MAX as u64) as f64);
        let value = self.value(&mut g, iteration);
        evaluate(&g, &Feeds::default(), &[value])[&value].data[0]
    }

    /// From a number, or as [`crate::losses::Loss::from_value`].
    pub fn from_value(value: Value) -> Result<Self, String> {
        if let Some(learning_rate) = value.as_f64() {
            let constant = Constant { learning_rate };
            constant.validate()?;
            return Ok(constant.into());
        }
        let (name, config) = split("schedule", value)?;
        Self::from_config(&name, config)
    }
}

impl From<f64> for Schedule {
    fn from(learning_rate: f64) -> Self {
        Constant { learning_rate }.into()
    }
}

/// A constant as its number, others in Keras' form.
impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Schedule::Constant(c) => s.serialize_f64(c.learning_rate),
            other => keras_form(other.class_name(), &other.config()).serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
