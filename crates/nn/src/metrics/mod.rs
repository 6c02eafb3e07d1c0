//! Metrics: what is watched, as data that builds graph.
//!
//! In: targets and predictions as nodes. Out: a value per example, and the new values of two f32 scalar
//! states, total and count; the host shows total / count. Source: keras.io/api/metrics. Invariant: every
//! metric is a weighted mean, so that batches add up. To add one: its file, its line in the table.

mod accuracy;
mod binary_accuracy;
mod categorical_accuracy;
mod mean;
mod top_k;

pub use accuracy::Accuracy;
pub use binary_accuracy::BinaryAccuracy;
pub use categorical_accuracy::{CategoricalAccuracy, SparseCategoricalAccuracy};
pub use mean::{accumulate, result};
pub use top_k::{SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy};

use crate::losses::{
    BinaryCrossentropy, CategoricalCrossentropy, Cost, Huber, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy, Target, mean_over_rest,
};
use crate::table::{Config, keras_serde, keras_table};
use thalweg_graph::{DType, Graph, NodeId};

/// How one metric is computed.
pub(crate) trait Measure: Config {
    /// Values, f32 of the prediction's shape [n, .., c] without its last axis.
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId;

    /// What targets look like.
    fn target(&self) -> Target;

    /// Whether a larger value is better.
    fn higher_is_better(&self) -> bool {
        true
    }
}

/// Every loss is a metric.
impl<C: Cost> Measure for C {
    fn values(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        self.costs(g, y_true, y_pred, self.given_logits())
    }

    fn target(&self) -> Target {
        Cost::target(self)
    }

    fn higher_is_better(&self) -> bool {
        false
    }
}

keras_table! {
    ($)
    /// A metric. Source: keras.io/api/metrics, Keras 3.
    Metric "metric":
    Accuracy "accuracy" ["acc"];
    SparseCategoricalAccuracy "sparse_categorical_accuracy" [];
    CategoricalAccuracy "categorical_accuracy" [];
    BinaryAccuracy "binary_accuracy" [];
    TopKCategoricalAccuracy "top_k_categorical_accuracy" [];
    SparseTopKCategoricalAccuracy "sparse_top_k_categorical_accuracy" [];
    MeanSquaredError "mean_squared_error" ["mse"];
    MeanAbsoluteError "mean_absolute_error" ["mae"];
    Huber "huber" ["huber_loss"];
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy" [];
    CategoricalCrossentropy "categorical_crossentropy" [];
    BinaryCrossentropy "binary_crossentropy" ["bce"];
}
keras_serde!(Metric "metric");

impl Metric {
    /// "accuracy" as the accuracy that suits these shapes, as Keras chooses it; others as they are.
    /// The name to show stays that of the metric the user gave.
    pub fn resolve(&self, pred: &[usize], target: &[usize]) -> Metric {
        match self {
            Metric::Accuracy(_) => accuracy::suited(pred, target),
            other => other.clone(),
        }
    }

    /// Values per element: f32 of the prediction's shape [n, .., c] without its last axis. `accuracy` is
    /// resolved by the nodes' shapes.
    pub fn per_element(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let metric = self.resolve(g.shape(y_pred), g.shape(y_true));
        each!(&metric, m => m.values(g, y_true, y_pred))
    }

    /// Values per example, f32 `[n]`: [`Metric::per_element`] averaged over the axes after the first.
    pub fn value(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId) -> NodeId {
        let values = self.per_element(g, y_true, y_pred);
        mean_over_rest(g, values)
    }

    /// Refuses targets that do not fit the predictions, naming the metric that would.
    pub fn check(&self, pred: &[usize], target: &[usize], dtype: DType) -> Result<(), String> {
        let metric = self.resolve(pred, target);
        each!(&metric, m => Measure::target(m).check(self.name(), pred, target, dtype))
    }

    /// Whether a larger value is better: what "auto" means to callbacks.
    pub fn higher_is_better(&self) -> bool {
        each!(self, m => m.higher_is_better())
    }
}
