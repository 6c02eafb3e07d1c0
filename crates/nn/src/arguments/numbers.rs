//! Numbers, pairs and lists as arguments.

use super::Arg;
use serde_json::{Value, json};

/// A positive integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count(pub usize);

/// Two positive integers for (rows, columns); one integer stands for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair(pub usize, pub usize);

/// As [`Pair`], or none: the pool's own size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStrides(pub Option<Pair>);

/// Elements added at (top, bottom) and (left, right).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edges(pub (usize, usize), pub (usize, usize));

/// A shape in which one extent may be -1: whatever is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dims(pub Vec<i64>);

/// A shape with the batch axis in front, as Keras writes it: `[null, 32, 32, 3]`. Holds the per-example part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchShape(pub Vec<usize>);

/// Axes, counted with the batch as 0; none stands for "one value for all".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axes(pub Option<Vec<i64>>);

/// Given numbers, or none.
#[derive(Clone, PartialEq, Debug)]
pub struct Values(pub Option<Vec<f64>>);

/// Lower and upper bound of a random part, in -1..1; one number stands for both signs of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Factor(pub f64, pub f64);

/// A number, or none.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bound(pub Option<f64>);

/// A key of random numbers, or none: the model's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(pub Option<u64>);

fn positive(v: &Value) -> Option<usize> {
    v.as_u64().filter(|&n| n > 0 && n <= u64::from(u32::MAX)).map(|n| n as usize)
}

fn natural(v: &Value) -> Option<usize> {
    v.as_u64().filter(|&n| n <= u64::from(u32::MAX)).map(|n| n as usize)
}

fn two<T>(v: &Value, one: impl Fn(&Value) -> Option<T>) -> Option<(T, T)> {
    match v.as_array()?.as_slice() {
        [a, b] => Some((one(a)?, one(b)?)),
        _ => None,
    }
}

impl Arg for Count {
    const WANTS: &'static str = "a positive integer";
    fn parse(v: &Value) -> Option<Self> {
        positive(v).map(Count)
    }
    fn write(&self) -> Value {
        json!(self.0)
    }
}

impl Arg for Pair {
    const WANTS: &'static str = "a positive integer or a pair of them";
    fn parse(v: &Value) -> Option<Self> {
        match positive(v) {
            Some(n) => Some(Pair(n, n)),
            None => two(v, positive).map(|(a, b)| Pair(a, b)),
        }
    }
    fn write(&self) -> Value {
        json!([self.0, self.1])
    }
}

impl Arg for PoolStrides {
    const WANTS: &'static str = "a positive integer, a pair of them, or null (the pool's size)";
    fn parse(v: &Value) -> Option<Self> {
        if v.is_null() { Some(PoolStrides(None)) } else { Pair::parse(v).map(|p| PoolStrides(Some(p))) }
    }
    fn write(&self) -> Value {
        self.0.map_or(Value::Null, |p| p.write())
    }
}

impl Arg for Edges {
    const WANTS: &'static str = "an integer, a pair (rows, columns), or ((top, bottom), (left, right))";
    fn parse(v: &Value) -> Option<Self> {
        if let Some(n) = natural(v) {
            return Some(Edges((n, n), (n, n)));
        }
        if let Some((a, b)) = two(v, natural) {
            return Some(Edges((a, a), (b, b)));
        }
        two(v, |p| two(p, natural)).map(|(a, b)| Edges(a, b))
    }
    fn write(&self) -> Value {
        json!([[self.0.0, self.0.1], [self.1.0, self.1.1]])
    }
}

impl Arg for Dims {
    const WANTS: &'static str = "a list of positive integers, of which one may be -1";
    fn parse(v: &Value) -> Option<Self> {
        let dims: Vec<i64> = v.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?;
        let free = dims.iter().filter(|&&d| d == -1).count();
        (free <= 1 && dims.iter().all(|&d| d == -1 || d > 0)).then_some(Dims(dims))
    }
    fn write(&self) -> Value {
        json!(self.0)
    }
}

impl Arg for BatchShape {
    const WANTS: &'static str = "a list with null (the batch) first and positive integers after";
    fn parse(v: &Value) -> Option<Self> {
        let (batch, rest) = v.as_array()?.split_first()?;
        // A fixed batch size in a Keras file is that file's training batch, not a property of the model.
        (batch.is_null() || positive(batch).is_some())
            .then(|| rest.iter().map(positive).collect::<Option<_>>())?
            .map(BatchShape)
    }
    fn write(&self) -> Value {
        let mut all = vec![Value::Null];
        all.extend(self.0.iter().map(|&d| json!(d)));
        Value::Array(all)
    }
}

impl Arg for Axes {
    const WANTS: &'static str = "an axis, a list of axes, or null";
    fn parse(v: &Value) -> Option<Self> {
        match v {
            Value::Null => Some(Axes(None)),
            Value::Array(all) => all.iter().map(Value::as_i64).collect::<Option<_>>().map(|a| Axes(Some(a))),
            one => one.as_i64().map(|a| Axes(Some(vec![a]))),
        }
    }
    fn write(&self) -> Value {
        match self.0.as_deref() {
            None => Value::Null,
            Some([one]) => json!(one),
            Some(all) => json!(all),
        }
    }
}

impl Arg for Values {
    const WANTS: &'static str = "a number, a list of numbers, or null";
    fn parse(v: &Value) -> Option<Self> {
        match v {
            Value::Null => Some(Values(None)),
            Value::Array(all) => {
                all.iter().map(Value::as_f64).collect::<Option<_>>().map(|a| Values(Some(a)))
            }
            one => one.as_f64().map(|a| Values(Some(vec![a]))),
        }
    }
    fn write(&self) -> Value {
        match self.0.as_deref() {
            None => Value::Null,
            Some([one]) => json!(one),
            Some(all) => json!(all),
        }
    }
}

impl Arg for Factor {
    const WANTS: &'static str = "a number in -1..1, or a pair (lower, upper) of them";
    fn parse(v: &Value) -> Option<Self> {
        let f = match v.as_f64() {
            Some(x) => Factor(-x.abs(), x.abs()),
            None => two(v, Value::as_f64).map(|(a, b)| Factor(a, b))?,
        };
        (-1.0 <= f.0 && f.0 <= f.1 && f.1 <= 1.0).then_some(f)
    }
    fn write(&self) -> Value {
        json!([self.0, self.1])
    }
}

impl Arg for Bound {
    const WANTS: &'static str = "a number or null";
    fn parse(v: &Value) -> Option<Self> {
        if v.is_null() { Some(Bound(None)) } else { v.as_f64().map(|x| Bound(Some(x))) }
    }
    fn write(&self) -> Value {
        json!(self.0)
    }
}

impl Arg for Seed {
    const WANTS: &'static str = "a non-negative integer or null";
    fn parse(v: &Value) -> Option<Self> {
        if v.is_null() { Some(Seed(None)) } else { v.as_u64().map(|x| Seed(Some(x))) }
    }
    fn write(&self) -> Value {
        json!(self.0)
    }
}

impl Arg for bool {
    const WANTS: &'static str = "true or false";
    fn parse(v: &Value) -> Option<Self> {
        v.as_bool()
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

impl Arg for f64 {
    const WANTS: &'static str = "a number";
    fn parse(v: &Value) -> Option<Self> {
        v.as_f64().filter(|x| x.is_finite())
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

impl Arg for i64 {
    const WANTS: &'static str = "an integer";
    fn parse(v: &Value) -> Option<Self> {
        v.as_i64()
    }
    fn write(&self) -> Value {
        json!(self)
    }
}

macro_rules! from {
    ($($from:ty => $to:ty, |$v:ident| $make:expr;)*) => {$(
        impl From<$from> for $to {
            fn from($v: $from) -> Self {
                $make
            }
        }
    )*};
}
from! {
    usize => Count, |n| Count(n);
    usize => Pair, |n| Pair(n, n);
    (usize, usize) => Pair, |p| Pair(p.0, p.1);
    usize => PoolStrides, |n| PoolStrides(Some(n.into()));
    (usize, usize) => PoolStrides, |p| PoolStrides(Some(p.into()));
    usize => Edges, |n| Edges((n, n), (n, n));
    (usize, usize) => Edges, |p| Edges((p.0, p.0), (p.1, p.1));
    ((usize, usize), (usize, usize)) => Edges, |p| Edges(p.0, p.1);
    &[i64] => Dims, |d| Dims(d.to_vec());
    Vec<i64> => Dims, |d| Dims(d);
    &[usize] => BatchShape, |d| BatchShape(d.to_vec());
    Vec<usize> => BatchShape, |d| BatchShape(d);
    f64 => Factor, |x| Factor(-x.abs(), x.abs());
    (f64, f64) => Factor, |f| Factor(f.0, f.1);
    f64 => Bound, |x| Bound(Some(x));
    u64 => Seed, |s| Seed(Some(s));
    i64 => Axes, |a| Axes(Some(vec![a]));
    Vec<i64> => Axes, |a| Axes(Some(a));
    f64 => Values, |v| Values(Some(vec![v]));
    Vec<f64> => Values, |v| Values(Some(v));
}
impl<const R: usize> From<[i64; R]> for Dims {
    fn from(d: [i64; R]) -> Self {
        Dims(d.to_vec())
    }
}
impl<const R: usize> From<[usize; R]> for BatchShape {
    fn from(d: [usize; R]) -> Self {
        BatchShape(d.to_vec())
    }
}
impl<const R: usize> From<&[usize; R]> for BatchShape {
    fn from(d: &[usize; R]) -> Self {
        BatchShape(d.to_vec())
    }
}
