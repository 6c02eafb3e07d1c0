//! A constant per interval of steps.

use super::Rate;
use crate::table::{Config, not_negative};
use serde::{Deserialize, Serialize};
use thalweg_graph::{DType, Graph, NodeId};

/// `values[i]` for the first `i` with `step <= boundaries[i]`, the last value after all boundaries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PiecewiseConstantDecay {
    /// Last steps of the intervals, ascending.
    pub boundaries: Vec<u32>,
    /// Rates, one more than boundaries.
    pub values: Vec<f64>,
}

impl Config for PiecewiseConstantDecay {
    fn validate(&self) -> Result<(), String> {
        let (b, v) = (&self.boundaries, &self.values);
        if v.len() != b.len() + 1 {
            return Err(format!(
                "values must be one more than boundaries; got {} values and {} boundaries",
                v.len(),
                b.len()
            ));
        }
        if b.windows(2).any(|w| w[0] >= w[1]) {
            return Err(format!("boundaries must ascend; got {b:?}"));
        }
        if let Some(last) = b.last().filter(|&&b| i32::try_from(b).is_err()) {
            return Err(format!("boundaries must be below 2^31; got {last}"));
        }
        v.iter().try_for_each(|&v| not_negative("each of values", v))
    }
}

impl Rate for PiecewiseConstantDecay {
    fn rate(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        let mut rate = g.constant(self.values[0]);
        for (&boundary, &value) in self.boundaries.iter().zip(&self.values[1..]) {
            let boundary = g.constant_of(DType::I32, f64::from(boundary));
            let value = g.constant(value);
            let after = g.lt(boundary, iteration);
            rate = g.select(after, value, rate);
        }
        rate
    }
}
