//! The `model` of a recipe: one that Thalweg knows by name, fitted to the data.
//!
//! In: `model = "resnet18"`, or `[model]` with a number of classes; what is done to the images before. Out: a
//! checked network. Invariant: the network is the one of `thalweg::vision`, with the preprocessing behind its input.

use super::data::DataRecipe;
use super::model::{layer_json, normal};
use super::section::Section;
use super::source::{Item, Node, Source};
use crate::error::Failure;
use serde_json::{Value, json};
use thalweg::nn::{ModelConfig, Network, NnError, TensorRef};
use thalweg::vision;

/// The network of `model`.
pub fn network(
    source: &Source,
    node: &Node,
    data: &DataRecipe,
    preprocessing: Option<&Node>,
) -> Result<Network, Failure> {
    let (name, classes) = match &node.value {
        Item::Text(name) => (name.as_str(), None),
        _ => {
            let section = Section::new(source, "[model]", node, &["name", "classes"])?;
            let Some(name) = section.text("name")? else {
                return Err(section.wrong("[model] needs a name, as in name = \"resnet18\""));
            };
            (name, section.count("classes")?)
        }
    };
    let at = |e: String| source.wrong(node.blame(&e), e);
    let model = vision::model(name).map_err(at)?;
    let Some(classes) = classes.or_else(|| data.classes()) else {
        return Err(source.wrong(node.at, "[model] of a folder needs classes, the number of class folders"));
    };
    let shape = data.shape();
    let &[h, w, c] = shape.as_slice() else {
        return Err(source.wrong(node.at, format!("{name} takes images, but the data are {shape:?}")));
    };
    let config = (model.build)([h, w, c], classes).map_err(|e| at(e.to_string()))?;
    let heads = match preprocessing.map(|p| (p, &p.value)) {
        None => Vec::new(),
        Some((_, Item::List(all))) => all.iter().map(|n| layer_json(source, n)).collect::<Result<_, _>>()?,
        Some((p, _)) => return Err(source.wrong(p.at, "preprocessing must be a list of layers")),
    };
    let whole = behind_input(config, &heads).and_then(Network::new).and_then(normal);
    let place = preprocessing.map_or(node.at, |p| p.at);
    whole.map_err(|e| source.wrong(place, e.to_string()))
}

/// Puts layers between the input, which becomes one of bytes, and all that take it.
fn behind_input(mut config: ModelConfig, layers: &[Value]) -> Result<ModelConfig, NnError> {
    let Some(input) = config.inputs.first().cloned() else { return Ok(config) };
    if let Some(layer) = config.layers.iter_mut().find(|l| l.name == input) {
        layer.config.insert("dtype".into(), json!("uint8"));
    }
    // A chain of its own, so that names and links are made as for any chain.
    let head = json!({ "class_name": "InputLayer", "name": input, "config": { "shape": [1] } });
    let chain: Vec<&Value> = std::iter::once(&head).chain(layers).collect();
    let chain = ModelConfig::try_from(json!({ "name": config.name, "layers": chain }))?;
    let Some(last) = chain.layers.last().map(|l| TensorRef::first(&l.name)) else { return Ok(config) };
    let takes = config.layers.iter_mut().flat_map(|l| l.inbound.iter_mut().flatten());
    takes.filter(|r| r.layer == input).for_each(|r| *r = last.clone());
    let at = config.layers.iter().position(|l| l.name == input).map_or(0, |i| i + 1);
    config.layers.splice(at..at, chain.layers.into_iter().skip(1));
    Ok(config)
}
