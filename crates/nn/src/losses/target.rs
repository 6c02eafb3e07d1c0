//! What targets look like: class indices, or values of the prediction's shape.

use crate::detection::Predictions;
use thalweg_graph::{DType, Graph, NodeId, ReduceKind, Type};

/// The form of the targets of a loss or metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Integer class indices: the prediction's shape [n, .., c] without the last axis (or with it as 1).
    Classes,
    /// A distribution over the last axis, one-hot or soft: the prediction's shape.
    Distribution,
    /// Zeros and ones (or between): the prediction's shape.
    Binary,
    /// Any numbers: the prediction's shape.
    Values,
    /// Any numbers: the prediction's shape [n, .., c] without the last axis.
    Numbers,
    /// Corners of boxes: the prediction's shape [n, .., 4].
    Boxes,
    /// True boxes and their classes for a detector's predictions: [n, m, 5], of any number m.
    Objects {
        /// Bins of each distance's distribution in the predictions, or 0.
        bins: usize,
    },
}

impl Target {
    /// The shape of targets for predictions of shape `pred`.
    pub fn shape(self, pred: &[usize]) -> Vec<usize> {
        match self {
            Target::Classes | Target::Numbers => pred[..pred.len().saturating_sub(1)].to_vec(),
            // One box stands for any number.
            Target::Objects { .. } => vec![pred.first().copied().unwrap_or(1), 1, 5],
            _ => pred.to_vec(),
        }
    }

    /// The fields that targets are made of, where they are more than one.
    pub fn parts(self) -> &'static [&'static str] {
        match self {
            Target::Objects { .. } => &["boxes", "classes"],
            _ => &[],
        }
    }

    /// Element type of the targets.
    pub fn dtype(self) -> DType {
        match self {
            Target::Classes => DType::I32,
            _ => DType::F32,
        }
    }

    /// One line where targets do not fit; `name` is the loss or metric.
    pub fn check(self, name: &str, pred: &[usize], target: &[usize], dtype: DType) -> Result<(), String> {
        let got = Type::new(dtype, target);
        let without = Target::Classes.shape(pred);
        let classes_fit = target == without || with_column(&without) == target;
        let hint = match (self, name.ends_with("crossentropy")) {
            (Target::Classes, true) if target == pred => ": use categorical_crossentropy",
            (Target::Classes, false) if target == pred => ": use categorical_accuracy",
            (Target::Distribution, true) if classes_fit && pred.last() == Some(&1) => {
                ": use binary_crossentropy"
            }
            (Target::Distribution, true) if classes_fit => ": use sparse_categorical_crossentropy",
            (Target::Distribution, false) if classes_fit => ": use sparse_categorical_accuracy",
            (Target::Binary, true) if classes_fit && pred.last() != Some(&1) => {
                ": use sparse_categorical_crossentropy with a softmax, or Dense(1) for two classes"
            }
            _ => "",
        };
        if self == Target::Classes {
            if pred.last().is_none_or(|&c| c < 2) {
                return Err(format!(
                    "{name} needs predictions [.., classes] with at least two classes; got {}: use \
                     binary_crossentropy",
                    Type::f32(pred)
                ));
            }
            if !classes_fit || dtype.is_float() {
                let wanted = Type::new(DType::I32, &without);
                return Err(format!("{name} needs integer labels {wanted}; got {got}{hint}"));
            }
            return Ok(());
        }
        if let Target::Objects { bins } = self {
            Predictions::classes(pred.get(1..).unwrap_or_default(), bins)
                .map_err(|e| format!("{name}: {e}"))?;
            return match target {
                &[_, m, 5] if m > 0 => Ok(()),
                _ => Err(format!(
                    "{name} needs boxes f32[n,m,4] and classes i32[n,m] of each picture; got {got}"
                )),
            };
        }
        if self == Target::Numbers {
            if pred.last().is_none_or(|&c| c < 2) {
                return Err(format!(
                    "{name} needs predictions [.., bins], at least two; got {}",
                    Type::f32(pred)
                ));
            }
            if !classes_fit {
                return Err(format!("{name} needs targets {}; got {got}", Type::f32(&without)));
            }
            return Ok(());
        }
        if self == Target::Boxes && pred.last() != Some(&4) {
            return Err(format!(
                "{name} needs boxes [.., 4] (x1, y1, x2, y2); predictions are {}",
                Type::f32(pred)
            ));
        }
        if self == Target::Distribution && pred.last() == Some(&1) {
            return Err(format!(
                "{name} needs at least two classes; predictions are {}: use binary_crossentropy",
                Type::f32(pred)
            ));
        }
        let column = pred == with_column(target) || target == with_column(pred);
        if target == pred || column && !matches!(self, Target::Distribution | Target::Boxes) {
            return Ok(());
        }
        let wanted = Type::f32(pred);
        let what = if self == Target::Distribution { "one-hot targets" } else { "targets" };
        Err(format!("{name} needs {what} {wanted}, the shape of the predictions; got {got}{hint}"))
    }
}

fn with_column(shape: &[usize]) -> Vec<usize> {
    [shape, &[1]].concat()
}

/// Class indices as i32 [n, ..] for scores [n, .., c]; a last axis of 1 is dropped.
pub(crate) fn class_labels(g: &mut Graph, labels: NodeId, scores: NodeId) -> NodeId {
    let shape = Target::Classes.shape(g.shape(scores));
    let labels = g.reshape(labels, &shape);
    g.cast(labels, DType::I32)
}

/// Targets as f32 of the prediction's shape; a missing or additional last axis of 1 is added or dropped.
pub(crate) fn like(g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
    let shape = g.shape(y_pred).to_vec();
    let y = g.reshape(y_true, &shape);
    g.cast(y, DType::F32)
}

/// Mean over the last axis, which disappears; a rank of 1 stays as it is (one value an example).
pub(crate) fn mean_last(g: &mut Graph, x: NodeId) -> NodeId {
    let rank = g.shape(x).len();
    if rank < 2 {
        return x;
    }
    let count = g.shape(x)[rank - 1];
    let sum = g.reduce(ReduceKind::Sum, x, &[rank - 1]);
    if count == 1 { sum } else { g.scale(sum, 1.0 / count as f64) }
}
