//! A word of a closed list.

use super::Arg;
use crate::suggest;
use serde_json::Value;
use std::borrow::Cow;
use std::marker::PhantomData;

/// A closed list of words, each standing for a value.
pub trait Words: Copy + PartialEq + std::fmt::Debug + 'static {
    /// What the words are called in messages: "activation".
    const KIND: &'static str;
    /// Words and what they mean. The first word of a value is the one that is written.
    const WORDS: &'static [(&'static str, Self)];
}

/// The word that somebody chose, kept as written until it is read from a configuration, where a wrong one is
/// refused with the nearest right one.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice<T> {
    word: Cow<'static, str>,
    kind: PhantomData<T>,
}

impl<T: Words> Choice<T> {
    /// A word known to be right.
    pub const fn of(word: &'static str) -> Self {
        Choice { word: Cow::Borrowed(word), kind: PhantomData }
    }

    /// The word.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// What it stands for; panics on a word that no configuration let pass.
    pub fn get(&self) -> T {
        match Self::find(&self.word) {
            Some(value) => value,
            None => panic!("{}", suggest::unknown(T::KIND, &self.word, &Self::known())),
        }
    }

    fn find(word: &str) -> Option<T> {
        T::WORDS.iter().find(|(w, _)| *w == word).map(|(_, v)| *v)
    }

    fn known() -> Vec<&'static str> {
        T::WORDS.iter().map(|(w, _)| *w).collect()
    }
}

impl<T> From<&str> for Choice<T> {
    fn from(word: &str) -> Self {
        Choice { word: Cow::Owned(word.to_string()), kind: PhantomData }
    }
}

impl<T: Words> Arg for Choice<T> {
    const WANTS: &'static str = "one of its words";

    fn parse(value: &Value) -> Option<Self> {
        let word = value.as_str()?;
        Self::find(word).map(|_| Self::from(word))
    }

    fn write(&self) -> Value {
        Value::from(self.word.as_ref())
    }

    fn complaint(name: &str, value: &Value) -> String {
        match value.as_str() {
            Some(word) => suggest::unknown(name, word, &Self::known()),
            None => format!("{name} must be one of {}, not {value}", Self::known().join(", ")),
        }
    }
}
