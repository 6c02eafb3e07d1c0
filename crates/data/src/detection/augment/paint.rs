//! Painting a moved picture.
//!
//! Input: a picture, where it goes, and which part of it is meant. Output: pixels in a larger picture, each mixed of
//! the four around the point that it comes from. What lies outside the part is left as it was. Invariant: plain
//! integer sums from f64 coordinates, so that every machine paints the same.

use super::transform::{Corners, Transform};
use crate::picture::Picture;

/// What is painted on: RGB rows.
pub(super) struct Canvas<'a> {
    pub(super) pixels: &'a mut [u8],
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Paints the `part` of a picture, moved by `there`.
pub(super) fn paint(canvas: &mut Canvas, picture: &Picture, there: &Transform, part: Corners) {
    let (Some(back), Some(moved)) = (there.inverse(), there.moved(part)) else { return };
    let around = moved.around();
    let rows = range(around[1], around[3], canvas.height);
    let columns = range(around[0], around[2], canvas.width);
    let step = back.along_x();
    let affine = back.is_affine();
    for y in rows {
        let row = &mut canvas.pixels[y * canvas.width * 3..][..canvas.width * 3];
        // Pixels are where their middles are.
        let first = back.sums(columns.start as f64 + 0.5, y as f64 + 0.5);
        let source = |i: usize| {
            let [x, y, w] = [0, 1, 2].map(|k| first[k] + step[k] * i as f64);
            if affine { (x, y) } else { (x / w, y / w) }
        };
        let inside = |i: &usize| {
            let (x, y) = source(*i);
            x >= part[0] && x < part[2] && y >= part[1] && y < part[3]
        };
        // A straight line is in a rectangle for one stretch.
        let Some(start) = (0..columns.len()).find(inside) else { continue };
        let end = (start..columns.len()).find(|i| !inside(i)).unwrap_or(columns.len());
        let stretch = &mut row[(columns.start + start) * 3..(columns.start + end) * 3];
        for (i, pixel) in (start..end).zip(stretch.chunks_exact_mut(3)) {
            let (x, y) = source(i);
            pixel.copy_from_slice(&sample(picture, x - 0.5, y - 0.5));
        }
    }
}

/// Whole pixels that a range may touch.
fn range(from: f64, to: f64, len: usize) -> std::ops::Range<usize> {
    let end = to.ceil().clamp(0.0, len as f64) as usize;
    (from.floor().clamp(0.0, len as f64) as usize).min(end)..end
}

/// Parts of a pixel, as bits.
const BITS: u32 = 8;
const WHOLE: i32 = 1 << BITS;

/// The four pixels around a point, each by how near it is; beyond the edges those on them.
#[inline]
fn sample(picture: &Picture, x: f64, y: f64) -> [u8; 3] {
    let (right, bottom) = (picture.width() as i32 - 1, picture.height() as i32 - 1);
    let x = ((x * f64::from(WHOLE)) as i32).clamp(0, right << BITS);
    let y = ((y * f64::from(WHOLE)) as i32).clamp(0, bottom << BITS);
    let (x0, y0, fx, fy) = (x >> BITS, y >> BITS, (x % WHOLE) as u32, (y % WHOLE) as u32);
    let next = if x0 < right { 3 } else { 0 };
    let below = if y0 < bottom { picture.width() * 3 } else { 0 };
    let at = (y0 as usize * picture.width() + x0 as usize) * 3;
    let pixels = picture.pixels();
    let colour = |at: usize| [0, 1, 2].map(|c| u32::from(pixels[at..at + 3][c]));
    let (a, b, c, d) = (colour(at), colour(at + next), colour(at + below), colour(at + below + next));
    let (gx, gy) = (WHOLE as u32 - fx, WHOLE as u32 - fy);
    let shares = [gx * gy, fx * gy, gx * fy, fx * fy];
    let mixed = |k: usize| a[k] * shares[0] + b[k] * shares[1] + c[k] * shares[2] + d[k] * shares[3];
    [0, 1, 2].map(|k| ((mixed(k) + (1 << (2 * BITS - 1))) >> (2 * BITS)) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Picture {
        let pixels = (0..width * height * 3).map(|i| (i * i * 7 % 251) as u8).collect();
        Picture::from_pixels(width, height, pixels)
    }

    fn painted(picture: &Picture, there: &Transform, part: Corners) -> Picture {
        let mut out = Picture::new(picture.width(), picture.height(), [0; 3]);
        let (width, height) = (out.width(), out.height());
        paint(&mut Canvas { pixels: out.pixels_mut(), width, height }, picture, there, part);
        out
    }

    #[test]
    fn whole_pixels_are_moved_unchanged() {
        let picture = noise(12, 9);
        let all = [0.0, 0.0, 12.0, 9.0];
        assert_eq!(painted(&picture, &Transform::shift(0.0, 0.0), all), picture);
        let moved = painted(&picture, &Transform::shift(3.0, -2.0), all);
        assert_eq!((moved.at(5, 4), moved.at(2, 4), moved.at(5, 8)), (picture.at(2, 6), [0; 3], [0; 3]));
        let flip = Transform::scale(-1.0, 1.0).then(Transform::shift(12.0, 0.0));
        let flipped = painted(&picture, &flip, all);
        assert!((0..12).all(|x| flipped.at(x, 3) == picture.at(11 - x, 3)));
        assert_eq!(painted(&flipped, &flip, all), picture);
    }

    #[test]
    fn only_the_part_is_painted() {
        let picture = Picture::new(10, 10, [200; 3]);
        let out = painted(&picture, &Transform::shift(1.0, 0.0), [2.0, 3.0, 5.0, 6.0]);
        let there = |x: usize, y: usize| out.at(x, y) == [200; 3];
        assert_eq!((0..100).filter(|i| there(i % 10, i / 10)).count(), 9);
        assert!(there(3, 3) && there(5, 5) && !there(2, 3) && !there(6, 5));
    }

    #[test]
    fn half_a_pixel_is_the_mean_of_two() {
        let picture = Picture::from_pixels(2, 1, vec![10, 20, 30, 20, 40, 60]);
        assert_eq!(sample(&picture, 0.5, 0.0), [15, 30, 45]);
        assert_eq!(sample(&picture, -3.0, 9.0), [10, 20, 30]);
    }

    #[test]
    fn what_cannot_be_painted_is_not() {
        let picture = noise(6, 6);
        let all = [0.0, 0.0, 6.0, 6.0];
        for there in
            [Transform::scale(0.0, 1.0), Transform::shift(1e9, 0.0), Transform::perspective(-1.0, 0.0)]
        {
            assert_eq!(painted(&picture, &there, all), Picture::new(6, 6, [0; 3]));
        }
    }
}
