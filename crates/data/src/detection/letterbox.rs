//! A picture of any shape in one of a fixed shape: scaled to fit, in the middle, on gray.
//!
//! Input: the sizes of both. Output: where the picture lies, and boxes moved there and back. Invariant: back undoes
//! there, up to rounding, whatever the sizes.

use super::rect::Rect;
use crate::draw::paste;
use crate::picture::Picture;

/// The gray around a picture.
pub const GRAY: u8 = 114;

/// Where a picture lies in a larger one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Columns and rows of the picture as it is.
    from: (usize, usize),
    /// Columns and rows that it has there.
    pub content: (usize, usize),
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
}

impl Letterbox {
    /// A picture of `from` (columns, rows) in one of `to`.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Letterbox {
        assert!(from.0.min(from.1).min(to.0).min(to.1) > 0, "a picture of {from:?} in one of {to:?}");
        let scale = (to.0 as f64 / from.0 as f64).min(to.1 as f64 / from.1 as f64);
        let fit = |side: usize, most: usize| ((side as f64 * scale).round() as usize).clamp(1, most);
        let content = (fit(from.0, to.0), fit(from.1, to.1));
        Letterbox { from, content, left: (to.0 - content.0) / 2, top: (to.1 - content.1) / 2 }
    }

    /// How many columns and rows one column and row become. They differ a little where sides are rounded.
    pub fn scale(&self) -> (f64, f64) {
        (self.content.0 as f64 / self.from.0 as f64, self.content.1 as f64 / self.from.1 as f64)
    }

    /// A box of the picture, there.
    pub fn there(&self, rect: &Rect) -> Rect {
        let (x, y) = self.scale();
        Rect {
            x: rect.x * x + self.left as f64,
            y: rect.y * y + self.top as f64,
            width: rect.width * x,
            height: rect.height * y,
        }
    }

    /// A box from there, in the picture.
    pub fn back(&self, rect: &Rect) -> Rect {
        let (x, y) = self.scale();
        Rect {
            x: (rect.x - self.left as f64) / x,
            y: (rect.y - self.top as f64) / y,
            width: rect.width / x,
            height: rect.height / y,
        }
    }
}

/// A picture in one of `to` (columns, rows), and where it lies there.
///
/// # Panics
/// If a side is 0.
pub fn letterboxed(picture: &Picture, to: (usize, usize)) -> (Picture, Letterbox) {
    let geometry = Letterbox::new((picture.width(), picture.height()), to);
    let mut out = Picture::new(to.0, to.1, [GRAY; 3]);
    paste(&mut out, &picture.resized(geometry.content.0, geometry.content.1), geometry.left, geometry.top);
    (out, geometry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_undoes_there() {
        for (from, to) in
            [((640, 480), (320, 320)), ((33, 7), (64, 96)), ((1, 1000), (32, 32)), ((5, 5), (5, 5))]
        {
            let geometry = Letterbox::new(from, to);
            let rect = Rect { x: 0.3, y: 1.7, width: 2.25, height: 3.5 };
            let again = geometry.back(&geometry.there(&rect));
            let apart =
                again.corners().iter().zip(rect.corners()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-9, "{from:?} {to:?}: {again:?}");
            let whole = Rect { x: 0.0, y: 0.0, width: from.0 as f64, height: from.1 as f64 };
            let [x0, y0, x1, y1] = geometry.there(&whole).corners();
            assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= to.0 as f64 && y1 <= to.1 as f64);
            assert!(geometry.content.0 == to.0 || geometry.content.1 == to.1);
        }
    }

    #[test]
    fn the_picture_lies_in_the_middle() {
        let (out, geometry) = letterboxed(&Picture::new(40, 20, [200, 10, 10]), (64, 64));
        assert_eq!((geometry.content, geometry.left, geometry.top), ((64, 32), 0, 16));
        let rows: Vec<bool> = (0..64).map(|y| out.at(30, y) == [200, 10, 10]).collect();
        assert!(rows.iter().enumerate().all(|(y, there)| *there == (16..48).contains(&y)));
        assert_eq!(out.at(0, 0), [GRAY; 3]);
    }
}
