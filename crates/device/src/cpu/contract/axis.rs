//! One axis of a convolution's result against its source: which taps each pixel has, and where they read.
//!
//! An input gradient is a convolution of the output gradient whose pixels fall into phases of the stride, each
//! with its own taps. Invariant: a phase's taps are in ascending order of what they read.

use std::ops::Range;
use thalweg_base::Window;

/// A tap of one axis: source index relative to the pixel's, and the filter's index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub source: usize,
    pub filter: usize,
}

/// One axis of the result against the source.
pub(super) struct Axis {
    /// Phases: step of result pixels, and taps of each.
    pub step: usize,
    pub taps: Vec<Vec<Tap>>,
    /// Source elements between neighbouring pixels of a phase.
    pub advance: usize,
    /// Source index of tap position 0 for pixel 0: negative in the padding.
    pub first: isize,
    /// Source elements that one pixel's taps span.
    span: usize,
}

impl Axis {
    pub fn forward(w: &Window) -> Axis {
        let taps = (0..w.size).map(|k| Tap { source: k * w.dilation, filter: k }).collect();
        Axis { step: 1, taps: vec![taps], advance: w.stride, first: -(w.lo as isize), span: w.span() }
    }

    /// Pixel `p + stride * i` gets tap `k` from output `i + (p + lo - k * dilation) / stride` where that divides.
    pub fn gradient(w: &Window) -> Axis {
        let stride = w.stride as isize;
        let shift = |p: usize, k: usize| {
            let at = (p + w.lo) as isize - (k * w.dilation) as isize;
            (at % stride == 0).then_some(at / stride)
        };
        let all = (0..w.stride).flat_map(|p| (0..w.size).filter_map(move |k| shift(p, k)));
        let (low, high) = all.fold((isize::MAX, isize::MIN), |(l, h), s| (l.min(s), h.max(s)));
        let taps = (0..w.stride).map(|p| {
            let tap = |k| shift(p, k).map(|s| Tap { source: (s - low) as usize, filter: k });
            let mut taps: Vec<Tap> = (0..w.size).filter_map(tap).collect();
            taps.sort_by_key(|t| t.source); // ascending, so that neighbours join into one segment
            taps
        });
        Axis { step: w.stride, taps: taps.collect(), advance: 1, first: low, span: (high - low + 1) as usize }
    }

    /// Source elements that `pixels` of the result span.
    pub fn reach(&self, pixels: usize) -> usize {
        (pixels.div_ceil(self.step) - 1) * self.advance + self.span
    }

    /// Source index of tap position 0 for pixel `i` of a phase.
    pub fn at(&self, i: usize) -> isize {
        (i * self.advance) as isize + self.first
    }

    /// The taps of pixel `i` of a phase whose source lies in `0..n`.
    pub fn inside(&self, phase: usize, i: usize, n: usize) -> Range<usize> {
        let (taps, at) = (&self.taps[phase], self.at(i));
        let before = taps.partition_point(|t| at + (t.source as isize) < 0);
        before..taps.partition_point(|t| at + (t.source as isize) < n as isize).max(before)
    }

    /// Of the first `pixels` of a phase, those with all taps in `0..n`: one range.
    pub fn whole(&self, phase: usize, pixels: usize, n: usize) -> Range<usize> {
        let all = self.taps[phase].len();
        let whole = |i: &usize| self.inside(phase, *i, n).len() == all;
        let from = (0..pixels).find(whole).unwrap_or(pixels);
        from..(from..pixels).find(|i| !whole(i)).unwrap_or(pixels)
    }
}
