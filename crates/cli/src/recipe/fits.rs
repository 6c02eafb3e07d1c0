//! Whether what is compiled suits what the data are: one class label per image.
//!
//! In: a checked network, losses and metrics. Out: nothing, or the error at the place in the file. Invariant: the
//! same checks as the trainer's, before anything is opened or fetched.

use super::data::DataRecipe;
use super::source::{Item, Node, Source};
use crate::error::Failure;
use thalweg::graph::DType;
use thalweg::nn::{Network, losses::Loss, metrics::Metric};

/// What must fit together.
pub struct Fits<'a> {
    /// The recipe's text.
    pub source: &'a Source,
    /// What the labels are.
    pub data: &'a DataRecipe,
    /// What predicts.
    pub network: &'a Network,
    /// `[compile]`.
    pub compile: &'a Node,
}

impl Fits<'_> {
    /// Shape of the first output's batch of one.
    fn predictions(&self) -> Vec<usize> {
        let outputs = self.network.outputs();
        let shape = outputs.first().map(|o| o.shape.clone()).unwrap_or_default();
        [&[1], shape.as_slice()].concat()
    }

    /// Shape and type of the target of a batch of one.
    fn target(&self) -> (Vec<usize>, DType) {
        match self.data {
            DataRecipe::Detection(d) => (vec![1, d.boxes, 5], DType::F32),
            _ => (vec![1], DType::I32),
        }
    }

    /// An error at a key of `[compile]`. The checks speak of a batch of one; a user knows it as N.
    fn wrong(&self, key: &str, what: &str) -> Failure {
        let Item::Table(entries) = &self.compile.value else {
            return self.source.wrong(self.compile.at, what);
        };
        let at = entries.iter().find(|(k, _)| k.name == key).map_or(self.compile.at, |(_, v)| v.at);
        self.source.wrong(at, what.replace("[1,", "[N,").replace("[1]", "[N]"))
    }

    /// The loss.
    pub fn loss(&self, loss: &Loss) -> Result<(), Failure> {
        let (shape, dtype) = self.target();
        loss.check(&self.predictions(), &shape, dtype).map_err(|e| self.wrong("loss", &e))?;
        match (self.data, loss.class_range(&self.predictions())) {
            (DataRecipe::Detection(d), Some((seen, _))) if seen != d.classes.len() => {
                let what = format!(
                    "the model predicts {seen} classes where the loss looks for them, but the data have {}: give the model \
                     as many classes and the loss the model's bins (detector_small: bins = 16)",
                    d.classes.len()
                );
                Err(self.wrong("loss", &what))
            }
            _ => Ok(()),
        }
    }

    /// The metrics.
    pub fn metrics(&self, metrics: &[Metric]) -> Result<(), Failure> {
        let (shape, dtype) = self.target();
        let check = |m: &Metric| match self.data {
            DataRecipe::Detection(_) => Err(format!(
                "the metric {} does not judge detections; leave it out: average precision is always told",
                m.name()
            )),
            _ => m.check(&self.predictions(), &shape, dtype),
        };
        metrics.iter().try_for_each(check).map_err(|e| self.wrong("metrics", &e))
    }

    /// As many outputs as there are classes. `model`: where the layers stand.
    pub fn classes(&self, model: Option<&Node>) -> Result<(), Failure> {
        let units = self.predictions().last().copied().unwrap_or(0);
        let Some(classes) = self.data.classes().filter(|&c| units < c) else { return Ok(()) };
        let place = match model.map(|m| (&m.value, m.at)) {
            Some((Item::List(layers), at)) => layers.last().map_or(at, |l| l.at),
            Some((_, at)) => at,
            None => 0,
        };
        let (title, name) = (self.data.title(), self.network.outputs()[0].name.clone());
        let what = format!(
            "layer '{name}' has {units} outputs, but {title} has {classes} classes; give it {classes} units"
        );
        Err(self.source.wrong(place, what))
    }
}
