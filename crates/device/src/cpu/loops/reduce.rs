//! Accumulators of a reduction, and how a block of lanes goes into them.
//!
//! Sums are cascades: short chains in f32 vectors, flushed into f64 every [`CHAIN`] terms, so that the error of a
//! sum of a million terms stays at one rounding. Maxima keep NaN. Invariant: the order of combination depends on
//! the shapes alone.

use crate::cpu::Isa;
use crate::cpu::tape::{MAX_LANES, max};
use crate::plan::Reduce;
use std::slice;
use thalweg_base::DType;

/// Terms added in f32 before the f64 accumulator takes them.
pub const CHAIN: usize = 64;
/// Few rows of so many columns are added one by one.
const WIDE: usize = 64;
/// Rows narrower than this are added several at a time. A block has no more than [`CHAIN`] of the others.
pub const NARROW: usize = MAX_LANES / CHAIN;

/// Where a block lies in the accumulators.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of the block.
    pub rows: usize,
    /// Of the block.
    pub cols: usize,
    /// Whether rows are combined.
    pub over_rows: bool,
    /// Whether columns are combined.
    pub over_cols: bool,
    /// First accumulator.
    pub first: usize,
    /// Accumulators from one kept row to the next.
    pub pitch: usize,
}

/// The accumulators of one result: at most [`MAX_LANES`] kept elements.
#[derive(Clone, Copy, Debug)]
pub struct Accumulators {
    /// f32 chains; maxima. MAX_LANES + WIDE lanes.
    fast: *mut f32,
    /// MAX_LANES sums.
    exact: *mut f64,
    /// Row groups in the chains.
    pending: usize,
    kind: Reduce,
    dtype: DType,
}

impl Accumulators {
    /// Bytes of storage.
    pub const BYTES: usize = (MAX_LANES + WIDE) * 4 + MAX_LANES * 8;

    /// Over `storage` of [`Accumulators::BYTES`], 64-aligned; `kept` elements at their initial value.
    ///
    /// # Safety
    /// The storage is valid and nobody else's while they live.
    pub unsafe fn start(storage: *mut u8, kept: usize, kind: Reduce, dtype: DType) -> Self {
        // SAFETY: within BYTES.
        let fast = unsafe { storage.add(MAX_LANES * 8).cast::<f32>() };
        let a = Accumulators { fast, exact: storage.cast(), pending: 0, kind, dtype };
        let (f, e) = match kind {
            Reduce::Sum => (0.0, 0.0),
            Reduce::Max => (f32::NEG_INFINITY, f64::NEG_INFINITY),
        };
        // SAFETY: kept is at most MAX_LANES.
        unsafe {
            slice::from_raw_parts_mut(a.fast, MAX_LANES.min(kept) + WIDE).fill(f);
            slice::from_raw_parts_mut(a.exact, kept).fill(e);
        }
        a
    }

    /// Takes in a block of dense lanes.
    ///
    /// # Safety
    /// `lanes` has rows * cols lanes of this type; the shape fits the kept elements; `isa` is available.
    pub unsafe fn add(&mut self, isa: Isa, lanes: *const f32, shape: &Shape) {
        // SAFETY: passed on.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => self.add_avx512(lanes, shape),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => self.add_avx2(lanes, shape),
                _ => self.add_body(lanes, shape),
            }
        }
    }

    /// # Safety
    /// As `add`.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn add_avx512(&mut self, lanes: *const f32, shape: &Shape) {
        // SAFETY: passed on.
        unsafe { self.add_body(lanes, shape) }
    }

    /// # Safety
    /// As `add`.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add_avx2(&mut self, lanes: *const f32, shape: &Shape) {
        // SAFETY: passed on.
        unsafe { self.add_body(lanes, shape) }
    }

    #[inline(always)]
    unsafe fn add_body(&mut self, lanes: *const f32, s: &Shape) {
        // SAFETY: the caller vouches for the lanes and that the shape fits.
        unsafe {
            if self.dtype != DType::F32 {
                return self.add_integers(lanes.cast(), s);
            }
            let lanes = slice::from_raw_parts(lanes, s.rows * s.cols);
            let sum = self.kind == Reduce::Sum;
            match (s.over_rows, s.over_cols) {
                (true, true) if sum => *self.exact.add(s.first) += f64::from(sum_of(lanes)),
                (true, true) => {
                    let m = self.fast.add(s.first);
                    *m = max(*m, max_of(lanes));
                }
                (false, true) => {
                    for (r, row) in lanes.chunks_exact(s.cols).enumerate() {
                        let at = s.first + r * s.pitch;
                        if sum {
                            *self.exact.add(at) += f64::from(sum_of(row));
                        } else {
                            *self.fast.add(at) = max(*self.fast.add(at), max_of(row));
                        }
                    }
                }
                (true, false) if sum => self.add_columns(lanes, s),
                (true, false) => {
                    let m = slice::from_raw_parts_mut(self.fast.add(s.first), s.cols);
                    for row in lanes.chunks_exact(s.cols) {
                        m.iter_mut().zip(row).for_each(|(m, x)| *m = max(*m, *x));
                    }
                }
                (false, false) => {
                    for (r, row) in lanes.chunks_exact(s.cols).enumerate() {
                        let at = s.first + r * s.pitch;
                        if sum {
                            let e = slice::from_raw_parts_mut(self.exact.add(at), s.cols);
                            e.iter_mut().zip(row).for_each(|(e, x)| *e += f64::from(*x));
                        } else {
                            let m = slice::from_raw_parts_mut(self.fast.add(at), s.cols);
                            m.iter_mut().zip(row).for_each(|(m, x)| *m = max(*m, *x));
                        }
                    }
                }
            }
        }
    }

    /// The chains of `cols` columns, to which the caller adds the sums of so many rows, [`CHAIN`] at most.
    pub fn chains(&mut self, rows: usize, cols: usize) -> *mut f32 {
        debug_assert!(rows <= CHAIN && self.kind == Reduce::Sum && self.dtype == DType::F32);
        if self.pending + rows > CHAIN {
            // SAFETY: the accumulators are of that many columns.
            unsafe { self.flush(cols) };
        }
        self.pending += rows;
        self.fast
    }

    /// Adds rows to the chains: very narrow ones several at a time, others in order, as tapes that add up do. The box has
    /// these columns only (first = 0).
    #[inline(always)]
    unsafe fn add_columns(&mut self, lanes: &[f32], s: &Shape) {
        if s.rows < 4 && s.cols >= WIDE {
            // SAFETY: passed on.
            return unsafe { self.add_wide(lanes, s) };
        }
        let together = if s.cols < NARROW { WIDE / s.cols } else { 1 };
        let width = together * s.cols;
        for chain in lanes.chunks(width * CHAIN) {
            let groups = chain.len().div_ceil(width);
            if self.pending + groups > CHAIN {
                // SAFETY: as the caller vouches.
                unsafe { self.flush(s.cols) };
            }
            self.pending += groups;
            // SAFETY: the chains have MAX_LANES + WIDE lanes, a group is no wider.
            let fast = unsafe { slice::from_raw_parts_mut(self.fast, width) };
            let whole = chain.chunks_exact(width);
            let rest = whole.remainder();
            let mut at = 0;
            while at < width {
                at += match width - at {
                    64.. => add_strip::<64>(fast, chain, at),
                    32.. => add_strip::<32>(fast, chain, at),
                    16.. => add_strip::<16>(fast, chain, at),
                    8.. => add_strip::<8>(fast, chain, at),
                    _ => add_strip::<1>(fast, chain, at),
                };
            }
            fast.iter_mut().zip(rest).for_each(|(f, x)| *f += *x);
        }
    }

    /// Adds a few wide rows.
    #[inline(always)]
    unsafe fn add_wide(&mut self, lanes: &[f32], s: &Shape) {
        if self.pending + s.rows > CHAIN {
            // SAFETY: as the caller vouches.
            unsafe { self.flush(s.cols) };
        }
        self.pending += s.rows;
        // SAFETY: as in `add_columns`.
        let fast = unsafe { slice::from_raw_parts_mut(self.fast, s.cols) };
        // As everywhere: what a block has is added up first.
        let (a, rest) = lanes.split_at(s.cols);
        let (b, c) = rest.split_at(s.cols.min(rest.len()));
        match s.rows {
            1 => fast.iter_mut().zip(a).for_each(|(f, a)| *f += *a),
            2 => fast.iter_mut().zip(a).zip(b).for_each(|((f, a), b)| *f += *a + *b),
            3 => {
                fast.iter_mut().zip(a).zip(b).zip(c).for_each(|(((f, a), b), c)| *f += *a + *b + *c);
            }
            _ => unreachable!("fewer than 4 rows"),
        }
    }

    /// Empties the chains of `cols` columns.
    #[inline(always)]
    unsafe fn flush(&mut self, cols: usize) {
        let width = if cols < NARROW { WIDE / cols * cols } else { cols };
        // SAFETY: as in `add_columns`.
        unsafe {
            let fast = slice::from_raw_parts_mut(self.fast, width);
            let exact = slice::from_raw_parts_mut(self.exact, cols);
            for group in fast.chunks_exact(cols) {
                exact.iter_mut().zip(group).for_each(|(e, f)| *e += f64::from(*f));
            }
            fast.fill(0.0);
        }
        self.pending = 0;
    }

    /// Integers: exact in f64.
    unsafe fn add_integers(&mut self, lanes: *const u32, s: &Shape) {
        for r in 0..s.rows {
            for c in 0..s.cols {
                let at =
                    s.first + if s.over_rows { 0 } else { r * s.pitch } + if s.over_cols { 0 } else { c };
                // SAFETY: as the caller of `add` vouches.
                unsafe {
                    let lane = *lanes.add(r * s.cols + c);
                    let value =
                        if self.dtype == DType::I32 { f64::from(lane as i32) } else { f64::from(lane) };
                    let e = &mut *self.exact.add(at);
                    *e = if self.kind == Reduce::Sum { *e + value } else { e.max(value) };
                }
            }
        }
    }

    /// The results as lanes, `kept` of them.
    ///
    /// # Safety
    /// `kept` is as at the start; `columns` of them are summed as columns.
    pub unsafe fn finish(&mut self, kept: usize) -> *const u32 {
        // SAFETY: within the storage.
        unsafe {
            if self.pending > 0 {
                self.flush(kept);
            }
            if self.dtype == DType::F32 {
                if self.kind == Reduce::Sum {
                    for i in 0..kept {
                        *self.fast.add(i) = *self.exact.add(i) as f32;
                    }
                }
            } else {
                for i in 0..kept {
                    // Sums wrap as 32-bit integers do.
                    *self.fast.add(i).cast::<u32>() = (*self.exact.add(i)) as i64 as u32;
                }
            }
            self.fast.cast()
        }
    }
}

/// Adds `N` columns from column `at` of all whole rows, as wide as `fast`, to the chains; returns `N`.
#[inline(always)]
fn add_strip<const N: usize>(fast: &mut [f32], rows: &[f32], at: usize) -> usize {
    let mut sums = [0.0_f32; N];
    for row in rows.chunks_exact(fast.len()) {
        // A strip is inside the row: the compiler sees it and keeps the sums in registers.
        let Some(strip) = row.get(at..at + N) else { break };
        for i in 0..N {
            sums[i] += strip[i];
        }
    }
    fast[at..at + N].iter_mut().zip(sums).for_each(|(f, s)| *f += s);
    N
}

/// Sum in [`WIDE`] / 2 chains, joined as a tree.
#[inline(always)]
fn sum_of(lanes: &[f32]) -> f32 {
    const N: usize = WIDE / 2;
    if lanes.len() < N {
        // Short rows: rows overlap in the processor, a tree would only add work.
        return lanes.iter().sum();
    }
    let mut chains = [0.0_f32; N];
    let (whole, rest) = lanes.as_chunks::<N>();
    for block in whole {
        for i in 0..N {
            chains[i] += block[i];
        }
    }
    chains.iter_mut().zip(rest).for_each(|(c, x)| *c += *x);
    let mut n = N / 2;
    while n > 0 {
        for i in 0..n {
            chains[i] += chains[i + n];
        }
        n /= 2;
    }
    chains[0]
}

/// Maximum; NaN if any is.
#[inline(always)]
fn max_of(lanes: &[f32]) -> f32 {
    const N: usize = WIDE / 2;
    if lanes.len() < N {
        return lanes.iter().fold(f32::NEG_INFINITY, |m, x| max(m, *x));
    }
    let mut chains = [f32::NEG_INFINITY; N];
    let (whole, rest) = lanes.as_chunks::<N>();
    for block in whole {
        for i in 0..N {
            chains[i] = max(chains[i], block[i]);
        }
    }
    chains.iter_mut().zip(rest).for_each(|(c, x)| *c = max(*c, *x));
    chains.iter().fold(f32::NEG_INFINITY, |m, x| max(m, *x))
}
