//! The configuration of a model: pure data, the same from every builder and file.
//!
//! As JSON: `{"name", "layers": [{"class_name", "name", "config", "inbound"}], "inputs", "outputs"}` and, unless
//! it is `float32`, `"dtype_policy"`. `inbound`
//! lists the layers whose outputs a layer takes; a shared layer has a list of such lists, one per call, and
//! `"name:1"` is the output of its second call. Where no layer says `inbound`, each takes the one before it, and
//! `inputs` and `outputs` are the first and the last; names may be left out too. Invariant: reading checks the
//! form only; what it means is checked by [`crate::Network::new`].

use crate::arguments::Map;
use crate::naming::Names;
use crate::{DTypePolicy, NnError, suggest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// A model's configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct ModelConfig {
    /// The model's name.
    pub name: String,
    /// Its layers, in the order in which their weights are numbered.
    pub layers: Vec<LayerConfig>,
    /// Names of the input layers, in the order in which inputs are given.
    pub inputs: Vec<String>,
    /// The outputs, in order.
    pub outputs: Vec<TensorRef>,
    /// What its layers compute in; `float32` where it is not said.
    #[serde(skip_serializing_if = "DTypePolicy::is_float32")]
    pub dtype_policy: DTypePolicy,
}

/// One layer of a configuration.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LayerConfig {
    /// Keras' class name.
    pub class_name: String,
    /// Its unique name.
    pub name: String,
    /// Its arguments, by Keras' names.
    pub config: Map,
    /// What it is called on, per call. An input layer has none.
    #[serde(serialize_with = "write_inbound")]
    pub inbound: Vec<Vec<TensorRef>>,
}

/// The output of one call of a layer, written `name` or `name:call`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorRef {
    /// The layer's name.
    pub layer: String,
    /// Which of its calls, from 0.
    pub call: usize,
}

impl TensorRef {
    /// The output of a layer's first call.
    pub fn first(layer: &str) -> Self {
        TensorRef { layer: layer.to_string(), call: 0 }
    }
}

impl From<&str> for TensorRef {
    fn from(text: &str) -> Self {
        match text.rsplit_once(':').and_then(|(layer, call)| Some((layer, call.parse().ok()?))) {
            Some((layer, call)) => TensorRef { layer: layer.to_string(), call },
            None => TensorRef::first(text),
        }
    }
}

impl fmt::Display for TensorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            0 => f.write_str(&self.layer),
            call => write!(f, "{}:{call}", self.layer),
        }
    }
}

impl Serialize for TensorRef {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

fn write_inbound<S: serde::Serializer>(calls: &[Vec<TensorRef>], s: S) -> Result<S::Ok, S::Error> {
    match calls {
        [] => s.collect_seq(std::iter::empty::<&str>()),
        [one] => s.collect_seq(one),
        many => s.collect_seq(many),
    }
}

impl ModelConfig {
    /// Reads JSON text.
    pub fn from_json(text: &str) -> Result<Self, NnError> {
        let value: Value = serde_json::from_str(text).map_err(|e| NnError::Config(e.to_string()))?;
        Self::try_from(value)
    }

    /// As indented JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|e| unreachable!("plain data serialises: {e}"))
    }

    /// The layer of that name.
    pub fn layer(&self, name: &str) -> Option<&LayerConfig> {
        self.layers.iter().find(|l| l.name == name)
    }
}

impl TryFrom<Value> for ModelConfig {
    type Error = NnError;

    fn try_from(value: Value) -> Result<Self, NnError> {
        let map = object(&value, "a model", &["name", "layers", "inputs", "outputs", "dtype_policy"])?;
        let name = text(map, "name", "a model")?.unwrap_or("model").to_string();
        let Some(layers) = map.get("layers").and_then(Value::as_array) else {
            return Err(wrong("a model needs 'layers', a list"));
        };
        let mut names = Names::default();
        for layer in layers {
            if let Some(given) = layer.get("name").and_then(Value::as_str)
                && !names.reserve(given)
            {
                return Err(wrong(&format!("two layers are called '{given}'; names must be unique")));
            }
        }
        let chain = layers.iter().all(|l| l.get("inbound").is_none());
        let mut read: Vec<LayerConfig> = Vec::new();
        for layer in layers {
            let mut layer = LayerConfig::read(layer, &mut names)?;
            if chain && !layer.is_input() {
                let Some(before) = read.last() else {
                    return Err(wrong("the first layer must be an InputLayer (with its batch_shape)"));
                };
                layer.inbound = vec![vec![TensorRef::first(&before.name)]];
            }
            read.push(layer);
        }
        let inputs = match list(map, "inputs")? {
            Some(names) => names.iter().map(|n| n.layer.clone()).collect(),
            None => read.iter().filter(|l| l.is_input()).map(|l| l.name.clone()).collect(),
        };
        let outputs = match list(map, "outputs")? {
            Some(refs) => refs,
            None => read.last().map(|l| TensorRef::first(&l.name)).into_iter().collect(),
        };
        let policy = text(map, "dtype_policy", "a model")?;
        let dtype_policy = policy.map_or(Ok(DTypePolicy::Float32), DTypePolicy::from_name);
        let dtype_policy = dtype_policy.map_err(|e| wrong(&e))?;
        Ok(ModelConfig { name, layers: read, inputs, outputs, dtype_policy })
    }
}

impl LayerConfig {
    /// Whether examples enter here.
    pub fn is_input(&self) -> bool {
        self.class_name == "InputLayer"
    }

    fn read(value: &Value, names: &mut Names) -> Result<Self, NnError> {
        let map = object(value, "a layer", &["class_name", "name", "config", "inbound"])?;
        let Some(class_name) = text(map, "class_name", "a layer")? else {
            return Err(wrong(&format!("a layer needs a class_name; {value} has none")));
        };
        // Keras' function `Input` and its argument `shape` are what people write.
        let class_name = if class_name == "Input" { "InputLayer" } else { class_name };
        let mut config = match map.get("config") {
            None => Map::new(),
            Some(Value::Object(config)) => config.clone(),
            Some(other) => {
                return Err(wrong(&format!("config of {class_name} must be an object, not {other}")));
            }
        };
        let inner = config.remove("name").and_then(|v| v.as_str().map(str::to_string));
        if class_name == "InputLayer"
            && let Some(Value::Array(shape)) = config.remove("shape")
        {
            let mut batched = vec![Value::Null];
            batched.extend(shape);
            config.insert("batch_shape".into(), Value::Array(batched));
        }
        let name = match (text(map, "name", "a layer")?, inner) {
            (Some(name), _) => name.to_string(),
            (None, Some(name)) if names.reserve(&name) => name,
            (None, _) => names.next(class_name),
        };
        let inbound = map.get("inbound").map_or(Ok(Vec::new()), |v| inbound(&name, v))?;
        Ok(LayerConfig { class_name: class_name.to_string(), name, config, inbound })
    }
}

/// `["a", "b"]` is one call on two tensors, `[["a"], ["b"]]` two calls on one each.
fn inbound(layer: &str, value: &Value) -> Result<Vec<Vec<TensorRef>>, NnError> {
    let bad = || wrong(&format!("inbound of layer '{layer}' must be a list of layer names, not {value}"));
    let all = value.as_array().ok_or_else(bad)?;
    let refs = |all: &[Value]| -> Option<Vec<TensorRef>> {
        all.iter().map(|v| v.as_str().map(TensorRef::from)).collect()
    };
    if all.is_empty() {
        return Ok(Vec::new());
    }
    if all.iter().all(Value::is_array) {
        return all.iter().map(|c| c.as_array().and_then(|c| refs(c)).ok_or_else(bad)).collect();
    }
    Ok(vec![refs(all).ok_or_else(bad)?])
}

fn wrong(problem: &str) -> NnError {
    NnError::Config(problem.to_string())
}

fn object<'a>(value: &'a Value, what: &str, known: &[&str]) -> Result<&'a Map, NnError> {
    let map = value.as_object().ok_or_else(|| wrong(&format!("{what} must be an object, not {value}")))?;
    match map.keys().find(|k| !known.contains(&k.as_str())) {
        Some(key) => Err(wrong(&suggest::no_argument(what, key, known))),
        None => Ok(map),
    }
}

fn text<'a>(map: &'a Map, key: &str, what: &str) -> Result<Option<&'a str>, NnError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(s)) if !s.is_empty() => Ok(Some(s)),
        Some(other) => Err(wrong(&format!("{key} of {what} must be a word, not {other}"))),
    }
}

fn list(map: &Map, key: &str) -> Result<Option<Vec<TensorRef>>, NnError> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let refs: Option<Vec<TensorRef>> = match value {
        Value::String(one) => Some(vec![one.as_str().into()]),
        Value::Array(all) => all.iter().map(|v| v.as_str().map(TensorRef::from)).collect(),
        _ => None,
    };
    refs.map(Some).ok_or_else(|| wrong(&format!("{key} must be a list of layer names, not {value}")))
}
