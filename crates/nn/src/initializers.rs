//! Initial weights by Keras' rules (<https://keras.io/api/layers/initializers/>), from Philox.
//!
//! In: an initializer, a shape, a random sequence. Out: f32 values. Invariant: the same seed gives the same
//! weights everywhere; a weight's values do not depend on the other weights.

use crate::arguments::{Arg, Map};
use crate::suggest;
use serde_json::{Value, json};
use thalweg_graph::philox::Sequence;

/// Standard deviation of a unit normal cut off at two standard deviations.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// Which extent scales the variance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fan {
    /// Inputs of a unit.
    In,
    /// Outputs of a unit.
    Out,
    /// The mean of both.
    Average,
}

/// The shape of a distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distribution {
    /// Uniform.
    Uniform,
    /// Normal.
    Normal,
    /// Normal, values beyond two standard deviations drawn again.
    TruncatedNormal,
}

/// How a weight starts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Initializer {
    /// All one value.
    Constant(f64),
    /// Uniform in `minval..maxval`; Keras' defaults are -0.05 and 0.05.
    RandomUniform {
        /// Lower bound.
        minval: f64,
        /// Upper bound.
        maxval: f64,
    },
    /// Normal, possibly truncated; Keras' defaults are 0 and 0.05.
    RandomNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation (before truncation).
        stddev: f64,
        /// Whether values beyond two standard deviations are drawn again.
        truncated: bool,
    },
    /// Variance `scale / fan`: Glorot, He and LeCun are cases of it.
    VarianceScaling {
        /// Numerator.
        scale: f64,
        /// Denominator.
        fan: Fan,
        /// Distribution.
        distribution: Distribution,
    },
    /// A (semi-)orthogonal matrix times `gain`.
    Orthogonal {
        /// Factor.
        gain: f64,
    },
}

/// Names that Keras knows, as (snake_case, class name).
const NAMES: [(&str, &str); 14] = [
    ("glorot_uniform", "GlorotUniform"),
    ("glorot_normal", "GlorotNormal"),
    ("he_uniform", "HeUniform"),
    ("he_normal", "HeNormal"),
    ("lecun_uniform", "LecunUniform"),
    ("lecun_normal", "LecunNormal"),
    ("random_uniform", "RandomUniform"),
    ("random_normal", "RandomNormal"),
    ("truncated_normal", "TruncatedNormal"),
    ("variance_scaling", "VarianceScaling"),
    ("zeros", "Zeros"),
    ("ones", "Ones"),
    ("constant", "Constant"),
    ("orthogonal", "Orthogonal"),
];

/// An initializer as written: a name, or `{"class_name": ..., "config": {...}}`.
#[derive(Clone, PartialEq, Debug)]
pub struct InitializerArg(Value);

impl InitializerArg {
    /// What it stands for; panics on one that no configuration let pass.
    pub fn get(&self) -> Initializer {
        match Initializer::read(&self.0) {
            Ok(i) => i,
            Err(e) => panic!("{e}"),
        }
    }
}

impl From<&str> for InitializerArg {
    fn from(name: &str) -> Self {
        InitializerArg(Value::from(name))
    }
}

impl From<Value> for InitializerArg {
    fn from(value: Value) -> Self {
        InitializerArg(value)
    }
}

impl Arg for InitializerArg {
    const WANTS: &'static str = "an initializer's name or {\"class_name\": ..., \"config\": ...}";

    fn parse(value: &Value) -> Option<Self> {
        Initializer::read(value).is_ok().then(|| InitializerArg(value.clone()))
    }

    fn write(&self) -> Value {
        self.0.clone()
    }

    fn complaint(name: &str, value: &Value) -> String {
        let problem = Initializer::read(value).err().unwrap_or_default();
        format!("{name}: {problem}")
    }
}

impl Initializer {
    /// Every name, as Keras' configurations spell it.
    pub fn names() -> Vec<&'static str> {
        NAMES.iter().map(|n| n.0).collect()
    }

    /// From a name or a Keras object.
    pub fn read(value: &Value) -> Result<Self, String> {
        let none = Map::new();
        let (word, config) = match value {
            Value::String(word) => (word.as_str(), &none),
            Value::Object(map) => {
                let word = map.get("class_name").and_then(Value::as_str);
                let word =
                    word.ok_or_else(|| format!("an initializer needs a class_name, {value} has none"))?;
                (word, map.get("config").and_then(Value::as_object).unwrap_or(&none))
            }
            other => return Err(format!("an initializer is {}, not {other}", InitializerArg::WANTS)),
        };
        let name = match NAMES.iter().find(|(snake, class)| *snake == word || *class == word) {
            Some((snake, _)) => *snake,
            None => return Err(suggest::unknown("initializer", word, &Self::names())),
        };
        Self::of(name, config)
    }

    fn of(name: &'static str, config: &Map) -> Result<Self, String> {
        let known: &[&str] = match name {
            "random_uniform" => &["minval", "maxval", "seed"],
            "random_normal" | "truncated_normal" => &["mean", "stddev", "seed"],
            "variance_scaling" => &["scale", "mode", "distribution", "seed"],
            "constant" => &["value"],
            "orthogonal" => &["gain", "seed"],
            "zeros" | "ones" => &[],
            _ => &["seed"],
        };
        if let Some(key) = config.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(suggest::no_argument(name, key, known));
        }
        let number = |key: &str, default: f64| match config.get(key) {
            None => Ok(default),
            Some(v) => v.as_f64().ok_or_else(|| format!("{name}: {key} must be a number, not {v}")),
        };
        let scaled = |scale, fan, distribution| Initializer::VarianceScaling { scale, fan, distribution };
        use Distribution::{TruncatedNormal, Uniform};
        Ok(match name {
            "glorot_uniform" => scaled(1.0, Fan::Average, Uniform),
            "glorot_normal" => scaled(1.0, Fan::Average, TruncatedNormal),
            "he_uniform" => scaled(2.0, Fan::In, Uniform),
            "he_normal" => scaled(2.0, Fan::In, TruncatedNormal),
            "lecun_uniform" => scaled(1.0, Fan::In, Uniform),
            "lecun_normal" => scaled(1.0, Fan::In, TruncatedNormal),
            "random_uniform" => Initializer::RandomUniform {
                minval: number("minval", -0.05)?,
                maxval: number("maxval", 0.05)?,
            },
            "random_normal" | "truncated_normal" => Initializer::RandomNormal {
                mean: number("mean", 0.0)?,
                stddev: number("stddev", 0.05)?,
                truncated: name == "truncated_normal",
            },
            "variance_scaling" => {
                let word =
                    |key, default: &'static str| config.get(key).and_then(Value::as_str).unwrap_or(default);
                let fan = match word("mode", "fan_in") {
                    "fan_in" => Fan::In,
                    "fan_out" => Fan::Out,
                    "fan_avg" => Fan::Average,
                    other => return Err(suggest::unknown("mode", other, &["fan_in", "fan_out", "fan_avg"])),
                };
                let distribution = match word("distribution", "truncated_normal") {
                    "truncated_normal" => TruncatedNormal,
                    "untruncated_normal" => Distribution::Normal,
                    "uniform" => Uniform,
                    other => {
                        let known = ["truncated_normal", "untruncated_normal", "uniform"];
                        return Err(suggest::unknown("distribution", other, &known));
                    }
                };
                let scale = number("scale", 1.0)?;
                if scale <= 0.0 {
                    return Err(format!("{name}: scale must be > 0; got {scale}"));
                }
                scaled(scale, fan, distribution)
            }
            "zeros" => Initializer::Constant(0.0),
            "ones" => Initializer::Constant(1.0),
            "constant" => Initializer::Constant(number("value", 0.0)?),
            _ => Initializer::Orthogonal { gain: number("gain", 1.0)? },
        })
    }

    /// A value of `shape`, row-major.
    pub fn fill(&self, shape: &[usize], random: &mut Sequence) -> Vec<f32> {
        let count = shape.iter().product();
        let mut many = |mut f: Box<dyn FnMut(&mut Sequence) -> f64>| -> Vec<f32> {
            (0..count).map(|_| f(random) as f32).collect()
        };
        match *self {
            Initializer::Constant(value) => vec![value as f32; count],
            Initializer::RandomUniform { minval, maxval } => {
                many(Box::new(move |r| minval + (maxval - minval) * f64::from(r.next_unit())))
            }
            Initializer::RandomNormal { mean, stddev, truncated } => {
                many(Box::new(move |r| mean + stddev * normal(r, truncated)))
            }
            Initializer::VarianceScaling { .. } => match self.spread(shape) {
                (limit, Distribution::Uniform) => {
                    many(Box::new(move |r| limit * (2.0 * f64::from(r.next_unit()) - 1.0)))
                }
                (stddev, d) => {
                    many(Box::new(move |r| stddev * normal(r, d == Distribution::TruncatedNormal)))
                }
            },
            Initializer::Orthogonal { gain } => orthogonal(shape, gain, random),
        }
    }

    /// For variance scaling: the uniform's bound, or the normal's standard deviation (before truncation).
    pub fn spread(&self, shape: &[usize]) -> (f64, Distribution) {
        let Initializer::VarianceScaling { scale, fan, distribution } = *self else {
            return (0.0, Distribution::Uniform);
        };
        let (fan_in, fan_out) = fans(shape);
        let fan = match fan {
            Fan::In => fan_in,
            Fan::Out => fan_out,
            Fan::Average => (fan_in + fan_out) / 2.0,
        };
        let variance = scale / fan.max(1.0);
        let spread = match distribution {
            Distribution::Uniform => (3.0 * variance).sqrt(),
            Distribution::Normal => variance.sqrt(),
            Distribution::TruncatedNormal => variance.sqrt() / TRUNCATED_DEVIATION,
        };
        (spread, distribution)
    }
}

/// Keras' `compute_fans`: the last two axes times the receptive field before them.
fn fans(shape: &[usize]) -> (f64, f64) {
    match *shape {
        [] => (1.0, 1.0),
        [n] => (n as f64, n as f64),
        [ref field @ .., i, o] => {
            let field = field.iter().product::<usize>() as f64;
            (i as f64 * field, o as f64 * field)
        }
    }
}

fn normal(random: &mut Sequence, truncated: bool) -> f64 {
    loop {
        let x = f64::from(random.next_normal());
        if !truncated || x.abs() < 2.0 {
            return x;
        }
    }
}

/// Gram-Schmidt on a random matrix of shape [all but the last axis, last axis], transposed where that is wide.
fn orthogonal(shape: &[usize], gain: f64, random: &mut Sequence) -> Vec<f32> {
    let cols = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().product::<usize>() / cols.max(1);
    let (long, short) = (rows.max(cols), rows.min(cols));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(short);
    while basis.len() < short {
        let mut v: Vec<f64> = (0..long).map(|_| normal(random, false)).collect();
        // Twice: once leaves rounding errors of the size of what was removed.
        for _ in 0..2 {
            for b in &basis {
                let along: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(b).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 1e-6 {
            basis.push(v.iter().map(|x| x / norm).collect());
        }
    }
    let at = |r: usize, c: usize| if rows >= cols { basis[c][r] } else { basis[r][c] };
    (0..rows * cols).map(|i| (gain * at(i / cols, i % cols)) as f32).collect()
}

impl From<Initializer> for InitializerArg {
    fn from(i: Initializer) -> Self {
        let object = |class: &str, config: Value| json!({"class_name": class, "config": config});
        InitializerArg(match i {
            Initializer::Constant(value) => object("Constant", json!({ "value": value })),
            Initializer::RandomUniform { minval, maxval } => {
                object("RandomUniform", json!({ "minval": minval, "maxval": maxval }))
            }
            Initializer::RandomNormal { mean, stddev, truncated } => {
                let class = if truncated { "TruncatedNormal" } else { "RandomNormal" };
                object(class, json!({ "mean": mean, "stddev": stddev }))
            }
            Initializer::VarianceScaling { scale, fan, distribution } => {
                let mode = match fan {
                    Fan::In => "fan_in",
                    Fan::Out => "fan_out",
                    Fan::Average => "fan_avg",
                };
                let distribution = match distribution {
                    Distribution::Uniform => "uniform",
                    Distribution::Normal => "untruncated_normal",
                    Distribution::TruncatedNormal => "truncated_normal",
                };
                let config = json!({ "scale": scale, "mode": mode, "distribution": distribution });
                object("VarianceScaling", config)
            }
            Initializer::Orthogonal { gain } => object("Orthogonal", json!({ "gain": gain })),
        })
    }
}
