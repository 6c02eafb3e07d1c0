//! The filter at all frequencies, in the panels that products read.
//!
//! In: a filter HWIO of 3x3 taps. Out, per frequency: the panels of a matrix [channels summed over, channels of the
//! result]. An input gradient sums over the output's channels and turns the taps by 180 degrees. Frequencies lie
//! `plane` floats apart, never a multiple of a page: 36 streams are written side by side.

#![expect(clippy::needless_range_loop, reason = "constant bounds, so that arrays stay in registers")]

use super::super::product::{Columns, Reduction};
use super::super::vector::{Job, Vector};
use super::tiles::rolled;
use super::transform::{FREQUENCIES, IN, filter};

/// Transforms one panel.
pub(super) struct Pack<'a> {
    pub sum: &'a Reduction,
    pub columns: &'a Columns,
    /// Which, of `Reduction::panels`.
    pub panel: usize,
    /// The filter, its channels [c, k], and whether it is an input gradient's.
    pub from: *const f32,
    pub channels: [usize; 2],
    pub turned: bool,
    pub to: *mut f32,
    pub plane: usize,
}

/// Most elements of a block of LANES x LANES.
const BLOCK: usize = 16 * 16;

impl Job for Pack<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let blocks = self.columns.blocks.len();
        let (cut, col) = (&self.sum.cuts[self.panel / blocks], &self.columns.blocks[self.panel % blocks]);
        let width = col.vectors * V::LANES;
        let to = self.to.wrapping_add(cut.row * self.columns.width + cut.rows * col.packed);
        let mut taps = [0.0f32; 9 * BLOCK];
        for row in (0..cut.rows).step_by(V::LANES) {
            let rows = V::LANES.min(cut.rows - row);
            for v in 0..col.vectors {
                let cols = V::LANES.min(col.cols - v * V::LANES);
                let (first, at) = (cut.row + row, col.at + v * V::LANES);
                // SAFETY: the caller vouches for both ends; rows and columns are those of the panel.
                unsafe {
                    self.taps::<V>([first, rows], [at, cols], &mut taps);
                    for r in 0..rows {
                        let tap = |t: usize| V::load(taps.as_ptr().add(t * BLOCK + r * V::LANES));
                        let mut half = [[V::zero(); 3]; IN];
                        for s in 0..3 {
                            let column = filter([tap(s), tap(3 + s), tap(6 + s)]);
                            for i in 0..IN {
                                half[i][s] = column[i];
                            }
                        }
                        let to = to.add((row + r) * width + v * V::LANES);
                        for i in 0..rolled(IN) {
                            let to = to.wrapping_add(i * IN * self.plane);
                            for (j, u) in filter(half[i % IN]).into_iter().enumerate() {
                                V::store(u, to.wrapping_add(j * self.plane));
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Pack<'_> {
    /// The nine taps of a block of channels, rows as they are summed over, zero behind the last column.
    #[inline(always)]
    unsafe fn taps<V: Vector>(
        &self,
        [first, rows]: [usize; 2],
        [at, cols]: [usize; 2],
        taps: &mut [f32; 9 * BLOCK],
    ) {
        let [c, k] = self.channels;
        for t in 0..9 {
            let to = taps[t * BLOCK..].as_mut_ptr();
            // SAFETY: a block has at most LANES rows and columns, inside the filter.
            unsafe {
                if !self.turned {
                    let from = self.from.add((t * c + first) * k + at);
                    for r in 0..rows {
                        V::store(V::load_part(from.add(r * k), cols), to.add(r * V::LANES));
                    }
                    continue;
                }
                let from = self.from.add(((8 - t) * c + at) * k + first);
                if rows == V::LANES && cols == V::LANES {
                    V::transpose(from, k, to, V::LANES);
                    continue;
                }
                for r in 0..rows {
                    for x in 0..V::LANES {
                        *to.add(r * V::LANES + x) = if x < cols { *from.add(x * k + r) } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Floats between frequencies of a filter.
pub(super) fn plane(sums: usize, columns: &Columns) -> usize {
    (sums * columns.width).next_multiple_of(16) + 16
}

/// Floats of the packed filter.
pub(super) fn packed(sums: usize, columns: &Columns) -> usize {
    FREQUENCIES * plane(sums, columns)
}
