//! Convolution gradients behind a max pooling, where most of the output gradient is exact zeros.
//!
//! In: the pooled gradient and the positions of the maxima, instead of the unpooled gradient. Only live elements
//! (not 0) are multiplied: with 2 x 2 windows at most a quarter, less behind a ReLU. One filter row of one output
//! channel is `cols.size * c` contiguous floats, as is the image patch it meets, so the work is vectors of those:
//! the filter gradient holds them in registers over an output channel's live elements, the input gradient over
//! the live elements of one position of one window. Invariant: sums run in a fixed order (windows, then channels),
//! so results depend neither on units nor on workers. What is 0 is
//! skipped also where it would meet an infinity or NaN: a step with such values has no finite loss and is not taken.

use super::finish::Finish;
use super::vector::{Job, Vector, dispatch, lanes};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Unpooled};
use std::ops::Range;
use thalweg_base::{ConvDims, PoolDims, Window};

/// Output channels of a unit where a filter gradient is not in parts.
const CHANNELS: usize = 16;
/// Images that are summed on their own and then added, so that the error of long f32 sums stays small.
const IMAGES: usize = 16;
/// Positions of a window, at most. Any byte is taken as one of them (`& (POSITIONS - 1)`), so that none leads
/// outside of the lists; plans hold no others.
const POSITIONS: usize = 16;
/// Vectors held in registers: rows x vectors of a row.
const HELD: usize = 18;

/// A live element: where its patch begins (floats), or its output channel; and its value.
#[derive(Clone, Copy)]
#[repr(C)]
struct Live {
    at: u32,
    value: f32,
}

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
}

impl Geometry {
    fn new(d: &ConvDims, pool: &PoolDims, isa: Isa) -> Geometry {
        let width = d.w + d.cols.lo + d.cols.hi;
        let height = d.h + d.rows.lo + d.rows.hi;
        let row = d.cols.size * d.c;
        let pitch = row.next_multiple_of(lanes(isa));
        Geometry { isa, d: *d, pool: *pool, width, floats: width * height * d.c, row, pitch }
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

    /// First float of the patch that meets position `p` of window `(y, x)`.
    fn patch(&self, y: usize, x: usize, p: usize) -> usize {
        let at = |w: &Window, o: usize, k: usize| o * w.stride + k * w.dilation - w.lo;
        let oy = at(&self.pool.rows, y, p / self.pool.cols.size);
        let ox = at(&self.pool.cols, x, p % self.pool.cols.size);
        (oy * self.d.rows.stride * self.width + ox * self.d.cols.stride) * self.d.c
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

/// The input gradient.
pub(super) struct SparseInput {
    g: Geometry,
    dy: BufferId,
    arg: BufferId,
    filter: BufferId,
    out: BufferId,
    finish: Finish,
}

impl SparseInput {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], finish: Finish, isa: Isa) -> SparseInput {
        let [dy, filter, out] = buffers;
        SparseInput { g: Geometry::new(d, &u.dims, isa), dy, arg: u.arg, filter, out, finish }
    }

    pub fn shared_bytes(&self) -> usize {
        lines(self.g.d.k * self.g.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.lists() + stage + self.finish.scratch()
    }

    /// Bytes of the lists of live channels, one per position that a byte may give.
    fn lists(&self) -> usize {
        lines(POSITIONS * self.g.d.k * size_of::<Live>())
    }

    /// One unit per output channel.
    pub fn pack_units(&self) -> usize {
        self.g.d.k
    }

    /// # Safety
    /// As for `Prepared::pack`.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        let (g, k) = (&self.g, self.g.d.k);
        // SAFETY: both buffers hold the whole filter; units write their own channels.
        unsafe {
            let from = bases.get(self.filter).cast::<f32>();
            let to = shared.cast::<f32>();
            for channel in units {
                for r in 0..g.d.rows.size {
                    let line = to.add(channel * g.channel() + r * g.pitch);
                    for j in 0..g.pitch {
                        *line.add(j) = if j < g.row { *from.add((r * g.row + j) * k + channel) } else { 0.0 };
                    }
                }
            }
        }
    }

    /// One unit per image.
    pub fn units(&self) -> usize {
        self.g.d.n
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, images: Range<usize>, bases: &Bases, shared: *const u8, worker: *mut u8) {
        let g = &self.g;
        let size = g.d.h * g.d.w * g.d.c;
        for image in images {
            // SAFETY: as for this function; the worker's scratch is laid out as `worker_bytes` says.
            unsafe {
                let out = bases.get(self.out).cast::<f32>().add(image * size);
                let rest = worker.add(self.lists());
                let padded = g.padded();
                let target = if padded { rest.cast::<f32>() } else { out };
                let scratch = if padded { rest.add(lines(g.floats * 4)) } else { rest };
                target.write_bytes(0, g.floats);
                let at = image * g.windows() * g.d.k;
                let job = Scatter {
                    g,
                    dy: bases.get(self.dy).cast::<f32>().add(at),
                    arg: bases.get(self.arg).add(at),
                    filter: shared.cast(),
                    target,
                    lists: worker.cast(),
                };
                dispatch(g.isa, job);
                if padded {
                    let line = g.d.w * g.d.c;
                    for y in 0..g.d.h {
                        let from = ((y + g.d.rows.lo) * g.width + g.d.cols.lo) * g.d.c;
                        out.add(y * line).copy_from_nonoverlapping(target.add(from), line);
                    }
                }
                self.finish.image(bases, image, [g.d.h, g.d.w, g.d.c], out, scratch);
            }
        }
    }
}

/// Adds `value * filter row` of every live element to its patch, for one image.
struct Scatter<'a> {
    g: &'a Geometry,
    dy: *const f32,
    arg: *const u8,
    filter: *const f32,
    target: *mut f32,
    lists: *mut Live,
}

impl Job for Scatter<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, k) = (self.g, self.g.d.k);
        let mut counts = [0usize; POSITIONS];
        for y in 0..g.pool.oh {
            for x in 0..g.pool.ow {
                let at = (y * g.pool.ow + x) * k;
                counts.fill(0);
                // SAFETY: a list has room for every channel; patches lie in the padded image; packed rows are
                // whole vectors.
                unsafe {
                    for channel in 0..k {
                        let value = *self.dy.add(at + channel);
                        let p = *self.arg.add(at + channel) as usize & (POSITIONS - 1);
                        *self.lists.add(p * k + counts[p]) =
                            Live { at: (channel * g.channel()) as u32, value };
                        counts[p] += usize::from(value != 0.0);
                    }
                    for (p, &count) in counts[..g.positions()].iter().enumerate() {
                        if count == 0 {
                            continue;
                        }
                        let live = std::slice::from_raw_parts(self.lists.add(p * k), count);
                        let patch = self.target.add(g.patch(y, x, p));
                        rows::<V>(g, live, self.filter, g.pitch, patch, g.step());
                    }
                }
            }
        }
    }
}

/// The filter gradient.
pub(super) struct SparseFilter {
    g: Geometry,
    image: BufferId,
    dy: BufferId,
    arg: BufferId,
    out: BufferId,
    parts: usize,
}

impl SparseFilter {
    pub fn new(d: &ConvDims, u: &Unpooled, buffers: [BufferId; 3], parts: usize, isa: Isa) -> SparseFilter {
        let [image, dy, out] = buffers;
        SparseFilter { g: Geometry::new(d, &u.dims, isa), image, dy, arg: u.arg, out, parts }
    }

    /// Channels worked on together.
    fn together(&self) -> usize {
        if self.parts > 1 { self.g.d.k } else { CHANNELS.min(self.g.d.k) }
    }

    fn lists(&self) -> usize {
        lines(self.together() * self.g.windows() * size_of::<Live>())
    }

    fn counts(&self) -> usize {
        lines(self.together() * size_of::<usize>())
    }

    fn sums(&self) -> usize {
        lines(self.together() * self.g.channel() * 4)
    }

    pub fn worker_bytes(&self) -> usize {
        let stage = if self.g.padded() { lines(self.g.floats * 4) } else { 0 };
        self.lists() + self.counts() + self.sums() + stage
    }

    pub fn units(&self) -> usize {
        if self.parts > 1 { self.parts } else { self.g.d.k.div_ceil(CHANNELS) }
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, worker: *mut u8) {
        let (n, k) = (self.g.d.n, self.g.d.k);
        for unit in units {
            // SAFETY: as for this function.
            unsafe {
                if self.parts > 1 {
                    self.run_part(unit, unit * n / self.parts..(unit + 1) * n / self.parts, bases, worker);
                } else {
                    let channels = unit * CHANNELS..((unit + 1) * CHANNELS).min(k);
                    self.sum(channels, 0..n, bases, bases.get(self.out).cast(), worker);
                }
            }
        }
    }

    /// # Safety
    /// As for `Prepared::run_part`.
    pub unsafe fn run_part(&self, part: usize, images: Range<usize>, bases: &Bases, worker: *mut u8) {
        let len = self.g.d.filter().iter().product::<usize>();
        // SAFETY: as for this function; partial results follow each other.
        unsafe {
            let out = bases.get(self.out).cast::<f32>().add(part * len);
            self.sum(0..self.g.d.k, images, bases, out, worker);
        }
    }

    /// The gradient of these output channels over these images.
    unsafe fn sum(
        &self,
        channels: Range<usize>,
        images: Range<usize>,
        bases: &Bases,
        out: *mut f32,
        worker: *mut u8,
    ) {
        let g = &self.g;
        // SAFETY: as for `run`; the worker's scratch is laid out as `worker_bytes` says.
        unsafe {
            let counts = worker.add(self.lists()).cast::<usize>();
            let sums = worker.add(self.lists() + self.counts()).cast::<f32>();
            let stage = worker.add(self.lists() + self.counts() + self.sums()).cast::<f32>();
            let mut from = images.start;
            loop {
                let to = (from + IMAGES).min(images.end);
                sums.write_bytes(0, channels.len() * g.channel());
                for image in from..to {
                    let x = bases.get(self.image).cast::<f32>().add(image * g.d.h * g.d.w * g.d.c);
                    let at = image * g.windows() * g.d.k;
                    let job = Gather {
                        g,
                        channels: channels.clone(),
                        dy: bases.get(self.dy).cast::<f32>().add(at),
                        arg: bases.get(self.arg).add(at),
                        image: g.stage(x, stage),
                        lists: worker.cast(),
                        counts,
                        sums,
                    };
                    dispatch(g.isa, job);
                }
                self.add_to(out, sums, &channels, from > images.start);
                from = to;
                if from >= images.end {
                    break;
                }
            }
        }
    }

    /// Sums of some channels to their places in the gradient, where earlier ones may be.
    unsafe fn add_to(&self, out: *mut f32, sums: *const f32, channels: &Range<usize>, more: bool) {
        let g = &self.g;
        for r in 0..g.d.rows.size {
            for j in 0..g.row {
                for c in 0..channels.len() {
                    // SAFETY: every filter element of these channels has its place in both.
                    unsafe {
                        let to = out.add((r * g.row + j) * g.d.k + channels.start + c);
                        let sum = *sums.add(c * g.channel() + r * g.pitch + j);
                        *to = if more { *to + sum } else { sum };
                    }
                }
            }
        }
    }
}

/// Adds `value * patch` of every live element of one image to its channel's sums.
struct Gather<'a> {
    g: &'a Geometry,
    channels: Range<usize>,
    dy: *const f32,
    arg: *const u8,
    image: *const f32,
    lists: *mut Live,
    counts: *mut usize,
    sums: *mut f32,
}

impl Job for Gather<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (g, k, room) = (self.g, self.g.d.k, self.g.windows());
        let (first, count) = (self.channels.start, self.channels.len());
        let mut patches = [0u32; POSITIONS];
        // SAFETY: a list has room for every window; patches lie in the (padded) image.
        unsafe {
            self.counts.write_bytes(0, count);
            for y in 0..g.pool.oh {
                for x in 0..g.pool.ow {
                    let at = (y * g.pool.ow + x) * k + first;
                    for (p, patch) in patches[..g.positions()].iter_mut().enumerate() {
                        *patch = g.patch(y, x, p) as u32;
                    }
                    for c in 0..count {
                        let value = *self.dy.add(at + c);
                        let patch = patches[*self.arg.add(at + c) as usize & (POSITIONS - 1)];
                        let n = *self.counts.add(c);
                        *self.lists.add(c * room + n) = Live { at: patch, value };
                        *self.counts.add(c) = n + usize::from(value != 0.0);
                    }
                }
            }
            for c in 0..count {
                let live = std::slice::from_raw_parts(self.lists.add(c * room), *self.counts.add(c));
                let sums = self.sums.add(c * g.channel());
                rows::<V>(g, live, self.image, g.step(), sums, g.pitch);
            }
        }
    }
}

/// `to[r][..row] += sum over live of value * from[at + r * from_step ..][..row]`, for all filter rows `r`, as many
/// vectors at a time as registers hold.
///
/// # Safety
/// Every row of every patch is readable and every row of `to` writable, for `g.row` floats.
#[inline(always)]
unsafe fn rows<V: Vector>(
    g: &Geometry,
    live: &[Live],
    from: *const f32,
    from_step: usize,
    to: *mut f32,
    to_step: usize,
) {
    let height = g.d.rows.size;
    let vectors = g.row.div_ceil(V::LANES);
    // SAFETY: as for this function.
    unsafe {
        if height == 3 && vectors * 3 <= HELD {
            match vectors {
                1 => return held::<V, 3, 1>(g, live, (from, from_step), (to, to_step), 0),
                2 => return held::<V, 3, 2>(g, live, (from, from_step), (to, to_step), 0),
                3 => return held::<V, 3, 3>(g, live, (from, from_step), (to, to_step), 0),
                4 => return held::<V, 3, 4>(g, live, (from, from_step), (to, to_step), 0),
                5 => return held::<V, 3, 5>(g, live, (from, from_step), (to, to_step), 0),
                _ => return held::<V, 3, 6>(g, live, (from, from_step), (to, to_step), 0),
            }
        }
        for r in 0..height {
            let (from, to) = (from.wrapping_add(r * from_step), to.wrapping_add(r * to_step));
            let mut v = 0;
            while v < vectors {
                let skip = v * V::LANES;
                v += match vectors - v {
                    12.. => (held::<V, 1, 12>(g, live, (from, 0), (to, 0), skip), 12).1,
                    8..12 => (held::<V, 1, 8>(g, live, (from, 0), (to, 0), skip), 8).1,
                    4..8 => (held::<V, 1, 4>(g, live, (from, 0), (to, 0), skip), 4).1,
                    _ => (held::<V, 1, 1>(g, live, (from, 0), (to, 0), skip), 1).1,
                };
            }
        }
    }
}

/// `R` rows of `N` vectors in registers, from float `skip` of the rows on; the last vector may be partial.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "constant indices, so that sums stay in registers")]
unsafe fn held<V: Vector, const R: usize, const N: usize>(
    g: &Geometry,
    live: &[Live],
    (from, from_step): (*const f32, usize),
    (to, to_step): (*mut f32, usize),
    skip: usize,
) {
    // Floats in the last vector.
    let last = (g.row - skip - (N - 1) * V::LANES).min(V::LANES);
    let whole = last == V::LANES;
    // SAFETY: the caller vouches for the rows; partial registers at their ends.
    unsafe {
        let load = |p: *const f32, n: usize| {
            if n + 1 < N || whole {
                V::load(p.add(n * V::LANES))
            } else {
                V::load_part(p.add(n * V::LANES), last)
            }
        };
        let mut sum = [[V::zero(); N]; R];
        for r in 0..R {
            for n in 0..N {
                sum[r][n] = load(to.add(r * to_step + skip), n);
            }
        }
        for l in live {
            let value = V::splat(l.value);
            let at = from.add(l.at as usize + skip);
            for r in 0..R {
                for n in 0..N {
                    sum[r][n] = V::fma(value, load(at.add(r * from_step), n), sum[r][n]);
                }
            }
        }
        for r in 0..R {
            let at = to.add(r * to_step + skip);
            for n in 0..N {
                if n + 1 < N || whole {
                    V::store(sum[r][n], at.add(n * V::LANES));
                } else {
                    V::store_part(sum[r][n], at.add(n * V::LANES), last);
                }
            }
        }
    }
}
