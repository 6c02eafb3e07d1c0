//! What layers compute in: Keras' dtype policies (<https://keras.io/api/mixed_precision/policy/>).
//!
//! In a mixed policy layers compute in 16 bits on weights that stay f32. As Keras advises, a model's outputs are f32, with
//! their last activation; what layers know to need f32 (statistics, what prepares images) computes in f32 by itself.

use crate::arguments::Words;
use serde::Serialize;
use thalweg_graph::DType;

/// A dtype policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DTypePolicy {
    /// Everything in f32.
    #[default]
    Float32,
    /// Layers in bf16: f32's range with 8 bits of mantissa.
    MixedBfloat16,
    /// Layers in f16, which has 11 bits of mantissa and little range: losses are scaled in training.
    MixedFloat16,
}

impl DTypePolicy {
    /// What layers compute in.
    pub const fn compute_dtype(self) -> DType {
        match self {
            DTypePolicy::Float32 => DType::F32,
            DTypePolicy::MixedBfloat16 => DType::BF16,
            DTypePolicy::MixedFloat16 => DType::F16,
        }
    }

    /// Whether it is Keras' default.
    pub fn is_float32(&self) -> bool {
        *self == DTypePolicy::Float32
    }

    /// Whether gradients would vanish in its range unless the loss is scaled.
    pub const fn scales_loss(self) -> bool {
        matches!(self, DTypePolicy::MixedFloat16)
    }

    /// Keras' name.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, p)| *p == self).map_or("float32", |(w, _)| w)
    }

    /// By Keras' name; a line about a wrong one.
    pub fn from_name(name: &str) -> Result<DTypePolicy, String> {
        let known: Vec<&str> = Self::WORDS.iter().map(|(w, _)| *w).collect();
        let found = Self::WORDS.iter().find(|(w, _)| *w == name).map(|(_, p)| *p);
        found.ok_or_else(|| crate::suggest::unknown(Self::KIND, name, &known))
    }
}

/// What a layer computes in under a mixed policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// The policy's type.
    Policy,
    /// f32, for its statistics; its result is of the policy's type.
    Statistics,
    /// f32, and so is its result.
    Full,
}

impl Serialize for DTypePolicy {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl Words for DTypePolicy {
    const KIND: &'static str = "dtype_policy";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("float32", DTypePolicy::Float32),
        ("mixed_bfloat16", DTypePolicy::MixedBfloat16),
        ("mixed_float16", DTypePolicy::MixedFloat16),
    ];
}
