//! Activations by Keras' names (<https://keras.io/api/layers/activations/>).

use crate::arguments::{Choice, Words};
use crate::layers::Call;
use thalweg_graph::NodeId;

/// An activation function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "Keras' names; the formulas are at the graph's methods of the same names")]
pub enum Activation {
    Linear,
    Relu,
    Relu6,
    LeakyRelu,
    Elu,
    Selu,
    Gelu,
    GeluTanh,
    Silu,
    HardSilu,
    Sigmoid,
    HardSigmoid,
    Tanh,
    Softmax,
    LogSoftmax,
    Softplus,
    Softsign,
    Mish,
    Exponential,
}

impl Words for Activation {
    const KIND: &'static str = "activation";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("linear", Activation::Linear),
        ("relu", Activation::Relu),
        ("relu6", Activation::Relu6),
        ("leaky_relu", Activation::LeakyRelu),
        ("elu", Activation::Elu),
        ("selu", Activation::Selu),
        ("gelu", Activation::Gelu),
        ("gelu_tanh", Activation::GeluTanh),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("hard_silu", Activation::HardSilu),
        ("hard_swish", Activation::HardSilu),
        ("sigmoid", Activation::Sigmoid),
        ("hard_sigmoid", Activation::HardSigmoid),
        ("tanh", Activation::Tanh),
        ("softmax", Activation::Softmax),
        ("log_softmax", Activation::LogSoftmax),
        ("softplus", Activation::Softplus),
        ("softsign", Activation::Softsign),
        ("mish", Activation::Mish),
        ("exponential", Activation::Exponential),
    ];
}

/// The activation of no effect, Keras' default.
pub const LINEAR: Choice<Activation> = Choice::of("linear");

/// What an output's last step turned into probabilities: losses work on its operand, which is stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logits {
    /// A softmax along the last axis.
    Softmax,
    /// A sigmoid of each element.
    Sigmoid,
}

impl Activation {
    /// Applies it; same shape. Softmax is along the last axis.
    pub fn apply(self, cx: &mut Call, x: NodeId) -> NodeId {
        let x = cx.activated(x);
        let g = &mut *cx.graph;
        let last = g.shape(x).len() - 1;
        match self {
            Activation::Linear => x,
            Activation::Relu => g.relu(x),
            Activation::Relu6 => g.relu6(x),
            Activation::LeakyRelu => g.leaky_relu(x, 0.2),
            Activation::Elu => g.elu(x, 1.0),
            Activation::Selu => g.selu(x),
            Activation::Gelu => g.gelu(x),
            Activation::GeluTanh => g.gelu_tanh(x),
            Activation::Silu => g.silu(x),
            Activation::HardSilu => g.hard_swish(x),
            Activation::Sigmoid => {
                cx.logits = Some((Logits::Sigmoid, x));
                g.sigmoid(x)
            }
            Activation::HardSigmoid => g.hard_sigmoid(x),
            Activation::Tanh => g.tanh(x),
            Activation::Softmax => {
                cx.logits = Some((Logits::Softmax, x));
                g.softmax(x, last)
            }
            Activation::LogSoftmax => g.log_softmax(x, last),
            Activation::Softplus => g.softplus(x),
            Activation::Softsign => g.softsign(x),
            Activation::Mish => g.mish(x),
            Activation::Exponential => g.exp(x),
        }
    }
}
