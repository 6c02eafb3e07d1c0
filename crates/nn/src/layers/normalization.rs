//! `Normalization`, by statistics of the data set.

use super::class::{Call, Layer, WeightSpec, layer};
use crate::arguments::{Axes, Values};
use crate::initializers::Initializer;
use crate::{LayerError, Precision, Shape};
use thalweg_graph::{NodeId, Op};

/// Keras' `epsilon()`: the least standard deviation that is divided by.
const LEAST_DEVIATION: f64 = 1e-7;

layer! {
    /// `(x - mean) / sqrt(variance)` by given or adapted statistics
    /// (<https://keras.io/api/layers/preprocessing_layers/numerical/normalization/>); same shape.
    ///
    /// Without `mean` and `variance` it has the statistics `mean` and `variance` as weights, which start at 0
    /// and 1 and which adapting sets.
    Normalization
    required {}
    optional {
        axis: Axes = Axes(Some(vec![-1])), "Axes with statistics of their own, the batch being 0; null: one for all.";
        mean: Values = Values(None), "Mean, one per element of `axis`; default: adapted.";
        variance: Values = Values(None), "Variance, one per element of `axis`; default: adapted.";
        invert: bool = false, "Whether to undo it instead: `x * sqrt(variance) + mean`; default false.";
    }
}

impl Normalization {
    /// Per-example axes with statistics of their own, ascending, or `None` where one does not exist or comes
    /// twice.
    fn own_axes(&self, rank: usize) -> Option<Vec<usize>> {
        let axes = self.axis.0.iter().flatten().map(|&a| super::axis_of(a, rank));
        let mut axes: Vec<usize> = axes.collect::<Option<_>>()?;
        axes.sort_unstable();
        axes.windows(2).all(|w| w[0] != w[1]).then_some(axes)
    }

    /// Whether its statistics are weights, which adapting sets, and not arguments.
    pub fn adapts(&self) -> bool {
        self.mean.0.is_none()
    }

    /// For every element of an example of an accepted shape, which element of the statistics it belongs to.
    pub fn places(&self, shape: &[usize]) -> Vec<usize> {
        let own = self.own_axes(shape.len()).unwrap_or_default();
        let elements = 0..shape.iter().product();
        let place = |element: usize| {
            let (mut rest, mut place, mut step) = (element, 0, 1);
            for axis in (0..shape.len()).rev() {
                if own.contains(&axis) {
                    place += rest % shape[axis] * step;
                    step *= shape[axis];
                }
                rest /= shape[axis];
            }
            place
        };
        elements.map(place).collect()
    }

    /// The example's shape with 1 where the axis shares its statistics, or `None` where an axis does not exist.
    fn statistics(&self, shape: &[usize]) -> Option<Shape> {
        let own = self.own_axes(shape.len())?;
        Some((0..shape.len()).map(|a| if own.contains(&a) { shape[a] } else { 1 }).collect())
    }
}

impl Layer for Normalization {
    fn check(&self) -> Result<(), String> {
        if self.mean.0.is_some() != self.variance.0.is_some() {
            return Err("mean and variance must be given together".into());
        }
        if self.variance.0.iter().flatten().any(|&v| v < 0.0) {
            return Err("variance must not be negative".into());
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let shape = self.single(inputs)?;
        let Some(statistics) = self.statistics(shape) else {
            let fix = "an axis of `axis` does not exist or comes twice (the batch is axis 0)";
            return Err(self.refuse(inputs, fix));
        };
        let want: usize = statistics.iter().product();
        for (name, values) in [("mean", &self.mean), ("variance", &self.variance)] {
            let len = values.0.as_ref().map_or(want, Vec::len);
            if len != want && len != 1 {
                return Err(self.refuse(inputs, format!("{name} needs {want} values, not {len}")));
            }
        }
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        if self.mean.0.is_some() {
            return Vec::new();
        }
        let own = self.own_axes(inputs[0].len()).unwrap_or_default();
        let kept: Shape = own.into_iter().map(|a| inputs[0][a]).collect();
        vec![
            WeightSpec::statistic("mean", &kept, Initializer::Constant(0.0)),
            WeightSpec::statistic("variance", &kept, Initializer::Constant(1.0)),
        ]
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let x = inputs[0];
        let shape = match self.statistics(&cx.graph.shape(x)[1..]) {
            Some(shape) => shape,
            None => unreachable!("the layer accepted the axes"),
        };
        let mean = statistic(cx, &self.mean, 0, &shape);
        let variance = statistic(cx, &self.variance, 1, &shape);
        let g = &mut *cx.graph;
        let deviation = g.sqrt(variance);
        let least = g.constant(LEAST_DEVIATION);
        let deviation = g.max(least, deviation);
        if self.invert {
            let y = g.mul(x, deviation);
            return g.add(y, mean);
        }
        let y = g.sub(x, mean);
        g.div(y, deviation)
    }
}

/// Given values, or the weight: `[..shape]` with 1 for shared axes.
fn statistic(cx: &mut Call, values: &Values, weight: usize, shape: &[usize]) -> NodeId {
    let g = &mut *cx.graph;
    match values.0.as_deref() {
        None => g.reshape(cx.weights[weight], shape),
        Some([one]) => g.constant(*one),
        Some(all) => {
            let parts: Vec<NodeId> = all
                .iter()
                .map(|&v| {
                    let c = g.constant(v);
                    g.reshape(c, &[1])
                })
                .collect();
            let joined = g.op(Op::Concat(0), &parts);
            g.reshape(joined, shape)
        }
    }
}
