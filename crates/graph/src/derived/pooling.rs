//! Maximum and average pooling of images.

use crate::{DType, Graph, NodeId, Op, PoolDims, PoolKind, Window};

impl Graph {
    /// The maximum of each window: `[n, h, w, c]` to `[n, oh, ow, c]`.
    #[track_caller]
    pub fn max_pool(&mut self, x: NodeId, dims: PoolDims) -> NodeId {
        self.op(Op::Pool(PoolKind::Max, dims), &[x])
    }

    /// The mean of each window's elements, those in the padding not counted (as Keras on TensorFlow):
    /// `[n, h, w, c]` to `[n, oh, ow, c]`. Of 16-bit floats it is rounded once.
    #[track_caller]
    pub fn average_pool(&mut self, x: NodeId, dims: PoolDims) -> NodeId {
        let dtype = self.ty(x).dtype;
        if dtype.is_half() {
            // The sum of a window may be more than the type can hold.
            let wide = self.cast(x, DType::F32);
            let mean = self.average_pool(wide, dims);
            return self.cast(mean, dtype);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Type;
    use crate::reference::{Feeds, Tensor, step};

    /// 64 times 2,000 is more than half precision can hold; the mean is not.
    #[test]
    fn a_mean_of_halves_does_not_overflow() {
        let mut g = Graph::new();
        let x = g.input("x", Type::new(DType::F16, &[1, 8, 8, 1]));
        let side = Window::valid(8, 8, 1);
        let dims = PoolDims { n: 1, h: 8, w: 8, c: 1, oh: 1, ow: 1, rows: side, cols: side };
        let mean = g.average_pool(x, dims);
        g.output("mean", mean);
        let inputs = vec![Tensor::new(&[1, 8, 8, 1], vec![2000.0; 64])];
        let (outputs, _) = step(&g, &Feeds { inputs, states: Vec::new() });
        assert_eq!((outputs[0].data.as_slice(), g.ty(mean).dtype), (&[2000.0][..], DType::F16));
    }
}
