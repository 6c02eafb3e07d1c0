//! Builders of configurations: [`Sequential`] for a chain of layers, [`Functional`] for any graph of them.
//!
//! In: layers with typed arguments. Out: a [`ModelConfig`]. Invariant: both only write data down; what is wrong
//! is found by [`crate::Network::new`], with the same words as for a file.

use crate::config::{LayerConfig, ModelConfig, TensorRef};
use crate::layers::{AnyLayer, InputLayer};
use crate::naming::Names;
use crate::{DTypePolicy, NnError};

/// A chain of layers (<https://keras.io/guides/sequential_model/>).
///
/// ```
/// use thalweg_nn::{Network, Sequential, layers::{Conv2D, Dense, Flatten}};
/// let config = Sequential::new()
///     .input(&[32, 32, 3])
///     .add(Conv2D::new(32, 3).activation("relu"))
///     .add(Flatten::new())
///     .add(Dense::new(10).activation("softmax"))
///     .build()?;
/// assert_eq!(Network::new(config)?.outputs()[0].shape, [10]);
/// # Ok::<(), thalweg_nn::NnError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sequential {
    name: Option<String>,
    layers: Vec<AnyLayer>,
    dtype_policy: Option<String>,
}

impl Sequential {
    /// An empty chain.
    pub fn new() -> Self {
        Sequential::default()
    }

    /// Names the model; default `sequential`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// What layers compute in: `float32` (default), `mixed_bfloat16` or `mixed_float16`.
    pub fn dtype_policy(mut self, name: &str) -> Self {
        self.dtype_policy = Some(name.to_string());
        self
    }

    /// The shape of one example, `[32, 32, 3]`. Use `add(InputLayer::new(..).dtype("uint8"))` for raw images.
    pub fn input(self, shape: &[usize]) -> Self {
        self.add(InputLayer::new(shape))
    }

    /// Appends a layer.
    #[expect(clippy::should_implement_trait, reason = "Keras' word")]
    pub fn add(mut self, layer: impl Into<AnyLayer>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// The configuration; fails without an input, or on a name used twice.
    pub fn build(self) -> Result<ModelConfig, NnError> {
        let mut b = Functional::new().name(self.name.as_deref().unwrap_or("sequential"));
        if let Some(policy) = &self.dtype_policy {
            b = b.dtype_policy(policy);
        }
        let mut layers = self.layers.into_iter();
        let Some(first @ AnyLayer::InputLayer(_)) = layers.next() else {
            let problem = "the first layer must be an input; call .input(&[rows, columns, channels]) first";
            return Err(b.wrong(problem));
        };
        let input = b.layer(first, &[]);
        let mut x = input;
        for layer in layers {
            x = b.layer(layer, &[x]);
        }
        b.build(&[input], &[x])
    }
}

/// The output of a layer's call, while a model is being built; of use with its own builder only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tensor {
    layer: usize,
    call: usize,
}

/// A layer that several calls share; of use with its own builder only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared(usize);

/// Any graph of layers (<https://keras.io/guides/functional_api/>): several inputs and outputs, shared layers,
/// residual joins.
///
/// ```
/// use thalweg_nn::{Functional, layers::{Conv2D, Dense}};
/// let mut b = Functional::new();
/// let x = b.input("image", &[8, 8, 3]);
/// let y = b.layer(Conv2D::new(3, 3).padding("same").activation("relu"), &[x]);
/// let shared = b.define(Conv2D::new(4, 1));
/// let (p, q) = (b.call(shared, &[x]), b.call(shared, &[y]));
/// let config = b.build(&[x], &[p, q])?;
/// assert_eq!(config.outputs[1].to_string(), "conv2d_1:1");
/// # Ok::<(), thalweg_nn::NnError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Functional {
    name: String,
    layers: Vec<LayerConfig>,
    names: Names,
    twice: Option<String>,
    dtype_policy: Option<String>,
}

impl Default for Functional {
    fn default() -> Self {
        Functional {
            name: "functional".into(),
            layers: Vec::new(),
            names: Names::default(),
            twice: None,
            dtype_policy: None,
        }
    }
}

impl Functional {
    /// An empty model.
    pub fn new() -> Self {
        Functional::default()
    }

    /// Names the model; default `functional`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    /// As [`Sequential::dtype_policy`].
    pub fn dtype_policy(mut self, name: &str) -> Self {
        self.dtype_policy = Some(name.to_string());
        self
    }

    /// An f32 input of that per-example shape.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Tensor {
        self.layer(InputLayer::new(shape).name(name), &[])
    }

    /// Adds a layer and calls it.
    pub fn layer(&mut self, layer: impl Into<AnyLayer>, inputs: &[Tensor]) -> Tensor {
        let shared = self.define(layer);
        if self.layers[shared.0].is_input() {
            return Tensor { layer: shared.0, call: 0 };
        }
        self.call(shared, inputs)
    }

    /// Adds a layer without calling it.
    pub fn define(&mut self, layer: impl Into<AnyLayer>) -> Shared {
        let layer = layer.into();
        let layer = layer.get();
        let name = match layer.given_name() {
            Some(given) => {
                if !self.names.reserve(given) {
                    self.twice.get_or_insert(given.to_string());
                }
                given.to_string()
            }
            None => self.names.next(layer.class_name()),
        };
        let class_name = layer.class_name().to_string();
        self.layers.push(LayerConfig { class_name, name, config: layer.config(), inbound: Vec::new() });
        Shared(self.layers.len() - 1)
    }

    /// Calls a layer once more, with the same weights.
    pub fn call(&mut self, layer: Shared, inputs: &[Tensor]) -> Tensor {
        let inputs = inputs.iter().map(|&t| self.reference(t)).collect();
        let calls = &mut self.layers[layer.0].inbound;
        calls.push(inputs);
        Tensor { layer: layer.0, call: calls.len() - 1 }
    }

    /// The configuration from `inputs` to `outputs`; fails on a name used twice.
    pub fn build(self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<ModelConfig, NnError> {
        if let Some(name) = &self.twice {
            return Err(self.wrong(&format!("two layers are called '{name}'; names must be unique")));
        }
        let inputs = inputs.iter().map(|&t| self.reference(t).layer).collect();
        let outputs = outputs.iter().map(|&t| self.reference(t)).collect();
        let policy = self.dtype_policy.as_deref().map_or(Ok(DTypePolicy::Float32), DTypePolicy::from_name);
        let dtype_policy = policy.map_err(|e| self.wrong(&e))?;
        Ok(ModelConfig { name: self.name, layers: self.layers, inputs, outputs, dtype_policy })
    }

    fn reference(&self, tensor: Tensor) -> TensorRef {
        TensorRef { layer: self.layers[tensor.layer].name.clone(), call: tensor.call }
    }

    fn wrong(&self, problem: &str) -> NnError {
        NnError::Model { model: self.name.clone(), problem: problem.to_string() }
    }
}
