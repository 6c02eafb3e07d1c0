//! Many pictures on one sheet.
//!
//! Input: pictures with marks and captions, a title, a legend. Output: one picture. Invariant: every tile has the
//! same room; a picture keeps its shape in it; marks are drawn after scaling, so that they are as fine on a large
//! picture as on a small one.

use super::mark::{Mark, Strength, mark_with};
use super::text::{self, Ink};
use super::{Colour, fill, paste};
use crate::picture::Picture;

const GROUND: Colour = [248, 248, 247];
const INK: Colour = [31, 41, 55];
const FAINT: Colour = [107, 114, 128];
/// Pixels between tiles, and around them.
const GAP: usize = 14;
const TITLE: f32 = 24.0;
const LEGEND: f32 = 17.0;
const CAPTION: f32 = 15.0;

/// A picture on a sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The picture.
    pub picture: Picture,
    /// What is marked in it, in its pixels.
    pub marks: Vec<Mark>,
    /// What stands below it.
    pub caption: String,
}

/// What a sheet looks like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// What stands above.
    pub title: String,
    /// Colours and what they mean.
    pub legend: Vec<(Colour, String)>,
    /// Tiles side by side; 0 takes what makes the sheet about as wide as high.
    pub columns: usize,
    /// Pixels of the longer side of a tile; 0 takes as many as suit the pictures and their number.
    pub side: usize,
}

/// Lays out tiles.
pub fn sheet(tiles: &[Tile], sheet: &Sheet) -> Picture {
    let side = if sheet.side == 0 { fitting_side(tiles) } else { sheet.side };
    // The room of a tile has the shape of the widest and the highest picture.
    let scaled: Vec<(usize, usize)> = tiles.iter().map(|t| scaled(&t.picture, side)).collect();
    let room = scaled.iter().fold((1, 1), |room, s| (room.0.max(s.0), room.1.max(s.1)));
    let columns = match sheet.columns {
        0 => ((tiles.len() * room.1) as f64 / room.0 as f64).sqrt().ceil() as usize,
        n => n,
    };
    let columns = columns.clamp(1, tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns);
    let width = (columns * (room.0 + GAP) + GAP).max(320);
    let legend = legend_lines(&sheet.legend, width);
    let head = 2 * GAP + TITLE as usize + legend.len() * (LEGEND as usize + GAP / 2);
    let cell = (room.0 + GAP, room.1 + CAPTION as usize + GAP + GAP / 2);
    let mut out = Picture::new(width, head + rows * cell.1 + GAP / 2, GROUND);
    let title = text::shortened(&sheet.title, TITLE, (width - 2 * GAP) as f32);
    text::write(&mut out, (GAP as i64, GAP as i64), &title, Ink { size: TITLE, colour: INK });
    for (line, top) in
        legend.iter().zip((2 * GAP as i64 + TITLE as i64 - 4..).step_by(LEGEND as usize + GAP / 2))
    {
        line.iter().for_each(|(x, entry)| legend_entry(&mut out, (*x, top), entry));
    }
    for (i, (tile, size)) in tiles.iter().zip(scaled).enumerate() {
        let corner = (GAP + i % columns * cell.0, head + i / columns * cell.1);
        place(&mut out, tile, size, corner, room);
    }
    out
}

/// As large as the pictures, if the sheet stays below some 2,400 pixels a side, but never tiny.
fn fitting_side(tiles: &[Tile]) -> usize {
    let largest = tiles.iter().map(|t| t.picture.width().max(t.picture.height())).max().unwrap_or(1);
    let room = 2400 / (tiles.len() as f64).sqrt().ceil().max(1.0) as usize;
    // Small pictures are shown larger, by whole numbers.
    let times = (128usize.div_ceil(largest)).max(1);
    (largest * times).min(room).max(96)
}

/// The size of a picture whose longer side is `side`.
fn scaled(picture: &Picture, side: usize) -> (usize, usize) {
    let (w, h) = (picture.width(), picture.height());
    let scale = side as f64 / w.max(h) as f64;
    let at = |n: usize| ((n as f64 * scale).round() as usize).max(1);
    (at(w), at(h))
}

fn place(out: &mut Picture, tile: &Tile, size: (usize, usize), corner: (usize, usize), room: (usize, usize)) {
    let mut picture = tile.picture.resized(size.0, size.1);
    let (x, y) = (size.0 as f64 / tile.picture.width() as f64, size.1 as f64 / tile.picture.height() as f64);
    let marks: Vec<Mark> = tile.marks.iter().map(|m| m.clone().scaled(x, y)).collect();
    let strength = Strength::of(&picture);
    mark_with(&mut picture, &marks, strength);
    let left = corner.0 + (room.0 - size.0) / 2;
    let top = corner.1 + (room.1 - size.1) / 2;
    paste(out, &picture, left, top);
    let caption = text::shortened(&tile.caption, CAPTION, room.0 as f32);
    let below = (corner.0 as i64, (corner.1 + room.1 + 3) as i64);
    text::write(out, below, &caption, Ink { size: CAPTION, colour: FAINT });
}

/// Entries of the legend with their places, line by line.
fn legend_lines(legend: &[(Colour, String)], width: usize) -> Vec<Vec<(i64, &(Colour, String))>> {
    let mut lines: Vec<Vec<_>> = Vec::new();
    let mut at = width as i64;
    for entry in legend {
        let needed = LEGEND as i64 + 6 + text::width(&entry.1, LEGEND).ceil() as i64;
        if at + needed > (width - GAP) as i64 {
            lines.push(Vec::new());
            at = GAP as i64;
        }
        if let Some(line) = lines.last_mut() {
            line.push((at, entry));
        }
        at += needed + 22;
    }
    lines
}

fn legend_entry(out: &mut Picture, (x, y): (i64, i64), (colour, name): &(Colour, String)) {
    let side = LEGEND as i64 - 3;
    fill(out, [x, y + 1, x + side, y + 1 + side], *colour, 1.0);
    text::write(out, (x + side + 6, y), name, Ink { size: LEGEND, colour: INK });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::Rect;
    use crate::draw::Line;

    #[test]
    fn every_tile_keeps_its_shape_and_its_marks() {
        let colours = [[200, 30, 30], [30, 200, 30], [30, 30, 200]];
        let tiles: Vec<Tile> = [(100, 50), (50, 100), (80, 80)]
            .into_iter()
            .zip(colours)
            .map(|((w, h), colour)| Tile {
                picture: Picture::new(w, h, colour),
                marks: vec![Mark {
                    rect: Rect::from_corners([0.0, 0.0, w as f64, h as f64]),
                    colour: [255, 255, 0],
                    line: Line::Solid,
                    label: String::new(),
                }],
                caption: "a caption that is much too long for such a small tile".into(),
            })
            .collect();
        let legend = (0..30).map(|i| ([i * 8; 3], format!("class {i}"))).collect();
        let out = sheet(&tiles, &Sheet { title: "title".into(), legend, columns: 2, side: 200 });
        let count = |colour: Colour| out.pixels().chunks_exact(3).filter(|p| *p == colour).count();
        // Frames are a pixel wide, with a shade of one inside.
        assert_eq!(count(colours[0]), 196 * 96);
        assert_eq!(count(colours[1]), 96 * 196);
        assert_eq!(count(colours[2]), 196 * 196);
        assert_eq!(count([255, 255, 0]), 2 * (2 * 200 + 2 * 98) + (2 * 200 + 2 * 198));
        assert_eq!(out.width(), 2 * (200 + GAP) + GAP);
    }

    #[test]
    fn an_empty_sheet_is_one() {
        assert!(sheet(&[], &Sheet::default()).height() > 10);
    }
}
