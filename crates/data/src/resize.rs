//! Stretches 8-bit images with an antialiased bilinear (triangle) filter.
//!
//! Input: pixels of C interleaved channels. Output: the same image at another size. Rows are combined first,
//! into one row of f32 that stays in the cache, then columns: the wide loop is the one a compiler turns into
//! vectors. Invariant: plain f32 sums in a fixed order, so every machine gives the same bytes; they are within
//! one of Pillow's BILINEAR.

/// Which source elements make one output element: from `start` on, one weight each.
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

/// The taps of every output element along an axis that goes from `from` to `to` elements.
///
/// The triangle is as wide as an output element, but never narrower than two source elements.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to)
        .map(|o| {
            let center = (o as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weight = |i: usize| (1.0 - ((i as f64 + 0.5 - center) / support).abs()).max(0.0);
            let sum: f64 = (start..end).map(weight).sum();
            Taps { start, weights: (start..end).map(|i| (weight(i) / sum) as f32).collect() }
        })
        .collect()
}

/// Stretches `source` of `from` = (height, width) into `out` of `to`; both hold C channels per pixel.
pub(crate) fn resize<const C: usize>(
    source: &[u8],
    from: (usize, usize),
    out: &mut [u8],
    to: (usize, usize),
) {
    if from == to {
        out.copy_from_slice(source);
        return;
    }
    let (rows, columns) = (taps(from.0, to.0), taps(from.1, to.1));
    let stride = from.1 * C;
    let mut row = vec![0.0f32; stride];
    for (tap, out) in rows.iter().zip(out.chunks_exact_mut(to.1 * C)) {
        row.fill(0.0);
        for (&weight, line) in tap.weights.iter().zip(source[tap.start * stride..].chunks_exact(stride)) {
            for (sum, &value) in row.iter_mut().zip(line) {
                *sum += weight * f32::from(value);
            }
        }
        for (tap, pixel) in columns.iter().zip(out.chunks_exact_mut(C)) {
            let mut sums = [0.5f32; C];
            for (&weight, values) in tap.weights.iter().zip(row[tap.start * C..].chunks_exact(C)) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
            for (byte, sum) in pixel.iter_mut().zip(sums) {
                *byte = sum as u8; // saturates
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for (from, to) in [(1, 1), (1, 7), (7, 1), (5, 3), (3, 5), (640, 224), (224, 640)] {
            for tap in taps(from, to) {
                let sum: f32 = tap.weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: {sum}");
                assert!(tap.start + tap.weights.len() <= from);
            }
        }
    }

    /// Numbers from Pillow 13: `Image.fromarray(a).resize((w, h), BILINEAR)`.
    #[test]
    fn as_pillow_does() {
        let source: Vec<u8> = (0..35).map(|i| (i * i * 7 % 256) as u8).collect();
        for ((h, w), expected) in PILLOW {
            let mut out = vec![0; h * w];
            resize::<1>(&source, (5, 7), &mut out, (h, w));
            assert!(out.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{h} x {w}: {out:?}");
        }
    }
    #[rustfmt::skip]
    const PILLOW: [((usize, usize), &[u8]); 4] = [
        ((3, 4), &[58, 71, 124, 203, 74, 95, 176, 211, 117, 142, 73, 172]),
        ((2, 7), &[57, 92, 37, 158, 119, 210, 211, 67, 123, 101, 162, 63, 176, 209]),
        ((9, 10), &[
            0, 4, 12, 27, 51, 80, 115, 159, 210, 252, 29, 51, 61, 39, 81, 103, 106, 173, 208, 221, 77, 129, 142,
            58, 131, 142, 90, 195, 205, 169, 89, 109, 101, 35, 145, 184, 146, 210, 216, 195, 92, 63, 29, 2, 150,
            227, 220, 222, 231, 240, 49, 50, 55, 65, 159, 175, 113, 154, 200, 239, 26, 57, 92, 121, 159, 123, 26,
            105, 176, 230, 80, 141, 178, 146, 123, 75, 16, 132, 179, 184, 112, 191, 230, 161, 101, 46, 10, 149,
            180, 156,
        ]),
        ((1, 1), &[127]),
    ];

    #[test]
    fn channels_do_not_mix() {
        let source: Vec<u8> = [10, 20, 250].repeat(9 * 6);
        let mut out = vec![0; 4 * 11 * 3];
        resize::<3>(&source, (9, 6), &mut out, (4, 11));
        assert_eq!(out, [10, 20, 250].repeat(44));
    }
}
