//! Moving points and boxes: a projective transform of the plane.
//!
//! Input: pixels of one picture, as continuous coordinates. Output: those of another. Invariants: `then` composes,
//! `inverse` undoes; a transform that cannot be undone has none; sines and the like are those of `libm`, so that they
//! are the same on every machine.

use super::polygon::Polygon;

/// A 3 x 3 matrix that acts on (x, y, 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transform([[f64; 3]; 3]);

/// Left, top, right, bottom.
pub(super) type Corners = [f64; 4];

impl Transform {
    pub(super) fn shift(x: f64, y: f64) -> Transform {
        Transform([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    pub(super) fn scale(x: f64, y: f64) -> Transform {
        Transform([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Clockwise on the screen, about the origin.
    pub(super) fn rotation(degrees: f64) -> Transform {
        let (sin, cos) = libm::sincos(degrees.to_radians());
        Transform([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Columns lean by `x`, rows by `y` degrees.
    pub(super) fn shear(x: f64, y: f64) -> Transform {
        let tan = |degrees: f64| libm::tan(degrees.to_radians());
        Transform([[1.0, tan(x), 0.0], [tan(y), 1.0, 0.0], [0.0, 0.0, 1.0]])
    }

    /// What is at larger x or y becomes smaller, as if farther away.
    pub(super) fn perspective(x: f64, y: f64) -> Transform {
        Transform([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [x, y, 1.0]])
    }

    /// This, then another.
    pub(super) fn then(self, next: Transform) -> Transform {
        let entry = |r: usize, c: usize| (0..3).map(|k| next.0[r][k] * self.0[k][c]).sum();
        Transform(std::array::from_fn(|r| std::array::from_fn(|c| entry(r, c))))
    }

    /// From pixels back to where they come from.
    pub(super) fn inverse(&self) -> Option<Transform> {
        let m = &self.0;
        let minor = |r: usize, c: usize| {
            let (r0, r1) = ((r + 1) % 3, (r + 2) % 3);
            let (c0, c1) = ((c + 1) % 3, (c + 2) % 3);
            m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]
        };
        let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
        let usable = determinant.is_finite() && determinant.abs() > 1e-12;
        // The transposed minors, whose cyclic indices carry the signs.
        usable.then(|| Transform(std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / determinant))))
    }

    /// The three sums of a point; the point is the first two by the third.
    pub(super) fn sums(&self, x: f64, y: f64) -> [f64; 3] {
        self.0.map(|row| row[0] * x + row[1] * y + row[2])
    }

    /// By how much [`Transform::sums`] grow from one column to the next.
    pub(super) fn along_x(&self) -> [f64; 3] {
        self.0.map(|row| row[0])
    }

    /// Whether lines that are parallel stay so: the third sum is always 1.
    pub(super) fn is_affine(&self) -> bool {
        self.0[2] == [0.0, 0.0, 1.0]
    }

    /// A moved box; none where a corner goes to infinity or behind.
    pub(super) fn moved(&self, [x0, y0, x1, y1]: Corners) -> Option<Polygon> {
        let mut corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)];
        for corner in &mut corners {
            let [x, y, w] = self.sums(corner.0, corner.1);
            if w < 1e-3 {
                return None;
            }
            *corner = (x / w, y / w);
        }
        Some(Polygon::new(corners))
    }
}

/// The part of a box in another; empty ones have no area.
pub(super) fn cut(a: Corners, b: Corners) -> Corners {
    let [x0, y0] = [a[0].max(b[0]), a[1].max(b[1])];
    [x0, y0, a[2].min(b[2]).max(x0), a[3].min(b[3]).max(y0)]
}

pub(super) fn area([x0, y0, x1, y1]: Corners) -> f64 {
    (x1 - x0) * (y1 - y0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_undoes() {
        let t = Transform::shift(-50.0, -20.0)
            .then(Transform::perspective(5e-4, -3e-4))
            .then(Transform::rotation(23.0))
            .then(Transform::shear(7.0, -4.0))
            .then(Transform::scale(-1.3, 0.7))
            .then(Transform::shift(60.0, 10.0));
        let back = t.inverse().unwrap();
        for (x, y) in [(0.0, 0.0), (100.0, 3.0), (-7.0, 45.5)] {
            let [a, b, w] = t.sums(x, y);
            let [a, b, w] = back.sums(a / w, b / w);
            assert!((a / w - x).abs() < 1e-9 && (b / w - y).abs() < 1e-9);
        }
        assert!(!t.is_affine() && Transform::rotation(3.0).then(Transform::shift(1.0, 2.0)).is_affine());
        assert_eq!(Transform::scale(0.0, 1.0).inverse(), None);
    }

    #[test]
    fn boxes_are_moved_by_their_corners() {
        let quarter = Transform::rotation(90.0);
        let moved = quarter.moved([1.0, 2.0, 4.0, 3.0]).unwrap().around();
        let expected = [-3.0, 1.0, -2.0, 4.0];
        assert!(moved.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{moved:?}");
        assert!(Transform::perspective(-1.0, 0.0).moved([0.0, 0.0, 2.0, 2.0]).is_none());
        assert_eq!(area(cut([0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0])), 0.0);
        assert_eq!(cut([0.0, 0.0, 4.0, 4.0], [1.0, 2.0, 3.0, 9.0]), [1.0, 2.0, 3.0, 4.0]);
    }
}
