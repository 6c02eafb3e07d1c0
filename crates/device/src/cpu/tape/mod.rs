//! A compiled [`Body`]: its expressions evaluated block by block.
//!
//! A block is rows x cols lanes of 32 bits (f32, i32, u32; bool and u8 as u32, f16 and bf16 as f32), at most [`MAX_LANES`]; each step
//! runs over the whole block, so that its cost is that of its vector loop and not that of choosing it. Values
//! between steps stay in scratch, a few KiB that live in the first-level cache.
//!
//! Invariant: what a lane gets does not depend on how the space is cut into blocks.

mod arith;
mod code;
mod compile;
mod exec;
mod math;
mod moves;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native;
mod random;
#[cfg(test)]
mod tests;

use super::{Bases, Isa};
use crate::plan::{Access, Body, BufferId, ExprId};
pub use code::MAX_DIRECT;
use code::{Code, Compiled, Load};
use compile::How;
use exec::Frame;
pub use math::max;
use thalweg_base::DType;

/// Most lanes of a block.
pub const MAX_LANES: usize = 1024;
/// Lanes between the end of one slot and the start of the next, so that slots do not fall on the same cache sets.
const SLOT_GAP: usize = 16;

/// How blocks follow each other, so that later ones may use what earlier ones made.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// Most lanes of any of them.
    pub lanes: usize,
    /// Whether this one differs from the one before only in its rows.
    pub again: bool,
    /// Per result, where its dense lanes belong, if nothing that is loaded lies there; or null.
    pub outs: [*mut u32; MAX_DIRECT],
}

impl Sequence {
    /// A block on its own.
    pub fn single(lanes: usize) -> Sequence {
        Sequence { lanes, again: false, outs: [std::ptr::null_mut(); MAX_DIRECT] }
    }
}

/// The compiled expressions of a kernel.
#[derive(Clone, Debug)]
pub struct Tape {
    code: Compiled,
    dtypes: Vec<DType>,
    isa: Isa,
    table_bytes: usize,
    rank: usize,
}

impl Tape {
    /// Compiles the expressions that `values` need, over a space of that shape.
    pub fn new(body: &Body, values: &[ExprId], space: &[usize], isa: Isa) -> Tape {
        Tape::compile(body, values, space, isa, How::fast(isa, None))
    }

    /// The same for values that are f32s and only added up over the second-last axis, whole rows at a time: see
    /// [`Tape::adds_up`].
    pub fn added_up(body: &Body, values: &[ExprId], space: &[usize], isa: Isa) -> Tape {
        Tape::compile(body, values, space, isa, How::fast(isa, space.last().copied()))
    }

    fn compile(body: &Body, values: &[ExprId], space: &[usize], isa: Isa, how: How) -> Tape {
        let code = compile::compile(body, values, space, isa, how);
        Tape {
            dtypes: values.iter().map(|&v| body.dtype(v)).collect(),
            isa,
            table_bytes: (code.operands * size_of::<*const u32>()).next_multiple_of(64),
            rank: space.len(),
            code,
        }
    }

    /// f32-lane scratch one evaluation needs, in bytes, 64-aligned.
    pub fn scratch_bytes(&self) -> usize {
        self.table_bytes + self.code.slots * (MAX_LANES + SLOT_GAP) * 4
    }

    /// Values that are there at a time: what a good block size depends on.
    pub fn width(&self) -> usize {
        self.code.width
    }

    /// The type of a value.
    pub fn dtype(&self, value: usize) -> DType {
        self.dtypes[value]
    }

    /// Evaluates a block: axes before the last two are fixed at `origin`, the block covers `rows` steps of the
    /// second-last axis from `origin[rank - 2]` and `cols` steps of the last axis from `origin[rank - 1]` (a space
    /// of rank 1 has one row); `rows * cols` is at most [`MAX_LANES`]. For [`crate::plan::Expr::Acc`], row r is at
    /// `acc + r * acc_stride` f32s. The values are then at [`Tape::result`].
    ///
    /// # Safety
    /// Every access of the body must stay in its buffer for the whole block; `scratch` is
    /// [`Tape::scratch_bytes`] long, 64-aligned and this worker's own.
    #[expect(
        clippy::too_many_arguments,
        reason = "the micro-kernels call it once a tile; a struct would be built each time"
    )]
    #[inline]
    pub unsafe fn eval(
        &self,
        bases: &Bases,
        origin: &[usize],
        rows: usize,
        cols: usize,
        acc: *const f32,
        acc_stride: usize,
        scratch: *mut u8,
    ) {
        let sequence = Sequence::single(rows * cols);
        // SAFETY: as the caller vouches.
        unsafe { self.run(bases, origin, [rows, cols], (acc, acc_stride), &sequence, scratch) }
    }

    /// Evaluates one of a sequence of blocks; no body of theirs has an [`crate::plan::Expr::Acc`].
    ///
    /// # Safety
    /// As [`Tape::eval`]; the sequence's claims hold, and its blocks used this scratch.
    #[inline]
    pub unsafe fn eval_next(
        &self,
        bases: &Bases,
        origin: &[usize],
        shape: [usize; 2],
        sequence: &Sequence,
        scratch: *mut u8,
    ) {
        // SAFETY: as the caller vouches.
        unsafe { self.run(bases, origin, shape, (std::ptr::null(), 0), sequence, scratch) }
    }

    #[expect(clippy::too_many_arguments, reason = "as eval")]
    #[inline]
    unsafe fn run(
        &self,
        bases: &Bases,
        origin: &[usize],
        [rows, cols]: [usize; 2],
        (acc, acc_stride): (*const f32, usize),
        sequence: &Sequence,
        scratch: *mut u8,
    ) {
        debug_assert!(rows * cols <= sequence.lanes && sequence.lanes <= MAX_LANES);
        debug_assert!(origin.len() == self.rank);
        let table = scratch.cast::<*const u32>();
        // SAFETY: the scratch holds the table, then the slots.
        let slots = unsafe { scratch.add(self.table_bytes).cast::<u32>() };
        let stride = sequence.lanes.next_multiple_of(16) + SLOT_GAP;
        let outs = &sequence.outs;
        let frame =
            Frame { table, slots, stride, rows, cols, bases, origin, acc: acc.cast(), acc_stride, outs };
        // SAFETY: the caller vouches for the accesses; the instruction set is one this processor has.
        unsafe { exec::run(self.isa, &self.code, &frame, sequence.again) }
    }

    /// Whether the values are not stored, but added up by [`Tape::add_up`].
    pub fn adds_up(&self) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        return self.code.sum.is_some();
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        false
    }

    /// Adds the values of the last block up, in order: each to its sums, one a column of the space's last axis.
    ///
    /// # Safety
    /// After [`Tape::eval_next`] of a tape that [`Tape::adds_up`], of so many rows (at least one) and all columns; there are
    /// as many sums as values.
    #[inline]
    pub unsafe fn add_up(&self, to: [*mut f32; MAX_DIRECT], rows: usize, columns: usize, scratch: *const u8) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(sum) = &self.code.sum {
            // SAFETY: as the caller vouches; the scratch begins with the table.
            unsafe { sum.add(scratch.cast(), &native::Sums { to, rows, columns }) }
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        let _ = (to, rows, columns, scratch);
    }

    /// Whether a result may be made at `to`, where its accesses lead: nothing that is loaded lies there, or only what is
    /// loaded for the same elements, and that by one chain alone, which loads before it stores.
    pub fn may_make(&self, to: *const u8, access: &Access, bases: &Bases) -> bool {
        let there = |l: &&Load| std::ptr::eq(bases.get(l.buffer), to);
        self.code.loads.iter().filter(there).all(|l| self.code.one_chain() && l.is(access))
    }

    /// Where a value of the last block is: dense rows * cols lanes, in scratch or where it was loaded from.
    ///
    /// # Safety
    /// After [`Tape::eval`] with that scratch.
    #[inline]
    pub unsafe fn result(&self, value: usize, scratch: *const u8) -> *const f32 {
        let operand = self.code.results[value] as usize;
        // SAFETY: the table has an address for every operand.
        unsafe { scratch.cast::<*const f32>().add(operand).read() }
    }

    /// Stores a value of the last block: element (r, c) at `r * row_stride + c * col_stride` elements from
    /// `out_ptr`.
    ///
    /// # Safety
    /// After [`Tape::eval`] with that scratch, rows and cols; the elements are valid to write.
    #[expect(clippy::too_many_arguments, reason = "as eval")]
    #[inline]
    pub unsafe fn store(
        &self,
        value: usize,
        out_ptr: *mut u8,
        row_stride: isize,
        col_stride: isize,
        rows: usize,
        cols: usize,
        scratch: *mut u8,
        dtype: DType,
    ) {
        // SAFETY: as the caller vouches.
        unsafe {
            let lanes = self.result(value, scratch).cast::<u32>();
            if lanes.cast_mut() == out_ptr.cast() && dtype.size() == 4 {
                return; // It was made there, or never moved: dense (see `Sequence::outs`).
            }
            let (strides, shape) = ([row_stride, col_stride], [rows, cols]);
            if dtype.is_half() {
                exec::store_half(self.isa, lanes, out_ptr.cast(), strides, shape, dtype);
            } else {
                store(lanes, out_ptr, strides, shape, dtype);
            }
        }
    }

    /// Keeps results that are just loads from one of these buffers in scratch: they are stored over while the
    /// results are still read.
    pub fn copy_results_of(&mut self, buffers: &[BufferId]) {
        for result in &self.code.results {
            let mut operand = *result;
            let source = loop {
                match self.code.steps.iter().find(|s| s.dst == operand) {
                    Some(s) if matches!(s.code, Code::Spread(_)) => operand = s.args[0],
                    other => break other,
                }
            };
            if let Some(Code::Load(at)) = source.map(|s| s.code) {
                let load = &mut self.code.loads[at as usize];
                load.copied |= buffers.contains(&load.buffer);
            }
        }
    }
}

/// Stores dense lanes with any strides, in elements of that type: one of 8 or 32 bits.
///
/// # Safety
/// `lanes` has rows * cols lanes; the elements are valid to write.
pub unsafe fn store(lanes: *const u32, out: *mut u8, strides: [isize; 2], shape: [usize; 2], dtype: DType) {
    // SAFETY: as the caller vouches.
    unsafe {
        match dtype {
            DType::Bool | DType::U8 => moves::store(lanes, out, strides, shape, |lane| lane as u8),
            DType::U32 | DType::I32 | DType::F32 => {
                moves::store(lanes, out.cast::<u32>(), strides, shape, |lane| lane);
            }
            DType::F16 | DType::BF16 => unreachable!("the compiler reduces in f32"),
        }
    }
}
