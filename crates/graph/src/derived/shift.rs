//! Shifting each image of a batch by its own amount, for augmentation.

use crate::{DType, Graph, NodeId, Op};

/// What is seen beyond an image's edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Zeros: `0 0 | a b c | 0 0`.
    Zero,
    /// The edge: `a a | a b c | c c`.
    Nearest,
    /// The mirror image: `b a | a b c | c b`.
    Reflect,
    /// The other side: `b c | a b c | a b`.
    Wrap,
}

impl Graph {
    /// Images `[n, h, w, c]` moved down by `by` pixels, f32 `[n]`; between pixels interpolated linearly.
    #[track_caller]
    pub fn shift_rows(&mut self, x: NodeId, by: NodeId, fill: Fill) -> NodeId {
        let &[n, h, w, c] = self.shape(x) else { panic!("shift of {:?}, not an image", self.shape(x)) };
        // One matrix [h, h] per image: row `o` holds the weights of the pixels that make output row `o`.
        let weights = self.shift_weights(h, by, fill);
        let weights = self.cast(weights, self.ty(x).dtype);
        let rows = self.reshape(x, &[n, h, w * c]);
        let moved = self.dot(weights, rows, false, false);
        self.reshape(moved, &[n, h, w, c])
    }

    /// Images `[n, h, w, c]` moved right by `by` pixels, f32 `[n]`; between pixels interpolated linearly.
    #[track_caller]
    pub fn shift_cols(&mut self, x: NodeId, by: NodeId, fill: Fill) -> NodeId {
        let turned = self.transpose(x, &[0, 2, 1, 3]);
        let moved = self.shift_rows(turned, by, fill);
        self.transpose(moved, &[0, 2, 1, 3])
    }

    /// Linear interpolation's weights `[n, h, h]` for outputs that read at `o - by`.
    fn shift_weights(&mut self, h: usize, by: NodeId, fill: Fill) -> NodeId {
        let n = self.shape(by)[0];
        let extent = h as f64;
        let iota = self.op(Op::Iota { axis: 0, shape: vec![h] }, &[]);
        let iota = self.cast(iota, DType::F32);
        let (o, by) = (self.reshape(iota, &[1, h, 1]), self.reshape(by, &[n, 1, 1]));
        let at = self.sub(o, by);
        let at = match fill {
            Fill::Zero => at,
            Fill::Nearest => self.clip(at, 0.0, extent - 1.0),
            Fill::Wrap => self.remainder(at, extent),
            Fill::Reflect => {
                // Pixel i covers i - 1/2 .. i + 1/2, so the mirrors stand at -1/2 and h - 1/2.
                let from_mirror = self.offset(at, 0.5);
                let t = self.remainder(from_mirror, 2.0 * extent);
                let t = self.offset(t, -extent);
                let t = self.abs(t);
                let t = self.negate(t);
                let folded = self.offset(t, extent - 0.5);
                self.clip(folded, 0.0, extent - 1.0)
            }
        };
        let i = self.reshape(iota, &[1, 1, h]);
        let distance = self.sub(at, i);
        let mut distance = self.abs(distance);
        if fill == Fill::Wrap {
            let around = self.negate(distance);
            let around = self.offset(around, extent);
            distance = self.min(distance, around);
        }
        let weight = self.negate(distance);
        let weight = self.offset(weight, 1.0);
        self.relu(weight)
    }

    /// `x - n * floor(x / n)`, in 0..n.
    fn remainder(&mut self, x: NodeId, n: f64) -> NodeId {
        let turns = self.scale(x, 1.0 / n);
        let turns = self.floor(turns);
        let whole = self.scale(turns, n);
        self.sub(x, whole)
    }
}
