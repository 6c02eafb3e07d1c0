//! Boxes and how much they overlap. A box is its corners `(x1, y1, x2, y2)`, first left and top, then right and bottom, in
//! any unit; an area is width times height, nothing is added.
//!
//! Invariant: whatever the boxes (of no size, identical, apart), values and gradients are finite.

use crate::{Graph, NodeId};
use std::f64::consts::{FRAC_PI_2, PI};

/// Added to what is divided by, as in torchvision's losses: an empty union overlaps nothing.
const EPSILON: f64 = 1e-7;
/// Least divisor of a ratio of sides: two boxes without size have the same shape.
const LEAST: f64 = 1e-30;
/// `atan(t) / t` for t in [0, 1] as a polynomial in t^2: interpolation at Chebyshev's nodes, off by 1.2e-8 at most.
const ATAN: [f64; 9] = [
    0.999_999_984_242_635_9,
    -0.333_330_667_806_913_56,
    0.199_924_835_784_978_6,
    -0.142_025_705_116_672_62,
    0.106_367_540_979_734_29,
    -0.074_954_454_429_664_3,
    0.042_587_607_460_760_346,
    -0.016_005_030_500_485_684,
    0.002_834_064_298_191_657_4,
];

/// Corners of boxes, all of one shape.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "the corners")]
pub struct Boxes {
    pub x1: NodeId,
    pub y1: NodeId,
    pub x2: NodeId,
    pub y2: NodeId,
}

/// How the overlap of two boxes is measured: 1 where they are the same, less otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overlap {
    /// Intersection over union.
    IoU,
    /// Less the part of the smallest box around both that neither covers (Rezatofighi et al. 2019).
    GIoU,
    /// IoU less the squared distance of the centres over that of the corners of the box around both (Zheng et al. 2020).
    DIoU,
    /// DIoU less a term for different aspect ratios (Zheng et al. 2020, eq. 8 to 11).
    CIoU,
}

impl Graph {
    /// The corners of boxes f32 `[.., 4]`, each `[..]`.
    #[track_caller]
    pub fn corners(&mut self, boxes: NodeId) -> Boxes {
        let shape = self.shape(boxes).to_vec();
        let last = shape.len() - 1;
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| {
            let x = self.slice(boxes, last, i, i + 1);
            self.reshape(x, &shape[..last])
        });
        Boxes { x1, y1, x2, y2 }
    }

    /// The same boxes as tensors of another shape: to pair each of some with each of others by broadcasting.
    #[track_caller]
    pub fn reshape_boxes(&mut self, b: &Boxes, shape: &[usize]) -> Boxes {
        let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(|x| self.reshape(x, shape));
        Boxes { x1, y1, x2, y2 }
    }

    /// Width and height.
    pub fn box_sides(&mut self, b: &Boxes) -> (NodeId, NodeId) {
        (self.sub(b.x2, b.x1), self.sub(b.y2, b.y1))
    }

    /// (intersection, union) of boxes, as areas; shapes broadcast.
    pub fn intersection_and_union(&mut self, a: &Boxes, b: &Boxes) -> (NodeId, NodeId) {
        let (x1, y1) = (self.max(a.x1, b.x1), self.max(a.y1, b.y1));
        let (x2, y2) = (self.min(a.x2, b.x2), self.min(a.y2, b.y2));
        let (w, h) = self.box_sides(&Boxes { x1, y1, x2, y2 });
        let (w, h) = (self.relu(w), self.relu(h));
        let intersection = self.mul(w, h);
        let [own, other] = [a, b].map(|b| {
            let (w, h) = self.box_sides(b);
            self.mul(w, h)
        });
        let sum = self.add(own, other);
        (intersection, self.sub(sum, intersection))
    }

    /// How much boxes overlap; shapes broadcast. Formulas and constants are those of torchvision's losses, which are 1
    /// less this.
    pub fn box_overlap(&mut self, kind: Overlap, a: &Boxes, b: &Boxes) -> NodeId {
        let (intersection, union) = self.intersection_and_union(a, b);
        let divisor = self.offset(union, EPSILON);
        let iou = self.div(intersection, divisor);
        if kind == Overlap::IoU {
            return iou;
        }
        let (x1, y1) = (self.min(a.x1, b.x1), self.min(a.y1, b.y1));
        let (x2, y2) = (self.max(a.x2, b.x2), self.max(a.y2, b.y2));
        let (w, h) = self.box_sides(&Boxes { x1, y1, x2, y2 });
        if kind == Overlap::GIoU {
            let around = self.mul(w, h);
            let uncovered = self.sub(around, union);
            let divisor = self.offset(around, EPSILON);
            let part = self.div(uncovered, divisor);
            return self.sub(iou, part);
        }
        let diagonal = self.sum_of_squares(w, h);
        let diagonal = self.offset(diagonal, EPSILON);
        let apart = self.centre_distance(a, b);
        let distance = self.div(apart, diagonal);
        let diou = self.sub(iou, distance);
        if kind == Overlap::DIoU {
            return diou;
        }
        let v = self.aspect_difference(a, b);
        // alpha v with alpha = v / (1 - IoU + v), which is not differentiated.
        let one = self.constant(1.0);
        let rest = self.sub(one, iou);
        let rest = self.add(rest, v);
        let rest = self.offset(rest, EPSILON);
        let alpha = self.div(v, rest);
        let alpha = self.stop_gradient(alpha);
        let term = self.mul(alpha, v);
        self.sub(diou, term)
    }

    fn sum_of_squares(&mut self, x: NodeId, y: NodeId) -> NodeId {
        let (xx, yy) = (self.mul(x, x), self.mul(y, y));
        self.add(xx, yy)
    }

    /// Squared distance of the centres.
    fn centre_distance(&mut self, a: &Boxes, b: &Boxes) -> NodeId {
        let [x, y] = [[a.x1, a.x2, b.x1, b.x2], [a.y1, a.y2, b.y1, b.y2]].map(|[a1, a2, b1, b2]| {
            let (a, b) = (self.add(a1, a2), self.add(b1, b2));
            let twice = self.sub(a, b);
            self.scale(twice, 0.5)
        });
        self.sum_of_squares(x, y)
    }

    /// `(2 / pi * (atan(wa / ha) - atan(wb / hb)))^2`, sides below 0 taken as 0.
    ///
    /// The difference of the two angles is one: `atan((wa hb - wb ha) / (ha hb + wa wb))`, which divides by no side.
    fn aspect_difference(&mut self, a: &Boxes, b: &Boxes) -> NodeId {
        let [(wa, ha), (wb, hb)] = [a, b].map(|b| {
            let (w, h) = self.box_sides(b);
            (self.relu(w), self.relu(h))
        });
        let (p, q) = (self.mul(wa, hb), self.mul(wb, ha));
        let across = self.sub(p, q);
        let across = self.abs(across);
        let (p, q) = (self.mul(ha, hb), self.mul(wa, wb));
        let along = self.add(p, q);
        let angle = self.angle(across, along);
        let scaled = self.scale(angle, 2.0 / PI);
        self.mul(scaled, scaled)
    }

    /// `atan(across / along)` of what is not negative, in [0, pi / 2]; 0 where both are 0.
    fn angle(&mut self, across: NodeId, along: NodeId) -> NodeId {
        let least = self.constant(LEAST);
        let (small, large) = (self.min(across, along), self.max(across, along));
        let large = self.max(large, least);
        let t = self.div(small, large);
        let tt = self.mul(t, t);
        let mut sum = self.constant(ATAN[ATAN.len() - 1]);
        for &c in ATAN.iter().rev().skip(1) {
            let product = self.mul(sum, tt);
            sum = self.offset(product, c);
        }
        let flat = self.mul(sum, t);
        let right = self.constant(FRAC_PI_2);
        let steep = self.sub(right, flat);
        let is_steep = self.lt(along, across);
        let value = self.select(is_steep, steep, flat);
        // d angle = (along d across - across d along) / (across^2 + along^2), exactly.
        let square = self.sum_of_squares(across, along);
        let square = self.max(square, least);
        let (da, dl) = (self.div(along, square), self.div(across, square));
        let (da, dl) = (self.stop_gradient(da), self.stop_gradient(dl));
        let (p, q) = (self.mul(across, da), self.mul(along, dl));
        let like = self.sub(p, q);
        self.with_gradient_of(value, like)
    }
}
