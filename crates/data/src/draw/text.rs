//! Words on pictures, in the one font that comes along.
//!
//! Input: text, a size in pixels, a colour. Output: smooth letters. The font (`font/README.md`) has Latin, Greek and
//! Cyrillic letters; any other is shown as an empty box.

use super::{Colour, blend};
use crate::picture::Picture;
use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("font/DejaVuSansCondensed-Bold.ttf")).expect("the font is whole")
});

/// A size and a colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    /// From the top of the highest letter to the bottom of the lowest, in pixels.
    pub(super) size: f32,
    pub(super) colour: Colour,
}

/// The letters from 0 on, and where the next would stand.
fn glyphs(text: &str, size: f32) -> (Vec<Glyph>, f32) {
    let font = FONT.as_scaled(PxScale::from(size));
    let mut before = None;
    let mut at = 0.0;
    let mut glyphs = Vec::with_capacity(text.len());
    for letter in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
        let id = font.glyph_id(letter);
        at += before.map_or(0.0, |before| font.kern(before, id));
        glyphs.push(id.with_scale_and_position(size, point(at, font.ascent())));
        at += font.h_advance(id);
        before = Some(id);
    }
    (glyphs, at)
}

/// How wide a text is, in pixels.
pub(super) fn width(text: &str, size: f32) -> f32 {
    glyphs(text, size).1
}

/// Writes a text, the upper left corner at (x, y).
pub(super) fn write(picture: &mut Picture, (x, y): (i64, i64), text: &str, ink: Ink) {
    let (columns, rows) = (picture.width() as i64, picture.height() as i64);
    for glyph in glyphs(text, ink.size).0 {
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let bounds = outline.px_bounds();
        let (left, top) = (x + bounds.min.x as i64, y + bounds.min.y as i64);
        outline.draw(|dx, dy, opacity| {
            let (x, y) = (left + i64::from(dx), top + i64::from(dy));
            if (0..columns).contains(&x) && (0..rows).contains(&y) {
                let at = (y * columns + x) as usize * 3;
                blend(&mut picture.pixels_mut()[at..at + 3], ink.colour, opacity.min(1.0));
            }
        });
    }
}

/// The text, or as much of its beginning as fits.
pub(super) fn shortened(text: &str, size: f32, room: f32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while let Some(_last) = kept.pop() {
        let shorter: String = kept.iter().chain(&['…']).collect();
        if width(&shorter, size) <= room {
            return shorter;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_where_they_should_be() {
        let mut picture = Picture::new(60, 20, [255; 3]);
        write(&mut picture, (10, 2), "IiI", Ink { size: 16.0, colour: [0; 3] });
        let dark = |x: usize, y: usize| picture.at(x, y)[0] < 128;
        let columns: Vec<usize> = (0..60).filter(|&x| (0..20).any(|y| dark(x, y))).collect();
        let end = 10 + width("IiI", 16.0).ceil() as usize;
        assert!(columns.len() > 5 && columns[0] >= 10 && columns[columns.len() - 1] < end, "{columns:?}");
        assert!((0..60).all(|x| !dark(x, 0) && !dark(x, 19)));
        let mut far = Picture::new(4, 4, [255; 3]);
        write(&mut far, (-500, 2), "far away", Ink { size: 16.0, colour: [0; 3] });
        write(&mut far, (2, 1000), "far away", Ink { size: 16.0, colour: [0; 3] });
        assert_eq!(far, Picture::new(4, 4, [255; 3]));
    }

    #[test]
    fn what_is_too_long_ends_with_dots() {
        assert_eq!(shortened("abc", 16.0, 100.0), "abc");
        let short = shortened("abcdefghijklmnop", 16.0, 60.0);
        assert!(short.starts_with("abc") && short.ends_with('…') && width(&short, 16.0) <= 60.0, "{short}");
        assert_eq!(shortened("abc", 16.0, 1.0), "");
    }

    #[test]
    fn letters_of_other_scripts_are_boxes() {
        assert!(width("漢字", 16.0) > 5.0 && width("žluťoučký", 16.0) > 30.0 && width("λΩ", 16.0) > 10.0);
    }
}
