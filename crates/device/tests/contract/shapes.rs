//! Shapes of convolutions to be tried.

use crate::epilogue::{ALL, Then};
use thalweg_base::{ConvDims, Window};

pub fn conv(
    n: usize,
    hw: (usize, usize),
    ck: (usize, usize),
    rows: Window,
    cols: Window,
    groups: usize,
) -> ConvDims {
    let (oh, ow) = (rows.outputs(hw.0).expect("fits"), cols.outputs(hw.1).expect("fits"));
    ConvDims { n, h: hw.0, w: hw.1, c: ck.0, k: ck.1, oh, ow, rows, cols, groups }
}

pub fn geometries() -> Vec<ConvDims> {
    let w = |size, stride, dilation, lo, hi| Window { size, stride, dilation, lo, hi };
    let mut all = Vec::new();
    for ck in [(3, 5), (1, 1), (5, 17), (17, 33), (33, 3), (16, 64), (8, 80)] {
        all.push(conv(2, (6, 7), ck, w(3, 1, 1, 0, 0), w(3, 1, 1, 0, 0), 1));
        all.push(conv(3, (5, 9), ck, w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
        all.push(conv(1, (7, 8), ck, w(3, 2, 1, 0, 1), w(3, 2, 1, 1, 0), 1));
        all.push(conv(2, (5, 4), ck, w(1, 1, 1, 0, 0), w(1, 1, 1, 0, 0), 1));
    }
    for (k, s, d, lo, hi) in [
        (1, 2, 1, 0, 0),
        (2, 2, 1, 0, 0),
        (5, 2, 1, 2, 2),
        (3, 1, 2, 2, 2),
        (3, 3, 2, 0, 3),
        (4, 3, 1, 3, 0),
        (2, 5, 1, 1, 0),
        (3, 2, 3, 4, 5),
        (1, 1, 1, 2, 1),
    ] {
        all.push(conv(2, (9, 7), (4, 6), w(k, s, d, lo, hi), w(k, s, d, lo, hi), 1));
        all.push(conv(2, (9, 8), (6, 4), w(k, s, d, lo, hi), w(2, 1, 1, 0, 1), 2));
        all.push(conv(2, (8, 9), (19, 19), w(k, s, d, lo, hi), w(3, 2, 1, 1, 1), 19));
        all.push(conv(2, (8, 9), (3, 6), w(3, 1, 1, 1, 1), w(k, s, d, lo, hi), 3));
    }
    all.push(conv(5, (4, 4), (40, 36), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(9, (2, 2), (130, 20), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(1, (40, 41), (2, 70), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 1));
    all.push(conv(1, (41, 37), (64, 64), w(3, 2, 1, 1, 1), w(3, 2, 1, 1, 1), 64));
    all.push(conv(2, (6, 6), (70, 70), w(3, 1, 1, 1, 1), w(3, 1, 1, 1, 1), 70));
    all
}

/// For Winograd's algorithm: outputs from less than a tile to some, padding of every kind, channels that fill no
/// register, sums that are cut.
pub fn tiled() -> Vec<ConvDims> {
    let w = |lo, hi| Window { size: 3, stride: 1, dilation: 1, lo, hi };
    let mut all = Vec::new();
    for (n, hw, (lo, hi), ck) in [
        (1, (3, 3), (0, 0), (16, 16)),
        (3, (1, 1), (1, 1), (17, 40)),
        (2, (1, 2), (2, 2), (33, 16)),
        (1, (4, 5), (1, 1), (20, 70)),
        (3, (6, 7), (0, 2), (31, 33)),
        (2, (7, 5), (2, 0), (48, 18)),
        (1, (13, 17), (1, 1), (16, 64)),
        (3, (15, 15), (0, 0), (32, 35)),
        (1, (18, 9), (0, 1), (70, 16)),
        (7, (4, 4), (1, 1), (200, 96)),
        (3, (8, 9), (3, 4), (19, 21)),
        (2, (3, 240), (1, 1), (16, 17)),
        // So many columns that units are parts of them.
        (1, (7, 8), (1, 1), (16, 512)),
    ] {
        all.push(conv(n, hw, ck, w(lo, hi), w(lo, hi), 1));
        if lo != hi {
            all.push(conv(n, hw, ck, w(lo, hi), w(hi, lo), 1));
        }
    }
    all
}

/// Each with nothing behind it, and with two epilogues in turn.
pub fn tiled_then() -> impl Iterator<Item = (ConvDims, Then)> {
    let all = tiled().into_iter().enumerate();
    all.flat_map(|(i, d)| [0, 1 + i, 4 + i].map(|n| (d, ALL[n % ALL.len()])))
}
