//! Powers with a constant exponent, of what is not negative.

use crate::{Graph, NodeId};

/// Largest whole exponent that is multiplied out.
const MOST: u32 = 16;
/// What 0 is taken for where the exponent is not whole: there a power's gradient at 0 may be infinite.
const LEAST: f64 = 1e-30;

impl Graph {
    /// `x^exponent` for `x >= 0` and `exponent >= 0`: by multiplications, and a root where the exponent is a multiple of
    /// 1/2; else by `pow`. The gradient at 0 is finite.
    pub fn power(&mut self, x: NodeId, exponent: f64) -> NodeId {
        let whole = exponent.trunc();
        let (half, many) = (exponent - whole == 0.5, whole > f64::from(MOST));
        if exponent == whole && !many {
            return self.whole_power(x, whole as u32);
        }
        let least = self.constant(LEAST);
        let x = self.max(x, least);
        if many || !half {
            let exponent = self.constant(exponent);
            return self.pow(x, exponent);
        }
        let root = self.sqrt(x);
        let rest = self.whole_power(x, whole as u32);
        if whole == 0.0 { root } else { self.mul(rest, root) }
    }

    fn whole_power(&mut self, x: NodeId, exponent: u32) -> NodeId {
        let (mut result, mut square, mut left) = (None, x, exponent);
        while left > 0 {
            if left % 2 == 1 {
                result = Some(result.map_or(square, |r| self.mul(r, square)));
            }
            left /= 2;
            if left > 0 {
                square = self.mul(square, square);
            }
        }
        result.unwrap_or_else(|| {
            let ty = self.ty(x).clone();
            self.full(&ty, 1.0)
        })
    }
}
