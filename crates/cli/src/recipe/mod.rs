//! A recipe: a training run as a TOML file in Keras' words.
//!
//! In: a file with `data`, `[[preprocessing]]`, `[[layers]]`, `[compile]`, `[fit]`, `[[callbacks]]`. Out: a
//! checked [`Recipe`] of the same types that the Rust builders use. Invariant: after reading, nothing in the file
//! can be wrong any more but the data itself; every error is one line that begins with file, line and column.

mod data;
mod fits;
mod model;
mod named;
mod section;
mod source;
#[cfg(test)]
mod tests;

pub use data::{DataRecipe, DetectionRecipe};

use crate::error::Failure;
use fits::Fits;
use model::ModelParts;
use section::Section;
use source::{Item, Node, Source};
use std::path::Path;
use thalweg::nn::{DTypePolicy, Network, losses::Loss, metrics::Metric, optimizers::Optimizer};
use thalweg::train::callbacks::CallbackConfig;

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Of the model and, unless the user says otherwise, of the run.
    pub name: String,
    /// The file's text, kept with the model.
    pub text: String,
    /// What to learn from.
    pub data: DataRecipe,
    /// The checked model.
    pub network: Network,
    /// How weights follow gradients.
    pub optimizer: Optimizer,
    /// What is minimised.
    pub loss: Loss,
    /// What is watched.
    pub metrics: Vec<Metric>,
    /// How long and on what.
    pub fit: FitRecipe,
    /// What watches training.
    pub callbacks: Vec<CallbackConfig>,
}

/// `[fit]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRecipe {
    /// Passes over the data.
    pub epochs: usize,
    /// Examples per step.
    pub batch_size: usize,
    /// Whether every epoch has its own order.
    pub shuffle: bool,
    /// What is judged by after every epoch.
    pub validation: Validation,
    /// Of weights, order and dropout.
    pub seed: u64,
    /// Steps of an epoch, if fewer than the data gives.
    pub steps_per_epoch: Option<usize>,
}

/// Which data a run is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validation {
    /// None.
    None,
    /// The test split.
    Test,
    /// The validation split.
    Held,
    /// The last part of the training split.
    Share(f64),
}

const SECTIONS: [&str; 10] = [
    "name",
    "dtype_policy",
    "data",
    "augmentation",
    "preprocessing",
    "layers",
    "model",
    "compile",
    "fit",
    "callbacks",
];

impl Recipe {
    /// The same in another dtype policy, if one is given.
    pub fn in_policy(mut self, policy: Option<DTypePolicy>) -> Recipe {
        if let Some(policy) = policy {
            self.network.set_dtype_policy(policy);
        }
        self
    }

    /// Reads a file.
    pub fn open(path: &Path) -> Result<Recipe, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            let path = path.display();
            Failure::Usage(match e.kind() {
                std::io::ErrorKind::InvalidData => {
                    format!(
                        "{path} is no recipe, which is a TOML text (models are for `evaluate` and `predict`)"
                    )
                }
                _ => format!("cannot read the recipe {path}: {e}"),
            })
        })?;
        let stem = path.file_stem().map_or("recipe".into(), |s| s.to_string_lossy().into_owned());
        let base = path.parent().unwrap_or(Path::new(""));
        Recipe::read(&path.display().to_string(), &text, &stem, base)
    }

    /// Reads text that came from the file `file` in the folder `base`.
    pub fn read(file: &str, text: &str, stem: &str, base: &Path) -> Result<Recipe, Failure> {
        let source = &Source { name: file.to_owned(), text: text.to_owned() };
        let root = source.parse()?;
        let top = Section::new(source, "the recipe", &root, &SECTIONS)?;
        let name = match top.text("name")? {
            Some(name) => name,
            None => stem,
        };
        let missing = |key: &str, hint: &str| source.wrong(0, format!("the recipe has no {key}; {hint}"));
        let Some(data) = top.get("data") else {
            return Err(missing("data", "add data = \"cifar10\", or [data] with a folder of images"));
        };
        let data = DataRecipe::read(source, data, top.get("augmentation"), base)?;
        let preprocessing = top.get("preprocessing");
        let network = match (top.get("layers"), top.get("model")) {
            (Some(layers), None) => {
                ModelParts { source, name, data: &data, preprocessing, layers }.network()?
            }
            (None, Some(model)) => named::network(source, model, &data, preprocessing)?,
            (Some(_), Some(model)) => {
                return Err(source.wrong(model.at, "the recipe has both layers and a model; keep one"));
            }
            (None, None) => {
                let hint = "add [[layers]] tables, or the name of a model, as in model = \"resnet18\"";
                return Err(missing("layers and no model", hint));
            }
        };
        let mut network = network;
        if let Some(policy) = top.text("dtype_policy")? {
            let at = top.get("dtype_policy").map_or(0, |n| n.at);
            network.set_dtype_policy(DTypePolicy::from_name(policy).map_err(|e| source.wrong(at, e))?);
        }
        let Some(compile) = top.get("compile") else {
            return Err(missing("[compile]", "add optimizer, loss and metrics, as in Keras' model.compile"));
        };
        let (optimizer, loss, metrics) = read_compile(source, compile)?;
        let moving = network.config().layers.iter().find(|l| l.class_name.starts_with("Random"));
        if let (DataRecipe::Detection(_), Some(layer)) = (&data, moving) {
            let what =
                format!("{} moves pictures but not their boxes; say it in [augmentation]", layer.class_name);
            return Err(source.wrong(preprocessing.or(top.get("layers")).map_or(0, |n| n.at), what));
        }
        let fits = Fits { source, data: &data, network: &network, compile };
        fits.loss(&loss)?;
        fits.metrics(&metrics)?;
        if let Loss::SparseCategoricalCrossentropy(_) = loss {
            fits.classes(top.get("layers").or(top.get("model")))?;
        }
        let fit = read_fit(source, top.get("fit"))?;
        let lacks = match (fit.validation, &data) {
            (Validation::Test, DataRecipe::Folder { test: None, .. }) => {
                "validation_data = \"test\" needs a test folder: add test = \"folder\" to [data]"
            }
            (Validation::Test, DataRecipe::Detection(d)) if d.test.is_none() => {
                "validation_data = \"test\" needs a test split: add test = \"its name\" to [data]"
            }
            (Validation::Share(_), DataRecipe::Detection(_)) => {
                "validation_split would mix a mosaic's pictures: name a split for it, validation = \"its name\" in [data] and \
                 validation_data = \"validation\""
            }
            (Validation::Held, DataRecipe::Detection(d)) if d.validation.is_some() => "",
            (Validation::Held, _) => {
                "validation_data = \"validation\" needs a detection set with such a split: add validation = \"its \
                 name\" to [data]"
            }
            _ => "",
        };
        if !lacks.is_empty() {
            return Err(source.wrong(top.get("fit").map_or(0, |n| n.at), lacks));
        }
        let callbacks = match top.list("callbacks")? {
            None => Vec::new(),
            Some(all) => all.iter().map(|c| callback(source, c)).collect::<Result<_, _>>()?,
        };
        let (name, text) = (name.to_owned(), text.to_owned());
        Ok(Recipe { name, text, data, network, optimizer, loss, metrics, fit, callbacks })
    }
}

fn read_compile(source: &Source, node: &Node) -> Result<(Optimizer, Loss, Vec<Metric>), Failure> {
    let section = Section::new(source, "[compile]", node, &["optimizer", "loss", "metrics"])?;
    let part = |key: &str, example: &str| {
        section
            .get(key)
            .ok_or_else(|| section.wrong(format!("[compile] needs {key}, as in {key} = \"{example}\"")))
    };
    let at = |node: &Node, message: String| source.wrong(node.blame(&message), message);
    let optimizer = part("optimizer", "adam")?;
    let loss = part("loss", "sparse_categorical_crossentropy")?;
    let metrics = section.list("metrics")?.unwrap_or_default();
    Ok((
        Optimizer::from_value(optimizer.to_json()).map_err(|e| at(optimizer, e))?,
        Loss::from_value(loss.to_json()).map_err(|e| at(loss, e))?,
        metrics
            .iter()
            .map(|m| Metric::from_value(m.to_json()).map_err(|e| at(m, e)))
            .collect::<Result<_, _>>()?,
    ))
}

fn read_fit(source: &Source, node: Option<&Node>) -> Result<FitRecipe, Failure> {
    let empty = Node { at: 0, value: Item::Table(Vec::new()) };
    let known =
        ["epochs", "batch_size", "shuffle", "validation_data", "validation_split", "seed", "steps_per_epoch"];
    let s = Section::new(source, "[fit]", node.unwrap_or(&empty), &known)?;
    let validation = match (s.text("validation_data")?, s.share("validation_split")?) {
        (Some(_), Some(_)) => {
            return Err(s.wrong("[fit] has both validation_data and validation_split; keep one"));
        }
        (None, None) => Validation::None,
        (None, Some(share)) => Validation::Share(share),
        (Some("test"), None) => Validation::Test,
        (Some("validation"), None) => Validation::Held,
        (Some(other), None) => {
            let at = s.get("validation_data").map_or(s.at, |n| n.at);
            return Err(source.wrong(
                at,
                format!("validation_data must be \"test\" or \"validation\", a split, not \"{other}\""),
            ));
        }
    };
    Ok(FitRecipe {
        epochs: s.count("epochs")?.unwrap_or(1),
        batch_size: s.count("batch_size")?.unwrap_or(32),
        shuffle: s.truth("shuffle")?.unwrap_or(true),
        validation,
        seed: s.natural("seed")?.unwrap_or(0),
        steps_per_epoch: s.count("steps_per_epoch")?,
    })
}

fn callback(source: &Source, node: &Node) -> Result<CallbackConfig, Failure> {
    CallbackConfig::from_json(&node.to_json()).map_err(|e| {
        let message = e.to_string();
        source.wrong(node.blame(&message), message)
    })
}
