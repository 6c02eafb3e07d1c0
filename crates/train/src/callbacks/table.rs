//! The table of callbacks: what a recipe names becomes a callback.
//!
//! Input: a name and arguments as JSON. Output: a callback, or one line that says what is wrong and what would
//! be right. Invariant: a callback is in this table exactly once; its arguments are the fields it writes.

use super::callback::Callback;
use super::{
    CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, SwapEMAWeights, TensorBoard, TerminateOnNaN,
};
use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thalweg_nn::suggest;

/// A callback as it stands in a recipe: a name, and arguments that differ from the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackConfig {
    /// Keras' name: "EarlyStopping".
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// One row.
struct Row {
    name: &'static str,
    defaults: fn() -> Value,
    build: fn(Value) -> serde_json::Result<Box<dyn Callback>>,
}

fn row<T>(name: &'static str) -> Row
where
    T: Callback + Default + Serialize + for<'a> Deserialize<'a> + 'static,
{
    Row {
        name,
        defaults: || serde_json::to_value(T::default()).unwrap_or_default(),
        build: |arguments| Ok(Box::new(serde_json::from_value::<T>(arguments)?)),
    }
}

fn rows() -> [Row; 7] {
    [
        row::<ModelCheckpoint>("ModelCheckpoint"),
        row::<EarlyStopping>("EarlyStopping"),
        row::<ReduceLROnPlateau>("ReduceLROnPlateau"),
        row::<SwapEMAWeights>("SwapEMAWeights"),
        row::<CSVLogger>("CSVLogger"),
        row::<TensorBoard>("TensorBoard"),
        row::<TerminateOnNaN>("TerminateOnNaN"),
    ]
}

impl CallbackConfig {
    /// Every name with its arguments and their defaults, for documentation.
    pub fn all() -> Vec<(&'static str, Map<String, Value>)> {
        rows().into_iter().map(|r| (r.name, object((r.defaults)()))).collect()
    }

    /// From `"EarlyStopping"`, `{"name": "EarlyStopping", "patience": 3}` (or `class_name`, as layers have it) or
    /// Keras' `{"class_name", "config"}`.
    pub fn from_json(value: &Value) -> Result<CallbackConfig> {
        let wrong = || {
            TrainError::argument(format!(
                "a callback is a name or a table with a name, as in {{ name = \"EarlyStopping\", patience = 3 }}; \
                 got {value}"
            ))
        };
        let (name, arguments) = match value {
            Value::String(name) => (name.clone(), Map::new()),
            Value::Object(map) => {
                let mut map = map.clone();
                if let Some(Value::String(name)) = map.shift_remove("class_name") {
                    let mut arguments = map.shift_remove("config").map(object).unwrap_or_default();
                    arguments.extend(map);
                    (name, arguments)
                } else if let Some(Value::String(name)) = map.shift_remove("name") {
                    (name, map)
                } else {
                    return Err(wrong());
                }
            }
            _ => return Err(wrong()),
        };
        let config = CallbackConfig { name, arguments };
        config.build()?;
        Ok(config)
    }

    /// The callback.
    pub fn build(&self) -> Result<Box<dyn Callback>> {
        let rows = rows();
        let plain = |s: &str| s.replace(['_', '-'], "").to_lowercase();
        let Some(row) = rows.iter().find(|r| plain(r.name) == plain(&self.name)) else {
            let names = rows.map(|r| r.name);
            return Err(TrainError::argument(suggest::unknown("callback", &self.name, &names)));
        };
        let defaults = object((row.defaults)());
        let known: Vec<&str> = defaults.keys().map(String::as_str).collect();
        if let Some(key) = self.arguments.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(TrainError::argument(suggest::no_argument(row.name, key, &known)));
        }
        (row.build)(Value::Object(self.arguments.clone()))
            .map_err(|e| TrainError::argument(format!("{}: {e}", row.name)))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CallbackConfig> {
        CallbackConfig::from_json(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn arguments_stand_beside_the_name_or_in_a_config() {
        let all = [
            r#"{"name": "EarlyStopping", "patience": 3}"#,
            r#"{"class_name": "EarlyStopping", "patience": 3}"#,
            r#"{"class_name": "EarlyStopping", "config": {"patience": 3}}"#,
        ];
        for text in all {
            assert_eq!(parse(text).unwrap().arguments["patience"], 3, "{text}");
            let bogus = text.replace("patience", "bogus");
            assert!(parse(&bogus).unwrap_err().to_string().contains("bogus"), "{bogus}");
        }
    }

    #[test]
    fn names_and_arguments_are_keras() {
        let arguments = |name: &str| -> Vec<String> {
            let all = CallbackConfig::all();
            all.iter().find(|(n, _)| *n == name).unwrap().1.keys().cloned().collect()
        };
        let early = [
            "monitor",
            "min_delta",
            "patience",
            "mode",
            "baseline",
            "restore_best_weights",
            "start_from_epoch",
        ];
        assert_eq!(arguments("EarlyStopping"), early);
        let checkpoint = [
            "filepath",
            "monitor",
            "save_best_only",
            "save_weights_only",
            "mode",
            "save_freq",
            "initial_value_threshold",
        ];
        assert_eq!(arguments("ModelCheckpoint"), checkpoint);
        let reduce = ["monitor", "factor", "patience", "mode", "min_delta", "cooldown", "min_lr"];
        assert_eq!(arguments("ReduceLROnPlateau"), reduce);
        assert_eq!(arguments("CSVLogger"), ["filename", "separator", "append"]);
        for (name, _) in CallbackConfig::all() {
            assert_eq!(parse(&format!("\"{name}\"")).unwrap().name, name);
        }
    }

    #[test]
    fn both_forms_are_read() {
        let a = parse(r#"{"name": "early_stopping", "patience": 3, "mode": "max"}"#).unwrap();
        let b =
            parse(r#"{"class_name": "EarlyStopping", "config": {"patience": 3, "mode": "max"}}"#).unwrap();
        assert_eq!(a.arguments, b.arguments);
        assert_eq!(b.build().unwrap().name(), "EarlyStopping");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |t: &str| parse(t).unwrap_err().to_string();
        assert!(error("\"EarlyStoping\"").contains("did you mean 'EarlyStopping'?"));
        assert!(
            error(r#"{"name": "EarlyStopping", "patiense": 3}"#)
                .contains("EarlyStopping has no argument 'patiense'; did you mean 'patience'?")
        );
        assert!(
            error(r#"{"name": "EarlyStopping", "patience": -1}"#).contains("EarlyStopping: invalid value")
        );
        assert!(error(r#"{"name": "EarlyStopping", "mode": "up"}"#).contains("unknown variant `up`"));
        assert!(error("3").contains("a callback is a name or a table"));
    }
}
