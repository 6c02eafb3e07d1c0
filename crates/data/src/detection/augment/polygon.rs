//! What is still to be seen of a box after it was moved: a quadrilateral, cut to the picture.
//!
//! Input: four corners. Output: the part inside a rectangle, its area, the box around it. Invariant: a convex
//! quadrilateral has at most eight corners after four cuts (Sutherland and Hodgman 1974).

use super::transform::Corners;

/// A convex polygon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polygon {
    points: [(f64, f64); 8],
    len: usize,
}

impl Polygon {
    pub(super) fn new(corners: [(f64, f64); 4]) -> Polygon {
        let mut points = [(0.0, 0.0); 8];
        points[..4].copy_from_slice(&corners);
        Polygon { points, len: 4 }
    }

    fn points(&self) -> &[(f64, f64)] {
        &self.points[..self.len]
    }

    /// The part inside a rectangle.
    pub(super) fn cut(self, [x0, y0, x1, y1]: Corners) -> Polygon {
        self.keep(|p| p.0 - x0).keep(|p| x1 - p.0).keep(|p| p.1 - y0).keep(|p| y1 - p.1)
    }

    /// The part where `depth`, which is linear, is not negative.
    fn keep(self, depth: impl Fn((f64, f64)) -> f64) -> Polygon {
        let mut out = Polygon { points: [(0.0, 0.0); 8], len: 0 };
        let points = self.points();
        for (i, &p) in points.iter().enumerate() {
            let q = points[(i + 1) % points.len()];
            let (at_p, at_q) = (depth(p), depth(q));
            if at_p >= 0.0 {
                out.push(p);
            }
            if (at_p >= 0.0) != (at_q >= 0.0) {
                let t = at_p / (at_p - at_q);
                out.push((p.0 + t * (q.0 - p.0), p.1 + t * (q.1 - p.1)));
            }
        }
        out
    }

    /// Rounding could make a corner too many: it would lie on one that is there.
    fn push(&mut self, point: (f64, f64)) {
        if let Some(place) = self.points.get_mut(self.len) {
            *place = point;
            self.len += 1;
        }
    }

    pub(super) fn area(&self) -> f64 {
        let points = self.points();
        let cross = |(i, p): (usize, &(f64, f64))| {
            let q = points[(i + 1) % points.len()];
            p.0 * q.1 - q.0 * p.1
        };
        points.iter().enumerate().map(cross).sum::<f64>().abs() / 2.0
    }

    /// The box around it; one without area where nothing is left.
    pub(super) fn around(&self) -> Corners {
        let empty = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
        let grow = |b: Corners, p: &(f64, f64)| [b[0].min(p.0), b[1].min(p.1), b[2].max(p.0), b[3].max(p.1)];
        match self.points() {
            [] => [0.0; 4],
            points => points.iter().fold(empty, grow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diamond_is_cut() {
        let diamond = Polygon::new([(0.0, -2.0), (2.0, 0.0), (0.0, 2.0), (-2.0, 0.0)]);
        assert_eq!((diamond.area(), diamond.around()), (8.0, [-2.0, -2.0, 2.0, 2.0]));
        let eight = diamond.cut([-1.5, -1.5, 1.5, 1.5]);
        assert_eq!((eight.len, eight.area(), eight.around()), (8, 7.0, [-1.5, -1.5, 1.5, 1.5]));
        let half = diamond.cut([0.0, -9.0, 9.0, 9.0]);
        assert_eq!((half.area(), half.around()), (4.0, [0.0, -2.0, 2.0, 2.0]));
        let corner = diamond.cut([1.0, -9.0, 9.0, 9.0]);
        assert_eq!((corner.area(), corner.around()), (1.0, [1.0, -1.0, 2.0, 1.0]));
        let none = diamond.cut([3.0, 3.0, 4.0, 4.0]);
        assert_eq!((none.area(), none.around()), (0.0, [0.0; 4]));
    }

    #[test]
    fn a_mirrored_one_is_as_large() {
        let mirrored = Polygon::new([(4.0, 0.0), (0.0, 0.0), (0.0, 3.0), (4.0, 3.0)]);
        assert_eq!(mirrored.cut([1.0, 1.0, 9.0, 9.0]).area(), 6.0);
    }
}
