//! A recipe's text as a tree in which every key and value knows where it stands.
//!
//! In: TOML text and the name of its file. Out: [`Node`]s. Invariant: an error says `file:line:column: `, then
//! one line.

use crate::error::Failure;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text and where it is from.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is shown in messages.
    pub name: String,
    /// The TOML text.
    pub text: String,
}

/// A value and its byte offset in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: usize,
    /// What it is.
    pub value: Item,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `"text"`.
    Text(String),
    /// `3`.
    Whole(i64),
    /// `0.5`.
    Number(f64),
    /// `true`.
    Truth(bool),
    /// `[..]`.
    List(Vec<Node>),
    /// `{..}` or `[section]`, in the order of the text.
    Table(Vec<(Key, Node)>),
}

/// A key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Where it begins.
    pub at: usize,
    /// Its name.
    pub name: String,
}

impl Source {
    /// Parses the text to the table of its sections.
    pub fn parse(&self) -> Result<Node, Failure> {
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(Node { at: 0, value: self.table(table.get_ref())? }),
            Err(error) => {
                let at = error.span().map_or(0, |s| s.start);
                // The parser's reason may be several lines of what it would have taken.
                let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
                Err(self.wrong(at, format!("this is not TOML: {reason}")))
            }
        }
    }

    /// An error at a place of the text.
    pub fn wrong(&self, at: usize, what: impl AsRef<str>) -> Failure {
        Failure::Usage(format!("{}: {}", self.place(at), what.as_ref()))
    }

    /// `file:line:column`, both counted from 1.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        format!("{}:{line}:{column}", self.name)
    }

    fn node(&self, value: &Spanned<DeValue>) -> Result<Node, Failure> {
        let at = value.span().start;
        let value = match value.get_ref() {
            DeValue::String(s) => Item::Text(s.to_string()),
            DeValue::Boolean(b) => Item::Truth(*b),
            DeValue::Integer(i) => {
                let number = i64::from_str_radix(i.as_str(), i.radix());
                Item::Whole(number.map_err(|_| self.wrong(at, format!("{} is too large", i.as_str())))?)
            }
            DeValue::Float(f) => match f.as_str().parse() {
                Ok(number) => Item::Number(number),
                Err(_) => return Err(self.wrong(at, format!("{} is not a number", f.as_str()))),
            },
            DeValue::Array(all) => Item::List(all.iter().map(|v| self.node(v)).collect::<Result<_, _>>()?),
            DeValue::Table(table) => self.table(table)?,
            DeValue::Datetime(d) => {
                return Err(self
                    .wrong(at, format!("{d} is a date, and nothing here takes a date; write it in quotes")));
            }
        };
        Ok(Node { at, value })
    }

    fn table(&self, table: &DeTable) -> Result<Item, Failure> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            let Range { start: at, .. } = key.span();
            entries.push((Key { at, name: key.get_ref().to_string() }, self.node(value)?));
        }
        entries.sort_by_key(|(key, _)| key.at);
        Ok(Item::Table(entries))
    }
}

impl Node {
    /// What kind of value it is, for messages: `"adam" (a text)`.
    pub fn describe(&self) -> String {
        match &self.value {
            Item::Text(s) => format!("the text \"{s}\""),
            Item::Whole(i) => i.to_string(),
            Item::Number(x) => x.to_string(),
            Item::Truth(b) => b.to_string(),
            Item::List(_) => "a list".into(),
            Item::Table(_) => "a table".into(),
        }
    }

    /// As JSON, for the configurations of the crates below.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.value {
            Item::Text(s) => Value::String(s.clone()),
            Item::Whole(i) => Value::from(*i),
            Item::Number(x) => Value::from(*x),
            Item::Truth(b) => Value::Bool(*b),
            Item::List(all) => all.iter().map(Node::to_json).collect(),
            Item::Table(all) => all.iter().map(|(k, v)| (k.name.clone(), v.to_json())).collect(),
        }
    }

    /// Where an error that speaks of one of the keys below stands; else where this begins.
    ///
    /// Configurations are checked by crates that know nothing of files; what they name is looked up here.
    pub fn blame(&self, message: &str) -> usize {
        let Item::Table(entries) = &self.value else { return self.at };
        let names =
            |word: &str| message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word);
        let by_key =
            entries.iter().find(|(k, _)| names(&k.name) && !matches!(k.name.as_str(), "name" | "class_name"));
        let by_value = || {
            entries
                .iter()
                .find(|(_, v)| matches!(&v.value, Item::Text(s) if message.contains(&format!("'{s}'"))))
        };
        match by_key.or_else(by_value) {
            Some((key, value)) if matches!(value.value, Item::Table(_)) && value.at >= key.at => {
                value.blame(message)
            }
            Some((key, _)) => key.at,
            None => self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "r.toml".into(), text: text.into() }
    }

    #[test]
    fn every_value_knows_its_place() {
        let s = source("data = \"x\"\n[fit]\nepochs = 3\nlist = [1,\n  2.5, true]\n");
        let Item::Table(all) = s.parse().unwrap().value else { panic!() };
        assert_eq!(all[0].0.name, "data");
        let Item::Table(fit) = &all[1].1.value else { panic!() };
        assert_eq!(s.place(fit[0].1.at), "r.toml:3:10");
        let Item::List(list) = &fit[1].1.value else { panic!() };
        assert_eq!(s.place(list[1].at), "r.toml:5:3");
        assert_eq!(all[1].1.to_json(), serde_json::json!({"epochs": 3, "list": [1, 2.5, true]}));
    }

    #[test]
    fn broken_text_is_one_line() {
        for text in ["a = ", "a = 1\na = 2", "[a\n", "a = 99999999999999999999", "a = 1979-05-27"] {
            let line = source(text).parse().unwrap_err().to_string();
            assert!(line.starts_with("r.toml:") && !line.contains('\n'), "{line}");
        }
        assert!(
            source("x = 1\ny = = 2")
                .parse()
                .unwrap_err()
                .to_string()
                .starts_with("r.toml:2:5: this is not TOML")
        );
    }
}
