//! `BatchNormalization`.

use super::class::{Call, Layer, WeightSpec, layer};
use crate::initializers::InitializerArg;
use crate::{LayerError, Precision, Shape};
use thalweg_graph::NodeId;
use thalweg_graph::derived::{BatchNorm, Moments};

layer! {
    /// Normalises each channel by the batch's statistics in training, by moving ones otherwise
    /// (<https://keras.io/api/layers/normalization_layers/batch_normalization/>); same shape.
    ///
    /// Weights, each `[c]`: `gamma`, `beta`, and the statistics `moving_mean`, `moving_variance`. With
    /// `trainable=false` it uses the moving statistics in training too, as in Keras.
    BatchNormalization
    required {}
    optional {
        axis: i64 = -1, "The channels' axis; only the last one.";
        momentum: f64 = 0.99, "What a moving statistic keeps of itself per step; default 0.99.";
        epsilon: f64 = 0.001, "Added to the variance; default 0.001.";
        center: bool = true, "Whether `beta` is added; default true.";
        scale: bool = true, "Whether `gamma` multiplies; default true.";
        beta_initializer: InitializerArg = "zeros".into(), "First `beta`; default `zeros`.";
        gamma_initializer: InitializerArg = "ones".into(), "First `gamma`; default `ones`.";
        moving_mean_initializer: InitializerArg = "zeros".into(), "First mean; default `zeros`.";
        moving_variance_initializer: InitializerArg = "ones".into(), "First variance; default `ones`.";
    }
}

impl Layer for BatchNormalization {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(format!("momentum must be in 0..=1, not {}", self.momentum));
        }
        if self.epsilon < 0.0 {
            return Err(format!("epsilon must not be negative, but is {}", self.epsilon));
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let shape = self.single(inputs)?;
        if shape.is_empty() || (self.axis != -1 && self.axis != shape.len() as i64) {
            return Err(self.refuse(inputs, format!("axis {} is not the last one; use axis=-1", self.axis)));
        }
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        let c = &inputs[0][inputs[0].len() - 1..];
        let mut all = Vec::new();
        if self.scale {
            all.push(WeightSpec::new("gamma", c, self.gamma_initializer.get()));
        }
        if self.center {
            all.push(WeightSpec::new("beta", c, self.beta_initializer.get()));
        }
        all.push(WeightSpec::statistic("moving_mean", c, self.moving_mean_initializer.get()));
        all.push(WeightSpec::statistic("moving_variance", c, self.moving_variance_initializer.get()));
        all
    }

    fn precision(&self) -> Precision {
        Precision::Statistics
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let gamma = self.scale.then(|| cx.weights[0]);
        let beta = self.center.then(|| cx.weights[usize::from(self.scale)]);
        let at = cx.weights.len() - 2;
        let moving = Moments { mean: cx.weights[at], variance: cx.weights[at + 1] };
        let moments = if cx.training && self.trainable {
            let batch = cx.graph.moments(inputs[0]);
            let mean = cx.graph.moving(moving.mean, batch.mean, self.momentum);
            let variance = cx.graph.moving(moving.variance, batch.variance, self.momentum);
            cx.updates.extend([(at, mean), (at + 1, variance)]);
            batch
        } else {
            moving
        };
        cx.graph.batch_norm(inputs[0], &BatchNorm { moments, gamma, beta, epsilon: self.epsilon })
    }
}
