//! Batch normalisation (Ioffe & Szegedy 2015) in Keras' formula
//! (<https://keras.io/api/layers/normalization_layers/batch_normalization/>).

use crate::{Graph, NodeId};

/// Mean and biased variance of the channels, each `[c]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: NodeId,
    /// Variance, divided by the count (not the count less one).
    pub variance: NodeId,
}

/// What normalisation is applied with; all `[c]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Statistics to normalise by: the batch's in training, the moving ones otherwise.
    pub moments: Moments,
    /// Scale, 1 if none.
    pub gamma: Option<NodeId>,
    /// Offset, 0 if none.
    pub beta: Option<NodeId>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl Graph {
    /// Moments over all axes but the last, in two passes: stable where the mean is large. Differentiable.
    pub fn moments(&mut self, x: NodeId) -> Moments {
        let rank = self.shape(x).len();
        let c = self.shape(x)[rank - 1];
        let axes: Vec<usize> = (0..rank - 1).collect();
        let mean = self.mean_keep(x, &axes);
        // The centred values sum to zero, so the variance's gradient through the mean vanishes: not built.
        let fixed = self.stop_gradient(mean);
        let centred = self.sub(x, fixed);
        let square = self.mul(centred, centred);
        let variance = self.mean_keep(square, &axes);
        Moments { mean: self.reshape(mean, &[c]), variance: self.reshape(variance, &[c]) }
    }

    /// `(x - mean) * gamma / sqrt(variance + epsilon) + beta`, channels last; same shape.
    pub fn batch_norm(&mut self, x: NodeId, norm: &BatchNorm) -> NodeId {
        let centred = self.sub(x, norm.moments.mean);
        let v = self.offset(norm.moments.variance, norm.epsilon);
        let deviation = self.sqrt(v);
        let one = self.constant(1.0);
        let mut factor = self.div(one, deviation);
        if let Some(gamma) = norm.gamma {
            factor = self.mul(factor, gamma);
        }
        let y = self.mul(centred, factor);
        match norm.beta {
            Some(beta) => self.add(y, beta),
            None => y,
        }
    }

    /// `old * momentum + new * (1 - momentum)`: a moving statistic's next value.
    pub fn moving(&mut self, old: NodeId, new: NodeId, momentum: f64) -> NodeId {
        let kept = self.scale(old, momentum);
        let added = self.scale(new, 1.0 - momentum);
        self.add(kept, added)
    }
}
