//! Between images and frequencies: tiles of 6x6 source pixels to 36 frequencies, and 36 frequencies to the 4x4 pixels
//! of a result, with bias, ReLU and 2x2 max pooling on the way.
//!
//! A tile is numbered across all images, row by row. Its frequencies lie in 36 planes of [tile, channel].
//! Invariant: pixels outside the source count as zero, pixels outside the result are not written.

#![expect(clippy::needless_range_loop, reason = "constant bounds, so that arrays stay in registers")]

use super::super::store::Store;
use super::super::tile::LINE;
use super::super::vector::{Job, Vector, prefetch_write};
use super::transform::{FREQUENCIES, IN, OUT, input, output, output_gradient};
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
    /// Image, row and column of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (row, x) = (tile / self.tw, tile % self.tw);
        (row / self.th, row % self.th, x)
    }

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
            let ahead = self.ahead(tile);
            let within = |at: isize, n: usize| at >= 0 && at as usize + SIZE <= n;
            let inside = within(y, h) && within(x, w);
            let pixel = ((image * h) as isize + y) * w as isize + x;
            let from = self.from.wrapping_offset(pixel * c as isize);
            for channel in self.channels.clone().step_by(V::LANES) {
                let n = V::LANES.min(self.channels.end - channel);
                let to = to.wrapping_add(channel - self.channels.start);
                let from = from.wrapping_add(channel);
                // SAFETY: only pixels inside are read; the planes have room for the tiles and their channels, and padding
                // for what registers reach past them.
                unsafe {
                    self.ask::<V>(ahead.wrapping_add(channel));
                    if inside && n == V::LANES {
                        self.tile::<V>(to, from, [w * c, c]);
                    } else {
                        let mut pixels = [[V::zero(); SIZE]; SIZE];
                        self.pick(&mut pixels, from, [y, x], n);
                        self.tile::<V>(to, pixels.as_ptr().cast(), [SIZE * V::LANES, V::LANES]);
                    }
                }
            }
        }
    }
}

/// Tiles that pixels are asked for ahead of their use: one takes about as long as the memory.
const AHEAD: usize = 2;

impl<const SIZE: usize> Gather<'_, SIZE> {
    /// The first pixel of a tile to come; may lie outside.
    #[inline(always)]
    fn ahead(&self, tile: usize) -> *const f32 {
        let Grid { h, w, c, .. } = *self.grid;
        let (image, y, x) = self.grid.origin(tile + AHEAD);
        self.from.wrapping_offset((((image * h) as isize + y) * w as isize + x) * c as isize)
    }

    /// Asks for what of a tile its neighbour has not read.
    #[inline(always)]
    unsafe fn ask<V: Vector>(&self, tile: *const f32) {
        let Grid { w, c, .. } = *self.grid;
        for r in 0..SIZE {
            for s in SIZE - OUT..SIZE {
                // SAFETY: any address may be asked for.
                unsafe { V::prefetch(tile.wrapping_add((r * w + s) * c)) };
            }
        }
    }

    /// `n` channels of the pixels of a tile from (y, x) on, those outside zero.
    #[inline(always)]
    unsafe fn pick<V: Vector>(
        &self,
        to: &mut [[V; SIZE]; SIZE],
        from: *const f32,
        [y, x]: [isize; 2],
        n: usize,
    ) {
        let Grid { h, w, c, .. } = *self.grid;
        for r in 0..SIZE {
            for s in 0..SIZE {
                let (row, col) = (y + r as isize, x + s as isize);
                if row >= 0 && col >= 0 && (row as usize) < h && (col as usize) < w {
                    // SAFETY: the pixel is inside.
                    to[r][s] = unsafe { V::load_part(from.wrapping_add((r * w + s) * c), n) };
                }
            }
        }
    }

    /// Transforms a register of channels of a tile; `step`: floats from row to row and from pixel to pixel.
    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, to: *mut f32, from: *const f32, step: [usize; 2]) {
        // SAFETY: as in `run`.
        unsafe {
            self.half::<V, 0>(to, from, step);
            self.half::<V, 1>(to, from, step);
        }
    }

    /// Three of the frequencies along columns, which share no sum with the others, at all along rows.
    #[inline(always)]
    unsafe fn half<V: Vector, const HALF: usize>(
        &self,
        to: *mut f32,
        from: *const f32,
        [row, pixel]: [usize; 2],
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let mut rows = [[V::zero(); SIZE]; IN / 2];
            for s in 0..SIZE {
                let mut column = [V::zero(); SIZE];
                for r in 0..SIZE {
                    column[r] = V::load(from.wrapping_add(r * row + s * pixel));
                }
                let column = expand(column);
                for i in 0..IN / 2 {
                    rows[i][s] = column[HALF * IN / 2 + i];
                }
            }
            let mut to = to.wrapping_add(HALF * FREQUENCIES / 2 * self.to.plane);
            for i in 0..IN / 2 {
                for v in expand(rows[i]) {
                    V::store(v, to);
                    to = to.wrapping_add(self.to.plane);
                }
            }
        }
    }
}

/// A loop's count that the compiler does not know: unrolled, the loop would have more addresses than there are
/// registers.
#[inline(always)]
pub(super) fn rolled(n: usize) -> usize {
    std::hint::black_box(n)
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

/// Asks for what some tiles will write (all of it where pixels begin at cache lines), long before: another worker may have read it last, and its core be far away.
pub(super) struct Ask<'a> {
    pub grid: &'a Grid,
    pub tiles: Range<usize>,
    pub channels: &'a Range<usize>,
    pub k: usize,
    pub place: Place,
}

impl Ask<'_> {
    pub fn run(self) {
        let (at, positions, size, [h, w]) = match self.place {
            Place::Pixels { at, h, w } => (at, std::ptr::null_mut(), OUT, [h, w]),
            Place::Windows { at, arg, h, w } => (at, arg, OUT / 2, [h, w]),
        };
        for tile in self.tiles {
            let (image, y, x) = self.grid.place(tile);
            let (y, x) = (y * size, x * size);
            for row in y..(y + size).min(h) {
                let first = ((image * h + row) * w + x) * self.k;
                let pixels = size.min(w - x);
                for pixel in 0..pixels {
                    let from = first + pixel * self.k + self.channels.start;
                    for c in (0..self.channels.len()).step_by(LINE) {
                        prefetch_write(at.wrapping_add(from + c).cast());
                    }
                    if !positions.is_null() {
                        for c in (0..self.channels.len()).step_by(4 * LINE) {
                            prefetch_write(positions.wrapping_add(from + c));
                        }
                    }
                }
            }
        }
    }
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
                unsafe { self.tile::<V>(tile, from.add(c - self.channels.start), c, n) };
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
    /// Channels `c..c + n` of a tile.
    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, tile: usize, from: *const f32, c: usize, n: usize) {
        let (image, y, x) = self.grid.place(tile);
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
            let store = self.store.from(c);
            for pair in 0..OUT / 2 {
                let mut rows = [[V::zero(); 1]; 2 * OUT];
                for i in 0..2 {
                    let row = output(half[2 * pair + i]);
                    for j in 0..OUT {
                        rows[i * OUT + j][0] = row[j];
                    }
                }
                let (y, x) = (y * OUT + 2 * pair, x * OUT);
                match self.place {
                    Place::Pixels { at, h, w } if y < h => {
                        let place = |i: usize, j: usize| ((image * h + y + i) * w + x + j) * self.k;
                        let (height, width) = (2.min(h - y), OUT.min(w - x));
                        // Of pixels outside, what is added is any other's.
                        let inside = |m: usize| place((m / OUT).min(height - 1), (m % OUT).min(width - 1));
                        store.finish(&mut rows, n, inside);
                        let at = at.wrapping_add(c);
                        for i in 0..height {
                            for j in 0..width {
                                put(rows[i * OUT + j][0], at.wrapping_add(place(i, j)), n);
                            }
                        }
                    }
                    Place::Windows { at, arg, h, w } if y / 2 < h => {
                        let to = ((image * h + y / 2) * w + x / 2) * self.k + c;
                        let arg = if arg.is_null() { arg } else { arg.wrapping_add(to) };
                        let (at, count) = (at.wrapping_add(to), w - x / 2);
                        pool(rows, &store, Pair { at, arg, pitch: self.k, count, lanes: n });
                    }
                    Place::Pixels { .. } | Place::Windows { .. } => {}
                }
            }
        }
    }
}

/// Where two windows side by side go.
pub(super) struct Pair {
    /// Values, and positions or null; elements between the windows.
    pub at: *mut f32,
    pub arg: *mut u8,
    pub pitch: usize,
    /// How many of the two there are; channels.
    pub count: usize,
    pub lanes: usize,
}

/// Finishes the sums of two rows of a tile; the maxima of its two windows, and their positions where those are wanted.
#[inline(always)]
pub(super) unsafe fn pool<V: Vector>(mut rows: [[V; 1]; 2 * OUT], store: &Store, to: Pair) {
    let early = store.keeps_order();
    // SAFETY: the caller vouches for the bias and for the places of `lanes` channels.
    unsafe {
        if !early {
            store.finish(&mut rows, to.lanes, |_| 0);
        }
        let (mut best, mut position) = ([[V::zero()]; 2], [V::zero(); 2]);
        for j in 0..2 {
            let pixel = |r: usize, s: usize| rows[r * OUT + 2 * j + s][0];
            let window = [pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1)];
            if to.arg.is_null() {
                best[j][0] = V::greatest(window);
            } else {
                (best[j][0], position[j]) = V::first_greatest(window);
            }
        }
        if early {
            store.finish(&mut best, to.lanes, |_| 0);
        }
        for j in 0..2 {
            if j < to.count {
                put(best[j][0], to.at.wrapping_add(j * to.pitch), to.lanes);
                if !to.arg.is_null() {
                    V::store_bytes(position[j], to.arg.wrapping_add(j * to.pitch), to.lanes);
                }
            }
        }
    }
}
