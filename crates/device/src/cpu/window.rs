//! Pooling on its own, and its inverse, one image at a time, vectorised over channels.
//!
//! Ties go to the first position of the window, a NaN wins over everything but an earlier NaN; what lies in the
//! padding takes no part. Invariant: images are independent.

use super::{Bases, Isa};
use crate::plan::{Pool, PoolKind, Unpool};
use std::ops::Range;
use std::slice;
use thalweg_base::PoolDims;

/// Channels at a time.
const BLOCK: usize = 128;

/// Pools images.
///
/// # Safety
/// The buffers hold these images, nobody else writes them; `isa` is available.
pub unsafe fn pool(p: &Pool, images: Range<usize>, bases: &Bases, isa: Isa) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pool_avx512(p, images, bases),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pool_avx2(p, images, bases),
            _ => pool_body(p, images, bases),
        }
    }
}

/// Puts gradients back.
///
/// # Safety
/// As [`pool`].
pub unsafe fn unpool(u: &Unpool, images: Range<usize>, bases: &Bases, isa: Isa) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unpool_avx512(u, images, bases),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unpool_avx2(u, images, bases),
            _ => unpool_body(u, images, bases),
        }
    }
}

/// # Safety
/// As [`pool`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn pool_avx512(p: &Pool, images: Range<usize>, bases: &Bases) {
    // SAFETY: passed on.
    unsafe { pool_body(p, images, bases) }
}

/// # Safety
/// As [`pool`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn pool_avx2(p: &Pool, images: Range<usize>, bases: &Bases) {
    // SAFETY: passed on.
    unsafe { pool_body(p, images, bases) }
}

/// # Safety
/// As [`pool`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn unpool_avx512(u: &Unpool, images: Range<usize>, bases: &Bases) {
    // SAFETY: passed on.
    unsafe { unpool_body(u, images, bases) }
}

/// # Safety
/// As [`pool`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn unpool_avx2(u: &Unpool, images: Range<usize>, bases: &Bases) {
    // SAFETY: passed on.
    unsafe { unpool_body(u, images, bases) }
}

/// Calls `f(element of the image, position in the window)` for every element of window (oy, ox) of image n that is
/// not padding; the element is channel 0's.
#[inline(always)]
fn taps(d: &PoolDims, n: usize, oy: usize, ox: usize, mut f: impl FnMut(usize, u32)) {
    for r in 0..d.rows.size {
        let Some(y) = d.rows.source(oy, r, d.h) else { continue };
        for s in 0..d.cols.size {
            let Some(x) = d.cols.source(ox, s, d.w) else { continue };
            f(((n * d.h + y) * d.w + x) * d.c, (r * d.cols.size + s) as u32);
        }
    }
}

#[inline(always)]
unsafe fn pool_body(p: &Pool, images: Range<usize>, bases: &Bases) {
    let d = &p.dims;
    let x = bases.get(p.x).cast::<f32>();
    let out = p.out.map(|b| bases.get(b).cast::<f32>());
    let arg = p.arg.map(|b| bases.get(b));
    let start = if p.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 };
    for n in images {
        for oy in 0..d.oh {
            for ox in 0..d.ow {
                let o = ((n * d.oh + oy) * d.ow + ox) * d.c;
                for c in (0..d.c).step_by(BLOCK) {
                    let width = BLOCK.min(d.c - c);
                    let mut best = [start; BLOCK];
                    let mut position = [0_u32; BLOCK];
                    taps(d, n, oy, ox, |from, at| {
                        // SAFETY: the tap is inside the image.
                        let v = unsafe { slice::from_raw_parts(x.wrapping_add(from + c), width) };
                        if p.kind == PoolKind::Sum {
                            best.iter_mut().zip(v).for_each(|(b, v)| *b += *v);
                        } else if arg.is_none() {
                            best.iter_mut().zip(v).for_each(|(b, v)| *b = super::tape::max(*b, *v));
                        } else {
                            for ((b, a), v) in best.iter_mut().zip(&mut position).zip(v) {
                                let wins = (*v > *b) | (v.is_nan() & !b.is_nan());
                                *b = if wins { *v } else { *b };
                                *a = if wins { at } else { *a };
                            }
                        }
                    });
                    if let Some(out) = out {
                        // SAFETY: the window is inside the output.
                        unsafe { out.wrapping_add(o + c).copy_from_nonoverlapping(best.as_ptr(), width) };
                    }
                    if let Some(arg) = arg {
                        // SAFETY: as above, of the positions.
                        let to = unsafe { slice::from_raw_parts_mut(arg.wrapping_add(o + c), width) };
                        to.iter_mut().zip(&position).for_each(|(t, a)| *t = *a as u8);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn unpool_body(u: &Unpool, images: Range<usize>, bases: &Bases) {
    let d = &u.dims;
    let arg = bases.get(u.arg).cast_const();
    let dy = bases.get(u.dy).cast::<f32>().cast_const();
    let out = bases.get(u.out).cast::<f32>();
    let image = d.h * d.w * d.c;
    for n in images {
        // SAFETY: the image is this worker's to write.
        unsafe { slice::from_raw_parts_mut(out.wrapping_add(n * image), image) }.fill(0.0);
        for oy in 0..d.oh {
            for ox in 0..d.ow {
                let o = ((n * d.oh + oy) * d.ow + ox) * d.c;
                // SAFETY: the window is inside the output.
                let (arg, dy) = unsafe {
                    (
                        slice::from_raw_parts(arg.wrapping_add(o), d.c),
                        slice::from_raw_parts(dy.wrapping_add(o), d.c),
                    )
                };
                taps(d, n, oy, ox, |to, at| {
                    // SAFETY: the tap is inside the image.
                    let dx = unsafe { slice::from_raw_parts_mut(out.wrapping_add(to), d.c) };
                    for ((dx, a), dy) in dx.iter_mut().zip(arg).zip(dy) {
                        *dx += if u32::from(*a) == at { *dy } else { 0.0 };
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BufferId;
    use thalweg_base::{Window, philox::Sequence};

    fn dims(n: usize, h: usize, w: usize, c: usize, rows: Window, cols: Window) -> PoolDims {
        let (oh, ow) = (rows.outputs(h).unwrap(), cols.outputs(w).unwrap());
        PoolDims { n, h, w, c, oh, ow, rows, cols }
    }

    fn geometries() -> Vec<PoolDims> {
        vec![
            dims(2, 6, 8, 3, Window::valid(2, 2, 1), Window::valid(2, 2, 1)),
            dims(2, 7, 7, 20, Window::valid(2, 2, 1), Window::valid(2, 2, 1)),
            dims(1, 7, 6, 5, Window::same(7, 3, 2, 1), Window::same(6, 3, 2, 1)),
            dims(1, 5, 5, 131, Window::same(5, 3, 1, 1), Window::same(5, 2, 1, 1)),
            dims(2, 9, 7, 17, Window::valid(3, 2, 2), Window::valid(1, 3, 1)),
            dims(3, 4, 4, 300, Window::valid(4, 1, 1), Window::valid(4, 1, 1)),
        ]
    }

    #[test]
    fn pooling_and_its_inverse_agree_with_loops() {
        let mut r = Sequence::new(3, 0, 0);
        for isa in Isa::available() {
            for d in geometries() {
                let (image, count) = (d.image().iter().product(), d.output().iter().product());
                // Few values, so that there are ties; and a NaN.
                let mut x: Vec<f32> = (0..image).map(|_| r.below(4) as f32 - 2.0).collect();
                x[image / 2] = f32::NAN;
                let (mut top, mut sum) = (vec![0.0_f32; count], vec![0.0_f32; count]);
                let mut arg = vec![9_u8; count];
                let mut dx = vec![5.0_f32; image];
                let bases = Bases::new(vec![
                    x.as_mut_ptr().cast(),
                    top.as_mut_ptr().cast(),
                    arg.as_mut_ptr(),
                    sum.as_mut_ptr().cast(),
                    dx.as_mut_ptr().cast(),
                ]);
                let b = |i| BufferId(i);
                let max = Pool { kind: PoolKind::Max, dims: d, x: b(0), out: Some(b(1)), arg: Some(b(2)) };
                let total = Pool { kind: PoolKind::Sum, dims: d, x: b(0), out: Some(b(3)), arg: None };
                let back = Unpool { dims: d, arg: b(2), dy: b(3), out: b(4) };
                // SAFETY: the buffers have the shapes of the geometry.
                unsafe {
                    pool(&max, 0..d.n, &bases, isa);
                    pool(&total, 0..d.n, &bases, isa);
                    unpool(&back, 0..d.n, &bases, isa);
                }
                let mut want_dx = vec![0.0_f32; image];
                for o in 0..count {
                    let (c, rest) = (o % d.c, o / d.c);
                    let (ox, rest) = (rest % d.ow, rest / d.ow);
                    let (oy, n) = (rest % d.oh, rest / d.oh);
                    let (mut best, mut at, mut added) = (f32::NEG_INFINITY, 0, 0.0);
                    taps(&d, n, oy, ox, |i, p| {
                        let v = x[i + c];
                        added += v;
                        if v > best || v.is_nan() && !best.is_nan() {
                            (best, at) = (v, p);
                        }
                    });
                    let same = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
                    assert!(same(top[o], best) && same(sum[o], added), "{isa} {d:?} {o}");
                    assert_eq!(u32::from(arg[o]), at, "{isa} {d:?} {o}");
                    taps(&d, n, oy, ox, |i, p| want_dx[i + c] += if p == at { sum[o] } else { 0.0 });
                }
                let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
                assert!(dx.iter().zip(&want_dx).all(same), "{isa} {d:?}");
            }
        }
    }
}
