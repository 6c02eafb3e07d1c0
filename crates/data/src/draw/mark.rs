//! Boxes with labels in a picture.
//!
//! Input: a picture and [`Mark`]s in its pixels. Output: the picture with frames and labels, as strong as the
//! picture is large. Frames are drawn before labels and large before small, so that nothing small is covered.

use super::colour::{class_colour, ink_on};
use super::text::{self, Ink};
use super::{Colour, Pixels, fill};
use crate::detection::{Detection, Object, Rect};
use crate::picture::Picture;

/// How a frame is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without gaps: what was found, or all there is.
    Solid,
    /// With gaps: what should have been found, beside what was.
    Dashed,
}

/// A box to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where, in the picture's pixels.
    pub rect: Rect,
    /// Its colour.
    pub colour: Colour,
    /// How its frame is drawn.
    pub line: Line,
    /// What is written on it; nothing where this is empty.
    pub label: String,
}

/// The name of a class, or its number.
fn name(class: usize, names: &[String]) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

impl Mark {
    /// An object with the name of its class.
    pub fn object(object: &Object, names: &[String]) -> Mark {
        let crowd = if object.crowd { " (crowd)" } else { "" };
        let label = format!("{}{crowd}", name(object.class, names));
        Mark { rect: object.rect, colour: class_colour(object.class), line: Line::Solid, label }
    }

    /// A detection with the name of its class and its score in percent.
    pub fn detection(detection: &Detection, names: &[String]) -> Mark {
        let label = format!("{} {:.0}%", name(detection.class, names), 100.0 * detection.score);
        Mark { rect: detection.rect, colour: class_colour(detection.class), line: Line::Solid, label }
    }

    /// The same with gaps in its frame and no label: the truth beside what was found.
    pub fn as_truth(self) -> Mark {
        Mark { line: Line::Dashed, label: String::new(), ..self }
    }

    /// The same in a picture whose pixels are `x` and `y` times as many.
    pub fn scaled(mut self, x: f64, y: f64) -> Mark {
        let [x0, y0, x1, y1] = self.rect.corners();
        self.rect = Rect::from_corners([x0 * x, y0 * y, x1 * x, y1 * y]);
        self
    }
}

/// How strong frames and labels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// Width of frames in pixels.
    pub(super) line: i64,
    /// Height of letters in pixels.
    pub(super) text: f32,
}

impl Strength {
    /// What suits a picture.
    pub(super) fn of(picture: &Picture) -> Strength {
        let side = picture.width().max(picture.height()) as f32;
        Strength {
            line: (side / 300.0).round().clamp(1.0, 12.0) as i64,
            text: (side / 44.0).clamp(11.0, 72.0),
        }
    }
}

/// Draws boxes.
pub fn mark(picture: &mut Picture, marks: &[Mark]) {
    mark_with(picture, marks, Strength::of(picture));
}

pub(super) fn mark_with(picture: &mut Picture, marks: &[Mark], strength: Strength) {
    let mut order: Vec<&Mark> =
        marks.iter().filter(|m| m.rect.corners().iter().all(|v| v.is_finite())).collect();
    order.sort_by(|a, b| b.rect.area().total_cmp(&a.rect.area()));
    order.iter().for_each(|m| frame(picture, m, strength.line));
    order.iter().filter(|m| !m.label.is_empty()).for_each(|m| label(picture, m, strength));
}

/// Whole pixels, none farther away than matters.
fn pixels(rect: &Rect) -> Pixels {
    rect.corners().map(|v| v.round().clamp(-1e6, 1e6) as i64)
}

/// The four sides, the outer edge on the box, with a shade around so that they show on any ground.
fn frame(picture: &mut Picture, mark: &Mark, line: i64) {
    let [x0, y0, x1, y1] = pixels(&mark.rect);
    sides([x0 - 1, y0 - 1, x1 + 1, y1 + 1], line + 2, |side| fill(picture, side, [0; 3], 0.3));
    let dash = match mark.line {
        Line::Solid => None,
        Line::Dashed => Some(4 * line + 2),
    };
    sides([x0, y0, x1, y1], line, |[a, b, c, d]| match dash {
        None => fill(picture, [a, b, c, d], mark.colour, 1.0),
        Some(dash) => {
            let along_x = c - a > d - b;
            let (from, to) = if along_x { (a, c) } else { (b, d) };
            let room = if along_x { picture.width() } else { picture.height() } as i64;
            // Far outside there is nothing to see, and much to do.
            let first = from + (-from).max(0) / (2 * dash) * 2 * dash;
            let mut at = first;
            while at < to.min(room) {
                let end = (at + dash).min(to);
                let piece = if along_x { [at, b, end, d] } else { [a, at, c, end] };
                fill(picture, piece, mark.colour, 1.0);
                at += 2 * dash;
            }
        }
    });
}

/// The pixels of a frame's sides: top, bottom, then what is left of the others.
fn sides([x0, y0, x1, y1]: Pixels, line: i64, mut draw: impl FnMut(Pixels)) {
    let (inner_top, inner_bottom) = ((y0 + line).min(y1), (y1 - line).max(y0));
    draw([x0, y0, x1, inner_top]);
    if inner_bottom >= inner_top {
        draw([x0, inner_bottom, x1, y1]);
        draw([x0, inner_top, (x0 + line).min(x1), inner_bottom]);
        draw([(x1 - line).max(x0 + line), inner_top, x1, inner_bottom]);
    }
}

/// The label: above the box, or inside where there is no room above; never beyond the right edge.
fn label(picture: &mut Picture, mark: &Mark, strength: Strength) {
    let [x0, y0, ..] = pixels(&mark.rect);
    let padding = (strength.text / 5.0).round() as i64;
    let width = text::width(&mark.label, strength.text).ceil() as i64 + 2 * padding;
    let height = strength.text.ceil() as i64;
    let left = x0.min(picture.width() as i64 - width).max(0);
    let top = if y0 >= height { y0 - height } else { y0.max(0) };
    fill(picture, [left, top, left + width, top + height], mark.colour, 0.92);
    let ink = Ink { size: strength.text, colour: ink_on(mark.colour) };
    text::write(picture, (left + padding, top), &mark.label, ink);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(corners: [f64; 4], label: &str) -> Mark {
        Mark {
            rect: Rect::from_corners(corners),
            colour: [250, 0, 0],
            line: Line::Solid,
            label: label.into(),
        }
    }

    fn red(picture: &Picture) -> Vec<(usize, usize)> {
        let all = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
        all.filter(|&(x, y)| picture.at(x, y) == [250, 0, 0]).collect()
    }

    #[test]
    fn a_frame_lies_on_the_boxs_edge() {
        let mut picture = Picture::new(40, 30, [200; 3]);
        mark_with(&mut picture, &[at([10.0, 5.0, 20.0, 15.0], "")], Strength { line: 2, text: 11.0 });
        let found = red(&picture);
        let inside = |x: usize, y: usize| (10..20).contains(&x) && (5..15).contains(&y);
        let hole = |x: usize, y: usize| (12..18).contains(&x) && (7..13).contains(&y);
        assert_eq!(found.len(), 100 - 36);
        assert!(found.iter().all(|&(x, y)| inside(x, y) && !hole(x, y)), "{found:?}");
        assert_eq!((picture.at(14, 9), picture.at(25, 20)), ([200; 3], [200; 3]));
    }

    #[test]
    fn nothing_is_too_wrong_to_be_drawn() {
        let mut picture = Picture::new(16, 16, [200; 3]);
        let marks = [
            at([-1e12, -1e12, 1e12, 1e12], "around"),
            at([5.0, 5.0, 5.0, 5.0], "a point"),
            at([9.0, 9.0, 3.0, 3.0], "turned around"),
            at([f64::NAN, 0.0, 4.0, 4.0], "nowhere"),
            at([100.0, 100.0, 200.0, 200.0], "beyond"),
            at([0.2, 0.2, 0.9, 0.9], ""),
        ];
        mark(&mut picture, &marks);
        mark(&mut picture, &marks.map(|m| Mark { line: Line::Dashed, ..m }));
    }

    #[test]
    fn a_dashed_frame_has_gaps() {
        let mut picture = Picture::new(100, 100, [200; 3]);
        let mark = at([10.0, 10.0, 90.0, 90.0], "x").as_truth();
        mark_with(&mut picture, std::slice::from_ref(&mark), Strength { line: 2, text: 11.0 });
        let red = red(&picture).len();
        assert!((250..450).contains(&red), "{red} of 624 pixels");
        assert!(mark.label.is_empty());
    }
}
