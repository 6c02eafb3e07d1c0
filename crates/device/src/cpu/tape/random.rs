//! Philox over lanes (see `thalweg_base::philox`, whose numbers these are).

use super::{code::Step, exec::Frame};
use thalweg_base::philox;

/// dst = unit(word(seed, stream, step, element)).
///
/// # Safety
/// The frame's addresses are those of `n` lanes.
#[inline(always)]
pub unsafe fn random(frame: &Frame<'_>, s: &Step, n: usize, seed: u64, stream: u32) {
    // SAFETY: the caller vouches for the lanes.
    unsafe {
        let d = frame.dst::<f32>(s, n);
        let element = frame.lanes::<u32>(s.args[0], n);
        if !s.uniform[1] {
            let step = frame.lanes::<u32>(s.args[1], n);
            for ((d, e), t) in d.iter_mut().zip(element).zip(step) {
                *d = philox::unit(philox::word(seed, stream, *t, *e));
            }
            return;
        }
        let step = frame.lanes::<u32>(s.args[1], 1)[0];
        let first = element[0];
        let in_order =
            element.iter().enumerate().fold(true, |ok, (i, &e)| ok & (e == first.wrapping_add(i as u32)));
        if in_order && first <= u32::MAX - n as u32 {
            in_sequence(d, first, seed, stream, step);
        } else {
            for (d, e) in d.iter_mut().zip(element) {
                *d = philox::unit(philox::word(seed, stream, step, *e));
            }
        }
    }
}

/// Consecutive elements: a block of Philox gives four of them.
#[inline(always)]
fn in_sequence(d: &mut [f32], first: u32, seed: u64, stream: u32, step: u32) {
    let key = [seed as u32, (seed >> 32) as u32];
    let head = ((4 - first % 4) % 4).min(d.len() as u32);
    let (head, body) = d.split_at_mut(head as usize);
    for (d, e) in head.iter_mut().zip(first..) {
        *d = philox::unit(philox::word(seed, stream, step, e));
    }
    let block = (first + head.len() as u32) / 4;
    let (fours, tail) = body.as_chunks_mut::<4>();
    for (i, four) in fours.iter_mut().enumerate() {
        *four = philox::block([block + i as u32, step, stream, 0], key).map(philox::unit);
    }
    let rest = philox::block([block + fours.len() as u32, step, stream, 0], key);
    for (d, w) in tail.iter_mut().zip(rest) {
        *d = philox::unit(w);
    }
}
