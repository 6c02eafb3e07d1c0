//! Filter gradients of few input channels: patches are copied, and every element is multiplied, live or not.
//!
//! Where a filter of one output channel is a few registers, finding out which elements are live takes longer than
//! multiplying all of them: lists have to be made, and where a list ends cannot be foreseen. So each element, 0 or not, takes
//! the patch of its position; only what the pooling dropped is left out. The sums of some channels are held in registers over
//! the windows of a stretch, whose copied patches are in the first-level cache. Invariant: the order of a sum depends on
//! the shape alone.

use super::{Geometry, POSITIONS};
use crate::cpu::contract::tile::LINE;
use crate::cpu::contract::vector::{Job, Vector};
use std::ops::Range;

/// Registers of a filter of one output channel up to which this is faster than lists.
pub(super) const FEW: usize = 5;

/// Copies the patches of some windows: of each window, of each position, rows one behind the other, `pitch` floats a patch.
///
/// # Safety
/// The patches lie in the (padded) image; `to` has room for them and a filter row.
#[inline(always)]
pub(super) unsafe fn copy<V: Vector>(
    g: &Geometry,
    image: *const f32,
    windows: Range<usize>,
    pitch: usize,
    to: *mut f32,
) {
    // Locals: the compiler cannot know that stores leave the geometry alone.
    let (height, row, step) = (g.d.rows.size, g.row, g.step());
    let (whole, last) = ((row - 1) / V::LANES * V::LANES, (row - 1) % V::LANES + 1);
    let steps = &g.steps[..g.positions()];
    let mut patch = to;
    for w in windows {
        let window = image.wrapping_add(g.window(w) as usize);
        for &position in steps {
            let mut from = window.wrapping_add(position as usize);
            let mut to = patch;
            for _ in 0..height {
                // SAFETY: the patch lies in the image; what is written behind a row's end is written over by
                // the next, or has room.
                unsafe {
                    for j in (0..whole).step_by(V::LANES) {
                        V::store(V::load(from.add(j)), to.add(j));
                    }
                    V::store(V::load_part(from.add(whole), last), to.add(whole));
                }
                (from, to) = (from.wrapping_add(step), to.wrapping_add(row));
            }
            patch = patch.wrapping_add(pitch);
        }
    }
}

/// A part of a register of a copied patch: where its lane 0 would be, in floats from the patch's first, and the lanes that
/// it fills, a bit each.
#[derive(Clone, Copy, Default)]
struct Part {
    at: isize,
    bits: u32,
}

/// Rows that a register of a copied patch has something of, at most.
fn rows_of_register(g: &Geometry, lanes: usize) -> usize {
    let floats = g.d.rows.size * g.row;
    let rows = |first: usize| ((first + lanes).min(floats) - 1) / g.row - first / g.row + 1;
    (0..floats).step_by(lanes).map(rows).max().unwrap_or(0)
}

/// The parts of each register of a copied patch.
#[inline(always)]
fn parts<const N: usize, const P: usize>(g: &Geometry, lanes: usize) -> [[Part; P]; N] {
    let mut all = [[Part::default(); P]; N];
    for (n, parts) in all.iter_mut().enumerate() {
        let first = n * lanes;
        for (i, part) in parts.iter_mut().enumerate() {
            let row = first / g.row + i;
            let (from, to) = (row * g.row, (row + 1) * g.row);
            let (low, high) = (from.max(first) - first, to.min(first + lanes).saturating_sub(first));
            if row < g.d.rows.size && low < high {
                part.at = (row * g.step() + first) as isize - from as isize;
                part.bits = (1u32 << high) - (1u32 << low);
            }
        }
    }
    all
}

/// As [`copy`], register by register: `N` a patch, of at most `P` parts each.
#[inline(always)]
unsafe fn copy_registers<V: Vector, const N: usize, const P: usize>(
    g: &Geometry,
    image: *const f32,
    windows: Range<usize>,
    to: *mut f32,
) {
    let parts = parts::<N, P>(g, V::LANES);
    let steps = &g.steps[..g.positions()];
    let (wide, next) = (g.pool.ow, g.pool.cols.stride * g.d.cols.stride * g.d.c);
    let (mut patch, mut window) = (to, image);
    for w in windows.clone() {
        window = match w % wide {
            x if x > 0 && w > windows.start => window.wrapping_add(next),
            _ => image.wrapping_add(g.window(w) as usize),
        };
        for &position in steps {
            let from = window.wrapping_add(position as usize);
            for (n, parts) in parts.iter().enumerate() {
                // SAFETY: the patch lies in the image; there is room for whole registers of it.
                unsafe {
                    let mut v = V::zero();
                    for part in parts {
                        v = V::load_some(v, from.wrapping_offset(part.at), part.bits);
                    }
                    V::store(v, patch.add(n * V::LANES));
                }
            }
            patch = patch.wrapping_add(N * V::LANES);
        }
    }
}

/// Adds `value * patch` of every element of one image to its channel's sums.
pub(super) struct Every<'a> {
    pub g: &'a Geometry,
    pub channels: Range<usize>,
    /// Windows whose patches are copied at a time.
    pub stretch: usize,
    /// Floats of a copied patch, and of a channel's sums: whole registers.
    pub pitch: usize,
    pub dy: *const f32,
    pub arg: *const u8,
    pub image: *const f32,
    /// Where the patches of a stretch of windows and a register of channels begin.
    pub at: *mut u16,
    pub patches: *mut f32,
    pub sums: *mut f32,
}

impl Job for Every<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: as for this function.
        unsafe {
            match self.pitch / V::LANES {
                1 => self.stretches::<V, 1, 8>(),
                2 if V::REGISTERS == 32 => self.stretches::<V, 2, 8>(),
                2 => self.stretches::<V, 2, 4>(),
                3 => self.stretches::<V, 3, 4>(),
                4 => self.stretches::<V, 4, 2>(),
                _ => self.stretches::<V, FEW, 2>(),
            }
        }
    }
}

impl Every<'_> {
    /// `N` registers a channel, `U` channels side by side.
    #[inline(always)]
    unsafe fn stretches<V: Vector, const N: usize, const U: usize>(&self) {
        let (g, windows) = (self.g, self.g.windows());
        for from in (0..windows).step_by(self.stretch) {
            let stretch = from..(from + self.stretch).min(windows);
            // SAFETY: elements of these windows and channels; there is room for the patches of a stretch.
            unsafe {
                match rows_of_register(g, V::LANES) {
                    1 | 2 => copy_registers::<V, N, 2>(g, self.image, stretch.clone(), self.patches),
                    3 | 4 => copy_registers::<V, N, 4>(g, self.image, stretch.clone(), self.patches),
                    _ => copy::<V>(g, self.image, stretch.clone(), self.pitch, self.patches),
                }
                for first in self.channels.clone().step_by(V::LANES) {
                    let channels = first..(first + V::LANES).min(self.channels.end);
                    self.find::<V>(stretch.clone(), channels.clone());
                    let mut c = first;
                    while c + U <= channels.end {
                        self.add::<V, N, U>(stretch.clone(), c, c - first);
                        c += U;
                    }
                    for c in c..channels.end {
                        self.add::<V, N, 1>(stretch.clone(), c, c - first);
                    }
                }
            }
        }
    }

    /// Where the patch of each element begins, by window and channel.
    #[inline(always)]
    unsafe fn find<V: Vector>(&self, stretch: Range<usize>, channels: Range<usize>) {
        let (k, window) = (self.g.d.k, self.g.positions() * self.pitch);
        let mut steps = [0; POSITIONS];
        (0..self.g.positions()).for_each(|p| steps[p] = (p * self.pitch) as u16);
        // What the next image will read, which follows this one's: spread over the windows, as memory takes its time.
        let (windows, floats) = (self.g.windows(), self.g.floats);
        let each = floats.div_ceil(windows);
        for (i, w) in stretch.enumerate() {
            let base = (i * window) as u16;
            // SAFETY: as for `stretches`; any address may be asked for.
            unsafe {
                V::prefetch(self.arg.wrapping_add((windows + w) * k + channels.start).cast());
                for line in (0..each).step_by(LINE) {
                    V::prefetch(self.image.wrapping_add(floats + w * each + line));
                }
                let (arg, to) = (self.arg.add(w * k + channels.start), self.at.add(i * V::LANES));
                if channels.len() == V::LANES {
                    V::look_up_short(arg, &steps, base, to);
                } else {
                    for c in 0..channels.len() {
                        *to.add(c) = steps[*arg.add(c) as usize % POSITIONS] + base;
                    }
                }
            }
        }
    }

    /// Adds a stretch to the sums of `U` channels from `channel` on, which is number `lane` of those that were found.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "constant indices, so that sums stay in registers")]
    unsafe fn add<V: Vector, const N: usize, const U: usize>(
        &self,
        stretch: Range<usize>,
        channel: usize,
        lane: usize,
    ) {
        let (k, pitch, patches) = (self.g.d.k, self.pitch, self.patches.cast_const());
        // SAFETY: as for `stretches`.
        unsafe {
            let sums = self.sums.add((channel - self.channels.start) * pitch);
            let (mut sum, places) = ([[V::zero(); N]; U], V::places::<U>());
            let mut dy = self.dy.add(stretch.start * k + channel);
            let mut at = self.at.cast_const().add(lane);
            for _ in stretch {
                let values = V::spread(dy, &places);
                for four in (0..U).step_by(4) {
                    let mut places = Places::<U>::read(at.add(four));
                    for u in four..U.min(four + 4) {
                        let patch = patches.add(places.next());
                        for n in 0..N {
                            sum[u][n] = V::fma(values[u], V::load(patch.add(n * V::LANES)), sum[u][n]);
                        }
                    }
                }
                (dy, at) = (dy.wrapping_add(k), at.wrapping_add(V::LANES));
            }
            for u in 0..U {
                for n in 0..N {
                    let to = sums.add(u * pitch + n * V::LANES);
                    V::store(V::add(V::load(to), sum[u][n]), to);
                }
            }
        }
    }
}

/// Four places at most, read at once: loads are what there is least room for.
struct Places<const U: usize>(u64);

impl<const U: usize> Places<U> {
    /// # Safety
    /// There are `U` places, or four.
    #[inline(always)]
    unsafe fn read(at: *const u16) -> Self {
        // SAFETY: the caller vouches for the places.
        unsafe {
            match U {
                1 => Places(u64::from(at.read())),
                2 | 3 => Places(u64::from(at.cast::<u32>().read_unaligned())),
                _ => Places(at.cast::<u64>().read_unaligned()),
            }
        }
    }

    #[inline(always)]
    fn next(&mut self) -> usize {
        let place = self.0 as u16;
        self.0 >>= 16;
        usize::from(place)
    }
}
