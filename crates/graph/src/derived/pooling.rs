//! Maximum and average pooling of images.

use crate::{DType, Graph, NodeId, Op, PoolDims, PoolKind, Window};

impl Graph {
    /// The maximum of each window: `[n, h, w, c]` to `[n, oh, ow, c]`.
    #[track_caller]
    pub fn max_pool(&mut self, x: NodeId, dims: PoolDims) -> NodeId {
        self.op(Op::Pool(PoolKind::Max, dims), &[x])
    }

    /// The mean of each window's elements, those in the padding not counted (as Keras on TensorFlow):
    /// `[n, h, w, c]` to `[n, oh, ow, c]`.
    #[track_caller]
    pub fn average_pool(&mut self, x: NodeId, dims: PoolDims) -> NodeId {
        let sum = self.op(Op::Pool(PoolKind::Sum, dims), &[x]);
        let padded = [dims.rows, dims.cols].iter().any(|w| w.lo + w.hi > 0);
        if !padded {
            return self.scale(sum, 1.0 / (dims.rows.size * dims.cols.size) as f64);
        }
        let rows = self.window_counts(&dims.rows, dims.h, dims.oh);
        let cols = self.window_counts(&dims.cols, dims.w, dims.ow);
        let rows = self.reshape(rows, &[dims.oh, 1, 1]);
        let cols = self.reshape(cols, &[dims.ow, 1]);
        let counts = self.mul(rows, cols);
        let counts = self.cast(counts, self.ty(sum).dtype);
        self.div(sum, counts)
    }

    /// How many elements of an axis of `input` each of `outputs` windows holds: f32 `[outputs]`.
    fn window_counts(&mut self, w: &Window, input: usize, outputs: usize) -> NodeId {
        // Element k of window o is at o * stride + k * dilation - lo; summed over k, as windows are small.
        let o = self.op(Op::Iota { axis: 0, shape: vec![outputs] }, &[]);
        let o = self.cast(o, DType::F32);
        let first = self.scale(o, w.stride as f64);
        let mut count = None;
        for k in 0..w.size {
            let at = self.offset(first, (k * w.dilation) as f64 - w.lo as f64);
            let (low, high) = (self.constant(-0.5), self.constant(input as f64 - 0.5));
            let after = self.lt(low, at);
            let before = self.lt(at, high);
            let inside = self.and(after, before);
            let inside = self.cast(inside, DType::F32);
            count = Some(match count {
                None => inside,
                Some(sum) => self.add(sum, inside),
            });
        }
        count.unwrap_or(first)
    }
}
