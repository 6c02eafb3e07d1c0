//! What a model is trained with: optimizer, losses, metrics. Keras' `compile()` as data.
//!
//! Input: configs of nn, or names. Output: [`Compile`], and with a network's outputs the list of goals that the
//! step computes. Invariant: every loss and metric belongs to exactly one output; names of logs are unique.

use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};
use thalweg_nn::losses::Loss;
use thalweg_nn::metrics::Metric;
use thalweg_nn::optimizers::Optimizer;
use thalweg_nn::{OutputInfo, suggest};

/// Optimizer, losses and metrics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compile {
    /// How weights follow their gradients.
    pub optimizer: Optimizer,
    /// What is minimised.
    pub losses: Vec<OutputLoss>,
    /// What is watched.
    #[serde(default)]
    pub metrics: Vec<OutputMetric>,
}

/// The loss of an output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLoss {
    /// The output's name; none for all outputs.
    #[serde(default)]
    pub output: Option<String>,
    /// The loss.
    pub loss: Loss,
    /// What it is multiplied by in the sum. Keras' `loss_weights`.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A metric of an output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputMetric {
    /// The output's name; none for all outputs.
    #[serde(default)]
    pub output: Option<String>,
    /// The metric.
    pub metric: Metric,
    /// Whether sample and class weights count: Keras' `weighted_metrics`.
    #[serde(default)]
    pub weighted: bool,
}

fn one() -> f64 {
    1.0
}

impl Compile {
    /// One loss for every output.
    pub fn new(optimizer: impl Into<Optimizer>, loss: impl Into<Loss>) -> Compile {
        let loss = OutputLoss { output: None, loss: loss.into(), weight: 1.0 };
        Compile { optimizer: optimizer.into(), losses: vec![loss], metrics: Vec::new() }
    }

    /// From Keras' names, as in `compile("adam", "mse", ["mae"])`.
    pub fn from_names(optimizer: &str, loss: &str, metrics: &[&str]) -> Result<Compile> {
        let optimizer: Optimizer = optimizer.parse().map_err(TrainError::argument::<String>)?;
        let loss: Loss = loss.parse().map_err(TrainError::argument::<String>)?;
        metrics.iter().try_fold(Compile::new(optimizer, loss), |c, name| {
            Ok(c.metric(name.parse::<Metric>().map_err(TrainError::argument::<String>)?))
        })
    }

    /// Another loss for the output of that name, with its weight in the sum.
    pub fn output_loss(mut self, output: &str, loss: impl Into<Loss>, weight: f64) -> Compile {
        self.losses.push(OutputLoss { output: Some(output.into()), loss: loss.into(), weight });
        self
    }

    /// A metric for every output.
    pub fn metric(mut self, metric: impl Into<Metric>) -> Compile {
        self.metrics.push(OutputMetric { output: None, metric: metric.into(), weighted: false });
        self
    }

    /// A metric for the output of that name.
    pub fn output_metric(mut self, output: &str, metric: impl Into<Metric>) -> Compile {
        self.metrics.push(OutputMetric {
            output: Some(output.into()),
            metric: metric.into(),
            weighted: false,
        });
        self
    }

    /// A metric that counts sample and class weights, for every output.
    pub fn weighted_metric(mut self, metric: impl Into<Metric>) -> Compile {
        self.metrics.push(OutputMetric { output: None, metric: metric.into(), weighted: true });
        self
    }

    /// What each output is held to but those that decide. `outputs` are the network's.
    pub fn goals(&self, outputs: &[OutputInfo]) -> Result<Vec<Goal>> {
        self.optimizer.validate().map_err(TrainError::argument::<String>)?;
        let learned = || outputs.iter().enumerate().filter(|(_, o)| !o.decides);
        let names: Vec<&str> = learned().map(|(_, o)| o.name.as_str()).collect();
        let named = self.losses.iter().map(|l| &l.output).chain(self.metrics.iter().map(|m| &m.output));
        if let Some(wrong) = named.flatten().find(|n| !names.contains(&n.as_str())) {
            return Err(TrainError::argument(suggest::unknown("output", wrong, &names)));
        }
        let several = names.len() > 1;
        let mut goals = Vec::new();
        for (index, output) in learned() {
            let fits = |name: &Option<String>| name.as_ref().is_none_or(|n| *n == output.name);
            // A loss for this very output goes before one for all.
            let own = self.losses.iter().rev().find(|l| l.output.as_ref() == Some(&output.name));
            let Some(loss) = own.or_else(|| self.losses.iter().find(|l| fits(&l.output))) else {
                return Err(TrainError::argument(format!(
                    "output '{}' has no loss; give it one with output_loss(\"{}\", ..)",
                    output.name, output.name
                )));
            };
            if !loss.weight.is_finite() {
                return Err(TrainError::argument(format!("loss weight {} is not a number", loss.weight)));
            }
            let log = |n: &str| if several { format!("{}_{n}", output.name) } else { n.to_owned() };
            let mut watched: Vec<Watched> = Vec::new();
            // Names are Keras': a metric that is weighted too gets a prefix, one with other arguments a number.
            let own = |weighted: bool| self.metrics.iter().filter(move |m| m.weighted == weighted);
            for m in own(false).chain(own(true)).filter(|m| fits(&m.output)) {
                if watched.iter().any(|w| w.metric == m.metric && w.weighted == m.weighted) {
                    return Err(TrainError::argument(format!(
                        "metric '{}' is given twice; leave one out",
                        log(m.metric.name())
                    )));
                }
                let taken = |name: &String| watched.iter().any(|w| w.name == *name);
                let mut name = log(m.metric.name());
                if m.weighted && taken(&name) {
                    name = log(&format!("weighted_{}", m.metric.name()));
                }
                if taken(&name) {
                    name = (1..).map(|i| format!("{name}_{i}")).find(|n| !taken(n)).unwrap_or(name);
                }
                watched.push(Watched { name, metric: m.metric.clone(), weighted: m.weighted });
            }
            goals.push(Goal {
                output: index,
                output_name: output.name.clone(),
                shape: output.shape.clone(),
                loss: loss.loss.clone(),
                weight: loss.weight,
                loss_log: several.then(|| log("loss")),
                metrics: watched,
            });
        }
        Ok(goals)
    }
}

/// What an output is held to.
#[derive(Clone, PartialEq, Debug)]
pub struct Goal {
    /// Which output.
    pub output: usize,
    /// Its name.
    pub output_name: String,
    /// Its per-example shape.
    pub shape: Vec<usize>,
    /// Its loss.
    pub loss: Loss,
    /// What the loss is multiplied by.
    pub weight: f64,
    /// The log of this loss alone, where there are several outputs.
    pub loss_log: Option<String>,
    /// Its metrics.
    pub metrics: Vec<Watched>,
}

/// A metric and the log it makes.
#[derive(Clone, PartialEq, Debug)]
pub struct Watched {
    /// Name of the log.
    pub name: String,
    /// The metric.
    pub metric: Metric,
    /// Whether sample weights count.
    pub weighted: bool,
}

/// Names of the logs of these goals, in Keras' order.
pub fn log_names(goals: &[Goal]) -> Vec<String> {
    let losses = goals.iter().filter_map(|g| g.loss_log.clone());
    let metrics = goals.iter().flat_map(|g| g.metrics.iter().map(|m| m.name.clone()));
    std::iter::once("loss".to_owned()).chain(losses).chain(metrics).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str) -> OutputInfo {
        OutputInfo { name: name.into(), shape: vec![3], decides: false }
    }

    #[test]
    fn names_and_json() {
        let compile = Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"]).unwrap();
        let text = serde_json::to_string(&compile).unwrap();
        assert_eq!(serde_json::from_str::<Compile>(&text).unwrap(), compile);
        assert_eq!(log_names(&compile.goals(&[output("y")]).unwrap()), ["loss", "accuracy"]);
        let error = Compile::from_names("adm", "mse", &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean"), "{error}");
    }

    #[test]
    fn several_outputs_have_their_names() {
        let mse: Loss = "mse".parse().unwrap();
        let compile = Compile::from_names("sgd", "mae", &["mse"]).unwrap().output_loss("b", mse.clone(), 0.5);
        let goals = compile.goals(&[output("a"), output("b")]).unwrap();
        let names = ["loss", "a_loss", "b_loss", "a_mean_squared_error", "b_mean_squared_error"];
        assert_eq!(log_names(&goals), names);
        assert_eq!((goals[1].weight, &goals[1].loss), (0.5, &mse));
        let decision = OutputInfo { decides: true, ..output("d") };
        let one = compile.goals(&[decision, output("b")]).unwrap();
        assert_eq!((one.len(), one[0].output, log_names(&one).len()), (1, 1, 2), "decisions have no loss");
        let wrong = compile.output_loss("q", mse, 1.0).goals(&[output("a"), output("b")]);
        assert!(wrong.unwrap_err().to_string().contains("output 'q' is not known"));
    }

    #[test]
    fn a_metric_comes_once() {
        let twice = Compile::from_names("sgd", "mse", &["mae", "mae"]).unwrap();
        assert!(twice.goals(&[output("y")]).unwrap_err().to_string().contains("given twice"));
        let metric: Metric = "mae".parse().unwrap();
        let both = Compile::from_names("sgd", "mse", &["mae"]).unwrap().weighted_metric(metric);
        let names = ["loss", "mean_absolute_error", "weighted_mean_absolute_error"];
        assert_eq!(log_names(&both.goals(&[output("y")]).unwrap()), names);
        let names = log_names(&both.goals(&[output("a"), output("b")]).unwrap());
        assert_eq!(names[4], "a_weighted_mean_absolute_error");
        let top = |k| thalweg_nn::metrics::SparseTopKCategoricalAccuracy { k };
        let tops = Compile::from_names("sgd", "mse", &[]).unwrap().metric(top(1)).metric(top(2));
        let names = log_names(&tops.goals(&[output("y")]).unwrap());
        assert_eq!(names[1..], ["sparse_top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy_1"]);
    }
}
