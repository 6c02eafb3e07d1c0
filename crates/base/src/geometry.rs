//! The geometry of sliding windows: convolution and pooling over NHWC images.

use std::fmt;

/// A window along one spatial axis. Lengths are in elements of that axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Window length.
    pub size: usize,
    /// Step between windows, at least 1.
    pub stride: usize,
    /// Step between the elements of a window, at least 1.
    pub dilation: usize,
    /// Padding before the first element.
    pub lo: usize,
    /// Padding after the last element.
    pub hi: usize,
}

impl Window {
    /// A window with no padding (Keras' `padding="valid"`).
    pub const fn valid(size: usize, stride: usize, dilation: usize) -> Self {
        Window { size, stride, dilation, lo: 0, hi: 0 }
    }

    /// Padding such that output = ceil(input / stride), the surplus after (Keras' `padding="same"`).
    pub fn same(input: usize, size: usize, stride: usize, dilation: usize) -> Self {
        let out = input.div_ceil(stride);
        let span = dilation * (size - 1) + 1;
        let total = ((out.saturating_sub(1)) * stride + span).saturating_sub(input);
        Window { size, stride, dilation, lo: total / 2, hi: total - total / 2 }
    }

    /// Elements of the axis that one window spans.
    pub const fn span(&self) -> usize {
        self.dilation * (self.size - 1) + 1
    }

    /// Number of windows on an axis of `input` elements, or `None` where not even one fits.
    pub fn outputs(&self, input: usize) -> Option<usize> {
        let padded = input + self.lo + self.hi;
        (padded >= self.span() && input > 0).then(|| (padded - self.span()) / self.stride + 1)
    }

    /// The input index that element `k` of window `o` reads, or `None` in the padding.
    pub fn source(&self, o: usize, k: usize, input: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.lo).filter(|&i| i < input)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s{}d{}p{}:{}", self.size, self.stride, self.dilation, self.lo, self.hi)
    }
}

/// The whole geometry of a convolution, shared by it and its two gradients.
///
/// Image [n, h, w, c], filter [rows.size, cols.size, c / groups, k] (HWIO), output [n, oh, ow, k]. Output
/// channel `j` reads the input channels of group `j / (k / groups)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the fixed shape letters of the project")]
pub struct ConvDims {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub oh: usize,
    pub ow: usize,
    pub rows: Window,
    pub cols: Window,
    pub groups: usize,
}

impl ConvDims {
    /// Shape of the image.
    pub fn image(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// Shape of the filter.
    pub fn filter(&self) -> [usize; 4] {
        [self.rows.size, self.cols.size, self.c / self.groups, self.k]
    }

    /// Shape of the output.
    pub fn output(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.k]
    }

    /// Floating-point operations of the convolution or of either gradient (a multiply-add is two).
    pub fn flops(&self) -> u64 {
        2 * (self.n * self.oh * self.ow * self.k) as u64
            * (self.rows.size * self.cols.size * self.c / self.groups) as u64
    }

    /// Whether each of several channels has a filter of its own and makes one channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c && self.c == self.k
    }
}

/// The whole geometry of a pooling: image [n, h, w, c], output [n, oh, ow, c].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the fixed shape letters of the project")]
pub struct PoolDims {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub oh: usize,
    pub ow: usize,
    pub rows: Window,
    pub cols: Window,
}

impl PoolDims {
    /// Shape of the image.
    pub fn image(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// Shape of the output.
    pub fn output(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.c]
    }

    /// Whether no two windows share an element.
    pub fn disjoint(&self) -> bool {
        self.rows.span() <= self.rows.stride && self.cols.span() <= self.cols.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_keras() {
        // TensorFlow puts the surplus after: input 4, window 3, stride 2 pads 0 before and 1 after.
        let w = Window::same(4, 3, 2, 1);
        assert_eq!((w.lo, w.hi, w.outputs(4)), (0, 1, Some(2)));
        let w = Window::same(32, 3, 1, 1);
        assert_eq!((w.lo, w.hi, w.outputs(32)), (1, 1, Some(32)));
        let w = Window::same(7, 3, 1, 2);
        assert_eq!((w.lo, w.hi, w.outputs(7)), (2, 2, Some(7)));
    }

    #[test]
    fn sources() {
        let w = Window { size: 3, stride: 2, dilation: 1, lo: 1, hi: 1 };
        assert_eq!(w.source(0, 0, 5), None);
        assert_eq!(w.source(0, 1, 5), Some(0));
        assert_eq!(w.source(2, 2, 5), None);
        assert_eq!(w.outputs(5), Some(3));
        assert_eq!(Window::valid(3, 1, 1).outputs(2), None);
    }
}
