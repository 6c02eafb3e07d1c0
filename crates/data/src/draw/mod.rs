//! Drawing on pictures: boxes with labels, sheets of many pictures.
//!
//! Input: a [`Picture`] and what is to be marked in it. Output: the picture, changed, or a sheet. Invariant: drawing
//! beyond a picture's edges changes nothing, so that no box is too wrong to be shown.

mod colour;
mod mark;
mod sheet;
mod text;

pub use colour::class_colour;
pub use mark::{Line, Mark, mark};
pub use sheet::{Sheet, Tile, sheet};

use crate::picture::Picture;

/// A colour.
pub type Colour = [u8; 3];

/// A rectangle of whole pixels: left, top, right, bottom, the last two outside.
type Pixels = [i64; 4];

/// Lays a colour over some pixels: at an opacity of 1 nothing shines through.
fn fill(picture: &mut Picture, [x0, y0, x1, y1]: Pixels, colour: Colour, opacity: f32) {
    let (width, height) = (picture.width() as i64, picture.height() as i64);
    let (x0, x1) = (x0.clamp(0, width) as usize, x1.clamp(0, width) as usize);
    let (y0, y1) = (y0.clamp(0, height) as usize, y1.clamp(0, height) as usize);
    if x0 >= x1 {
        return;
    }
    let stride = picture.width() * 3;
    for y in y0..y1 {
        for pixel in picture.pixels_mut()[y * stride..][x0 * 3..x1 * 3].chunks_exact_mut(3) {
            blend(pixel, colour, opacity);
        }
    }
}

/// Lays a colour over a pixel.
fn blend(pixel: &mut [u8], colour: Colour, opacity: f32) {
    for (under, over) in pixel.iter_mut().zip(colour) {
        let mixed = f32::from(*under) + (f32::from(over) - f32::from(*under)) * opacity;
        *under = (mixed + 0.5) as u8; // saturates
    }
}

/// Copies a picture into another, its corner at (x, y); what does not fit is cut off.
pub(crate) fn paste(under: &mut Picture, over: &Picture, x: usize, y: usize) {
    let columns = over.width().min(under.width().saturating_sub(x)) * 3;
    let stride = under.width() * 3;
    for row in 0..over.height().min(under.height().saturating_sub(y)) {
        under.pixels_mut()[(y + row) * stride + x * 3..][..columns]
            .copy_from_slice(&over.row(row)[..columns]);
    }
}
