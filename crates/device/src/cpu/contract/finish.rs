//! What follows a product: the epilogue's expressions, and the pooling of their values.
//!
//! What [`Direct`] knows runs in the registers of the tile that finishes a sum; any other body runs on its tape over
//! rows that were just written. A pooled result is reduced from the worker's scratch.
//! Invariant: a product overwrites its result before its finish reads it, so nothing is read twice.

use super::direct::Direct;
use super::tile::Store;
use super::vector::{Job, Vector, dispatch};
use crate::cpu::tape::{MAX_LANES, Tape};
use crate::cpu::{Bases, Isa};
use crate::plan::{BufferId, Epilogue, PoolEpilogue};
use std::ops::Range;
use thalweg_base::{DType, Window};

/// How each value is finished.
enum Rest {
    /// In the tile.
    Direct(Direct),
    /// On the tape.
    Tape(Tape),
}

/// An epilogue, ready to run.
pub(super) struct Finish {
    isa: Isa,
    rest: Rest,
    /// What a tile could do, if its kernel knows more than a bias and a ReLU.
    wide: Option<Direct>,
    pool: Option<PoolEpilogue>,
    /// Where pooled values go.
    out: BufferId,
}

impl Finish {
    /// `space`: the shape of the product's result; `out`: the contraction's.
    pub fn new(epilogue: Option<&Epilogue>, space: &[usize], out: BufferId, isa: Isa) -> Finish {
        let wide = epilogue.map_or(Some(Direct::default()), |e| Direct::new(&e.body, e.value, space));
        let rest = match (wide, epilogue) {
            (_, Some(e)) if !wide.is_some_and(|d| d.is_simple()) => {
                Rest::Tape(Tape::new(&e.body, &[e.value], space, isa))
            }
            _ => Rest::Direct(wide.unwrap_or_default()),
        };
        Finish { isa, rest, wide, pool: epilogue.and_then(|e| e.pool), out }
    }

    /// For a kernel that does all that [`Store`] says: leaves less to the tape.
    pub fn in_registers(self) -> Finish {
        // Scratch rows that are pooled do not lie as the result does.
        match self.wide {
            Some(direct) if !(self.pools() && direct.reads_result()) => {
                Finish { rest: Rest::Direct(direct), ..self }
            }
            _ => self,
        }
    }

    /// As `in_registers`, for results that do not lie as the product's do: what reads others at their place is the tape's.
    pub fn in_registers_elsewhere(self) -> Finish {
        let reads = self.wide.is_some_and(|direct| direct.reads_result());
        if reads { self } else { self.in_registers() }
    }

    /// What a tile does with a finished sum; of a result that starts at element `at`.
    pub fn store_at(&self, bases: &Bases, at: usize) -> Store {
        match &self.rest {
            Rest::Direct(direct) => direct.store(bases, at),
            Rest::Tape(_) => Store::plain(false),
        }
    }

    /// As `store_at`, of a result whose part begins where the result does, or that reads nothing laid out as it is.
    pub fn store(&self, bases: &Bases) -> Store {
        self.store_at(bases, 0)
    }

    /// Whether all happens in registers.
    pub fn is_direct(&self) -> bool {
        matches!(self.rest, Rest::Direct(_)) && !self.pools()
    }

    /// Whether the result is pooled.
    pub fn pools(&self) -> bool {
        self.pool.is_some()
    }

    /// The pooling, if it is of 2x2 windows and nothing before it needs the tape: it may happen in registers.
    pub fn windows(&self) -> Option<&PoolEpilogue> {
        let two = |w: &Window| [w.size, w.stride, w.dilation] == [2, 2, 1];
        let direct = matches!(self.rest, Rest::Direct { .. });
        self.pool.as_ref().filter(|p| direct && two(&p.dims.rows) && two(&p.dims.cols))
    }

    /// Whether every window lies within rows `n * height..(n + 1) * height` of some `n`.
    pub fn within(&self, height: usize) -> bool {
        let fits = |w: &Window| height.is_multiple_of(w.stride) && w.span() <= w.stride;
        self.pool.is_none_or(|p| fits(&p.dims.rows))
    }

    /// Rows and columns of pixels that are needed of `h` x `w`: a pool drops what fills no window.
    pub fn kept(&self, h: usize, w: usize) -> (usize, usize) {
        self.pool.map_or((h, w), |p| {
            let kept = |n: usize, window: &Window| (n - 1) * window.stride + window.span();
            (kept(p.dims.oh, &p.dims.rows), kept(p.dims.ow, &p.dims.cols))
        })
    }

    /// Rows of pixels that belong together.
    pub fn rows(&self, step: usize) -> usize {
        self.pool.map_or(step, |p| p.dims.rows.stride)
    }

    /// Bytes of scratch that [`Finish::apply`] and [`Finish::block`] need.
    pub fn scratch(&self) -> usize {
        match &self.rest {
            Rest::Tape(t) => t.scratch_bytes(),
            Rest::Direct(_) => 0,
        }
    }

    /// Runs the tape, if there is one, over `rows` x `cols` values at `c`, in place. `origin`: index of the first
    /// value in the result's space.
    ///
    /// # Safety
    /// `c` has rows of `cols` values, `pitch` apart; `scratch` has [`Finish::scratch`] bytes; the epilogue's
    /// buffers are complete for these rows.
    pub unsafe fn apply<const RANK: usize>(
        &self,
        bases: &Bases,
        origin: [usize; RANK],
        [rows, cols]: [usize; 2],
        (c, pitch): (*mut f32, usize),
        scratch: *mut u8,
    ) {
        let Rest::Tape(tape) = &self.rest else { return };
        let wide = cols.min(MAX_LANES);
        let tall = (MAX_LANES / wide).max(1);
        for r in (0..rows).step_by(tall) {
            for k in (0..cols).step_by(wide) {
                let (tall, wide) = (tall.min(rows - r), wide.min(cols - k));
                let mut origin = origin;
                origin[RANK - 2] += r;
                origin[RANK - 1] += k;
                // SAFETY: as for this function; the values are stored once all of the block is evaluated.
                unsafe {
                    let at = c.add(r * pitch + k);
                    tape.eval(bases, &origin, tall, wide, at, pitch, scratch);
                    tape.store(0, at.cast(), pitch as isize, 1, tall, wide, scratch, DType::F32);
                }
            }
        }
    }

    /// Finishes a whole image that was summed elsewhere: `[h, w, c]` plain sums at `at`, in place.
    ///
    /// # Safety
    /// As for [`Finish::apply`].
    pub unsafe fn image(
        &self,
        bases: &Bases,
        image: usize,
        [h, w, c]: [usize; 3],
        at: *mut f32,
        scratch: *mut u8,
    ) {
        // SAFETY: as for this function.
        unsafe {
            match &self.rest {
                Rest::Tape(_) => {
                    for y in 0..h {
                        self.apply(bases, [image, y, 0, 0], [w, c], (at.add(y * w * c), c), scratch);
                    }
                }
                Rest::Direct(_) => self.add_bias(bases, h * w, (at, c), 0..c),
            }
        }
    }

    /// Finishes some columns of a whole matrix that was summed elsewhere: `[m, n]` plain sums at `at`, in place.
    ///
    /// # Safety
    /// As for [`Finish::apply`].
    pub unsafe fn columns(
        &self,
        bases: &Bases,
        [m, n]: [usize; 2],
        cols: Range<usize>,
        at: *mut f32,
        scratch: *mut u8,
    ) {
        let (from, count) = (cols.start, cols.len());
        // SAFETY: as for this function.
        unsafe {
            match &self.rest {
                Rest::Tape(_) => self.apply(bases, [0, 0, from], [m, count], (at.add(from), n), scratch),
                Rest::Direct(_) => self.add_bias(bases, m, (at, n), cols),
            }
        }
    }

    /// Bias and ReLU of some columns of so many rows, `pitch` apart.
    unsafe fn add_bias(
        &self,
        bases: &Bases,
        rows: usize,
        (at, pitch): (*mut f32, usize),
        cols: Range<usize>,
    ) {
        let store = self.store(bases);
        if store.bias.is_null() && !store.relu {
            return;
        }
        for r in 0..rows {
            for c in cols.clone() {
                // SAFETY: the caller vouches for the rows, the epilogue for a bias per column.
                unsafe {
                    let bias = if store.bias.is_null() { 0.0 } else { *store.bias.add(c) };
                    let at = at.add(r * pitch + c);
                    let v = *at + bias;
                    // Not `max`: NaN stays NaN.
                    *at = if store.relu && v < 0.0 { 0.0 } else { v };
                }
            }
        }
    }

    /// Finishes `height` rows of pixels from row `y` of an image: `[ow, k]` values each, dense at `c`. Pooled,
    /// they end in the contraction's buffer and in that of the positions.
    ///
    /// # Safety
    /// As for [`Finish::apply`].
    pub unsafe fn block(
        &self,
        bases: &Bases,
        [image, y, height]: [usize; 3],
        [ow, k]: [usize; 2],
        c: *mut f32,
        scratch: *mut u8,
    ) {
        // SAFETY: as for this function; the windows lie within the rows.
        unsafe {
            if matches!(self.rest, Rest::Tape(_)) {
                for r in 0..height {
                    let at = c.add(r * ow * k);
                    self.apply(bases, [image, y + r, 0, 0], [ow, k], (at, k), scratch);
                }
            }
            let Some(pool) = &self.pool else { return };
            let d = &pool.dims;
            let first = y / d.rows.stride;
            let rows = (height + d.rows.stride - d.rows.span()) / d.rows.stride;
            let at = (image * d.oh + first) * d.ow * k;
            let arg = pool.arg.map(|b| bases.get(b).add(at));
            let out = bases.get(self.out).cast::<f32>().add(at);
            dispatch(self.isa, Reduce { pool, rows, pitch: ow * k, k, c, out, arg });
        }
    }
}

/// Pools the rows of a block.
struct Reduce<'a> {
    pool: &'a PoolEpilogue,
    rows: usize,
    pitch: usize,
    k: usize,
    c: *const f32,
    out: *mut f32,
    arg: Option<*mut u8>,
}

impl Job for Reduce<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let d = &self.pool.dims;
        // SAFETY: as for this function.
        unsafe {
            match [d.rows.size, d.cols.size] {
                // The usual window, unrolled.
                [2, 2] => self.windows::<V>([2, 2]),
                size => self.windows::<V>(size),
            }
        }
    }
}

impl Reduce<'_> {
    #[inline(always)]
    unsafe fn windows<V: Vector>(&self, [height, width]: [usize; 2]) {
        let d = &self.pool.dims;
        for y in 0..self.rows {
            for x in 0..d.ow {
                let window = self.c.wrapping_add(y * d.rows.stride * self.pitch + x * d.cols.stride * self.k);
                let at = (y * d.ow + x) * self.k;
                for k in (0..self.k).step_by(V::LANES) {
                    let n = V::LANES.min(self.k - k);
                    // SAFETY: the caller vouches for the rows; partial registers at the last channels.
                    unsafe {
                        let load = |p: *const f32| {
                            if n == V::LANES { V::load(p) } else { V::load_part(p, n) }
                        };
                        let mut best = load(window.add(k));
                        let mut position = V::zero();
                        for r in 0..height {
                            let row = window.add(r * d.rows.dilation * self.pitch + k);
                            for s in 0..width {
                                if r + s > 0 {
                                    let v = load(row.add(s * d.cols.dilation * self.k));
                                    let here = V::splat((r * width + s) as f32);
                                    (best, position) = V::better(best, position, v, here);
                                }
                            }
                        }
                        if n == V::LANES {
                            V::store(best, self.out.add(at + k));
                        } else {
                            V::store_part(best, self.out.add(at + k), n);
                        }
                        if let Some(arg) = self.arg {
                            V::store_bytes(position, arg.add(at + k), n);
                        }
                    }
                }
            }
        }
    }
}
