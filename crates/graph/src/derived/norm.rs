//! Batch normalisation (Ioffe & Szegedy 2015) in Keras' formula
//! (<https://keras.io/api/layers/normalization_layers/batch_normalization/>).

use crate::{Graph, NodeId, ReduceKind};

/// From so many pixels on, sums of an image are small beside it.
const IMAGE_PIXELS: usize = 4;

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
    /// Moments over all axes but the last, stable where the mean is large. Differentiable.
    pub fn moments(&mut self, x: NodeId) -> Moments {
        let shape = self.shape(x).to_vec();
        let c = shape[shape.len() - 1];
        let axes: Vec<usize> = (0..shape.len() - 1).collect();
        let pixels: usize = shape[1..shape.len() - 1].iter().product();
        let values = (pixels >= IMAGE_PIXELS).then(|| self.moments_by_image(x));
        let mut mean = self.mean_keep(x, &axes);
        if let Some(m) = values {
            mean = self.with_gradient_of(m.mean, mean);
        }
        // The centred values sum to zero, so the variance's gradient through the mean vanishes: not built.
        let fixed = self.stop_gradient(mean);
        let centred = self.sub(x, fixed);
        let square = self.mul(centred, centred);
        let mut variance = self.mean_keep(square, &axes);
        if let Some(m) = values {
            variance = self.with_gradient_of(m.variance, variance);
        }
        Moments { mean: self.reshape(mean, &[c]), variance: self.reshape(variance, &[c]) }
    }

    /// The moments' values, each `[1, .., 1, c]`, in one pass over the images that needs nothing but its own image
    /// (so that it can follow what computes it, while that is in a cache): sums of `x - f` and its square, where
    /// `f` is the image's first pixel. As `f` is one of the values, its squared distance from their mean is at most
    /// their sum of squares, so the subtraction below loses no more than the number of pixels times a rounding
    /// error, usually a few. Images' moments are joined as in Chan, Golub & LeVeque (1979), eq. 2.1.
    fn moments_by_image(&mut self, x: NodeId) -> Moments {
        let x = self.stop_gradient(x);
        let shape = self.shape(x).to_vec();
        let middle: Vec<usize> = (1..shape.len() - 1).collect();
        let pixels: usize = middle.iter().map(|&a| shape[a]).product();
        let first = middle.iter().fold(x, |f, &a| self.slice(f, a, 0, 1));
        let away = self.sub(x, first);
        let square = self.mul(away, away);
        let sum = self.reduce_keep(ReduceKind::Sum, away, &middle);
        let squares = self.reduce_keep(ReduceKind::Sum, square, &middle);
        let average = self.scale(sum, 1.0 / pixels as f64);
        let own_mean = self.add(first, average);
        let of_first = self.mul(sum, average);
        let own_squares = self.sub(squares, of_first);
        let mean = self.mean_keep(own_mean, &[0]);
        let apart = self.sub(own_mean, mean);
        let between = self.mul(apart, apart);
        let own_variance = self.scale(own_squares, 1.0 / pixels as f64);
        let all = self.add(own_variance, between);
        Moments { mean, variance: self.mean_keep(all, &[0]) }
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
