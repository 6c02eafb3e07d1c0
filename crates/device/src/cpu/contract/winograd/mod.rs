//! Winograd's convolutions: 3x3 filters of stride 1 by a quarter of the multiplications, or by a third of them where there
//! are few channels (`stripes`), between transforms that only add and scale.
//!
//! Sums are those of the definition but for rounding: transformed values are differences of the image's, so a result
//! that is exactly 0 by the definition, as where a patch is black, may come out as a few units of the last place of its
//! neighbours (a tile whose patch is all zero stays exactly 0). A NaN or an infinity spreads over its tile.
//! Invariant: [`pays`] and all cuts depend on shapes alone; a target that is `exact` never comes here.

mod filter;
mod forward;
mod pack;
mod stripes;
mod tiles;
mod transform;

use super::Transforms;
use super::finish::Finish;
pub(super) use filter::WinogradFilter;
pub(super) use forward::Winograd;
pub(super) use stripes::Stripes;
use thalweg_base::{ConvDims, Window};
use transform::OUT;

/// Whether this is the geometry of F(4x4, 3x3).
fn fits(d: &ConvDims) -> bool {
    let plain = |w: &Window| w.size == 3 && w.stride == 1 && w.dilation == 1;
    plain(&d.rows) && plain(&d.cols) && d.groups == 1
}

/// Whether `h` x `w` results of `d.n` images are faster so than by the definition.
///
/// Measured on one core of an Intel Xeon with AVX-512 (with AVX2 alike) that others used as well, alternating, best
/// times: how many times faster than the direct kernel, packing included; forward, input gradient, filter gradient.
///
/// | images, size, channels | | | |
/// | --- | ---: | ---: | ---: |
/// | 32 of 16x16, 16 | 1.3 | 1.3 | 1.2 |
/// | 32 of 16x16, 32 | 1.9 | 1.9 | 1.6 |
/// | 64 of 32x32, 64 | 2.4 | 2.4 | 2.0 |
/// | 64 of 16x16, 128 | 2.5 | 2.4 | 1.7 |
/// | 64 of 8x8, 256 | 2.5 | 2.4 | 1.9 |
/// | 64 of 4x4, 512 (64 tiles) | 1.6 | 1.5 | 1.6 |
/// | 32 of 4x4, 512 (32 tiles) | 1.0 | 1.1 | 1.4 |
fn pays(d: &ConvDims, h: usize, w: usize) -> bool {
    let tiles = d.n * h.div_ceil(OUT) * w.div_ceil(OUT);
    // Transforms cost as much as some 16 channels; tiles over the edge are waste; the filter's transform and its
    // way from memory are shared by all tiles.
    let dense = 9 * d.n * h * w >= 2 * 36 * tiles;
    dense && d.c >= 16 && d.k >= 16 && tiles >= 32
}

/// Whether a convolution (`h` x `w` results) or its input gradient should run so.
pub(super) fn suits(d: &ConvDims, [h, w]: [usize; 2], finish: &Finish, transforms: Transforms) -> bool {
    let (h, w) = finish.kept(h, w);
    let wanted = match transforms {
        Transforms::Never => false,
        Transforms::WhereFaster => pays(d, h, w),
        Transforms::WherePossible => true,
    };
    wanted && fits(d) && finish.within(OUT)
}

/// Whether a filter gradient should run so.
pub(super) fn suits_filter(d: &ConvDims, parts: usize, transforms: Transforms) -> bool {
    let wanted = match transforms {
        Transforms::Never => false,
        // The way back is shared by all tiles of a part.
        Transforms::WhereFaster => {
            let tiles = d.oh.div_ceil(OUT) * d.ow.div_ceil(OUT) * d.n / parts;
            pays(d, d.oh, d.ow) && tiles >= 32
        }
        Transforms::WherePossible => true,
    };
    wanted && fits(d)
}
