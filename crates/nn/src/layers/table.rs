//! The table of layers: one line each. Drives reading by class name, documentation and suggestions.

use super::class::{Class, Layer, Read};
use super::*;
use crate::arguments::{ArgumentDoc, Map};
use crate::{LayerError, suggest};

/// A layer class, for documentation.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassDoc {
    /// Keras' class name.
    pub class_name: &'static str,
    /// Its arguments; `name` and `trainable` not among them.
    pub arguments: Vec<ArgumentDoc>,
}

macro_rules! table {
    ($($class:ident)*) => {
        /// Any layer.
        #[derive(Clone, PartialEq, Debug)]
        #[expect(missing_docs, reason = "documented at the layers themselves")]
        pub enum AnyLayer {
            $($class($class),)*
        }

        impl AnyLayer {
            /// Class names of all layers.
            pub const CLASSES: &'static [&'static str] = &[$($class::CLASS),*];

            /// Reads a layer; refuses unknown classes, unknown arguments and wrong values.
            pub fn read(class_name: &str, config: &Map) -> Result<Self, LayerError> {
                let layer = match class_name {
                    $($class::CLASS => AnyLayer::$class($class::read(config)?),)*
                    other => {
                        return Err(LayerError::Argument(suggest::unknown("layer class", other, Self::CLASSES)));
                    }
                };
                let class = layer.get().class_name();
                layer.get().check().map_err(|e| LayerError::Argument(format!("{class}: {e}")))?;
                Ok(layer)
            }

            /// Every class with its arguments, in the table's order.
            pub fn docs() -> Vec<ClassDoc> {
                vec![$(ClassDoc { class_name: $class::CLASS, arguments: $class::arguments() }),*]
            }

            /// The layer behind it.
            pub fn get(&self) -> &dyn Layer {
                match self {
                    $(AnyLayer::$class(l) => l,)*
                }
            }

            /// Sets whether its weights learn.
            pub fn set_trainable(&mut self, trainable: bool) {
                match self {
                    $(AnyLayer::$class(l) => l.set_trainable(trainable),)*
                }
            }
        }

        $(impl From<$class> for AnyLayer {
            fn from(layer: $class) -> Self {
                AnyLayer::$class(layer)
            }
        })*
    };
}

table! {
    InputLayer
    Conv2D
    DepthwiseConv2D
    Dense
    MaxPooling2D
    AveragePooling2D
    GlobalAveragePooling2D
    GlobalMaxPooling2D
    BatchNormalization
    Dropout
    Flatten
    Reshape
    Activation
    ReLU
    LeakyReLU
    Softmax
    Add
    Subtract
    Multiply
    Average
    Maximum
    Minimum
    Concatenate
    ZeroPadding2D
    UpSampling2D
    Rescaling
    Normalization
    RandomFlip
    RandomTranslation
    DecodeBoxes
    NonMaxSuppression
}
