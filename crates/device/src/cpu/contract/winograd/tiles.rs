//! Between images and frequencies: tiles of 6x6 source pixels to 36 frequencies, and 36 frequencies to the 4x4 pixels
//! of a result, with bias, ReLU and 2x2 max pooling on the way.
//!
//! A tile is numbered across all images, row by row. Its frequencies lie in 36 planes of [tile, channel].
//! Invariant: pixels outside the source count as zero, pixels outside the result are not written.

use super::super::tile::Store;
use super::super::vector::{Job, Vector};
use super::transform::{IN, OUT, input, output, output_gradient};
use std::ops::Range;

/// Images [.., h, w, c] cut into th x tw tiles; tile 0 begins at pixel (top, left), which may lie outside.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub th: usize,
    pub tw: usize,
    pub top: isize,
    pub left: isize,
}

impl Grid {
    /// Image, row and column of a tile's first pixel.
    fn origin(&self, tile: usize) -> (usize, isize, isize) {
        let (row, x) = (tile / self.tw, tile % self.tw);
        let (image, y) = (row / self.th, row % self.th);
        (image, (y * OUT) as isize + self.top, (x * OUT) as isize + self.left)
    }
}

/// Frequencies of some tiles.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub at: *mut f32,
    /// Floats between tiles, and between frequencies.
    pub pitch: usize,
    pub plane: usize,
}

/// What a pixel outside reads.
static ZEROS: [f32; 16] = [0.0; 16];

/// Transforms tiles of `SIZE` x `SIZE` pixels; channels `channels` of each.
pub(super) struct Gather<'a, const SIZE: usize> {
    pub grid: &'a Grid,
    pub tiles: Range<usize>,
    pub channels: Range<usize>,
    pub from: *const f32,
    pub to: Planes,
}

impl<const SIZE: usize> Job for Gather<'_, SIZE> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Grid { h, w, c, .. } = *self.grid;
        let first = self.tiles.start;
        for tile in self.tiles.clone() {
            let (image, y, x) = self.grid.origin(tile);
            let to = self.to.at.wrapping_add((tile - first) * self.to.pitch);
            let within = |at: isize, n: usize| at >= 0 && at as usize + SIZE <= n;
            let place = |r: usize, s: usize| {
                let (y, x) = (y + r as isize, x + s as isize);
                let inside = y >= 0 && x >= 0 && (y as usize) < h && (x as usize) < w;
                inside.then(|| self.from.wrapping_add(((image * h + y as usize) * w + x as usize) * c))
            };
            // SAFETY: only pixels inside are read; the planes have room for the tiles and their channels.
            unsafe {
                if within(y, h) && within(x, w) {
                    let from = self.from.wrapping_add(((image * h + y as usize) * w + x as usize) * c);
                    self.channels::<V>(to, |r, s| (from.wrapping_add((r * w + s) * c), 1));
                } else {
                    let mut places = [[(ZEROS.as_ptr(), 0); SIZE]; SIZE];
                    for r in 0..SIZE {
                        for s in 0..SIZE {
                            if let Some(from) = place(r, s) {
                                places[r][s] = (from, 1);
                            }
                        }
                    }
                    self.channels::<V>(to, |r, s| places[r][s]);
                }
            }
        }
    }
}

impl<const SIZE: usize> Gather<'_, SIZE> {
    /// All channels of a tile; `place`: where a pixel's first channel is, and the step between channels.
    #[inline(always)]
    unsafe fn channels<V: Vector>(
        &self,
        to: *mut f32,
        place: impl Fn(usize, usize) -> (*const f32, usize),
    ) {
        // SAFETY: as in `run`; registers that reach past the channels are stored into the planes' padding.
        unsafe {
            for c in self.channels.clone().step_by(V::LANES) {
                let n = V::LANES.min(self.channels.end - c);
                let to = to.add(c - self.channels.start);
                let at = |r: usize, s: usize| {
                    let (from, step) = place(r, s);
                    from.wrapping_add(c * step)
                };
                if n == V::LANES {
                    self.tile(to, |r, s| V::load(at(r, s)));
                } else {
                    self.tile(to, |r, s| V::load_part(at(r, s), n));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, to: *mut f32, load: impl Fn(usize, usize) -> V) {
        // SAFETY: as in `run`.
        unsafe {
            let mut half = [[V::zero(); SIZE]; IN];
            for s in 0..SIZE {
                let mut column = [V::zero(); SIZE];
                for r in 0..SIZE {
                    column[r] = load(r, s);
                }
                let column = expand(column);
                for i in 0..IN {
                    half[i][s] = column[i];
                }
            }
            for i in 0..IN {
                let row = expand(half[i]);
                for j in 0..IN {
                    V::store(row[j], to.wrapping_add((i * IN + j) * self.to.plane));
                }
            }
        }
    }
}

/// `SIZE` pixels of an axis to frequencies: of an input, or of an output's gradient.
#[inline(always)]
unsafe fn expand<V: Vector, const SIZE: usize>(x: [V; SIZE]) -> [V; IN] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        if SIZE == IN {
            input([x[0], x[1], x[2], x[3], x[SIZE - 2], x[SIZE - 1]])
        } else {
            output_gradient([x[0], x[1], x[2], x[3]])
        }
    }
}

/// Where results go.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Rows of `w` pixels and images of `h` rows, of k channels, from the address of (image 0, row 0).
    Pixels { at: *mut f32, h: usize, w: usize },
    /// Values and positions of 2x2 windows, `h` x `w` an image; positions may be null.
    Windows { at: *mut f32, arg: *mut u8, h: usize, w: usize },
}

/// Transforms frequencies back: channels `channels` of `k`.
pub(super) struct Scatter<'a> {
    pub grid: &'a Grid,
    pub tiles: Range<usize>,
    pub channels: Range<usize>,
    pub from: Planes,
    pub k: usize,
    /// Bias of channel 0.
    pub store: Store,
    pub place: Place,
}

impl Job for Scatter<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let first = self.tiles.start;
        for tile in self.tiles.clone() {
            let from = self.from.at.wrapping_add((tile - first) * self.from.pitch);
            for c in self.channels.clone().step_by(V::LANES) {
                let n = V::LANES.min(self.channels.end - c);
                // SAFETY: the caller vouches for the planes, the bias and the result.
                unsafe {
                    let pixels = self.pixels::<V>(from.add(c - self.channels.start), c, n);
                    self.put(tile, c, n, pixels);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn put<V: Vector>(v: V, to: *mut f32, n: usize) {
    // SAFETY: the caller vouches for `n` elements.
    unsafe { if n == V::LANES { V::store(v, to) } else { V::store_part(v, to, n) } }
}

impl Scatter<'_> {
    /// The finished pixels of a tile.
    #[inline(always)]
    unsafe fn pixels<V: Vector>(&self, from: *const f32, c: usize, n: usize) -> [[V; OUT]; OUT] {
        // SAFETY: as in `run`.
        unsafe {
            let mut half = [[V::zero(); IN]; OUT];
            for s in 0..IN {
                let mut column = [V::zero(); IN];
                for r in 0..IN {
                    column[r] = V::load(from.wrapping_add((r * IN + s) * self.from.plane));
                }
                let column = output(column);
                for i in 0..OUT {
                    half[i][s] = column[i];
                }
            }
            let bias = match self.store.bias.is_null() {
                true => V::zero(),
                false => V::load_part(self.store.bias.add(c), n),
            };
            let mut pixels = [[V::zero(); OUT]; OUT];
            for i in 0..OUT {
                let row = output(half[i]);
                for j in 0..OUT {
                    let v = V::add(row[j], bias);
                    pixels[i][j] = if self.store.relu { V::relu(v) } else { v };
                }
            }
            pixels
        }
    }

    #[inline(always)]
    unsafe fn put<V: Vector>(&self, tile: usize, c: usize, n: usize, pixels: [[V; OUT]; OUT]) {
        let (row, x) = (tile / self.grid.tw, tile % self.grid.tw);
        let (image, y) = (row / self.grid.th, row % self.grid.th);
        // SAFETY: as in `run`; rows and columns are checked against the result's.
        unsafe {
            match self.place {
                Place::Pixels { at, h, w } => {
                    let (y, x) = (y * OUT, x * OUT);
                    let to = at.wrapping_add(((image * h + y) * w + x) * self.k + c);
                    let (rows, cols) = (OUT.min(h - y), OUT.min(w - x));
                    for i in 0..OUT {
                        for j in 0..OUT {
                            if i < rows && j < cols {
                                put(pixels[i][j], to.wrapping_add((i * w + j) * self.k), n);
                            }
                        }
                    }
                }
                Place::Windows { at, arg, h, w } => {
                    let (y, x) = (y * OUT / 2, x * OUT / 2);
                    let to = ((image * h + y) * w + x) * self.k + c;
                    let (rows, cols) = ((OUT / 2).min(h - y), (OUT / 2).min(w - x));
                    for i in 0..OUT / 2 {
                        for j in 0..OUT / 2 {
                            if i < rows && j < cols {
                                let p = |r: usize, s: usize| pixels[2 * i + r][2 * j + s];
                                let at_ = to + (i * w + j) * self.k;
                                let (mut best, mut position) = (p(0, 0), V::zero());
                                for (n, v) in [p(0, 1), p(1, 0), p(1, 1)].into_iter().enumerate() {
                                    let here = V::splat((n + 1) as f32);
                                    (best, position) = V::better(best, position, v, here);
                                }
                                put(best, at.wrapping_add(at_), n);
                                if !arg.is_null() {
                                    V::store_bytes(position, arg.wrapping_add(at_), n);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
