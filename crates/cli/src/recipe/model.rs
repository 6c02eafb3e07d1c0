//! The model of a recipe: `[[preprocessing]]` and `[[layers]]` in Keras' words become one configuration.
//!
//! In: tables with a `class_name` and its arguments. Out: a checked [`Network`]. The input layer is made from the
//! data's shape where the recipe has none. Invariant: the configuration is the one that the Rust builders make of
//! the same layers; whatever is wrong with a layer is said at its place in the file.

use super::data::DataRecipe;
use super::source::{Item, Node, Source};
use crate::error::Failure;
use serde_json::{Map, Value, json};
use thalweg::nn::{AnyLayer, ModelConfig, Network, NnError, batched, suggest};

/// The parts of a recipe that make its model.
pub struct ModelParts<'a> {
    /// The recipe's text.
    pub source: &'a Source,
    /// Name of the model.
    pub name: &'a str,
    /// What the data is, for the input layer.
    pub data: &'a DataRecipe,
    /// Layers that belong to the images rather than to the network.
    pub preprocessing: Option<&'a Node>,
    /// The network.
    pub layers: &'a Node,
}

/// A layer's JSON and where it stands, if it stands in the recipe.
struct Row<'a> {
    json: Map<String, Value>,
    node: Option<&'a Node>,
}

impl ModelParts<'_> {
    /// The checked network.
    pub fn network(&self) -> Result<Network, Failure> {
        let rows = self.rows()?;
        let layers: Vec<Value> = rows.iter().map(|r| Value::Object(r.json.clone())).collect();
        let config = ModelConfig::try_from(json!({ "name": self.name, "layers": layers }))
            .map_err(|e| self.at_layers(e.to_string()))?;
        let names: Vec<String> = config.layers.iter().map(|l| l.name.clone()).collect();
        let network = Network::new(config).map_err(|e| self.place(&e, &rows, &names))?;
        self.check_input(&network, &rows)?;
        normal(network).map_err(|e| self.at_layers(e.to_string()))
    }

    fn at_layers(&self, what: String) -> Failure {
        let what = what.strip_prefix("model configuration: ").unwrap_or(&what);
        self.source.wrong(self.layers.at, what)
    }

    /// Puts an error of a layer at its line.
    fn place(&self, error: &NnError, rows: &[Row], names: &[String]) -> Failure {
        let NnError::Layer { layer, source } = error else { return self.at_layers(error.to_string()) };
        let index = names.iter().position(|n| n == layer);
        match index.and_then(|i| rows[i].node) {
            Some(node) => self.source.wrong(node.blame(&source.to_string()), error.to_string()),
            None => self.at_layers(error.to_string()),
        }
    }

    /// What the model takes must be what the data gives.
    fn check_input(&self, network: &Network, rows: &[Row]) -> Result<(), Failure> {
        let inputs = network.inputs();
        let [input] = inputs.as_slice() else {
            return Err(self.at_layers(format!("the model has {} inputs, but the data has 1", inputs.len())));
        };
        let shape = self.data.shape();
        if input.shape == shape {
            return Ok(());
        }
        let at = rows.iter().find_map(|r| r.node).map_or(self.layers.at, |n| n.at);
        let (takes, gives) = (batched(&input.shape), batched(&shape));
        let title = self.data.title();
        Err(self.source.wrong(
            at,
            format!(
                "the model takes {takes}, but {title} gives {gives}; write shape = {shape:?} here, or leave the \
                 InputLayer out: it is made from the data"
            ),
        ))
    }

    fn rows(&self) -> Result<Vec<Row<'_>>, Failure> {
        let preprocessing = self.preprocessing.map_or(Ok(&[][..]), |p| self.list("preprocessing", p))?;
        let layers = self.list("layers", self.layers)?;
        if layers.is_empty() {
            return Err(self.at_layers("layers is empty; add [[layers]] tables".into()));
        }
        let mut own = layers.iter().map(|n| self.row(n)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::with_capacity(own.len() + preprocessing.len() + 1);
        let is_input = |r: &Row| matches!(r.json["class_name"].as_str(), Some("InputLayer" | "Input"));
        if own.first().is_some_and(is_input) {
            let mut input = own.remove(0);
            // Images come as bytes; the model turns them into numbers.
            input.json.entry("dtype").or_insert_with(|| json!("uint8"));
            rows.push(input);
        } else {
            let mut shape = vec![Value::Null];
            shape.extend(self.data.shape().into_iter().map(Value::from));
            let json = json!({ "class_name": "InputLayer", "batch_shape": shape, "dtype": "uint8" });
            rows.push(Row { json: json.as_object().cloned().unwrap_or_default(), node: None });
        }
        for node in preprocessing {
            rows.push(self.row(node)?);
        }
        let heads = rows.len();
        rows.append(&mut own);
        if rows.iter().any(|r| r.json.contains_key("inbound")) {
            connect(&mut rows, heads);
        }
        for row in &mut rows {
            nest(&mut row.json);
        }
        Ok(rows)
    }

    fn list<'n>(&self, key: &str, node: &'n Node) -> Result<&'n [Node], Failure> {
        match &node.value {
            Item::List(all) => Ok(all),
            _ => Err(self.source.wrong(
                node.at,
                format!("{key} must be a list: write [[{key}]] before each layer, not {}", node.describe()),
            )),
        }
    }

    fn row<'n>(&self, node: &'n Node) -> Result<Row<'n>, Failure> {
        Ok(Row { json: flat(self.source, node)?, node: Some(node) })
    }
}

/// The same network with every argument written down, defaults too, as the Rust builders write them.
pub fn normal(network: Network) -> Result<Network, NnError> {
    let mut config = network.config().clone();
    for layer in &mut config.layers {
        let read = AnyLayer::read(&layer.class_name, &layer.config)
            .map_err(|source| NnError::Layer { layer: layer.name.clone(), source })?;
        layer.config = read.get().config();
    }
    Network::new(config)
}

/// One layer as the crates below take it.
pub fn layer_json(source: &Source, node: &Node) -> Result<Value, Failure> {
    let mut json = flat(source, node)?;
    nest(&mut json);
    Ok(Value::Object(json))
}

/// One layer as flat JSON: class_name, name, inbound and arguments side by side.
fn flat(source: &Source, node: &Node) -> Result<Map<String, Value>, Failure> {
    let Item::Table(entries) = &node.value else {
        return Err(source.wrong(node.at, format!("a layer must be a table, not {}", node.describe())));
    };
    let mut json = Map::new();
    for (key, value) in entries {
        let fraction = matches!(key.name.as_str(), "scale" | "offset").then(|| fraction(value)).flatten();
        json.insert(key.name.clone(), fraction.map_or_else(|| value.to_json(), Value::from));
    }
    if !json.get("class_name").is_some_and(Value::is_string) {
        let keys: Vec<&str> = json.keys().map(String::as_str).collect();
        let hint = match suggest::nearest("class_name", &keys) {
            Some(near) => format!(" ('{near}' is not it)"),
            None => String::new(),
        };
        let what = format!("a layer needs a class_name{hint}, as in class_name = \"Conv2D\"");
        return Err(source.wrong(node.at, what));
    }
    Ok(json)
}

/// `"1/255"`: TOML has no fractions, and nobody should have to type 0.00392156862745098.
fn fraction(node: &Node) -> Option<f64> {
    let Item::Text(text) = &node.value else { return None };
    let (over, under) = text.split_once('/')?;
    let (over, under): (f64, f64) = (over.trim().parse().ok()?, under.trim().parse().ok()?);
    (under != 0.0).then(|| over / under)
}

/// Where some layer says what it takes, the others take the layer above them, and the last of what is done to
/// the images (the first `heads` rows) is called `input`.
fn connect(rows: &mut [Row], heads: usize) {
    let mut above: Option<String> = None;
    for (i, row) in rows.iter_mut().enumerate() {
        let class = row.json["class_name"].as_str().unwrap_or_default().to_lowercase();
        let name = if i + 1 == heads { "input".to_owned() } else { format!("{class}_{i}") };
        let name =
            row.json.entry("name").or_insert_with(|| name.into()).as_str().unwrap_or_default().to_owned();
        if let Some(above) = above.replace(name) {
            row.json.entry("inbound").or_insert_with(|| json!([above]));
        }
    }
}

/// Moves arguments under `config`, where the crates below look for them.
fn nest(json: &mut Map<String, Value>) {
    let mut outer = Map::new();
    for key in ["class_name", "name", "inbound"] {
        if let Some(value) = json.shift_remove(key) {
            outer.insert(key.into(), value);
        }
    }
    outer.insert("config".into(), Value::Object(std::mem::take(json)));
    *json = outer;
}
