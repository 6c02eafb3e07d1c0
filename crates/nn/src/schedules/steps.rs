//! Steps as fractions of a period, exact at its multiples.

use thalweg_graph::{DType, Graph, NodeId};

/// The iteration as f32 (exact up to 2^24).
pub(super) fn as_f32(g: &mut Graph, iteration: NodeId) -> NodeId {
    g.cast(iteration, DType::F32)
}

/// `iteration / period`, f32.
pub(super) fn over(g: &mut Graph, iteration: NodeId, period: u64) -> NodeId {
    let step = as_f32(g, iteration);
    let period = g.constant(period as f64);
    g.div(step, period)
}

/// `floor(iteration / period)`. Half a step is added first, so that a device whose division is not exact
/// cannot land below a multiple.
pub(super) fn completed(g: &mut Graph, iteration: NodeId, period: u64) -> NodeId {
    let step = as_f32(g, iteration);
    let step = g.offset(step, 0.5);
    let period = g.constant(period as f64);
    let periods = g.div(step, period);
    g.floor(periods)
}

/// `(1 + cos(pi x)) / 2`: from 1 at x = 0 to 0 at x = 1.
pub(super) fn half_cosine(g: &mut Graph, x: NodeId) -> NodeId {
    let angle = g.scale(x, std::f64::consts::PI);
    let c = g.cos(angle);
    let c = g.offset(c, 1.0);
    g.scale(c, 0.5)
}

/// Refuses a period of no steps.
pub(super) fn at_least_one(argument: &str, steps: u64) -> Result<(), String> {
    if steps == 0 { Err(format!("{argument} must be > 0; got 0")) } else { Ok(()) }
}
