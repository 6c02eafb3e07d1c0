//! Activation functions beyond the primitives `relu`, `sigmoid` and `tanh`. Element-wise, same shape; formulas
//! and constants are Keras' (<https://keras.io/api/layers/activations/>).

use crate::{Graph, NodeId};

/// SELU's slope below zero (Klambauer et al. 2017, eq. 14).
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
/// SELU's scale.
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

impl Graph {
    /// `min(max(x, low), high)`. The bounds come first: at a bound the gradient is 0.
    pub fn clip(&mut self, x: NodeId, low: f64, high: f64) -> NodeId {
        let (low, high) = (self.constant(low), self.constant(high));
        let above = self.max(low, x);
        self.min(high, above)
    }

    /// `min(max(x, 0), 6)`.
    pub fn relu6(&mut self, x: NodeId) -> NodeId {
        self.clip(x, 0.0, 6.0)
    }

    /// `x` above zero, `slope * x` below.
    pub fn leaky_relu(&mut self, x: NodeId, slope: f64) -> NodeId {
        let zero = self.constant(0.0);
        let positive = self.lt(zero, x);
        let low = self.scale(x, slope);
        self.select(positive, x, low)
    }

    /// `x` above zero, `alpha * (e^x - 1)` below.
    pub fn elu(&mut self, x: NodeId, alpha: f64) -> NodeId {
        // e^min(x, 0): the branch not taken must not overflow, or its gradient would be 0 * inf.
        let zero = self.constant(0.0);
        let positive = self.lt(zero, x);
        let low = self.min(zero, x);
        let e = self.exp(low);
        let e = self.offset(e, -1.0);
        let low = self.scale(e, alpha);
        self.select(positive, x, low)
    }

    /// `scale * elu(x, alpha)` with SELU's two constants.
    pub fn selu(&mut self, x: NodeId) -> NodeId {
        let y = self.elu(x, SELU_ALPHA);
        self.scale(y, SELU_SCALE)
    }

    /// `x * sigmoid(x)`; also called swish.
    pub fn silu(&mut self, x: NodeId) -> NodeId {
        let s = self.sigmoid(x);
        self.mul(x, s)
    }

    /// `x/2 * (1 + erf(x / sqrt 2))`.
    pub fn gelu(&mut self, x: NodeId) -> NodeId {
        let scaled = self.scale(x, std::f64::consts::FRAC_1_SQRT_2);
        let e = self.erf(scaled);
        self.half_gate(x, e)
    }

    /// The approximation `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    pub fn gelu_tanh(&mut self, x: NodeId) -> NodeId {
        let xx = self.mul(x, x);
        let xxx = self.mul(xx, x);
        let cubic = self.scale(xxx, 0.044_715);
        let sum = self.add(x, cubic);
        let scaled = self.scale(sum, (2.0 / std::f64::consts::PI).sqrt());
        let t = self.tanh(scaled);
        self.half_gate(x, t)
    }

    /// `x/2 * (1 + gate)`.
    fn half_gate(&mut self, x: NodeId, gate: NodeId) -> NodeId {
        let half = self.scale(x, 0.5);
        let gate = self.offset(gate, 1.0);
        self.mul(half, gate)
    }

    /// `log(1 + e^x)`, as `max(x, 0) + log(1 + e^-|x|)`.
    pub fn softplus(&mut self, x: NodeId) -> NodeId {
        // -|x| = min(x, -x) with the tie's gradient on the first operand; relu's is 0 at 0, which together
        // would give 1 at 0 instead of 1/2, so |x| it is (sign 0 at 0), and max(x, 0) = (x + |x|) / 2.
        let magnitude = self.abs(x);
        let m = self.negate(magnitude);
        let e = self.exp(m);
        let e = self.offset(e, 1.0);
        let tail = self.log(e);
        let sum = self.add(x, magnitude);
        let positive = self.scale(sum, 0.5);
        self.add(positive, tail)
    }

    /// `x / (1 + |x|)`.
    pub fn softsign(&mut self, x: NodeId) -> NodeId {
        let a = self.abs(x);
        let a = self.offset(a, 1.0);
        self.div(x, a)
    }

    /// `relu6(x + 3) / 6`.
    pub fn hard_sigmoid(&mut self, x: NodeId) -> NodeId {
        let shifted = self.offset(x, 3.0);
        let clipped = self.relu6(shifted);
        self.scale(clipped, 1.0 / 6.0)
    }

    /// `x * hard_sigmoid(x)`; Keras calls it `hard_silu` too.
    pub fn hard_swish(&mut self, x: NodeId) -> NodeId {
        let h = self.hard_sigmoid(x);
        self.mul(x, h)
    }

    /// `x * tanh(softplus(x))`.
    pub fn mish(&mut self, x: NodeId) -> NodeId {
        let s = self.softplus(x);
        let t = self.tanh(s);
        self.mul(x, t)
    }
}
