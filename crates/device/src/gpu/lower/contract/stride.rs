//! Input gradients of convolutions with strides: pixels a stride apart meet the same taps, so each such set is a product of
//! its own, without the zeros that lie between the windows.
//!
//! Along an axis, window `o`'s tap `r` sees pixel `o * stride + r * dilation - lo`. Of pixel `first + i * stride`, the taps are
//! `start + j * step`, and the window of the `j`-th is `i + base - j * back`, without a remainder.

use super::super::Writer;
use crate::gpu::ir::Value;
use thalweg_base::{ConvDims, Window};

/// Sets of pixels at most: each is a launch. Beyond, one product looks for the windows of every pixel.
const MOST: usize = 16;

/// The pixels of one set along an axis, and their taps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axis {
    /// First pixel.
    first: usize,
    /// From one to the next.
    stride: usize,
    /// How many.
    pub pixels: usize,
    /// First tap.
    start: usize,
    /// From one to the next.
    step: usize,
    /// How many; may be none.
    pub taps: usize,
    /// Window of the first pixel's first tap; may lie before the first.
    base: isize,
    /// Windows back from one tap to the next.
    back: usize,
}

/// The pixels of one set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strides {
    /// Along the rows.
    pub rows: Axis,
    /// Along the columns.
    pub cols: Axis,
}

/// All sets of an image, if they are not too many.
pub fn sets(d: &ConvDims) -> Option<Vec<Strides>> {
    let along = |window: &Window, pixels: usize| -> Vec<Axis> {
        let sets = (0..window.stride).map(|first| Axis::new(window, first, pixels));
        sets.filter(|a| a.pixels > 0).collect()
    };
    let (rows, cols) = (along(&d.rows, d.h), along(&d.cols, d.w));
    if rows.len() * cols.len() > MOST {
        return None;
    }
    Some(rows.iter().flat_map(|&rows| cols.iter().map(move |&cols| Strides { rows, cols })).collect())
}

impl Axis {
    fn new(window: &Window, first: usize, extent: usize) -> Axis {
        let Window { size, stride, dilation, lo, .. } = *window;
        let ahead = |tap: usize| (first + lo) as isize - (tap * dilation) as isize;
        let meets = |tap: &usize| ahead(*tap).rem_euclid(stride as isize) == 0;
        let step = stride / gcd(stride, dilation);
        let start = (0..size.min(step)).find(meets);
        let taps = start.map_or(0, |start| (size - start).div_ceil(step));
        let start = start.unwrap_or(0);
        Axis {
            first,
            stride,
            pixels: extent.saturating_sub(first).div_ceil(stride),
            start,
            step,
            taps,
            base: ahead(start).div_euclid(stride as isize),
            back: step * dilation / stride,
        }
    }

    /// The pixel of a number.
    pub fn pixel(&self, w: &mut Writer<'_>, i: Value) -> Value {
        w.mul_add(i, Value::index(self.stride), Value::index(self.first))
    }

    /// The tap of a number.
    pub fn tap(&self, w: &mut Writer<'_>, j: Value) -> Value {
        w.mul_add(j, Value::index(self.step), Value::index(self.start))
    }

    /// The window whose tap of number `j` sees the pixel of number `i`, and whether there is one among `outputs`.
    pub fn output(&self, w: &mut Writer<'_>, i: Value, j: Value, outputs: usize) -> (Value, Value) {
        let first = w.add(i, Value::i32(self.base as i32));
        let o = w.mul_add(j, Value::i32(-(self.back as i32)), first);
        let last = self.base + self.pixels as isize - 1;
        let least = self.base - (self.taps.saturating_sub(1) * self.back) as isize;
        let after = if least >= 0 { Value::bool(true) } else { w.lt(Value::i32(-1), o) };
        let before = if last < outputs as isize { Value::bool(true) } else { w.lt(o, Value::index(outputs)) };
        (o, w.and(after, before))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every (pixel, tap, window) that meet is in exactly one set, and nothing else is.
    #[test]
    fn sets_are_what_windows_see() {
        for (size, stride, dilation, lo) in
            [(3, 2, 1, 0), (3, 2, 1, 1), (5, 3, 2, 2), (1, 2, 1, 0), (3, 2, 2, 1), (2, 4, 1, 0), (4, 6, 4, 3)]
        {
            let extent = 13;
            let window = Window { size, stride, dilation, lo, hi: lo };
            let outputs = window.outputs(extent).unwrap_or(0);
            let mut seen = vec![];
            let mut pixels = vec![];
            for first in 0..stride {
                let a = Axis::new(&window, first, extent);
                for i in 0..a.pixels {
                    pixels.push(first + i * stride);
                    for j in 0..a.taps {
                        let o = a.base + i as isize - (j * a.back) as isize;
                        if (0..outputs as isize).contains(&o) {
                            seen.push((first + i * stride, a.start + j * a.step, o as usize));
                        }
                    }
                }
            }
            let mut wanted: Vec<(usize, usize, usize)> = (0..outputs)
                .flat_map(|o| (0..size).map(move |r| (o, r)))
                .filter_map(|(o, r)| Some((window.source(o, r, extent)?, r, o)))
                .collect();
            pixels.sort_unstable();
            assert_eq!(pixels, (0..extent).collect::<Vec<_>>());
            seen.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(seen, wanted, "{window}");
        }
    }
}
