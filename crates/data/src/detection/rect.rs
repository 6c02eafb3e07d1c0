//! A rectangle in pixels, as COCO has it: left, top, width, height.
//!
//! Pixel `i` covers [i, i + 1), so that a whole picture is `0, 0, width, height`. Numbers are f64, as they stand in
//! annotation files: what is judged by them must not depend on a rounding of ours. Invariant: none; files may hold
//! anything, and readers say what is wrong with it.

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

impl Rect {
    /// From left, top, right, bottom.
    pub fn from_corners([x0, y0, x1, y1]: [f64; 4]) -> Rect {
        Rect { x: x0, y: y0, width: x1 - x0, height: y1 - y0 }
    }

    /// Left, top, right, bottom.
    pub fn corners(&self) -> [f64; 4] {
        [self.x, self.y, self.x + self.width, self.y + self.height]
    }

    /// Left, top, right, bottom, as training takes them.
    pub fn corners_f32(&self) -> [f32; 4] {
        self.corners().map(|v| v as f32)
    }

    /// Square pixels.
    pub fn area(&self) -> f64 {
        self.width * self.height
    }

    /// Square pixels that both cover.
    pub fn intersection(&self, other: &Rect) -> f64 {
        let [ax0, ay0, ax1, ay1] = self.corners();
        let [bx0, by0, bx1, by1] = other.corners();
        let (w, h) = (ax1.min(bx1) - ax0.max(bx0), ay1.min(by1) - ay0.max(by0));
        if w <= 0.0 || h <= 0.0 { 0.0 } else { w * h }
    }

    /// Intersection over union; 0 where nothing is shared.
    pub fn iou(&self, other: &Rect) -> f64 {
        match self.intersection(other) {
            0.0 => 0.0,
            both => both / (self.area() + other.area() - both),
        }
    }

    /// The part inside a picture of `width` x `height`; none where there is none.
    pub fn inside(&self, width: f64, height: f64) -> Option<Rect> {
        let [x0, y0, x1, y1] = self.corners();
        let cut = Rect::from_corners([x0.max(0.0), y0.max(0.0), x1.min(width), y1.min(height)]);
        (cut.width > 0.0 && cut.height > 0.0).then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rect(x: f64, y: f64, width: f64, height: f64) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn overlaps() {
        let a = rect(0.0, 0.0, 4.0, 2.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&rect(2.0, 0.0, 4.0, 2.0)), 4.0 / 12.0);
        assert_eq!(a.iou(&rect(4.0, 0.0, 4.0, 2.0)), 0.0);
        assert_eq!(rect(1.0, 1.0, 0.0, 0.0).iou(&rect(1.0, 1.0, 0.0, 0.0)), 0.0);
    }

    #[test]
    fn only_what_is_inside_stays() {
        assert_eq!(rect(-2.0, 3.0, 5.0, 9.0).inside(10.0, 10.0), Some(rect(0.0, 3.0, 3.0, 7.0)));
        assert_eq!(rect(10.0, 3.0, 5.0, 9.0).inside(10.0, 10.0), None);
        assert_eq!(rect(3.0, 3.0, 0.0, 1.0).inside(10.0, 10.0), None);
    }
}
