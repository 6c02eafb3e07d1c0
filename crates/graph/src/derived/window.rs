//! The geometry of convolution and pooling from Keras' words: `padding`, `strides`, `dilation_rate`, `groups`.

use crate::{ConvDims, PoolDims, Window};

/// Keras' `padding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// No padding: only windows that fit.
    Valid,
    /// As much as makes output = ceil(input / stride), the surplus after.
    Same,
}

/// A sliding window over the two spatial axes; all pairs are (rows, columns).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Extent of the window.
    pub size: (usize, usize),
    /// Step between windows.
    pub strides: (usize, usize),
    /// Step between a window's elements.
    pub dilation: (usize, usize),
    /// Padding.
    pub padding: Padding,
}

impl Geometry {
    /// The windows along rows and columns of an image `[.., h, w, _]`, and how many there are; `None` where not
    /// even one fits.
    fn windows(&self, h: usize, w: usize) -> Option<((Window, usize), (Window, usize))> {
        let one = |input, size, stride, dilation| {
            let window = match self.padding {
                Padding::Valid => Window::valid(size, stride, dilation),
                Padding::Same => Window::same(input, size, stride, dilation),
            };
            Some((window, window.outputs(input)?))
        };
        Some((
            one(h, self.size.0, self.strides.0, self.dilation.0)?,
            one(w, self.size.1, self.strides.1, self.dilation.1)?,
        ))
    }

    /// Extents (rows, columns) of the output over an image of `h` x `w`.
    pub fn outputs(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        self.windows(h, w).map(|(r, c)| (r.1, c.1))
    }

    /// A convolution of an image `[n, h, w, c]` to `k` channels.
    pub fn conv(&self, [n, h, w, c]: [usize; 4], k: usize, groups: usize) -> Option<ConvDims> {
        let ((rows, oh), (cols, ow)) = self.windows(h, w)?;
        Some(ConvDims { n, h, w, c, k, oh, ow, rows, cols, groups })
    }

    /// A pooling of an image `[n, h, w, c]`.
    pub fn pool(&self, [n, h, w, c]: [usize; 4]) -> Option<PoolDims> {
        let ((rows, oh), (cols, ow)) = self.windows(h, w)?;
        Some(PoolDims { n, h, w, c, oh, ow, rows, cols })
    }
}
