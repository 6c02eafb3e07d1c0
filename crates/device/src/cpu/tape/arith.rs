//! The vector loops of steps that compute: plain loops over lanes that rustc vectorises for the instruction set
//! of the function they are inlined into.
//!
//! Invariant: the destination overlaps no argument (see `compile.rs`).

use super::{code::Step, exec::Frame};

/// A lane type: 32 bits.
pub trait Lane: Copy {}
impl Lane for f32 {}
impl Lane for i32 {}
impl Lane for u32 {}

/// dst = f(a)
///
/// # Safety
/// The frame's addresses are those of `n` lanes.
#[inline(always)]
pub unsafe fn map1<A: Lane, D: Lane>(frame: &Frame<'_>, s: &Step, n: usize, f: impl Fn(A) -> D) {
    // SAFETY: the caller vouches for the lanes.
    unsafe {
        let d = frame.dst::<D>(s, n);
        let a = frame.lanes::<A>(s.args[0], n);
        for (d, a) in d.iter_mut().zip(a) {
            *d = f(*a);
        }
    }
}

/// dst = f(a, b), either of which may be one lane for all.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub unsafe fn map2<A: Lane, D: Lane>(frame: &Frame<'_>, s: &Step, n: usize, f: impl Fn(A, A) -> D) {
    // SAFETY: the caller vouches for the lanes.
    unsafe {
        let d = frame.dst::<D>(s, n);
        if s.uniform[1] {
            let b = frame.lanes::<A>(s.args[1], 1)[0];
            let a = frame.lanes::<A>(s.args[0], n);
            for (d, a) in d.iter_mut().zip(a) {
                *d = f(*a, b);
            }
        } else if s.uniform[0] {
            let a = frame.lanes::<A>(s.args[0], 1)[0];
            let b = frame.lanes::<A>(s.args[1], n);
            for (d, b) in d.iter_mut().zip(b) {
                *d = f(a, *b);
            }
        } else {
            let a = frame.lanes::<A>(s.args[0], n);
            let b = frame.lanes::<A>(s.args[1], n);
            for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
                *d = f(*a, *b);
            }
        }
    }
}

/// dst = c != 0 ? a : b; `a` and `b` may each be one lane for all.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub unsafe fn select(frame: &Frame<'_>, s: &Step, n: usize) {
    // By bits: of an `if` LLVM makes a choice of addresses, and loads lane by lane.
    let f = |c: u32, a: u32, b: u32| {
        let mask = u32::from(c == 0).wrapping_sub(1);
        a & mask | b & !mask
    };
    // SAFETY: the caller vouches for the lanes.
    unsafe {
        let d = frame.dst::<u32>(s, n);
        let c = frame.lanes::<u32>(s.args[0], n);
        let one = |arg| frame.lanes::<u32>(arg, 1)[0];
        match (s.uniform[1] && n > 1, s.uniform[2] && n > 1) {
            (false, false) => {
                let (a, b) = (frame.lanes::<u32>(s.args[1], n), frame.lanes::<u32>(s.args[2], n));
                for (((d, c), a), b) in d.iter_mut().zip(c).zip(a).zip(b) {
                    *d = f(*c, *a, *b);
                }
            }
            (true, false) => {
                let (a, b) = (one(s.args[1]), frame.lanes::<u32>(s.args[2], n));
                for ((d, c), b) in d.iter_mut().zip(c).zip(b) {
                    *d = f(*c, a, *b);
                }
            }
            (false, true) => {
                let (a, b) = (frame.lanes::<u32>(s.args[1], n), one(s.args[2]));
                for ((d, c), a) in d.iter_mut().zip(c).zip(a) {
                    *d = f(*c, *a, b);
                }
            }
            (true, true) => {
                let (a, b) = (one(s.args[1]), one(s.args[2]));
                for (d, c) in d.iter_mut().zip(c) {
                    *d = f(*c, a, b);
                }
            }
        }
    }
}

/// dst = a * b + c; any may be one lane for all.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub unsafe fn mul_add<const FMA: bool>(frame: &Frame<'_>, s: &Step, n: usize) {
    let f = |a: f32, b: f32, c: f32| if FMA { a.mul_add(b, c) } else { a * b + c };
    // SAFETY: the caller vouches for the lanes.
    unsafe {
        let d = frame.dst::<f32>(s, n);
        // The factors commute: a uniform one comes second.
        let (x, y, ux, uy) = if s.uniform[0] {
            (s.args[1], s.args[0], s.uniform[1], true)
        } else {
            (s.args[0], s.args[1], false, s.uniform[1])
        };
        let one = |arg| frame.lanes::<f32>(arg, 1)[0];
        match (ux, uy, s.uniform[2]) {
            (true, _, true) => d.fill(f(one(x), one(y), one(s.args[2]))),
            (true, _, false) => {
                let xy = (one(x), one(y));
                for (d, c) in d.iter_mut().zip(frame.lanes::<f32>(s.args[2], n)) {
                    *d = f(xy.0, xy.1, *c);
                }
            }
            (false, true, true) => {
                let (y, c) = (one(y), one(s.args[2]));
                for (d, x) in d.iter_mut().zip(frame.lanes::<f32>(x, n)) {
                    *d = f(*x, y, c);
                }
            }
            (false, true, false) => {
                let (x, y, c) = (frame.lanes::<f32>(x, n), one(y), frame.lanes::<f32>(s.args[2], n));
                for ((d, x), c) in d.iter_mut().zip(x).zip(c) {
                    *d = f(*x, y, *c);
                }
            }
            (false, false, true) => {
                let (x, y, c) = (frame.lanes::<f32>(x, n), frame.lanes::<f32>(y, n), one(s.args[2]));
                for ((d, x), y) in d.iter_mut().zip(x).zip(y) {
                    *d = f(*x, *y, c);
                }
            }
            (false, false, false) => {
                let (x, y, c) =
                    (frame.lanes::<f32>(x, n), frame.lanes::<f32>(y, n), frame.lanes::<f32>(s.args[2], n));
                for (((d, x), y), c) in d.iter_mut().zip(x).zip(y).zip(c) {
                    *d = f(*x, *y, *c);
                }
            }
        }
    }
}
