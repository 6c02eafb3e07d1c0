//! Reads one table of a recipe, key by key, and refuses what nobody asked for.
//!
//! In: a [`Node`] that must be a table, and the keys that it may have. Out: typed values. Invariant: every key
//! is either known or an error that names the nearest known one.

use super::source::{Item, Key, Node, Source};
use crate::error::Failure;
use thalweg::nn::suggest;

/// A table of a recipe.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    source: &'a Source,
    /// What it is called in messages: "[fit]".
    owner: &'a str,
    /// Where it begins.
    pub at: usize,
    entries: &'a [(Key, Node)],
}

impl<'a> Section<'a> {
    /// The table `node`; `owner` is what messages call it. Every key must be among `known`.
    pub fn new(source: &'a Source, owner: &'a str, node: &'a Node, known: &[&str]) -> Result<Self, Failure> {
        let section = Section::open(source, owner, node)?;
        match section.entries.iter().find(|(k, _)| !known.contains(&k.name.as_str())) {
            None => Ok(section),
            Some((key, _)) => {
                let what = format!("{owner} has no key '{}'; {}", key.name, suggest::among(&key.name, known));
                Err(source.wrong(key.at, what))
            }
        }
    }

    /// The table `node` with keys that others check.
    pub fn open(source: &'a Source, owner: &'a str, node: &'a Node) -> Result<Self, Failure> {
        match &node.value {
            Item::Table(entries) => Ok(Section { source, owner, at: node.at, entries }),
            _ => Err(source.wrong(node.at, format!("{owner} must be a table, not {}", node.describe()))),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _)| k.name == key).map(|(_, v)| v)
    }

    /// An error about the whole section.
    pub fn wrong(&self, what: impl AsRef<str>) -> Failure {
        self.source.wrong(self.at, what)
    }

    fn mismatch(&self, key: &str, node: &Node, wanted: &str) -> Failure {
        self.source
            .wrong(node.at, format!("{key} of {} must be {wanted}, not {}", self.owner, node.describe()))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match &node.value {
            Item::Text(s) if !s.trim().is_empty() => Ok(Some(s)),
            _ => Err(self.mismatch(key, node, "a text in quotes")),
        }
    }

    /// A whole number of at least 1.
    pub fn count(&self, key: &str) -> Result<Option<usize>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match node.value {
            Item::Whole(i) if i >= 1 => Ok(Some(i as usize)),
            _ => Err(self.mismatch(key, node, "a whole number, 1 or more")),
        }
    }

    /// A whole number of at least 0.
    pub fn natural(&self, key: &str) -> Result<Option<u64>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match node.value {
            Item::Whole(i) if i >= 0 => Ok(Some(i as u64)),
            _ => Err(self.mismatch(key, node, "a whole number, 0 or more")),
        }
    }

    /// A number above 0 and below 1.
    pub fn share(&self, key: &str) -> Result<Option<f64>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match node.value {
            Item::Number(x) if x > 0.0 && x < 1.0 => Ok(Some(x)),
            _ => Err(self.mismatch(key, node, "a number above 0 and below 1")),
        }
    }

    /// true or false.
    pub fn truth(&self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match node.value {
            Item::Truth(b) => Ok(Some(b)),
            _ => Err(self.mismatch(key, node, "true or false")),
        }
    }

    /// A list of anything.
    pub fn list(&self, key: &str) -> Result<Option<&'a [Node]>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match &node.value {
            Item::List(all) => Ok(Some(all)),
            _ => Err(self.mismatch(key, node, "a list")),
        }
    }

    /// Rows and columns: one whole number, or two in a list.
    pub fn extent(&self, key: &str) -> Result<Option<(usize, usize)>, Failure> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let count = |n: &Node| match n.value {
            Item::Whole(i @ 1..=65536) => Some(i as usize),
            _ => None,
        };
        let read = match &node.value {
            Item::List(all) => match all.as_slice() {
                [h, w] => count(h).zip(count(w)),
                _ => None,
            },
            _ => count(node).map(|side| (side, side)),
        };
        let wanted = "[rows, columns], each a whole number from 1 to 65536";
        read.map(Some).ok_or_else(|| self.mismatch(key, node, wanted))
    }
}
