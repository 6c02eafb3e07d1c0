//! What follows a product: the epilogue's expressions, and the pooling of their values.
//!
//! A bias (one value per column) and a ReLU run in the registers of the tile that finishes a sum; any other body
//! runs on its tape over rows that were just written. A pooled result is reduced from the worker's scratch.
//! Invariant: a product overwrites its result before its finish reads it, so nothing is read twice.

use super::tile::Store;
use super::vector::{Job, Vector, dispatch};
use crate::cpu::tape::{MAX_LANES, Tape};
use crate::cpu::{Bases, Isa};
use crate::plan::{Access, Body, BufferId, Epilogue, Expr, ExprId, PoolEpilogue};
use thalweg_base::{DType, Scalar, ScalarOp, Window};

/// How each value is finished.
enum Rest {
    /// In the tile: bias buffer and its first element; ReLU.
    Direct { bias: Option<(BufferId, isize)>, relu: bool },
    /// On the tape.
    Tape(Tape),
}

/// An epilogue, ready to run.
pub(super) struct Finish {
    isa: Isa,
    rest: Rest,
    pool: Option<PoolEpilogue>,
    /// Where pooled values go.
    out: BufferId,
}

impl Finish {
    /// `space`: the shape of the product's result; `out`: the contraction's.
    pub fn new(epilogue: Option<&Epilogue>, space: &[usize], out: BufferId, isa: Isa) -> Finish {
        let plain = Rest::Direct { bias: None, relu: false };
        let tape = |e: &Epilogue| Rest::Tape(Tape::new(&e.body, &[e.value], space, isa));
        let rest = epilogue.map_or(plain, |e| direct(&e.body, e.value, space).unwrap_or_else(|| tape(e)));
        Finish { isa, rest, pool: epilogue.and_then(|e| e.pool), out }
    }

    /// What a tile does with a finished sum.
    pub fn store(&self, bases: &Bases) -> Store {
        match &self.rest {
            Rest::Direct { bias, relu } => {
                let bias = bias.map_or(std::ptr::null(), |(buffer, offset)| {
                    bases.get(buffer).cast::<f32>().cast_const().wrapping_offset(offset)
                });
                Store { accumulate: false, bias, relu: *relu }
            }
            Rest::Tape(_) => Store::plain(false),
        }
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
            Rest::Direct { .. } => 0,
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
                Rest::Direct { .. } => {
                    let store = self.store(bases);
                    if store.bias.is_null() && !store.relu {
                        return;
                    }
                    for i in 0..h * w * c {
                        let bias = if store.bias.is_null() { 0.0 } else { *store.bias.add(i % c) };
                        let v = *at.add(i) + bias;
                        // Not `max`: NaN stays NaN.
                        *at.add(i) = if store.relu && v < 0.0 { 0.0 } else { v };
                    }
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

/// Recognises `acc`, `acc + bias`, and either in `max(0, .)`.
fn direct(body: &Body, value: ExprId, space: &[usize]) -> Option<Rest> {
    let (value, relu) = match body.expr(value) {
        Expr::Op(ScalarOp::Max, args) if is_zero(body, args[0]) => (args[1], true),
        Expr::Op(ScalarOp::Max, args) if is_zero(body, args[1]) => (args[0], true),
        _ => (value, false),
    };
    match body.expr(value) {
        Expr::Acc => Some(Rest::Direct { bias: None, relu }),
        Expr::Op(ScalarOp::Add, args) => {
            let bias = match (body.expr(args[0]), body.expr(args[1])) {
                (Expr::Acc, Expr::Load(bias)) | (Expr::Load(bias), Expr::Acc) => bias,
                _ => return None,
            };
            per_column(bias, space).then_some(Rest::Direct { bias: Some((bias.buffer, bias.offset)), relu })
        }
        _ => None,
    }
}

fn is_zero(body: &Body, id: ExprId) -> bool {
    matches!(body.expr(id), Expr::Const(s) if *s == Scalar::f32(0.0))
}

/// Whether an access reads element `k` for the last axis' index `k`, whatever the others are.
fn per_column(access: &Access, space: &[usize]) -> bool {
    let last = space.len() - 1;
    let stays = |axis: usize| access.strides[axis] == 0 || space[axis] == 1;
    (0..last).all(stays) && (access.strides[last] == 1 || space[last] == 1)
}
