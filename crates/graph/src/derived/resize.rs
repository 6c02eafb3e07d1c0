//! Upsampling of images by whole factors, as Keras' `UpSampling2D`.

use crate::{DType, Graph, NodeId, Op};

impl Graph {
    /// Repeats rows and columns: `[n, h, w, c]` to `[n, h * rows, w * cols, c]`.
    #[track_caller]
    pub fn upsample_nearest(&mut self, x: NodeId, (rows, cols): (usize, usize)) -> NodeId {
        let &[n, h, w, c] = self.shape(x) else { panic!("upsampling of {:?}, not an image", self.shape(x)) };
        let split = self.reshape(x, &[n, h, 1, w, 1, c]);
        let spread = self.broadcast_to(split, &[n, h, rows, w, cols, c]);
        self.reshape(spread, &[n, h * rows, w * cols, c])
    }

    /// Linear interpolation in both directions between pixel centres (half-pixel convention, edges repeat):
    /// `[n, h, w, c]` to `[n, h * rows, w * cols, c]`.
    #[track_caller]
    pub fn upsample_bilinear(&mut self, x: NodeId, (rows, cols): (usize, usize)) -> NodeId {
        let &[n, h, w, c] = self.shape(x) else { panic!("upsampling of {:?}, not an image", self.shape(x)) };
        let (oh, ow) = (h * rows, w * cols);
        // Each direction is one matrix product [out, in] x [in, everything else].
        let x = self.transpose(x, &[1, 0, 2, 3]); // h n w c
        let x = self.reshape(x, &[h, n * w * c]);
        let m = self.interpolation(h, rows);
        let m = self.cast(m, self.ty(x).dtype);
        let x = self.dot(m, x, false, false);
        let x = self.reshape(x, &[oh, n, w, c]);
        let x = self.transpose(x, &[2, 1, 0, 3]); // w n oh c
        let x = self.reshape(x, &[w, n * oh * c]);
        let m = self.interpolation(w, cols);
        let m = self.cast(m, self.ty(x).dtype);
        let x = self.dot(m, x, false, false);
        let x = self.reshape(x, &[ow, n, oh, c]);
        self.transpose(x, &[1, 2, 0, 3])
    }

    /// The matrix `[input * factor, input]` of linear interpolation: row `o` weighs input `i` by
    /// `max(0, 1 - |position(o) - i|)`, where `position(o) = (o + 1/2) / factor - 1/2`, kept in the image.
    fn interpolation(&mut self, input: usize, factor: usize) -> NodeId {
        let shape = vec![input * factor, input];
        let o = self.op(Op::Iota { axis: 0, shape: shape.clone() }, &[]);
        let o = self.cast(o, DType::F32);
        let o = self.offset(o, 0.5);
        let o = self.scale(o, 1.0 / factor as f64);
        let o = self.offset(o, -0.5);
        let position = self.clip(o, 0.0, input as f64 - 1.0);
        let i = self.op(Op::Iota { axis: 1, shape }, &[]);
        let i = self.cast(i, DType::F32);
        let distance = self.sub(position, i);
        let distance = self.abs(distance);
        let one = self.constant(1.0);
        let weight = self.sub(one, distance);
        self.relu(weight)
    }
}
