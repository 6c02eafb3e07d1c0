//! Loop kernels: element-wise results and reductions over one index space.
//!
//! The space is cut into boxes: whole along the axes that are combined, pieces along the kept ones. A box is one
//! unit of work: its accumulators are this worker's and hold at most [`MAX_LANES`] elements, and it is walked in
//! blocks that the tape evaluates. Invariant: boxes and blocks depend on the shapes alone, so results do not
//! depend on the number of workers.

mod reduce;
#[cfg(test)]
mod tests;

use super::tape::{self, MAX_DIRECT, MAX_LANES, Sequence, Tape};
use super::{Bases, Isa};
use crate::plan::{Canonical, canonical};
use crate::plan::{Loop, LoopOut, Reduce};
use reduce::{Accumulators, NARROW, Shape};
use std::ops::Range;
use thalweg_base::DType;

/// Lanes of a box, about: enough to pay for handing it out.
const GRAIN: usize = 16 * 1024;
/// Bytes of first-level cache for the registers of a block.
const CACHE: usize = 24 * 1024;
/// Most axes after merging.
const MAX_RANK: usize = 16;
/// Side of the blocks of a transposition.
const TILE: usize = 32;

/// A loop, compiled.
#[derive(Clone, Debug)]
pub struct CompiledLoop {
    tape: Tape,
    space: Vec<usize>,
    reduced: Vec<bool>,
    outs: Vec<LoopOut>,
    /// Extent of the kernel's axis 0, and steps of our axis 0 per step of it.
    extent: usize,
    scale: usize,
    parts: usize,
    /// Steps of a box per axis (kept axes).
    chunk: Vec<usize>,
    /// Steps of a block along the last two axes.
    block: [usize; 2],
    isa: Isa,
    rank: usize,
}

impl CompiledLoop {
    /// Compiles.
    pub fn new(l: &Loop, isa: Isa) -> Self {
        let Canonical { space, reduced, scale, body, outs } = canonical(l);
        let rank = space.len();
        assert!(rank <= MAX_RANK, "a loop of {rank} axes that do not merge");
        let values: Vec<_> = outs.iter().map(|o| o.value).collect();
        let transposes = body.loads().any(|a| {
            rank >= 2
                && a.strides[rank - 2].abs() == 1
                && a.strides[rank - 1].abs() > 1
                && space[rank - 2] > 1
        });
        let reducing = outs.iter().any(|o| o.reduce.is_some());
        let cut = |tape: &Tape| {
            let lanes = (CACHE / 4 / tape.width().max(1)).clamp(256, MAX_LANES) / 16 * 16;
            cut(&space, &reduced, reducing, if transposes { TILE } else { lanes }, lanes)
        };
        let sums = |o: &LoopOut| o.reduce == Some(Reduce::Sum) && body.dtype(o.value) == DType::F32;
        // Whole rows of columns that fill registers, few enough for a chain of sums.
        let added_up = rank >= 2
            && reduced[rank - 2]
            && !reduced[rank - 1]
            && outs.iter().all(sums)
            && (NARROW..=MAX_LANES).contains(&space[rank - 1]);
        let mut tape = if added_up {
            Tape::added_up(&body, &values, &space, isa)
        } else {
            Tape::new(&body, &values, &space, isa)
        };
        if tape.adds_up() && cut(&tape).1[1] != space[rank - 1] {
            tape = Tape::new(&body, &values, &space, isa);
        }
        if outs.len() > 1 {
            let stored: Vec<_> = outs.iter().map(|o| o.access.buffer).collect();
            tape.copy_results_of(&stored);
        }
        let (chunk, block) = cut(&tape);
        CompiledLoop {
            tape,
            reduced,
            outs,
            extent: l.space[0],
            scale,
            parts: l.parts,
            chunk,
            block,
            isa,
            rank,
            space,
        }
    }

    /// Scratch per worker, 64-aligned.
    pub fn scratch_bytes(&self) -> usize {
        let reduced = self.outs.iter().filter(|o| o.reduce.is_some()).count();
        self.tape.scratch_bytes()
            + reduced * (Accumulators::BYTES + size_of::<Accumulators>()).next_multiple_of(64)
    }

    /// Independent units of the whole loop.
    pub fn units(&self) -> usize {
        self.parts * self.boxes(self.part(0).len())
    }

    /// Units `units` of the whole loop.
    ///
    /// # Safety
    /// Every access stays in its buffer; nobody else writes the elements; `scratch` is this worker's, 64-aligned.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, scratch: *mut u8) {
        let per_part = self.units() / self.parts;
        for unit in units {
            let (part, one) = (unit / per_part, unit % per_part);
            // SAFETY: passed on.
            unsafe { self.run_boxes(one..one + 1, self.part(part), part, bases, scratch) }
        }
    }

    /// All of steps `steps` of the kernel's axis 0, as part `part` if the loop has parts.
    ///
    /// # Safety
    /// As [`CompiledLoop::run`].
    pub unsafe fn run_slice(&self, steps: Range<usize>, part: usize, bases: &Bases, scratch: *mut u8) {
        let part = if self.parts > 1 { part } else { 0 };
        let boxes = self.boxes(steps.len());
        // SAFETY: passed on.
        unsafe { self.run_boxes(0..boxes, steps, part, bases, scratch) }
    }

    /// The steps of axis 0 that a part takes.
    fn part(&self, p: usize) -> Range<usize> {
        p * self.extent / self.parts..(p + 1) * self.extent / self.parts
    }

    /// Boxes of so many steps of the kernel's axis 0.
    fn boxes(&self, steps: usize) -> usize {
        (0..self.rank)
            .map(|a| if a == 0 { steps * self.scale } else { self.space[a] }.div_ceil(self.chunk[a]))
            .enumerate()
            .map(|(a, n)| if self.reduced[a] { 1 } else { n })
            .product()
    }

    unsafe fn run_boxes(
        &self,
        boxes: Range<usize>,
        steps: Range<usize>,
        part: usize,
        bases: &Bases,
        scratch: *mut u8,
    ) {
        let from = steps.start * self.scale..steps.end * self.scale;
        for b in boxes {
            let mut lo = [0; MAX_RANK];
            let mut hi = [0; MAX_RANK];
            let mut rest = b;
            for a in (0..self.rank).rev() {
                let whole = if a == 0 { from.clone() } else { 0..self.space[a] };
                if self.reduced[a] {
                    (lo[a], hi[a]) = (whole.start, whole.end);
                } else {
                    let pieces = whole.len().div_ceil(self.chunk[a]);
                    lo[a] = whole.start + rest % pieces * self.chunk[a];
                    hi[a] = (lo[a] + self.chunk[a]).min(whole.end);
                    rest /= pieces;
                }
            }
            let one = Box { kernel: self, lo: &lo[..self.rank], hi: &hi[..self.rank], part, bases, scratch };
            // SAFETY: passed on.
            unsafe { one.run() }
        }
    }
}

/// Steps of a box per axis, and of a block along the last two. `side`: most columns of a block; `lanes`: most
/// lanes.
fn cut(
    space: &[usize],
    reduced: &[bool],
    reducing: bool,
    side: usize,
    lanes: usize,
) -> (Vec<usize>, [usize; 2]) {
    let rank = space.len();
    let cols = even(space[rank - 1], side.min(lanes));
    let row_extent = if rank >= 2 { space[rank - 2] } else { 1 };
    let rows = even(row_extent, (lanes / cols).max(1));
    let mut chunk: Vec<usize> = space.to_vec();
    let mut inner = 1;
    for a in (0..rank).rev() {
        if reduced[a] {
            inner *= space[a];
            continue;
        }
        let most = match rank - 1 - a {
            _ if !reducing => (GRAIN / inner).max(1),
            // Accumulators: what is kept of a box fits a block.
            0 => cols,
            1 if reduced[rank - 1] => (GRAIN / inner).clamp(rows.min(MAX_LANES), MAX_LANES),
            1 => rows,
            _ => 1,
        };
        chunk[a] = even(space[a], most);
        if !reducing && a + 1 == rank && chunk[a] < space[a] {
            chunk[a] = chunk[a].next_multiple_of(cols);
        }
        inner *= chunk[a];
    }
    (chunk, [rows, cols])
}

/// Steps of pieces of at most `most` that are about equally long, in cache lines where they are longer than that.
fn even(extent: usize, most: usize) -> usize {
    let size = extent.div_ceil(extent.div_ceil(most).max(1)).max(1);
    if size < extent && size > 16 { size.next_multiple_of(16).min(most) } else { size }
}

/// One unit of work.
struct Box<'a> {
    kernel: &'a CompiledLoop,
    lo: &'a [usize],
    hi: &'a [usize],
    part: usize,
    bases: &'a Bases,
    scratch: *mut u8,
}

impl Box<'_> {
    unsafe fn run(&self) {
        let k = self.kernel;
        let rank = k.rank;
        // SAFETY: the loop's scratch is the tape's and then the accumulators'.
        unsafe { self.start() };
        let (row_lo, row_hi) = if rank >= 2 { (self.lo[rank - 2], self.hi[rank - 2]) } else { (0, 1) };
        let (col_lo, col_hi) = (self.lo[rank - 1], self.hi[rank - 1]);
        let mut at = [0; MAX_RANK];
        at[..rank].copy_from_slice(self.lo);
        let mut sequence = Sequence::single(k.block[0] * k.block[1]);
        let apart = self.apart();
        // A part may have no steps: then nothing is added up.
        let mut more = self.lo.iter().zip(self.hi).all(|(lo, hi)| lo < hi);
        while more {
            sequence.again = false;
            for row in (row_lo..row_hi).step_by(k.block[0]) {
                for col in (col_lo..col_hi).step_by(k.block[1]) {
                    if rank >= 2 {
                        at[rank - 2] = row;
                    }
                    at[rank - 1] = col;
                    let shape = [k.block[0].min(row_hi - row), k.block[1].min(col_hi - col)];
                    sequence.outs = self.places(&at[..rank], shape, apart);
                    // SAFETY: the block is inside the box, which is inside the space.
                    unsafe { self.block(&at[..rank], shape, &sequence) };
                    sequence.again = col_hi - col_lo <= k.block[1];
                }
            }
            more = self.next(&mut at);
        }
        // SAFETY: as at the start.
        unsafe { self.finish() };
    }

    /// The next index of the outer axes, in order; false after the last.
    fn next(&self, at: &mut [usize; MAX_RANK]) -> bool {
        for a in (0..self.kernel.rank.saturating_sub(2)).rev() {
            at[a] += 1;
            if at[a] < self.hi[a] {
                return true;
            }
            at[a] = self.lo[a];
        }
        false
    }

    /// Kept rows and columns of the box.
    fn kept(&self) -> [usize; 2] {
        let k = self.kernel;
        let of = |a: usize| if k.reduced[a] { 1 } else { self.hi[a] - self.lo[a] };
        [if k.rank >= 2 { of(k.rank - 2) } else { 1 }, of(k.rank - 1)]
    }

    /// The accumulators of reduced result number `i`, after the tape's scratch, and their storage.
    fn accumulators(&self, i: usize) -> (*mut Accumulators, *mut u8) {
        let header = size_of::<Accumulators>().next_multiple_of(64);
        let each = (Accumulators::BYTES + size_of::<Accumulators>()).next_multiple_of(64);
        let at = self.scratch.wrapping_add(self.kernel.tape.scratch_bytes() + i * each);
        let storage = at.wrapping_add(each - Accumulators::BYTES);
        debug_assert!(header <= 64);
        (at.cast(), storage)
    }

    unsafe fn start(&self) {
        let k = self.kernel;
        let [rows, cols] = self.kept();
        let reduced = k.outs.iter().enumerate().filter_map(|(v, o)| Some((v, o.reduce?)));
        for (i, (v, kind)) in reduced.enumerate() {
            let (a, storage) = self.accumulators(i);
            // SAFETY: the scratch has room for all of them.
            unsafe { a.write(Accumulators::start(storage, rows * cols, kind, k.tape.dtype(v))) };
        }
    }

    /// Per result, whether it may be made where it is stored. A result that takes an operand's place begins where that
    /// does.
    fn apart(&self) -> [bool; MAX_DIRECT] {
        let mut apart = [false; MAX_DIRECT];
        for (a, o) in apart.iter_mut().zip(&self.kernel.outs) {
            let to = self.bases.get(o.access.buffer);
            *a = o.reduce.is_none() && self.kernel.tape.may_make(to, &o.access, self.bases);
        }
        apart
    }

    /// Where the results of a block are made, if that is possible: dense and apart.
    fn places(
        &self,
        at: &[usize],
        [rows, cols]: [usize; 2],
        apart: [bool; MAX_DIRECT],
    ) -> [*mut u32; MAX_DIRECT] {
        let rank = self.kernel.rank;
        let mut places = [std::ptr::null_mut(); MAX_DIRECT];
        for (v, o) in self.kernel.outs.iter().enumerate().take(MAX_DIRECT) {
            let (s, dtype) = (&o.access.strides, self.kernel.tape.dtype(v));
            let dense = (cols == 1 || s[rank - 1] == 1) && (rows == 1 || s[rank - 2] == cols as isize);
            if apart[v] && dense && dtype.size() == 4 {
                places[v] = self.element(o, at, dtype).cast();
            }
        }
        places
    }

    /// Evaluates a block and stores or accumulates it.
    unsafe fn block(&self, at: &[usize], [rows, cols]: [usize; 2], sequence: &Sequence) {
        let k = self.kernel;
        let rank = k.rank;
        // SAFETY: the caller vouches that the block is in the space and the accesses in their buffers.
        unsafe {
            k.tape.eval_next(self.bases, at, [rows, cols], sequence, self.scratch);
            if k.tape.adds_up() {
                let mut to = [std::ptr::null_mut(); MAX_DIRECT];
                for (i, to) in to.iter_mut().enumerate().take(k.outs.len()) {
                    *to = (*self.accumulators(i).0).chains(rows, cols);
                }
                return k.tape.add_up(to, rows, cols, self.scratch);
            }
            let mut reduced = 0;
            for (v, o) in k.outs.iter().enumerate() {
                let s = &o.access.strides;
                if o.reduce.is_none() {
                    let dtype = k.tape.dtype(v);
                    let to = self.element(o, at, dtype);
                    let row = if rank >= 2 { s[rank - 2] } else { 0 };
                    k.tape.store(v, to, row, s[rank - 1], rows, cols, self.scratch, dtype);
                    continue;
                }
                let over = |a: usize| k.reduced[a];
                let row_at = if rank >= 2 && !over(rank - 2) { at[rank - 2] - self.lo[rank - 2] } else { 0 };
                let col_at = if over(rank - 1) { 0 } else { at[rank - 1] - self.lo[rank - 1] };
                let pitch = self.kept()[1];
                let shape = Shape {
                    rows,
                    cols,
                    over_rows: rank >= 2 && over(rank - 2),
                    over_cols: over(rank - 1),
                    first: row_at * pitch + col_at,
                    pitch,
                };
                (*self.accumulators(reduced).0).add(k.isa, k.tape.result(v, self.scratch), &shape);
                reduced += 1;
            }
        }
    }

    /// Stores the reduced results.
    unsafe fn finish(&self) {
        let k = self.kernel;
        let rank = k.rank;
        let kept = self.kept();
        for (i, (v, o)) in k.outs.iter().enumerate().filter(|(_, o)| o.reduce.is_some()).enumerate() {
            let dtype = k.tape.dtype(v);
            let s = &o.access.strides;
            let row = if rank >= 2 { s[rank - 2] } else { 0 };
            // SAFETY: as in `block`; the strides of combined axes are 0.
            unsafe {
                let lanes = (*self.accumulators(i).0).finish(kept[0] * kept[1]);
                let shift = self.part as isize * o.part_stride * dtype.size() as isize;
                let to = self.element(o, self.lo, dtype).wrapping_offset(shift);
                tape::store(lanes, to, [row, s[rank - 1]], kept, dtype);
            }
        }
    }

    /// Address of a result's element.
    fn element(&self, o: &LoopOut, at: &[usize], dtype: DType) -> *mut u8 {
        let mut element = o.access.offset;
        for (a, i) in at.iter().enumerate() {
            if o.reduce.is_none() || !self.kernel.reduced[a] {
                element += *i as isize * o.access.strides[a];
            }
        }
        self.bases.get(o.access.buffer).wrapping_offset(element * dtype.size() as isize)
    }
}
