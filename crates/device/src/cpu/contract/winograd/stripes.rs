//! A convolution of few input channels with a 2 x 2 max pooling behind it, by F(4, 3) along the columns alone.
//!
//! With so few channels transforms in both axes would cost as much as they save. Along one, a tile is four pixels of a
//! row, six products instead of twelve for each row of the filter: two rows of a tile are two windows, and sums, results
//! and pooling all stay in registers. Units are bands, some rows of windows of an image; the rows that a band reads are
//! transformed once. A NaN or an infinity spreads over the four pixels of its row in a tile, also from columns that no
//! window needs. Invariant: a result does not depend on how bands are cut.

use super::super::finish::Finish;
use super::super::store::Store;
use super::super::vector::{Job, Vector, dispatch, lanes};
use super::super::{Desk, Transforms};
use super::tiles::pool;
use super::transform::{IN, OUT, filter, input, output};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, PoolEpilogue};
use std::ops::Range;
use thalweg_base::{ConvDims, Window};

/// Input channels, at most: a pixel is copied as a whole.
const CHANNELS: usize = 4;
/// Rows of windows in a band, at most, so that few rows are transformed twice; but units are to be some.
const BAND: usize = 8;
const UNITS: usize = 8;
/// Products of a sum, at most: its part of the filter stays in the first-level cache.
const LONGEST: usize = 128;
/// Floats between the rows of the packed filter, more than it has columns: those of a power of two would fall on the same
/// cache sets.
const APART: usize = 16;
/// Columns of the filter.
const TAPS: usize = 3;

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
        let plain = |w: &Window| w.size == TAPS && w.stride == 1 && w.dilation == 1;
        wanted
            && plain(&d.cols)
            && d.groups == 1
            && d.c <= CHANNELS
            && d.k.is_multiple_of(lanes(isa))
            && d.rows.size * TAPS * d.c <= LONGEST
    }

    /// Whether that is faster than by the definition, with `ow` windows in a row.
    ///
    /// Measured on one core of an AMD EPYC with AVX-512 and AVX2, alternating, best times: 1.5 and 1.3 times for
    /// 3 x 3 x 3 filters, 1.0 and 0.9 for 3 x 3 x 1, 0.8 and 0.9 for single rows or where rows are left out.
    fn pays(d: &ConvDims, ow: usize) -> bool {
        // Of the tiles' pixels at most a fifth lie behind the last window.
        let full = ow.div_ceil(2) * 8 <= ow * 5;
        full && d.rows.size * d.c >= 6 && d.rows.stride <= d.rows.span()
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
        let line = (tiles * d.c).next_multiple_of(lanes(isa));
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

    /// Source rows, padding included, that so many rows of windows read.
    fn rows(&self, windows: usize) -> usize {
        (2 * windows - 1) * self.d.rows.stride + self.d.rows.span()
    }

    /// Floats of a band's transformed rows.
    fn floats(&self) -> usize {
        self.rows(self.pool.dims.oh.div_ceil(self.bands)) * IN * self.line
    }

    pub fn worker_bytes(&self) -> usize {
        ((OUT * self.phase + self.floats()) * 4).next_multiple_of(64)
    }

    pub fn shared_bytes(&self) -> usize {
        self.d.rows.size * self.d.c * IN * self.pitch() * 4
    }

    /// Floats between rows of the packed filter.
    fn pitch(&self) -> usize {
        self.d.k + APART
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
                top: (2 * windows.start * d.rows.stride) as isize - d.rows.lo as isize,
                windows: windows.len(),
                phases: worker.cast(),
                lines: worker.cast::<f32>().wrapping_add(OUT * self.phase),
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

/// `to[row of the filter][channel][frequency][k]` from a filter [rows, columns, c, k].
struct Pack<'a> {
    of: &'a Stripes,
    from: *const f32,
    to: *mut f32,
}

impl Job for Pack<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (d, pitch) = (&self.of.d, self.of.pitch());
        let (c, k) = (d.c, d.k);
        for (row, channel) in (0..d.rows.size).flat_map(|r| (0..c).map(move |ch| (r, ch))) {
            for col in (0..k).step_by(V::LANES) {
                // SAFETY: the caller vouches for both ends; k is whole registers.
                unsafe {
                    let mut taps = [V::zero(); TAPS];
                    for (s, tap) in taps.iter_mut().enumerate() {
                        *tap = V::load(self.from.add(((row * TAPS + s) * c + channel) * k + col));
                    }
                    for (s, v) in filter(taps).into_iter().enumerate() {
                        V::store(v, self.to.add(((row * c + channel) * IN + s) * pitch + col));
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
    /// Scratch: a row's pixels by their place in a tile; transformed rows.
    phases: *mut f32,
    lines: *mut f32,
    filter: *const f32,
    store: Store,
    out: *mut f32,
    arg: *mut u8,
}

impl Job for Band<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let s = self.of;
        // SAFETY: as for `Stripes::run`; channels are whole registers.
        unsafe {
            self.transform::<V>();
            for y in 0..self.windows {
                let mut col = 0;
                while col < s.d.k {
                    let two = V::REGISTERS == 32 && col + 2 * V::LANES <= s.d.k;
                    let mut x = 0;
                    while x < s.tiles {
                        x += match (two, V::REGISTERS == 32 && x + 2 <= s.tiles) {
                            (true, _) => self.tile::<V, 1, 2>(y, x, col),
                            (false, true) => self.tile::<V, 2, 1>(y, x, col),
                            (false, false) => self.tile::<V, 1, 1>(y, x, col),
                        };
                    }
                    col += if two { 2 * V::LANES } else { V::LANES };
                }
            }
        }
    }
}

impl Band<'_> {
    /// All rows that the band reads, to frequencies: of each row, of each frequency, tiles by channels.
    #[inline(always)]
    unsafe fn transform<V: Vector>(&self) {
        let s = self.of;
        // SAFETY: as for `run`; what is read behind the tiles' last pixels is in the phases' room, and unused.
        unsafe {
            // Columns outside are never written after this.
            self.phases.write_bytes(0, OUT * s.phase);
            for r in 0..s.rows(self.windows) {
                let lines = self.lines.add(r * IN * s.line);
                let y = self.top + r as isize;
                if y < 0 || y >= s.d.h as isize {
                    lines.write_bytes(0, IN * s.line);
                    continue;
                }
                let row = self.image.add(y as usize * s.d.w * s.d.c);
                match s.d.c {
                    1 => self.deal::<1>(row),
                    2 => self.deal::<2>(row),
                    3 => self.deal::<3>(row),
                    _ => self.deal::<4>(row),
                }
                for at in (0..s.line).step_by(V::LANES) {
                    let mut d = [V::zero(); IN];
                    for (i, d) in d.iter_mut().enumerate() {
                        *d = V::load(self.phases.add(i % OUT * s.phase + i / OUT * s.d.c + at));
                    }
                    for (i, v) in input(d).into_iter().enumerate() {
                        V::store(v, lines.add(i * s.line + at));
                    }
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
            let mut to = self.phases.wrapping_add(phase * s.phase + (x + before) / OUT * C);
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

    /// `T` tiles from `x` on of two rows of pixels, `NV` registers of channels from `col` on; how many tiles.
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize, const NV: usize>(
        &self,
        y: usize,
        x: usize,
        col: usize,
    ) -> usize {
        let s = self.of;
        let (c, line, pitch) = (s.d.c, s.line, s.pitch());
        let row = IN * line;
        // SAFETY: as for `Stripes::run`.
        unsafe {
            let mut acc = [[[[V::zero(); IN]; NV]; T]; 2];
            let from = self.lines.add(2 * y * s.d.rows.stride * row + x * c);
            let below = from.add(s.d.rows.stride * row);
            let mut b = self.filter.add(col);
            for r in 0..s.d.rows.size {
                let at = r * s.d.rows.dilation * row;
                let mut from = [from.add(at), below.add(at)];
                for _ in 0..c {
                    for i in 0..IN {
                        let mut bv = [V::zero(); NV];
                        for v in 0..NV {
                            bv[v] = V::load(b.add(v * V::LANES));
                        }
                        for m in 0..2 {
                            for t in 0..T {
                                let a = V::splat(*from[m].add(i * line + t * c));
                                for v in 0..NV {
                                    acc[m][t][v][i] = V::fma(a, bv[v], acc[m][t][v][i]);
                                }
                            }
                        }
                        b = b.wrapping_add(pitch);
                    }
                    from = [from[0].wrapping_add(1), from[1].wrapping_add(1)];
                }
            }
            // By hand: this loop is too long to be unrolled, and the sums would leave their registers.
            self.windows([acc[0][0][0], acc[1][0][0]], [y, x], col);
            if T * NV > 1 {
                let last = [acc[0][T - 1][NV - 1], acc[1][T - 1][NV - 1]];
                self.windows(last, [y, x + T - 1], col + (NV - 1) * V::LANES);
            }
        }
        T
    }

    /// Finishes and pools the two windows of two rows of a tile's frequencies, one register of channels from `col` on.
    #[inline(always)]
    unsafe fn windows<V: Vector>(&self, [upper, lower]: [[V; IN]; 2], [y, x]: [usize; 2], col: usize) {
        let (ow, k) = (self.of.pool.dims.ow, self.of.d.k);
        // SAFETY: as for `Stripes::run`.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (output(upper), output(lower));
            let mut pixels = [[a], [b], [c], [d], [e], [f], [g], [h]];
            self.store.from(col).finish(&mut pixels, V::LANES, |_| 0);
            let [[a], [b], [c], [d], [e], [f], [g], [h]] = pixels;
            let to = (y * ow + 2 * x) * k + col;
            let (out, arg) = (self.out.wrapping_add(to), self.arg);
            let arg = if arg.is_null() { arg } else { arg.wrapping_add(to) };
            pool([a, b, e, f], out, arg, V::LANES);
            if 2 * x + 1 < ow {
                let next = if arg.is_null() { arg } else { arg.wrapping_add(k) };
                pool([c, d, g, h], out.wrapping_add(k), next, V::LANES);
            }
        }
    }
}
