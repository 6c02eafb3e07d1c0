//! Arguments of layers: how a value of a configuration becomes a typed one, and back.
//!
//! In: JSON. Out: typed values, or one line that names the argument and says what it must be. Invariant:
//! `read(write(x)) == x` for every valid `x`; builders may hold invalid values, reading never yields one.

mod choice;
mod numbers;
mod reader;

pub use choice::{Choice, Words};
pub use numbers::{Axes, BatchShape, Bound, Count, Dims, Edges, Factor, Pair, PoolStrides, Seed, Values};
pub use reader::{Reader, read_value};

use serde_json::Value;

/// JSON's object, in the order written.
pub type Map = serde_json::Map<String, Value>;

/// A type that an argument can have.
pub trait Arg: Sized {
    /// What a value must be: "a positive integer". Follows "must be" in messages.
    const WANTS: &'static str;

    /// The value, or `None` where it is not what [`Arg::WANTS`] says.
    fn parse(value: &Value) -> Option<Self>;

    /// As JSON.
    fn write(&self) -> Value;

    /// The sentence for a value that is not right; `name` is the argument.
    fn complaint(name: &str, value: &Value) -> String {
        format!("{name} must be {}, not {value}", Self::WANTS)
    }
}

/// One argument of a class, for documentation.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgumentDoc {
    /// Keras' name.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its default, `None` where it must be given.
    pub default: Option<Value>,
}
