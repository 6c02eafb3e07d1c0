//! What a layer is: the trait, what it is called with, and the macro that makes its arguments.

use crate::activations::Logits;
use crate::arguments::{ArgumentDoc, Map, Seed};
use crate::initializers::Initializer;
use crate::{LayerError, Precision, Shape};
use std::fmt::Debug;
use thalweg_graph::{DType, Graph, NodeId, Op};

/// The part of a layer that its argument list determines; made by the `layer!` macro.
pub trait Class: Debug {
    /// Keras' class name.
    fn class_name(&self) -> &'static str;
    /// The name it was given.
    fn given_name(&self) -> Option<&str>;
    /// Whether its weights learn.
    fn is_trainable(&self) -> bool;
    /// Sets whether its weights learn.
    fn set_trainable(&mut self, trainable: bool);
    /// Its arguments, all of them, in Keras' order; the name not among them.
    fn config(&self) -> Map;
}

/// A layer. All shapes are per example: without the batch axis, which is axis 0 of every node.
pub trait Layer: Class {
    /// What is wrong with its arguments taken together.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The output's shape; errors say what reached the layer and what to do.
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError>;

    /// Its weights in Keras' order; `inputs` were accepted by [`Layer::output_shape`].
    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        let _ = inputs;
        Vec::new()
    }

    /// Builds the output from batched inputs of the accepted shapes.
    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId;

    /// What it computes in under a mixed policy.
    fn precision(&self) -> Precision {
        Precision::Policy
    }

    /// Whether its result is a decision through which nothing is learned: as a model's output it has no loss.
    fn decides(&self) -> bool {
        false
    }

    /// An `Inputs` error.
    fn refuse(&self, inputs: &[Shape], fix: impl Into<String>) -> LayerError
    where
        Self: Sized,
    {
        LayerError::Inputs { class: self.class_name(), got: inputs.to_vec(), fix: fix.into() }
    }

    /// The only input, or the error that there are several.
    fn single<'a>(&self, inputs: &'a [Shape]) -> Result<&'a Shape, LayerError>
    where
        Self: Sized,
    {
        match inputs {
            [one] => Ok(one),
            _ => Err(self.refuse(inputs, "it takes one input")),
        }
    }

    /// The extents h, w, c of the only input, or the error that it is no image.
    fn image(&self, inputs: &[Shape]) -> Result<[usize; 3], LayerError>
    where
        Self: Sized,
    {
        match self.single(inputs)?.as_slice() {
            &[h, w, c] => Ok([h, w, c]),
            [_, _] => {
                let fix = "it takes images [N, rows, columns, channels]; put a Reshape before it \
                           (grey images have 1 channel)";
                Err(self.refuse(inputs, fix))
            }
            _ => Err(self.refuse(inputs, "it takes images [N, rows, columns, channels]")),
        }
    }
}

/// A weight that a layer asks for.
#[derive(Clone, PartialEq, Debug)]
pub struct WeightSpec {
    /// Keras' name within the layer: `kernel`.
    pub name: &'static str,
    /// Shape.
    pub shape: Shape,
    /// First value.
    pub initializer: Initializer,
    /// Whether it learns; false for moving statistics.
    pub trainable: bool,
}

impl WeightSpec {
    /// A weight that learns.
    pub fn new(name: &'static str, shape: &[usize], initializer: Initializer) -> Self {
        WeightSpec { name, shape: shape.to_vec(), initializer, trainable: true }
    }

    /// A statistic, which only updates change.
    pub fn statistic(name: &'static str, shape: &[usize], initializer: Initializer) -> Self {
        WeightSpec { name, shape: shape.to_vec(), initializer, trainable: false }
    }
}

/// What a layer is called with, and where it leaves what is not its output.
#[derive(Debug)]
pub struct Call<'a> {
    /// The graph to build in.
    pub graph: &'a mut Graph,
    /// Nodes of the layer's weights, in the order of [`Layer::weights`].
    pub weights: &'a [NodeId],
    /// Whether dropout drops and statistics move.
    pub training: bool,
    /// The training step, an i32 scalar: the counter of random numbers.
    pub step: NodeId,
    /// The random stream of this call; no other call of the model has it.
    pub stream: u32,
    /// The model's seed.
    pub seed: u64,
    /// Whether its result is one of the model's, which are f32 from the last activation on.
    pub output: bool,
    /// New values of weights, by index into `weights`.
    pub updates: Vec<(usize, NodeId)>,
    /// What the last step was applied to, where that was a softmax or a sigmoid.
    pub logits: Option<(Logits, NodeId)>,
}

impl Call<'_> {
    /// What the last activation is applied to.
    pub fn activated(&mut self, x: NodeId) -> NodeId {
        if self.output { self.graph.cast(x, DType::F32) } else { x }
    }

    /// Uniform numbers in 0..1 of this call and step, keyed by the layer's own seed if it has one.
    pub fn random(&mut self, seed: Seed, shape: &[usize]) -> NodeId {
        let op = Op::Random { seed: seed.0.unwrap_or(self.seed), stream: self.stream, shape: shape.to_vec() };
        self.graph.op(op, &[self.step])
    }
}

/// A class whose arguments are named by another trait.
pub(crate) trait Read: Sized {
    /// Keras' class name.
    const CLASS: &'static str;
    /// Reads the arguments; refuses unknown ones and wrong values.
    fn read(map: &Map) -> Result<Self, LayerError>;
    /// Its arguments, for documentation.
    fn arguments() -> Vec<ArgumentDoc>;
}

/// Declares a layer: arguments that must be given (in the order of `new`), and those with defaults (builder
/// methods of the same name). `name` and `trainable` come by themselves.
macro_rules! layer {
    (@default $class:ident) => {
        impl Default for $class {
            fn default() -> Self {
                Self::new()
            }
        }
    };
    (@default $class:ident $($required:ident)+) => {};
    (
        $(#[$meta:meta])*
        $class:ident
        required { $($req:ident: $rty:ty, $rdoc:literal;)* }
        optional { $($opt:ident: $oty:ty = $default:expr, $odoc:literal;)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $class {
            $(#[doc = $rdoc] pub $req: $rty,)*
            $(#[doc = $odoc] pub $opt: $oty,)*
            /// Its name; without one it is numbered by its class.
            pub name: Option<String>,
            /// Whether its weights learn; default true.
            pub trainable: bool,
        }

        impl $class {
            /// The layer with its required arguments; the rest at Keras' defaults.
            pub fn new($($req: impl Into<$rty>),*) -> Self {
                $class { $($req: $req.into(),)* $($opt: $default,)* name: None, trainable: true }
            }

            $(
                #[doc = $odoc]
                pub fn $opt(mut self, value: impl Into<$oty>) -> Self {
                    self.$opt = value.into();
                    self
                }
            )*

            /// Gives it a name.
            pub fn name(mut self, name: &str) -> Self {
                self.name = Some(name.to_string());
                self
            }

            /// Whether its weights learn.
            pub fn trainable(mut self, trainable: bool) -> Self {
                self.trainable = trainable;
                self
            }
        }

        layer!(@default $class $($req)*);

        impl $crate::layers::class::Class for $class {
            fn class_name(&self) -> &'static str {
                stringify!($class)
            }
            fn given_name(&self) -> Option<&str> {
                self.name.as_deref()
            }
            fn is_trainable(&self) -> bool {
                self.trainable
            }
            fn set_trainable(&mut self, trainable: bool) {
                self.trainable = trainable;
            }
            fn config(&self) -> $crate::arguments::Map {
                let mut map = $crate::arguments::Map::new();
                $(map.insert(stringify!($req).into(), $crate::arguments::Arg::write(&self.$req));)*
                $(map.insert(stringify!($opt).into(), $crate::arguments::Arg::write(&self.$opt));)*
                map.insert("trainable".into(), self.trainable.into());
                map
            }
        }

        impl $crate::layers::class::Read for $class {
            const CLASS: &'static str = stringify!($class);

            fn read(map: &$crate::arguments::Map) -> Result<Self, $crate::LayerError> {
                let known = vec![$(stringify!($req),)* $(stringify!($opt),)* "name", "trainable"];
                let r = $crate::arguments::Reader::new(stringify!($class), known, map)?;
                Ok($class {
                    $($req: r.required(stringify!($req))?,)*
                    $($opt: r.optional(stringify!($opt), $default)?,)*
                    name: map.get("name").and_then(|v| v.as_str()).map(str::to_string),
                    trainable: r.optional("trainable", true)?,
                })
            }

            fn arguments() -> Vec<$crate::arguments::ArgumentDoc> {
                vec![
                    $($crate::arguments::ArgumentDoc { name: stringify!($req), doc: $rdoc, default: None },)*
                    $({
                        let default: $oty = $default;
                        $crate::arguments::ArgumentDoc {
                            name: stringify!($opt),
                            doc: $odoc,
                            default: Some($crate::arguments::Arg::write(&default)),
                        }
                    },)*
                ]
            }
        }
    };
}
pub(crate) use layer;
