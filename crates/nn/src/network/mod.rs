//! A network: a configuration that was checked, with every shape and weight known.
//!
//! In: a [`ModelConfig`]. Out: graph ([`Network::forward`]), initial weights, a summary. Invariant: what
//! [`Network::new`] accepts can be built, for every batch size.

mod forward;
mod resolve;
mod summary;

pub use forward::{Forward, ForwardArgs};
pub use summary::{Summary, SummaryRow};

use crate::initializers::Initializer;
use crate::layers::AnyLayer;
use crate::{DTypePolicy, ModelConfig, NnError, Shape};
use std::ops::Range;
use thalweg_graph::DType;
use thalweg_graph::philox::Sequence;

/// The Philox stream of the first weight's initial values ("INIT"); weight `i` has the stream `i` above it.
const INIT_STREAM: u32 = 0x494e_4954;

/// An input of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputInfo {
    /// Name of its layer.
    pub name: String,
    /// Per-example shape.
    pub shape: Shape,
    /// Element type that the network takes.
    pub dtype: DType,
}

/// An output of a network; always f32.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputInfo {
    /// Name of its layer, with `:call` for a later call of a shared one.
    pub name: String,
    /// Per-example shape.
    pub shape: Shape,
    /// Whether it is a decision through which nothing is learned: it has no loss.
    pub decides: bool,
}

/// A weight of a network.
#[derive(Clone, PartialEq, Debug)]
pub struct Weight {
    /// Keras' variable path: `conv2d/kernel`.
    pub path: String,
    /// Shape.
    pub shape: Shape,
    /// First value.
    pub initializer: Initializer,
    /// Whether it learns.
    pub trainable: bool,
}

/// A Normalization layer that takes its statistics from data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adapting {
    /// Its name.
    pub layer: String,
    /// The tensor that it normalises, as [`Forward::layer_outputs`] calls it.
    pub input: String,
    /// Per element of an example of that tensor, which element of the statistics it belongs to.
    pub places: Vec<usize>,
    /// Index of its mean among the weights.
    pub mean: usize,
    /// Index of its variance among the weights.
    pub variance: usize,
}

/// A layer with its place in the weights.
#[derive(Clone, Debug)]
struct NamedLayer {
    name: String,
    layer: AnyLayer,
    weights: Range<usize>,
}

/// One call of a layer. Tensors are numbered by the call that makes them.
#[derive(Clone, Debug)]
struct CallSite {
    layer: usize,
    /// Which of the layer's calls it is.
    nth: usize,
    inputs: Vec<usize>,
    shape: Shape,
}

/// A checked model.
#[derive(Clone, Debug)]
pub struct Network {
    config: ModelConfig,
    layers: Vec<NamedLayer>,
    /// In an order in which they can be computed.
    calls: Vec<CallSite>,
    weights: Vec<Weight>,
    /// Calls of the input layers, in the order of the configuration's `inputs`.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Network {
    /// Checks a configuration and infers every shape. Errors name the layer, what reached it, and the fix.
    pub fn new(config: ModelConfig) -> Result<Network, NnError> {
        resolve::network(config)
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What its layers compute in.
    pub fn dtype_policy(&self) -> DTypePolicy {
        self.config.dtype_policy
    }

    /// Sets what its layers compute in.
    pub fn set_dtype_policy(&mut self, policy: DTypePolicy) {
        self.config.dtype_policy = policy;
    }

    /// Inputs in the order in which [`ForwardArgs::inputs`] takes them.
    pub fn inputs(&self) -> Vec<InputInfo> {
        self.inputs
            .iter()
            .map(|&i| {
                let call = &self.calls[i];
                let named = &self.layers[call.layer];
                let AnyLayer::InputLayer(input) = &named.layer else { unreachable!("checked when resolved") };
                let dtype = input.dtype.get().0;
                InputInfo { name: named.name.clone(), shape: call.shape.clone(), dtype }
            })
            .collect()
    }

    /// Outputs in order.
    pub fn outputs(&self) -> Vec<OutputInfo> {
        let info = |&i: &usize| {
            let decides = self.layers[self.calls[i].layer].layer.get().decides();
            OutputInfo { name: self.tensor_name(i), shape: self.calls[i].shape.clone(), decides }
        };
        self.outputs.iter().map(info).collect()
    }

    /// Weights, layer by layer in the configuration's order.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The first values of all weights. Weight `i` depends on the seed and on `i` only.
    pub fn initial_weights(&self, seed: u64) -> Vec<Vec<f32>> {
        (INIT_STREAM..)
            .zip(&self.weights)
            .map(|(stream, w)| w.initializer.fill(&w.shape, &mut Sequence::new(seed, stream, 0)))
            .collect()
    }

    /// The Normalization layers whose statistics come from data, in the order of computation.
    pub fn adapting(&self) -> Vec<Adapting> {
        let mut found: Vec<Adapting> = Vec::new();
        for site in &self.calls {
            let named = &self.layers[site.layer];
            let AnyLayer::Normalization(layer) = &named.layer else { continue };
            let &[input] = site.inputs.as_slice() else { continue };
            if !layer.adapts() || found.iter().any(|a| a.layer == named.name) {
                continue;
            }
            let places = layer.places(&self.calls[input].shape);
            let (input, mean) = (self.tensor_name(input), named.weights.start);
            found.push(Adapting { layer: named.name.clone(), input, places, mean, variance: mean + 1 });
        }
        found
    }

    /// Sets whether the weights of the layers whose names match `pattern` (`*` stands for anything) learn;
    /// returns how many layers matched. A frozen BatchNormalization normalises by its moving statistics.
    pub fn set_trainable(&mut self, pattern: &str, trainable: bool) -> usize {
        let mut matched = 0;
        for (named, config) in self.layers.iter_mut().zip(&mut self.config.layers) {
            if !matches(pattern.as_bytes(), named.name.as_bytes()) {
                continue;
            }
            matched += 1;
            named.layer.set_trainable(trainable);
            config.config.insert("trainable".into(), trainable.into());
        }
        self.weights = resolve::weights(&self.layers, &self.calls);
        matched
    }

    fn tensor_name(&self, call: usize) -> String {
        let site = &self.calls[call];
        let name = &self.layers[site.layer].name;
        if site.nth == 0 { name.clone() } else { format!("{name}:{}", site.nth) }
    }
}

/// Whether a name matches a pattern in which `*` stands for anything.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|i| matches(rest, &name[i..])),
        Some((c, rest)) => name.split_first().is_some_and(|(n, name)| n == c && matches(rest, name)),
    }
}
