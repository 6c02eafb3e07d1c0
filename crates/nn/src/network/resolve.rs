//! From a configuration to a network: reads the layers, orders their calls, infers shapes and weights.

use super::{CallSite, NamedLayer, Network, Weight};
use crate::config::{LayerConfig, TensorRef};
use crate::layers::{AnyLayer, WeightSpec};
use crate::{ModelConfig, NnError, Shape, suggest};
use std::collections::{HashMap, HashSet};

/// More elements than any tensor may have, so that no product of extents overflows; fewer where sizes have 32 bits.
const MOST: usize = match 1usize.checked_shl(32) {
    Some(most) => most,
    None => 1 << 28,
};

/// A call before the order is known: layer, and which of its calls.
type Key = (usize, usize);

pub fn network(config: ModelConfig) -> Result<Network, NnError> {
    let layers = read_layers(&config)?;
    check_names(&config)?;
    let resolver = Resolver { config: &config, layers: &layers };
    let calls = resolver.order()?;
    let tensors: HashMap<Key, usize> = calls.iter().enumerate().map(|(i, c)| ((c.layer, c.nth), i)).collect();
    let find = |what: &str, r: &TensorRef| {
        resolver.find(r).map(|key| tensors[&key]).map_err(|e| resolver.wrong(format!("{what} {e}")))
    };
    let inputs = resolver.inputs(&tensors)?;
    let outputs = config.outputs.iter().map(|r| find("output", r)).collect::<Result<Vec<_>, _>>()?;
    if outputs.is_empty() {
        return Err(resolver.wrong("it has no outputs".into()));
    }
    let mut layers = layers;
    let mut at = 0;
    for (i, named) in layers.iter_mut().enumerate() {
        let count = specs(&named.layer, &calls, i).len();
        named.weights = at..at + count;
        at += count;
    }
    let weights = weights(&layers, &calls);
    if let Some(large) = weights.iter().find(|w| too_large(&w.shape)) {
        let problem =
            format!("weight '{}' {:?} has more than 2^{} elements", large.path, large.shape, MOST.ilog2());
        return Err(NnError::Model { model: config.name, problem });
    }
    Ok(Network { config, layers, calls, weights, inputs, outputs })
}

fn read_layers(config: &ModelConfig) -> Result<Vec<NamedLayer>, NnError> {
    let read = |l: &LayerConfig| {
        let layer = AnyLayer::read(&l.class_name, &l.config)
            .map_err(|source| NnError::Layer { layer: l.name.clone(), source })?;
        Ok(NamedLayer { name: l.name.clone(), layer, weights: 0..0 })
    };
    config.layers.iter().map(read).collect()
}

/// Names make weight paths (`layer/kernel`) and references (`layer:1`): files must be read as they were written.
fn check_names(config: &ModelConfig) -> Result<(), NnError> {
    let wrong = |problem| Err(NnError::Model { model: config.name.clone(), problem });
    let mut seen = HashSet::new();
    for name in config.layers.iter().map(|l| l.name.as_str()) {
        if name.is_empty() || name.contains(|c: char| c == '/' || c == ':' || c.is_control()) {
            return wrong(format!("a layer cannot be called {name:?}; leave out '/' and ':'"));
        }
        if !seen.insert(name) {
            return wrong(format!("two layers are called '{name}'; names must be unique"));
        }
    }
    Ok(())
}

fn too_large(shape: &[usize]) -> bool {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > MOST)
}

/// The weights that a layer asks for, given the calls: those of its first call, which all calls share.
fn specs(layer: &AnyLayer, calls: &[CallSite], index: usize) -> Vec<WeightSpec> {
    match calls.iter().find(|c| c.layer == index && c.nth == 0) {
        Some(call) => layer.get().weights(&input_shapes(calls, &call.inputs)),
        None => Vec::new(),
    }
}

fn input_shapes(calls: &[CallSite], inputs: &[usize]) -> Vec<Shape> {
    inputs.iter().map(|&i| calls[i].shape.clone()).collect()
}

/// All weights, layer by layer.
pub fn weights(layers: &[NamedLayer], calls: &[CallSite]) -> Vec<Weight> {
    let mut all = Vec::new();
    for (i, named) in layers.iter().enumerate() {
        for spec in specs(&named.layer, calls, i) {
            all.push(Weight {
                path: format!("{}/{}", named.name, spec.name),
                shape: spec.shape,
                initializer: spec.initializer,
                trainable: spec.trainable && named.layer.get().is_trainable(),
            });
        }
    }
    all
}

struct Resolver<'a> {
    config: &'a ModelConfig,
    layers: &'a [NamedLayer],
}

impl Resolver<'_> {
    fn wrong(&self, problem: String) -> NnError {
        NnError::Model { model: self.config.name.clone(), problem }
    }

    /// Layer and call of a reference, or what is wrong with it.
    fn find(&self, r: &TensorRef) -> Result<Key, String> {
        let Some(layer) = self.config.layers.iter().position(|l| l.name == r.layer) else {
            let names: Vec<&str> = self.config.layers.iter().map(|l| l.name.as_str()).collect();
            return Err(suggest::unknown("layer", &r.layer, &names));
        };
        let found = &self.config.layers[layer];
        let calls = if found.is_input() { 1 } else { found.inbound.len() };
        if r.call >= calls {
            return Err(format!("'{r}' does not exist: layer '{}' is called {calls} times", r.layer));
        }
        Ok((layer, r.call))
    }

    /// All calls in an order in which they can be computed, with their shapes.
    fn order(&self) -> Result<Vec<CallSite>, NnError> {
        let mut waiting: Vec<(usize, usize, Vec<Key>)> = Vec::new();
        for (i, layer) in self.config.layers.iter().enumerate() {
            if layer.is_input() {
                waiting.push((i, 0, Vec::new()));
                continue;
            }
            if layer.inbound.is_empty() {
                return Err(self.wrong(format!("layer '{}' is never called", layer.name)));
            }
            for (nth, inputs) in layer.inbound.iter().enumerate() {
                let inputs = inputs.iter().map(|r| self.find(r)).collect::<Result<Vec<_>, _>>();
                let inputs =
                    inputs.map_err(|e| self.wrong(format!("inbound of layer '{}': {e}", layer.name)))?;
                waiting.push((i, nth, inputs));
            }
        }
        let mut calls: Vec<CallSite> = Vec::new();
        let mut done: HashMap<Key, usize> = HashMap::new();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for (layer, nth, needs) in waiting {
                match needs.iter().map(|n| done.get(n).copied()).collect::<Option<Vec<usize>>>() {
                    None => later.push((layer, nth, needs)),
                    Some(inputs) => {
                        let site = self.site(layer, nth, inputs, &calls)?;
                        done.insert((layer, nth), calls.len());
                        calls.push(site);
                    }
                }
            }
            waiting = later;
            if waiting.len() == before {
                let name = &self.layers[waiting[0].0].name;
                return Err(self.wrong(format!("layer '{name}' depends on its own output")));
            }
        }
        Ok(calls)
    }

    /// One call with its shape checked.
    fn site(
        &self,
        layer: usize,
        nth: usize,
        inputs: Vec<usize>,
        calls: &[CallSite],
    ) -> Result<CallSite, NnError> {
        let named = &self.layers[layer];
        let shapes = input_shapes(calls, &inputs);
        let place = |source| NnError::Layer { layer: named.name.clone(), source };
        let shape = named.layer.get().output_shape(&shapes).map_err(place)?;
        if too_large(&shape) {
            let class = named.layer.get().class_name();
            let fix = format!(
                "its output {} would have more than 2^{} elements",
                crate::batched(&shape),
                MOST.ilog2()
            );
            return Err(place(crate::LayerError::Inputs { class, got: shapes, fix }));
        }
        // A shared layer has one set of weights: every call must ask for the same.
        if nth > 0
            && let Some(first) = calls.iter().find(|c| c.layer == layer && c.nth == 0)
        {
            let (a, b) = (input_shapes(calls, &first.inputs), &shapes);
            let same = |x: &[WeightSpec], y: &[WeightSpec]| {
                x.iter().map(|w| &w.shape).eq(y.iter().map(|w| &w.shape))
            };
            if !same(&named.layer.get().weights(&a), &named.layer.get().weights(b)) {
                let class = named.layer.get().class_name();
                let fix = format!(
                    "its first call got {}, and all calls share its weights",
                    a.iter().map(|s| crate::batched(s)).collect::<Vec<_>>().join(" and ")
                );
                return Err(place(crate::LayerError::Inputs { class, got: shapes, fix }));
            }
        }
        Ok(CallSite { layer, nth, inputs, shape })
    }

    /// Calls of the inputs, in the order of the configuration's `inputs`, which must be all of them.
    fn inputs(&self, tensors: &HashMap<Key, usize>) -> Result<Vec<usize>, NnError> {
        let mut found = Vec::new();
        for name in &self.config.inputs {
            let (layer, call) =
                self.find(&TensorRef::first(name)).map_err(|e| self.wrong(format!("input {e}")))?;
            if !self.config.layers[layer].is_input() {
                return Err(self.wrong(format!("input '{name}' is not an InputLayer")));
            }
            if found.contains(&tensors[&(layer, call)]) {
                return Err(self.wrong(format!("input '{name}' is listed twice")));
            }
            found.push(tensors[&(layer, call)]);
        }
        for layer in self.config.layers.iter().filter(|l| l.is_input()) {
            if !self.config.inputs.contains(&layer.name) {
                return Err(self.wrong(format!("InputLayer '{}' is not among the inputs", layer.name)));
            }
        }
        if found.is_empty() {
            return Err(self.wrong("it has no inputs".into()));
        }
        Ok(found)
    }
}
