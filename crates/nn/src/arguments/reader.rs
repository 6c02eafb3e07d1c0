//! Reads the arguments of one class from a configuration, and refuses what is left over.

use super::{Arg, Map};
use crate::{LayerError, suggest};
use serde_json::Value;

/// Arguments that Keras' files carry and that only these values leave without effect here.
const NEUTRAL: [(&str, &[&str]); 16] = [
    ("dtype", &["null", "\"float32\""]),
    ("data_format", &["null", "\"channels_last\""]),
    ("kernel_regularizer", &["null"]),
    ("bias_regularizer", &["null"]),
    ("activity_regularizer", &["null"]),
    ("depthwise_regularizer", &["null"]),
    ("beta_regularizer", &["null"]),
    ("gamma_regularizer", &["null"]),
    ("kernel_constraint", &["null"]),
    ("bias_constraint", &["null"]),
    ("depthwise_constraint", &["null"]),
    ("beta_constraint", &["null"]),
    ("gamma_constraint", &["null"]),
    ("synchronized", &["false"]),
    ("noise_shape", &["null"]),
    ("lora_rank", &["null"]),
];

/// A configuration being read.
#[derive(Debug)]
pub struct Reader<'a> {
    class: &'static str,
    known: Vec<&'static str>,
    map: &'a Map,
}

/// `value` as a `T`, or the sentence that says what it must be.
pub fn read_value<T: Arg>(name: &str, value: &Value) -> Result<T, String> {
    T::parse(value).ok_or_else(|| T::complaint(name, value))
}

impl<'a> Reader<'a> {
    /// A reader of `map`; fails on an argument that `class` does not have.
    pub fn new(class: &'static str, known: Vec<&'static str>, map: &'a Map) -> Result<Self, LayerError> {
        for (key, value) in map {
            if known.contains(&key.as_str()) {
                continue;
            }
            match NEUTRAL.iter().find(|(k, _)| k == key) {
                None => return Err(LayerError::Argument(suggest::no_argument(class, key, &known))),
                Some((_, neutral)) => {
                    // Keras writes a dtype as a policy object too.
                    let policy = value.pointer("/config/name").unwrap_or(value);
                    if !neutral.contains(&policy.to_string().as_str()) {
                        let only = neutral.join(" or ");
                        let line = format!("{class}: {key} {value} is not supported; only {only}");
                        return Err(LayerError::Argument(line));
                    }
                }
            }
        }
        Ok(Reader { class, known, map })
    }

    /// An argument that must be given.
    pub fn required<T: Arg>(&self, name: &str) -> Result<T, LayerError> {
        match self.map.get(name) {
            Some(value) => self.read(name, value),
            None => {
                let line = format!("{} needs the argument '{name}', {}", self.class, T::WANTS);
                Err(LayerError::Argument(line))
            }
        }
    }

    /// An argument with a default.
    pub fn optional<T: Arg>(&self, name: &str, default: T) -> Result<T, LayerError> {
        self.map.get(name).map_or(Ok(default), |value| self.read(name, value))
    }

    /// The names that are arguments of the class.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    fn read<T: Arg>(&self, name: &str, value: &Value) -> Result<T, LayerError> {
        read_value(name, value).map_err(|line| LayerError::Argument(format!("{}: {line}", self.class)))
    }
}
