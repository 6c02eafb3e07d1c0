//! The register-tiled micro-kernel of every dense product, and its table of instances.
//!
//! A tile computes `rows` x `vectors` of the result, and so one group of rows after the other:
//! `acc[m][v] += sum over segments s, j < s.len of a[row[m].a + s.a + j * a_j] * b[(s.b + j) * b_j + v * lanes ..]`.
//! The accumulators stay in registers; whoever changes this file looks at the inner loop's instructions, and for
//! vectors on the stack. Invariant: each result is summed in the order of the segments, whatever
//! the tile's size, so results do not depend on how rows are cut into tiles.

pub(super) use super::store::Store;
use super::vector::Vector;
use crate::cpu::Isa;

/// A row of the result: where its left operand starts and where it is stored, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub a: isize,
    pub c: usize,
}

/// A run of the reduction: `len` elements, at least one, of the left operand from `a`, rows `b..b + len` of the right one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seg {
    pub a: isize,
    pub b: usize,
    pub len: usize,
}

/// Operands of one tile.
pub(super) struct Tile {
    pub a: *const f32,
    /// `groups` times as many as the instance's rows.
    pub rows: *const Row,
    pub groups: usize,
    pub segs: *const Seg,
    pub seg_count: usize,
    pub a_j: isize,
    pub b: *const f32,
    pub b_j: usize,
    /// What is read after the right operand, asked for on the way: a cache line per element of the reduction, as long as
    /// there are such `lines`. Any address.
    pub next: *const f32,
    pub lines: usize,
    pub c: *mut f32,
    /// Columns of the result, at most vectors * lanes and more than (vectors - 1) * lanes.
    pub cols: usize,
    pub store: Store,
}

/// Elements of a cache line.
pub(super) const LINE: usize = 16;

/// An instance: needs the features of its instruction set, and every element that the tile describes.
pub(super) type TileFn = unsafe fn(&Tile);

/// `PART`: the last vector of the right operand's rows is loaded partially (it is not padded).
#[expect(clippy::needless_range_loop, reason = "constant bounds, as in the formula, so that all unrolls")]
#[inline(always)]
unsafe fn tile<V: Vector, const MR: usize, const NV: usize, const PART: bool>(t: &Tile) {
    let last = t.cols - (NV - 1) * V::LANES;
    let (mut next, mut lines) = (t.next, t.lines);
    for group in 0..t.groups {
        let rows = t.rows.wrapping_add(group * MR);
        // SAFETY: the caller vouches for features and operands.
        unsafe {
            let mut acc = [[V::zero(); NV]; MR];
            let mut base = [t.a; MR];
            for m in 0..MR {
                base[m] = t.a.wrapping_offset((*rows.add(m)).a);
            }
            // Where nothing is asked for, what is there anyway.
            let (mut ask, on) = if lines == 0 { (t.b, 0) } else { (next, LINE) };
            let end = t.segs.wrapping_add(t.seg_count);
            let mut seg = t.segs;
            // One loop, as the compiler would keep registers in memory between the loops of a nest.
            let (mut at, mut b, mut left) = (0, t.b, 0);
            loop {
                if left == 0 {
                    if seg == end {
                        break;
                    }
                    debug_assert!((*seg).len > 0, "a run of nothing");
                    (at, b, left) = ((*seg).a, t.b.wrapping_add((*seg).b * t.b_j), (*seg).len);
                    seg = seg.add(1);
                }
                V::prefetch(ask);
                ask = ask.wrapping_add(on);
                let mut bv = [V::zero(); NV];
                for v in 0..NV {
                    let from = b.wrapping_add(v * V::LANES);
                    bv[v] = if PART && v == NV - 1 { V::load_part(from, last) } else { V::load(from) };
                }
                for m in 0..MR {
                    let x = V::splat(*base[m].wrapping_offset(at));
                    for v in 0..NV {
                        acc[m][v] = V::fma(x, bv[v], acc[m][v]);
                    }
                }
                at += t.a_j;
                b = b.wrapping_add(t.b_j);
                left -= 1;
            }
            if lines > 0 {
                lines = lines.saturating_sub((ask.addr() - next.addr()) / (LINE * size_of::<f32>()));
                next = ask;
            }
            finish::<V, MR, NV>(t, rows, &mut acc, last);
        }
    }
}

#[expect(clippy::needless_range_loop, reason = "constant bounds, as in the formula, so that all unrolls")]
#[inline(always)]
unsafe fn finish<V: Vector, const MR: usize, const NV: usize>(
    t: &Tile,
    rows: *const Row,
    acc: &mut [[V; NV]; MR],
    last: usize,
) {
    // SAFETY: as in `tile`.
    unsafe {
        let full = last == V::LANES;
        if t.store.accumulate {
            for m in 0..MR {
                let c = t.c.add((*rows.add(m)).c);
                for v in 0..NV {
                    let from = c.add(v * V::LANES);
                    let old = if v < NV - 1 || full { V::load(from) } else { V::load_part(from, last) };
                    acc[m][v] = V::add(old, acc[m][v]);
                }
            }
        }
        let simple = t.store.is_simple();
        if simple && !t.store.scale.is_null() {
            for v in 0..NV {
                let whole = v < NV - 1 || full;
                let mean = column::<V>(t.store.mean, v, whole, last);
                let scale = column::<V>(t.store.scale, v, whole, last);
                let bias = column::<V>(t.store.bias, v, whole, last);
                for m in 0..MR {
                    acc[m][v] = V::fma(V::sub(acc[m][v], mean), scale, bias);
                }
            }
        } else if simple && !t.store.bias.is_null() {
            for v in 0..NV {
                let bias = column::<V>(t.store.bias, v, v < NV - 1 || full, last);
                for m in 0..MR {
                    acc[m][v] = V::add(acc[m][v], bias);
                }
            }
        }
        if simple && t.store.relu {
            for m in 0..MR {
                for v in 0..NV {
                    acc[m][v] = V::relu(acc[m][v]);
                }
            }
        }
        if simple && t.store.high < f32::INFINITY {
            let high = V::splat(t.store.high);
            for m in 0..MR {
                for v in 0..NV {
                    acc[m][v] = V::cap(acc[m][v], high);
                }
            }
        }
        for m in 0..MR {
            let c = t.c.add((*rows.add(m)).c);
            for v in 0..NV {
                let to = c.add(v * V::LANES);
                if v < NV - 1 || full {
                    V::store(acc[m][v], to);
                } else {
                    V::store_part(acc[m][v], to, last);
                }
            }
        }
        if !simple {
            rest::<V, NV>(t, rows, MR, last);
        }
    }
}

/// Register `v` of what there is per column, zero if there is nothing: whole, or its first `last` lanes.
#[inline(always)]
unsafe fn column<V: Vector>(from: *const f32, v: usize, whole: bool, last: usize) -> V {
    let at = from.wrapping_add(v * V::LANES);
    // SAFETY: as the caller vouches.
    unsafe {
        match () {
            () if from.is_null() => V::zero(),
            () if whole => V::load(at),
            () => V::load_part(at, last),
        }
    }
}

/// All else that happens to finished sums, on the rows just stored: as code on the accumulators themselves it would
/// be too long for the compiler to unroll, and they would leave their registers.
#[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
#[inline(always)]
unsafe fn rest<V: Vector, const NV: usize>(t: &Tile, rows: *const Row, count: usize, last: usize) {
    let full = last == V::LANES;
    for m in 0..count {
        // SAFETY: as in `tile`.
        unsafe {
            let place = (*rows.add(m)).c;
            let c = t.c.add(place);
            let mut x = [[V::zero(); NV]];
            for v in 0..NV {
                let from = c.add(v * V::LANES);
                x[0][v] = if v < NV - 1 || full { V::load(from) } else { V::load_part(from, last) };
            }
            t.store.finish::<V, 1, NV>(&mut x, last, |_| place);
            for v in 0..NV {
                let to = c.add(v * V::LANES);
                if v < NV - 1 || full {
                    V::store(x[0][v], to);
                } else {
                    V::store_part(x[0][v], to, last);
                }
            }
        }
    }
}

/// Entry points per instruction set: the functions that enable its features.
macro_rules! entry {
    ($name:ident, $vector:ty $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name<const MR: usize, const NV: usize, const PART: bool>(t: &Tile) {
            // SAFETY: the caller vouches for features and operands.
            unsafe { tile::<$vector, MR, NV, PART>(t) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
entry!(avx512, super::vector::Avx512, "avx512f");
#[cfg(target_arch = "x86_64")]
entry!(avx2, super::vector::Avx2, "avx2,fma");
#[cfg(target_arch = "aarch64")]
entry!(neon, super::vector::Neon);
entry!(portable, super::vector::Portable);

/// Instances by vectors, then rows: `TABLE[vectors - 1][rows - 1]`.
pub(super) type Table = &'static [&'static [TileFn]];

macro_rules! table {
    ($entry:ident, $part:expr, $($nv:literal: $($mr:literal)*;)*) => {
        if $part {
            const T: Table = &[$(&[$($entry::<$mr, $nv, true>),*]),*];
            T
        } else {
            const T: Table = &[$(&[$($entry::<$mr, $nv, false>),*]),*];
            T
        }
    };
}

/// The instances of an instruction set; the longest row of each fills its registers.
pub(super) fn table(isa: Isa, part: bool) -> Table {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => table!(avx512, part,
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
            2: 1 2 3 4 5 6 7 8 9 10 11 12 13;
            3: 1 2 3 4 5 6 7 8;
            4: 1 2 3 4 5 6;),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => table!(avx2, part,
            1: 1 2 3 4 5 6 7 8 9 10;
            2: 1 2 3 4 5 6;
            3: 1 2 3;),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => table!(neon, part,
            1: 1 2 3 4 5 6 7 8 9 10 11 12;
            2: 1 2 3 4 5 6 7 8 9 10 11 12;
            3: 1 2 3 4 5 6 7 8;
            4: 1 2 3 4 5 6;),
        _ => table!(portable, part,
            1: 1 2 3 4 5;
            2: 1 2;),
    }
}
