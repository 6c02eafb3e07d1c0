//! Named numbers in order: what an epoch or a batch logs, and the history of a run.
//!
//! Input: loss, metrics, their `val_` twins, the learning rate. Invariant: order is that of insertion; the JSON
//! form keeps every bit, NaN and infinities included.

use serde_json::{Map, Value};

/// Named numbers, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs(Vec<(String, f64)>);

impl Logs {
    /// None yet.
    pub fn new() -> Logs {
        Logs::default()
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Sets a number, at the end if its name is new.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(n, v)| (n.as_str(), *v))
    }

    /// Names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(n, _)| n.as_str()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As an object; what JSON has no number for is a string.
    pub fn to_json(&self) -> Value {
        Value::Object(self.iter().map(|(n, v)| (n.to_owned(), number(v))).collect::<Map<_, _>>())
    }

    /// From [`Logs::to_json`]'s form.
    pub fn from_json(value: &Value) -> Option<Logs> {
        value.as_object()?.iter().map(|(n, v)| Some((n.clone(), parse(v)?))).collect::<Option<_>>().map(Logs)
    }
}

impl<S: Into<String>> FromIterator<(S, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (S, f64)>>(items: I) -> Logs {
        Logs(items.into_iter().map(|(n, v)| (n.into(), v)).collect())
    }
}

/// A number in JSON: NaN and infinities as strings.
pub(crate) fn number(v: f64) -> Value {
    serde_json::Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number)
}

/// The inverse of [`number`].
pub(crate) fn parse(v: &Value) -> Option<f64> {
    v.as_f64().or_else(|| v.as_str()?.parse().ok())
}

/// What every epoch logged, as Keras' `History`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Logs of the epochs in order; the first is epoch `first_epoch`.
    pub epochs: Vec<Logs>,
    /// Number of the first epoch here, from 0.
    pub first_epoch: usize,
}

impl History {
    /// One number over the epochs that logged it.
    pub fn get(&self, name: &str) -> Vec<f64> {
        self.epochs.iter().filter_map(|l| l.get(name)).collect()
    }

    /// The logs of the last epoch.
    pub fn last(&self) -> Option<&Logs> {
        self.epochs.last()
    }

    /// Names in order of appearance.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for n in self.epochs.iter().flat_map(|l| l.names()) {
            if !names.iter().any(|m| m == n) {
                names.push(n.to_owned());
            }
        }
        names
    }

    /// For checkpoints.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "first_epoch": self.first_epoch,
            "epochs": self.epochs.iter().map(Logs::to_json).collect::<Vec<_>>(),
        })
    }

    /// From [`History::to_json`]'s form.
    pub fn from_json(value: &Value) -> Option<History> {
        let epochs = value.get("epochs")?.as_array()?.iter().map(Logs::from_json).collect::<Option<_>>()?;
        let first_epoch = usize::try_from(value.get("first_epoch")?.as_u64()?).ok()?;
        Some(History { epochs, first_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_bit_and_the_order() {
        let logs: Logs = [("loss", 0.1 + 0.2), ("a", f64::NEG_INFINITY), ("b", 5e-324)].into_iter().collect();
        let text = logs.to_json().to_string();
        let back = Logs::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(back, logs);
        let nan: Logs = [("x", f64::NAN)].into_iter().collect();
        assert!(Logs::from_json(&nan.to_json()).unwrap().get("x").unwrap().is_nan());
        let history = History { epochs: vec![logs], first_epoch: 3 };
        assert_eq!(History::from_json(&history.to_json()).unwrap(), history);
    }
}
