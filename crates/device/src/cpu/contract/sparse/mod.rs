//! Convolution gradients behind a max pooling, where most of the output gradient is exact zeros.
//!
//! In: the pooled gradient and the positions of the maxima, instead of the unpooled gradient. Only live elements
//! (not 0) are multiplied: with 2 x 2 windows at most a quarter, less behind a ReLU. (For filter gradients of few input
//! channels all that were pooled are, live or not: [`patches`].) One filter row of one output
//! channel is `cols.size * c` contiguous floats, as is the image patch it meets, so the work is vectors of those:
//! the filter gradient holds them in registers over an output channel's live elements, the input gradient over
//! the live elements of one position of one window, or of all of one window's. Invariant: sums run in a fixed order,
//! so results depend neither on units nor on workers. Where elements that are 0 are skipped, they are also where they would meet an infinity
//! or NaN.

mod filter;
mod held;
mod input;
mod patches;
mod window;

use super::vector::lanes;
use crate::cpu::Isa;
pub(super) use filter::SparseFilter;
pub(super) use input::SparseInput;
use thalweg_base::{ConvDims, PoolDims, Window};

/// Positions of a window, at most. Any byte is taken as one of them (`% POSITIONS`) or none, so that none leads
/// outside of the image; plans hold no others.
const POSITIONS: usize = 16;

/// Shared geometry.
struct Geometry {
    isa: Isa,
    d: ConvDims,
    pool: PoolDims,
    /// Padded image: width and floats.
    width: usize,
    floats: usize,
    /// Floats of a filter row, and its pitch in packed filters.
    row: usize,
    pitch: usize,
    /// Per position, floats from the patch of a window's first position to that of this one.
    steps: [u32; POSITIONS],
}

impl Geometry {
    fn new(d: &ConvDims, pool: &PoolDims, isa: Isa) -> Geometry {
        let width = d.w + d.cols.lo + d.cols.hi;
        let height = d.h + d.rows.lo + d.rows.hi;
        let row = d.cols.size * d.c;
        let pitch = row.next_multiple_of(lanes(isa));
        let floats = width * height * d.c;
        let mut g = Geometry { isa, d: *d, pool: *pool, width, floats, row, pitch, steps: [0; POSITIONS] };
        for p in 0..g.positions() {
            let (y, x) = (p / pool.cols.size * pool.rows.dilation, p % pool.cols.size * pool.cols.dilation);
            g.steps[p] = ((y * d.rows.stride * width + x * d.cols.stride) * d.c) as u32;
        }
        g
    }

    fn padded(&self) -> bool {
        [self.d.rows, self.d.cols].iter().any(|w| w.lo + w.hi > 0)
    }

    fn windows(&self) -> usize {
        self.pool.oh * self.pool.ow
    }

    fn positions(&self) -> usize {
        self.pool.rows.size * self.pool.cols.size
    }

    /// Packed filter floats of one output channel.
    fn channel(&self) -> usize {
        self.d.rows.size * self.pitch
    }

    /// First float of the patch that meets the first position of a window.
    fn window(&self, w: usize) -> u32 {
        let first = |w: &Window, o: usize| o * w.stride - w.lo;
        let (y, x) = (first(&self.pool.rows, w / self.pool.ow), first(&self.pool.cols, w % self.pool.ow));
        ((y * self.d.rows.stride * self.width + x * self.d.cols.stride) * self.d.c) as u32
    }

    /// Floats between the patch's rows.
    fn step(&self) -> usize {
        self.d.rows.dilation * self.width * self.d.c
    }

    /// The image as patches need it: itself, or a zero-padded copy in `stage`.
    ///
    /// # Safety
    /// `image` is one image; `stage` has `floats` of room if the convolution pads.
    unsafe fn stage(&self, image: *const f32, stage: *mut f32) -> *const f32 {
        if !self.padded() {
            return image;
        }
        let line = self.d.w * self.d.c;
        // SAFETY: the padded image holds every line at its place.
        unsafe {
            stage.write_bytes(0, self.floats);
            for y in 0..self.d.h {
                let to = ((y + self.d.rows.lo) * self.width + self.d.cols.lo) * self.d.c;
                stage.add(to).copy_from_nonoverlapping(image.add(y * line), line);
            }
        }
        stage
    }
}

/// Round to whole cache lines.
fn lines(bytes: usize) -> usize {
    bytes.next_multiple_of(64)
}
