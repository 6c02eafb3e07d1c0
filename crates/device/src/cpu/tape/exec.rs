//! Runs the steps of a tape over one block, once compiled for each instruction set.
//!
//! Invariant: `body` is inlined into a function that enables the instruction set, and everything it calls into it.

use super::arith::{map1, map2, mul_add, select};
use super::code::{Class, Code, Compiled, MAX_DIRECT, NO_OUT, Step};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::native::{MAX_MADE, Native};
use super::{math, moves, random};
use crate::cpu::{Bases, Isa};
use std::slice;
use thalweg_base::{DType, ScalarOp, half};

/// One block being evaluated.
pub struct Frame<'a> {
    /// Address of each operand: constants, then what each step makes.
    pub table: *mut *const u32,
    /// First slot.
    pub slots: *mut u32,
    /// Lanes from one slot to the next.
    pub stride: usize,
    /// Of the block.
    pub rows: usize,
    /// Of the block.
    pub cols: usize,
    /// Addresses of the buffers.
    pub bases: &'a Bases,
    /// First index of the block, per axis.
    pub origin: &'a [usize],
    /// Row 0 of the accumulated product.
    pub acc: *const u32,
    /// Lanes from one of its rows to the next.
    pub acc_stride: usize,
    /// Where results belong, if they may be made there.
    pub outs: &'a [*mut u32; MAX_DIRECT],
}

impl Frame<'_> {
    /// The lanes of an operand.
    #[inline(always)]
    pub unsafe fn lanes<T>(&self, operand: u16, n: usize) -> &[T] {
        // SAFETY: the table's entry was set by the constants or an earlier step, and has that many lanes.
        unsafe { slice::from_raw_parts((*self.table.add(operand as usize)).cast(), n) }
    }

    /// The lanes of a step's own slot, which becomes its operand.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "slots are raw scratch; a step holds one destination at a time")]
    pub unsafe fn dst<T>(&self, s: &Step, n: usize) -> &mut [T] {
        // SAFETY: slots are in this worker's scratch, and no argument is in the step's own (see compile.rs); nor is
        // any where a result is made in place (see `Sequence::outs`).
        unsafe {
            let slot = self.slot(s.slot, s.out);
            self.alias(s, slot);
            slice::from_raw_parts_mut(slot.cast(), n)
        }
    }

    /// Where a slot's lanes are, or those of the result it makes, if that may be made in place.
    #[inline(always)]
    unsafe fn slot(&self, slot: u16, out: u8) -> *mut u32 {
        match self.outs.get(out as usize) {
            Some(&out) if !out.is_null() => out,
            // SAFETY: the scratch has that many slots.
            _ => unsafe { self.slots.add(slot as usize * self.stride) },
        }
    }

    #[inline(always)]
    unsafe fn alias(&self, s: &Step, lanes: *const u32) {
        // SAFETY: the table has an entry for every operand.
        unsafe { self.table.add(s.dst as usize).write(lanes) }
    }

    /// Rows and columns of a class.
    #[inline(always)]
    fn shape(&self, class: Class) -> [usize; 2] {
        match class {
            Class::Uniform => [1, 1],
            Class::Col => [1, self.cols],
            Class::Row => [self.rows, 1],
            Class::Dense => [self.rows, self.cols],
        }
    }
}

/// Runs all steps; `again`: but for the steady ones, whose values are there.
///
/// # Safety
/// `isa` is available, the frame's addresses are valid and every load stays in its buffer.
#[inline]
pub unsafe fn run(isa: Isa, code: &Compiled, frame: &Frame<'_>, again: bool) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(code, frame, again),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(code, frame, again),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon(code, frame, again),
            _ => body::<false>(code, frame, again),
        }
    }
}

/// # Safety
/// As [`run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(code: &Compiled, frame: &Frame<'_>, again: bool) {
    // SAFETY: passed on.
    unsafe { body::<true>(code, frame, again) }
}

/// # Safety
/// As [`run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(code: &Compiled, frame: &Frame<'_>, again: bool) {
    // SAFETY: passed on.
    unsafe { body::<true>(code, frame, again) }
}

/// # Safety
/// As [`run`].
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(code: &Compiled, frame: &Frame<'_>, again: bool) {
    // SAFETY: passed on.
    unsafe { body::<true>(code, frame, again) }
}

#[inline(always)]
unsafe fn body<const FMA: bool>(code: &Compiled, frame: &Frame<'_>, again: bool) {
    if !again {
        for (i, c) in code.consts.iter().enumerate() {
            // SAFETY: the table's first entries are the constants'.
            unsafe { frame.table.add(i).write(c) }
        }
    }
    for s in &code.steps[if again { code.steady } else { 0 }..] {
        let [rows, cols] = frame.shape(s.class);
        let padded = s.padded && (s.out == NO_OUT || frame.outs[s.out as usize].is_null());
        let n = if padded { (rows * cols).next_multiple_of(16) } else { rows * cols };
        // SAFETY: the steps are in order, so that every argument has its address; slots hold padded lanes.
        unsafe {
            match s.code {
                Code::Load(_) | Code::Index(_) | Code::Acc | Code::Spread(_) => movement(code, frame, s),
                Code::Random { seed, stream } => random::random(frame, s, rows * cols, seed, stream),
                Code::F1(op) => float1::<FMA>(frame, s, n, op),
                Code::F2(op) => float2(frame, s, n, op),
                Code::MulAdd => mul_add::<FMA>(frame, s, n),
                Code::Select => select(frame, s, n),
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                Code::Native(at) => native(frame, &code.natives[at as usize], rows * cols),
                _ => integer(frame, s, n),
            }
        }
    }
}

/// A chain of steps.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[inline(always)]
unsafe fn native(frame: &Frame<'_>, native: &Native, n: usize) {
    let mut to = [std::ptr::null_mut(); MAX_MADE];
    // SAFETY: a tape's chains are of its own instruction set; the rest as for the steps they replace.
    unsafe {
        for (to, made) in to.iter_mut().zip(&native.made) {
            *to = frame.slot(made.slot, made.out);
            frame.table.add(made.operand as usize).write(*to);
        }
        native.run(frame.table, &to, n);
    }
}

#[inline(always)]
unsafe fn float1<const FMA: bool>(frame: &Frame<'_>, s: &Step, n: usize, op: ScalarOp) {
    // SAFETY: passed on.
    unsafe {
        match op {
            ScalarOp::Neg => map1(frame, s, n, |a: f32| -a),
            ScalarOp::Abs => map1(frame, s, n, f32::abs),
            ScalarOp::Exp => map1(frame, s, n, math::exp::<FMA>),
            ScalarOp::Log => map1(frame, s, n, math::log::<FMA>),
            ScalarOp::Sqrt => map1(frame, s, n, f32::sqrt),
            ScalarOp::Floor => map1(frame, s, n, f32::floor),
            ScalarOp::Tanh => map1(frame, s, n, math::tanh::<FMA>),
            ScalarOp::Sigmoid => map1(frame, s, n, math::sigmoid::<FMA>),
            ScalarOp::Erf => map1(frame, s, n, math::erf::<FMA>),
            ScalarOp::Cos => {
                map1(frame, s, n, math::cos_reduced);
                // Lane by lane: the others must not notice a neighbour that is far out.
                let args = frame.lanes::<f32>(s.args[0], n);
                let far = |a: &f32| a.abs() > math::COS_LIMIT;
                if args.iter().fold(false, |any, a| any | far(a)) {
                    for (d, a) in frame.dst::<f32>(s, n).iter_mut().zip(args).filter(|(_, a)| far(a)) {
                        *d = math::cos_any(*a);
                    }
                }
            }
            _ => unreachable!("compile.rs makes no such step"),
        }
    }
}

#[inline(always)]
unsafe fn float2(frame: &Frame<'_>, s: &Step, n: usize, op: ScalarOp) {
    // SAFETY: passed on.
    unsafe {
        match op {
            ScalarOp::Add => map2(frame, s, n, |a: f32, b: f32| a + b),
            ScalarOp::Sub => map2(frame, s, n, |a: f32, b: f32| a - b),
            ScalarOp::Mul => map2(frame, s, n, |a: f32, b: f32| a * b),
            ScalarOp::Div => map2(frame, s, n, |a: f32, b: f32| a / b),
            ScalarOp::Max => map2(frame, s, n, math::max),
            ScalarOp::Min => map2(frame, s, n, math::min),
            ScalarOp::Pow => map2(frame, s, n, math::pow),
            _ => unreachable!("compile.rs makes no such step"),
        }
    }
}

/// Integers, comparisons, conversions. Rust's `as` truncates and saturates, as `DType::round`.
#[inline(always)]
unsafe fn integer(frame: &Frame<'_>, s: &Step, n: usize) {
    let truth = u32::from;
    // SAFETY: passed on.
    unsafe {
        match s.code {
            Code::NegI => map1(frame, s, n, |a: i32| a.wrapping_neg()),
            Code::AbsI => map1(frame, s, n, |a: i32| a.wrapping_abs()),
            Code::AddI => map2(frame, s, n, |a: u32, b: u32| a.wrapping_add(b)),
            Code::SubI => map2(frame, s, n, |a: u32, b: u32| a.wrapping_sub(b)),
            Code::MulI => map2(frame, s, n, |a: u32, b: u32| a.wrapping_mul(b)),
            Code::MaxI => map2(frame, s, n, |a: i32, b: i32| a.max(b)),
            Code::MinI => map2(frame, s, n, |a: i32, b: i32| a.min(b)),
            Code::MaxU => map2(frame, s, n, |a: u32, b: u32| a.max(b)),
            Code::MinU => map2(frame, s, n, |a: u32, b: u32| a.min(b)),
            Code::LtF => map2(frame, s, n, |a: f32, b: f32| truth(a < b)),
            Code::LtI => map2(frame, s, n, |a: i32, b: i32| truth(a < b)),
            Code::LtU => map2(frame, s, n, |a: u32, b: u32| truth(a < b)),
            Code::EqF => map2(frame, s, n, |a: f32, b: f32| truth(a == b)),
            Code::EqI => map2(frame, s, n, |a: u32, b: u32| truth(a == b)),
            Code::And => map2(frame, s, n, |a: u32, b: u32| a & b),
            Code::FToI => map1(frame, s, n, |a: f32| a as i32),
            Code::FToU => map1(frame, s, n, |a: f32| a as u32),
            Code::FToU8 => map1(frame, s, n, |a: f32| u32::from(a as u8)),
            Code::FToBool => map1(frame, s, n, |a: f32| truth(a != 0.0)),
            Code::IToF => map1(frame, s, n, |a: i32| a as f32),
            Code::IToU => map1(frame, s, n, |a: i32| a.max(0)),
            Code::IToU8 => map1(frame, s, n, |a: i32| a.clamp(0, 255)),
            Code::UToF => map1(frame, s, n, |a: u32| a as f32),
            Code::UToI => map1(frame, s, n, |a: u32| a.min(i32::MAX as u32)),
            Code::UToU8 => map1(frame, s, n, |a: u32| a.min(255)),
            Code::ToBool => map1(frame, s, n, |a: u32| truth(a != 0)),
            Code::Round(DType::F16) => map1(frame, s, n, |a: f32| half::from_f16(half::to_f16(a))),
            Code::Round(_) => map1(frame, s, n, |a: f32| half::from_bf16(half::to_bf16(a))),
            _ => unreachable!("the other steps are matched before"),
        }
    }
}

#[inline(always)]
unsafe fn movement(code: &Compiled, frame: &Frame<'_>, s: &Step) {
    let [rows, cols] = frame.shape(s.class);
    let lanes = rows * cols;
    // SAFETY: the caller vouches that the loads stay in their buffers; slots hold the block.
    unsafe {
        match s.code {
            Code::Load(at) => {
                let load = &code.loads[at as usize];
                let mut element = load.offset;
                for (o, stride) in frame.origin.iter().zip(&load.outer) {
                    element += *o as isize * stride;
                }
                let (row_origin, col_origin) = block_origin(frame.origin);
                element += row_origin as isize * load.row + col_origin as isize * load.col;
                let base = frame.bases.get(load.buffer);
                let (strides, shape) = ([load.row, load.col], [rows, cols]);
                if load.dtype.size() < 4 {
                    let dst = frame.dst::<u32>(s, lanes).as_mut_ptr();
                    let bytes = base.wrapping_offset(element * load.dtype.size() as isize).cast_const();
                    widen(dst, bytes, strides, shape, load.dtype);
                    return;
                }
                let from = base.cast::<u32>().wrapping_offset(element).cast_const();
                let in_rows = cols == 1 || load.col == 1;
                let dense = in_rows && (rows == 1 || load.row == cols as isize);
                if dense && !load.copied {
                    frame.alias(s, from);
                } else {
                    let dst = frame.dst::<u32>(s, lanes).as_mut_ptr();
                    moves::gather(dst, from, strides, shape, |lane| lane);
                }
            }
            Code::Index(at) => {
                let index = &code.indices[at as usize];
                let mut first = index.offset;
                for (o, stride) in frame.origin.iter().zip(&index.outer) {
                    first = first.wrapping_add((*o as i32).wrapping_mul(*stride));
                }
                let (row_origin, col_origin) = block_origin(frame.origin);
                first = first
                    .wrapping_add((row_origin as i32).wrapping_mul(index.row))
                    .wrapping_add((col_origin as i32).wrapping_mul(index.col));
                let d = frame.dst::<i32>(s, lanes);
                for (r, row) in d.chunks_exact_mut(cols).enumerate() {
                    let start = first.wrapping_add((r as i32).wrapping_mul(index.row));
                    for (c, d) in row.iter_mut().enumerate() {
                        *d = start.wrapping_add((c as i32).wrapping_mul(index.col));
                    }
                }
            }
            Code::Acc => {
                if rows == 1 || frame.acc_stride == cols {
                    frame.alias(s, frame.acc);
                } else {
                    let dst = frame.dst::<u32>(s, lanes).as_mut_ptr();
                    for r in 0..rows {
                        let from = frame.acc.add(r * frame.acc_stride);
                        dst.add(r * cols).copy_from_nonoverlapping(from, cols);
                    }
                }
            }
            Code::Spread(from) => {
                let src = (*frame.table.add(s.args[0] as usize)).cast::<u32>();
                let [have_rows, have_cols] = frame.shape(from);
                if have_rows * have_cols == lanes {
                    frame.alias(s, src);
                    return;
                }
                let dst = frame.dst::<u32>(s, lanes).as_mut_ptr();
                match from {
                    Class::Uniform => moves::splat(dst, *src, lanes),
                    Class::Col => moves::repeat_row(dst, src, rows, cols),
                    Class::Row | Class::Dense => moves::repeat_col(dst, src, rows, cols),
                }
            }
            _ => unreachable!("not a movement"),
        }
    }
}

/// Gathers elements narrower than a lane.
#[inline(always)]
unsafe fn widen(dst: *mut u32, bytes: *const u8, strides: [isize; 2], shape: [usize; 2], dtype: DType) {
    // SAFETY: as in `movement`; elements of 16 bits lie at even addresses.
    unsafe {
        match dtype {
            DType::F16 => {
                moves::gather(dst, bytes.cast::<u16>(), strides, shape, |h| half::from_f16(h).to_bits());
            }
            DType::BF16 => {
                moves::gather(dst, bytes.cast::<u16>(), strides, shape, |h| half::from_bf16(h).to_bits());
            }
            DType::Bool | DType::U8 => moves::gather(dst, bytes, strides, shape, u32::from),
            DType::U32 | DType::I32 | DType::F32 => unreachable!("as wide as a lane"),
        }
    }
}

/// Stores dense f32 lanes rounded to a float of 16 bits.
///
/// # Safety
/// `isa` is available; `lanes` has rows * cols lanes; the elements are valid to write.
#[inline]
pub unsafe fn store_half(
    isa: Isa,
    lanes: *const u32,
    out: *mut u16,
    strides: [isize; 2],
    shape: [usize; 2],
    dtype: DType,
) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => store_avx512(lanes, out, strides, shape, dtype),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => store_avx2(lanes, out, strides, shape, dtype),
            _ => store_body(lanes, out, strides, shape, dtype),
        }
    }
}

/// # Safety
/// As [`store_half`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn store_avx512(
    lanes: *const u32,
    out: *mut u16,
    strides: [isize; 2],
    shape: [usize; 2],
    dtype: DType,
) {
    // SAFETY: passed on.
    unsafe { store_body(lanes, out, strides, shape, dtype) }
}

/// # Safety
/// As [`store_half`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_avx2(lanes: *const u32, out: *mut u16, strides: [isize; 2], shape: [usize; 2], dtype: DType) {
    // SAFETY: passed on.
    unsafe { store_body(lanes, out, strides, shape, dtype) }
}

#[inline(always)]
unsafe fn store_body(lanes: *const u32, out: *mut u16, strides: [isize; 2], shape: [usize; 2], dtype: DType) {
    // SAFETY: passed on.
    unsafe {
        match dtype {
            DType::F16 => {
                moves::store(lanes, out, strides, shape, |lane| half::to_f16(f32::from_bits(lane)));
            }
            _ => moves::store(lanes, out, strides, shape, |lane| half::to_bf16(f32::from_bits(lane))),
        }
    }
}

/// Origin along the last two axes.
#[inline(always)]
fn block_origin(origin: &[usize]) -> (usize, usize) {
    match origin {
        [.., row, col] => (*row, *col),
        [col] => (0, *col),
        [] => (0, 0),
    }
}
