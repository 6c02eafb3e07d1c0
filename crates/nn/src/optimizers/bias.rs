//! Bias corrections of exponential means: `1 - beta^t`, exact to rounding in f32.

use thalweg_graph::{Graph, NodeId};

/// Where `1 - e^y` changes from its series to its definition.
const SERIES_FROM: f64 = -0.5;
/// Terms of the series: the first one left out is below 1e-9 of the sum.
const TERMS: u32 = 9;

/// `beta^t` for `beta` in [0, 1), f32 scalar `t` of at least 1.
pub(super) fn power(g: &mut Graph, beta: f64, t: NodeId) -> NodeId {
    if beta == 0.0 {
        return g.constant(0.0);
    }
    let y = g.scale(t, beta.ln());
    g.exp(y)
}

/// `1 - beta^t` for `beta` in [0, 1), f32 scalar `t` of at least 1.
///
/// As Keras writes it, f32 would be off by 6e-5 in Adam's first steps (1 - 0.999). So: `-expm1(t ln beta)`,
/// near 0 by its series `-y (1 + y/2 (1 + y/3 (..)))`.
pub(super) fn one_minus_power(g: &mut Graph, beta: f64, t: NodeId) -> NodeId {
    if beta == 0.0 {
        return g.constant(1.0);
    }
    let y = g.scale(t, beta.ln());
    let border = g.constant(SERIES_FROM);
    let near = g.max(y, border);
    let mut series = g.constant(1.0);
    for k in (2..=TERMS).rev() {
        let term = g.scale(near, 1.0 / f64::from(k));
        let term = g.mul(term, series);
        series = g.offset(term, 1.0);
    }
    let series = g.mul(near, series);
    let series = g.negate(series);
    let e = g.exp(y);
    let one = g.constant(1.0);
    let plain = g.sub(one, e);
    let far = g.lt(y, border);
    g.select(far, plain, series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_graph::reference::Feeds;
    use thalweg_testkit::run_rounded;

    /// The value of a graph of constants, every operation rounded to f32.
    fn in_f32(mut g: Graph, node: NodeId) -> f64 {
        g.output("value", node);
        run_rounded(&g, &Feeds::default()).outputs[0].1.data[0]
    }

    #[test]
    fn corrections_are_exact_in_f32_at_every_step() {
        for beta in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999] {
            for t in (1..60).chain([100, 499, 500, 501, 693, 694, 5000, 100_000, 10_000_000]) {
                let mut g = Graph::new();
                let step = g.constant(f64::from(t));
                let node = one_minus_power(&mut g, beta, step);
                let want = -(f64::from(t) * beta.ln()).exp_m1();
                let got = in_f32(g, node);
                assert!((got / want - 1.0).abs() < 4e-7, "1 - {beta}^{t}: {got} for {want}");
                let mut g = Graph::new();
                let step = g.constant(f64::from(t));
                let node = power(&mut g, beta, step);
                assert!((in_f32(g, node) + want - 1.0).abs() < 2e-7, "{beta}^{t}");
            }
        }
    }
}
