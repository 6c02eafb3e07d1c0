//! Losses, metrics, optimizers and schedules: against real Keras (goldens), finite differences, and in words.

#[cfg(test)]
mod boxes;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod optimizers;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod words;

use serde_json::Value;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, NodeId, Type};
use thalweg_testkit::Golden;

/// Declares a tensor of a golden file as an input, and feeds it.
fn feed(g: &mut Graph, feeds: &mut Feeds, golden: &Golden, name: &str) -> Option<NodeId> {
    let value = golden.get(name)?;
    let dtype = golden.dtype(name)?;
    feeds.inputs.push(value.clone());
    Some(g.input(name, Type::new(dtype, &value.shape)))
}

/// A case's config as `{"class_name", "config"}`.
fn config(case: &Value) -> Value {
    serde_json::json!({ "class_name": case["class_name"], "config": case["config"] })
}

/// An f32 input and its value.
fn input(g: &mut Graph, feeds: &mut Feeds, name: &str, value: Tensor) -> NodeId {
    typed(g, feeds, name, DType::F32, value)
}

/// An input of a type and its value.
fn typed(g: &mut Graph, feeds: &mut Feeds, name: &str, dtype: DType, value: Tensor) -> NodeId {
    let node = g.input(name, Type::new(dtype, &value.shape));
    feeds.inputs.push(value);
    node
}

/// A spread of values in (-1, 1) without repeats, the same on every run.
fn spread(shape: &[usize], phase: f64) -> Tensor {
    let mut i = 0.0;
    Tensor::generate(shape, |_| {
        i += 1.0;
        f64::from((i * 12.9898 + phase).sin() as f32)
    })
}
