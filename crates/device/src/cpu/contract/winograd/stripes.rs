//! A convolution of few input channels with a 2 x 2 max pooling behind it, by F(2x4, 3x3).
//!
//! With so few channels 36 products a tile would be outnumbered by what is added before and behind them. A tile is two
//! windows side by side: 24 products a channel instead of 72, and along the rows transforms only add. Of each of the six
//! frequencies along the columns, the four along the rows are summed up in registers to the two rows of the tile; these
//! twelve become pixels, windows and results of a block of tiles while they are in the first-level cache. Units are bands,
//! some rows of windows of an image. A NaN or an infinity spreads over its tile, also from columns that no window needs.
//! Invariant: a result does not depend on how bands are cut, nor on which tiles it is worked on with.

use super::super::finish::Finish;
use super::super::store::Store;
use super::super::tile::LINE;
use super::super::vector::{Job, Vector, dispatch, lanes, prefetch_write};
use super::super::{Desk, Transforms};
use super::fits;
use super::tiles::{Pair, pool};
use super::transform::{IN, OUT, filter, input, output, pair_filter, pair_input, pair_output};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, PoolEpilogue};
use std::ops::Range;
use thalweg_base::ConvDims;

/// Input channels, at most: a pixel is copied as a whole.
const CHANNELS: usize = 4;
/// Rows of windows in a band, at most, so that few rows are transformed twice; but units are to be some.
const BAND: usize = 8;
const UNITS: usize = 8;
/// Rows and columns of the filter; source rows of a tile, which are as many frequencies.
const TAPS: usize = 3;
const ROWS: usize = 4;
/// Registers of a row of a block of tiles, at most: two rows are summed up at once.
const TOGETHER: usize = 8;

/// Such a convolution.
pub(in super::super) struct Stripes {
    isa: Isa,
    d: ConvDims,
    pool: PoolEpilogue,
    a: BufferId,
    b: BufferId,
    out: BufferId,
    finish: Finish,
    /// Tiles of a row.
    tiles: usize,
    bands: usize,
    /// Floats of every fourth pixel of a row, and of one frequency of a row.
    phase: usize,
    line: usize,
}

impl Stripes {
    /// Whether a convolution should run so.
    pub fn suits(d: &ConvDims, finish: &Finish, isa: Isa, transforms: Transforms) -> bool {
        let Some(pool) = finish.windows() else { return false };
        let wanted = match transforms {
            Transforms::Never => false,
            Transforms::WhereFaster => Stripes::pays(d, pool.dims.ow),
            Transforms::WherePossible => true,
        };
        wanted && fits(d) && d.c <= CHANNELS && d.k.is_multiple_of(lanes(isa))
    }

    /// Whether that is faster than by the definition, with `ow` windows in a row.
    ///
    /// Measured on one core of an AMD EPYC with AVX2, alternating, best times, for three channels: 1.5 times as fast as
    /// F(4, 3) along the columns alone, which was 1.3 times as fast as the definition. Not measured for two and four.
    fn pays(d: &ConvDims, ow: usize) -> bool {
        // Of the tiles' pixels at most a fifth lie behind the last window.
        let full = ow.div_ceil(2) * 8 <= ow * 5;
        full && d.c >= 2
    }

    pub fn new(
        d: &ConvDims,
        pool: PoolEpilogue,
        buffers: [BufferId; 3],
        finish: Finish,
        isa: Isa,
    ) -> Stripes {
        let [a, b, out] = buffers;
        let tiles = pool.dims.ow.div_ceil(2);
        let line = (tiles * d.c).next_multiple_of(16);
        // A register of the phase behind a tile's own begins a pixel later.
        let phase = (line + CHANNELS).next_multiple_of(16);
        let mut bands = pool.dims.oh.div_ceil(BAND);
        while d.n * bands < UNITS && bands < pool.dims.oh {
            bands = (2 * bands).min(pool.dims.oh);
        }
        Stripes { isa, d: *d, pool, a, b, out, finish, tiles, bands, phase, line }
    }

    /// Rows of windows of a band.
    fn band(&self, n: usize) -> Range<usize> {
        n * self.pool.dims.oh / self.bands..(n + 1) * self.pool.dims.oh / self.bands
    }

    /// Floats of each part of a worker's scratch.
    fn floats(&self) -> [usize; 4] {
        let row = IN * self.line;
        [OUT * self.phase, ROWS * row, ROWS * row, 2 * IN * TOGETHER * lanes(self.isa)]
    }

    fn scratch(&self, at: *mut f32) -> Scratch {
        let [phases, rows, source, _] = self.floats();
        let rows_at = at.wrapping_add(phases);
        let source_at = rows_at.wrapping_add(rows);
        Scratch { phases: at, rows: rows_at, source: source_at, sums: source_at.wrapping_add(source) }
    }

    pub fn worker_bytes(&self) -> usize {
        self.floats().into_iter().sum::<usize>() * 4
    }

    pub fn shared_bytes(&self) -> usize {
        IN * ROWS * self.d.c * self.d.k * 4
    }

    pub fn pack_units(&self) -> usize {
        1
    }

    /// # Safety
    /// As for `Prepared::pack`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        if !units.is_empty() {
            let pack = Pack { of: self, from: bases.get(self.b).cast(), to: shared.cast() };
            // SAFETY: both ends have all of the filter.
            unsafe { dispatch(self.isa, pack) };
        }
    }

    pub fn units_per_image(&self) -> usize {
        self.bands
    }

    pub fn units(&self) -> usize {
        self.d.n * self.bands
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, Desk { bases, shared, worker }: Desk) {
        let (d, p) = (&self.d, &self.pool.dims);
        for unit in units {
            let (image, windows) = (unit / self.bands, self.band(unit % self.bands));
            let first = (image * p.oh + windows.start) * p.ow * d.k;
            let band = Band {
                of: self,
                image: bases.get(self.a).cast::<f32>().wrapping_add(image * d.h * d.w * d.c),
                top: (2 * windows.start) as isize - d.rows.lo as isize,
                windows: windows.len(),
                scratch: self.scratch(worker.cast()),
                filter: shared.cast(),
                store: self.finish.store(bases),
                out: bases.get(self.out).cast::<f32>().wrapping_add(first),
                arg: self.pool.arg.map_or(std::ptr::null_mut(), |b| bases.get(b).wrapping_add(first)),
            };
            // SAFETY: the caller vouches for the buffers; the worker's scratch is laid out as `worker_bytes` says.
            unsafe { dispatch(self.isa, band) };
        }
    }
}

/// Blocks of one or two registers of columns, each `[frequency along columns][along rows][channel][column]`, from a
/// filter [rows, columns, c, k].
struct Pack<'a> {
    of: &'a Stripes,
    from: *const f32,
    to: *mut f32,
}

impl Job for Pack<'_> {
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (c, k) = (self.of.d.c, self.of.d.k);
        for (channel, col) in (0..c).flat_map(|ch| (0..k).step_by(V::LANES).map(move |col| (ch, col))) {
            let first = col / (2 * V::LANES) * 2 * V::LANES;
            let width = (k - first).min(2 * V::LANES);
            // SAFETY: the caller vouches for both ends; k is whole registers.
            unsafe {
                let mut rows = [[V::zero(); IN]; TAPS];
                for (r, row) in rows.iter_mut().enumerate() {
                    let mut taps = [V::zero(); TAPS];
                    for (s, tap) in taps.iter_mut().enumerate() {
                        *tap = V::load(self.from.add(((r * TAPS + s) * c + channel) * k + col));
                    }
                    *row = filter(taps);
                }
                let to = self.to.add(first * IN * ROWS * c + channel * width + col - first);
                for i in 0..IN {
                    let column = pair_filter([rows[0][i], rows[1][i], rows[2][i]]);
                    for (r, v) in column.into_iter().enumerate() {
                        V::store(v, to.add((i * ROWS + r) * c * width));
                    }
                }
            }
        }
    }
}

/// Some rows of windows of an image.
struct Band<'a> {
    of: &'a Stripes,
    image: *const f32,
    /// The first source row; may lie outside.
    top: isize,
    windows: usize,
    scratch: Scratch,
    filter: *const f32,
    store: Store,
    out: *mut f32,
    arg: *mut u8,
}

/// A worker's scratch.
#[derive(Clone, Copy)]
struct Scratch {
    /// A row's pixels by their place in a tile: `OUT` phases.
    phases: *mut f32,
    /// The last four source rows at the frequencies along columns: row `y` is at `y % 4`.
    rows: *mut f32,
    /// The source of a row of tiles: the frequencies along rows, of those along columns.
    source: *mut f32,
    /// Sums of a block of tiles: by frequency, row, tile and register.
    sums: *mut f32,
}

impl Job for Band<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: as for `Stripes::run`; channels are whole registers.
        unsafe {
            match self.of.d.c {
                1 => self.rows::<V, 1>(),
                2 => self.rows::<V, 2>(),
                3 => self.rows::<V, 3>(),
                _ => self.rows::<V, 4>(),
            }
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    unsafe fn rows<V: Vector, const C: usize>(&self) {
        let s = self.of;
        // SAFETY: as for `Stripes::run`.
        unsafe {
            // What padding reads.
            self.scratch.phases.write_bytes(0, OUT * s.phase);
            for y in 0..self.windows {
                for row in if y == 0 { 0..ROWS } else { 2 * y + 2..2 * y + ROWS } {
                    self.row::<V, C>(row);
                }
                self.mix::<V>(2 * y);
                let mut col = 0;
                while col < s.d.k {
                    if col + 2 * V::LANES <= s.d.k {
                        self.columns::<V, C, 2>(y, col);
                        col += 2 * V::LANES;
                    } else {
                        self.columns::<V, C, 1>(y, col);
                        col += V::LANES;
                    }
                }
            }
        }
    }

    /// A source row at the frequencies along columns.
    #[inline(always)]
    unsafe fn row<V: Vector, const C: usize>(&self, row: usize) {
        let s = self.of;
        let y = self.top + row as isize;
        let to = self.scratch.rows.wrapping_add(row % ROWS * IN * s.line);
        // SAFETY: only pixels inside are read; the scratch has room.
        unsafe {
            if y < 0 || y as usize >= s.d.h {
                to.write_bytes(0, IN * s.line);
                return;
            }
            self.deal::<C>(self.image.add(y as usize * s.d.w * C));
            for at in (0..s.line).step_by(V::LANES) {
                let mut d = [V::zero(); IN];
                for (i, d) in d.iter_mut().enumerate() {
                    *d = V::load(self.scratch.phases.add(i % OUT * s.phase + i / OUT * C + at));
                }
                for (i, v) in input(d).into_iter().enumerate() {
                    V::store(v, to.add(i * s.line + at));
                }
            }
        }
    }

    /// Deals a row's pixels out by their place in a tile.
    #[inline(always)]
    unsafe fn deal<const C: usize>(&self, row: *const f32) {
        let s = self.of;
        let before = s.d.cols.lo;
        // A tile reads two pixels of the next.
        let used = s.d.w.min((s.tiles * OUT + IN - OUT).saturating_sub(before));
        for phase in 0..OUT {
            // The first pixel of this phase that is inside.
            let mut x = (phase + OUT - before % OUT) % OUT;
            let mut to = self.scratch.phases.wrapping_add(phase * s.phase + (x + before) / OUT * C);
            while x < used {
                // SAFETY: pixels inside the image; places before the phase's end.
                unsafe {
                    to.cast::<[f32; C]>().write_unaligned(row.add(x * C).cast::<[f32; C]>().read_unaligned())
                };
                to = to.wrapping_add(C);
                x += OUT;
            }
        }
    }

    /// Four source rows from `first` on to their frequencies.
    #[inline(always)]
    unsafe fn mix<V: Vector>(&self, first: usize) {
        let (line, Scratch { rows, source, .. }) = (IN * self.of.line, self.scratch);
        for at in (0..line).step_by(V::LANES) {
            // SAFETY: the scratch has all four.
            unsafe {
                let mut d = [V::zero(); ROWS];
                for (r, d) in d.iter_mut().enumerate() {
                    *d = V::load(rows.add((first + r) % ROWS * line + at));
                }
                for (r, v) in pair_input(d).into_iter().enumerate() {
                    V::store(v, source.add(r * line + at));
                }
            }
        }
    }

    /// `NV` registers of channels from `col` on of a row of tiles.
    #[inline(always)]
    unsafe fn columns<V: Vector, const C: usize, const NV: usize>(&self, y: usize, col: usize) {
        let mut x = 0;
        // SAFETY: as for `Stripes::run`.
        unsafe {
            while x < self.of.tiles {
                let left = self.of.tiles - x;
                x += match () {
                    () if V::REGISTERS == 32 && left >= 4 => self.tiles::<V, C, 4, NV>(y, x, col),
                    () if V::REGISTERS == 16 && left >= 3 => self.tiles::<V, C, 3, NV>(y, x, col),
                    () if left >= 2 => self.tiles::<V, C, 2, NV>(y, x, col),
                    () => self.tiles::<V, C, 1, NV>(y, x, col),
                };
            }
        }
    }

    /// Asks for what `tiles` tiles from `x` on will write a row of windows further down, `width` channels from `col` on.
    #[inline(always)]
    fn ask(&self, y: usize, x: usize, tiles: usize, col: usize, width: usize) {
        let (ow, k) = (self.of.pool.dims.ow, self.of.d.k);
        for window in 2 * x..(2 * (x + tiles)).min(ow) {
            let at = ((y + 1) * ow + window) * k + col;
            for c in (0..width).step_by(LINE) {
                prefetch_write(self.out.wrapping_add(at + c).cast());
            }
            if !self.arg.is_null() {
                prefetch_write(self.arg.wrapping_add(at));
            }
        }
    }

    /// `T` tiles from `x` on, `NV` registers of channels from `col` on; how many tiles.
    #[inline(always)]
    unsafe fn tiles<V: Vector, const C: usize, const T: usize, const NV: usize>(
        &self,
        y: usize,
        x: usize,
        col: usize,
    ) -> usize {
        let line = self.of.line;
        let mut from = self.scratch.source.cast_const().wrapping_add(x * C);
        let mut filter = self.filter.wrapping_add(col * IN * ROWS * C);
        let width = C * NV * V::LANES;
        let sums = self.scratch.sums;
        self.ask(y, x, T, col, NV * V::LANES);
        // SAFETY: as for `Stripes::run`.
        unsafe {
            for i in 0..IN {
                let source = |r: usize| from.wrapping_add(r * IN * line);
                let taps = |r: usize| filter.wrapping_add(r * width);
                let none = [[V::zero(); NV]; T];
                let mut upper = dots::<V, C, T, NV>(none, source(1), taps(1));
                let mut lower = dots::<V, C, T, NV>(none, source(2), taps(2));
                for t in 0..T {
                    for v in 0..NV {
                        [upper[t][v], lower[t][v]] = pair_output([upper[t][v], lower[t][v]]);
                    }
                }
                upper = dots::<V, C, T, NV>(upper, source(0), taps(0));
                lower = dots::<V, C, T, NV>(lower, source(3), taps(3));
                for t in 0..T {
                    for v in 0..NV {
                        let to = sums.wrapping_add((v * T + t) * 2 * IN * V::LANES);
                        V::store(upper[t][v], to.add(i * V::LANES));
                        V::store(lower[t][v], to.add((IN + i) * V::LANES));
                    }
                }
                from = from.wrapping_add(line);
                filter = filter.wrapping_add(ROWS * width);
            }
            let (ow, k) = (self.of.pool.dims.ow, self.of.d.k);
            for v in 0..NV {
                let (store, col) = (self.store.from(col + v * V::LANES), col + v * V::LANES);
                for t in 0..T {
                    let x = 2 * (x + t);
                    let to = (y * ow + x) * k + col;
                    let arg = if self.arg.is_null() { self.arg } else { self.arg.wrapping_add(to) };
                    let at = self.out.wrapping_add(to);
                    let place = Pair { at, arg, pitch: k, count: ow - x, lanes: V::LANES };
                    pool(pixels::<V>(sums.wrapping_add((v * T + t) * 2 * IN * V::LANES)), &store, place);
                }
            }
        }
        T
    }
}

/// The pixels of two rows of a tile from their sums.
#[inline(always)]
unsafe fn pixels<V: Vector>(sums: *const f32) -> [[V; 1]; 2 * OUT] {
    // SAFETY: the caller vouches for the sums.
    unsafe {
        let mut pixels = [[V::zero(); 1]; 2 * OUT];
        for r in 0..2 {
            let mut row = [V::zero(); IN];
            for (i, sum) in row.iter_mut().enumerate() {
                *sum = V::load(sums.add((r * IN + i) * V::LANES));
            }
            for (i, pixel) in output(row).into_iter().enumerate() {
                pixels[r * OUT + i][0] = pixel;
            }
        }
        pixels
    }
}

/// `acc` and the products of one frequency of `T` tiles.
#[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
#[inline(always)]
unsafe fn dots<V: Vector, const C: usize, const T: usize, const NV: usize>(
    mut acc: [[V; NV]; T],
    from: *const f32,
    filter: *const f32,
) -> [[V; NV]; T] {
    // SAFETY: the caller vouches for both.
    unsafe {
        for c in 0..C {
            let mut b = [V::zero(); NV];
            for v in 0..NV {
                b[v] = V::load(filter.add((c * NV + v) * V::LANES));
            }
            for t in 0..T {
                let a = V::splat(*from.add(t * C + c));
                for v in 0..NV {
                    acc[t][v] = V::fma(a, b[v], acc[t][v]);
                }
            }
        }
        acc
    }
}
