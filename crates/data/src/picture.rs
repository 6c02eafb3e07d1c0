//! A picture in memory: RGB, 8 bits, rows from the top.
//!
//! Input: image files, pixels. Output: pixels, PNG files. Invariant: `pixels` holds exactly
//! `width x height x 3` bytes, and neither side is 0.

use crate::decode;
use crate::error::{DataError, Result};
use crate::resize::resize;
use image::{ExtendedColorType, ImageFormat};
use std::path::Path;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Picture {
        Picture::from_pixels(width, height, colour.repeat(width * height))
    }

    /// From its bytes.
    ///
    /// # Panics
    /// If a side is 0, or there are not `width x height x 3` bytes.
    pub fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Picture {
        assert!(width > 0 && height > 0, "a picture of {width} x {height} pixels");
        assert_eq!(pixels.len(), width * height * 3, "bytes of a picture of {width} x {height} pixels");
        Picture { width, height, pixels }
    }

    /// From RGBA as a browser's canvas has it; nothing shines through.
    pub fn from_rgba(width: usize, height: usize, pixels: Vec<u8>) -> Result<Picture> {
        let pixels = decode::canvas(pixels, (height, width))?.into_rgb8().into_raw();
        Ok(Picture { width, height, pixels })
    }

    /// Decodes a JPEG, PNG or WebP file, upright.
    pub fn open(path: &Path) -> Result<Picture> {
        let image = decode::rgb(path, decode::MAX_PIXELS)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        match width.min(height) {
            0 => Err(DataError::Image { path: path.to_path_buf(), what: "it has no pixels".into() }),
            _ => Ok(Picture { width, height, pixels: image.into_raw() }),
        }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to be changed.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// A row's bytes.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..][..self.width * 3]
    }

    /// The colour of a pixel.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// The same at another size, stretched.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn resized(&self, width: usize, height: usize) -> Picture {
        let mut out = Picture::new(width, height, [0; 3]);
        resize::<3>(&self.pixels, (self.height, self.width), &mut out.pixels, (height, width));
        out
    }

    /// As a PNG file's bytes.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut png = std::io::Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        image::write_buffer_with_format(
            &mut png,
            &self.pixels,
            width,
            height,
            ExtendedColorType::Rgb8,
            ImageFormat::Png,
        )
        .map_err(|e| DataError::argument(format!("a picture of {width} x {height} pixels is no PNG: {e}")))?;
        Ok(png.into_inner())
    }

    /// Writes a PNG file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let written = std::fs::write(&part, self.to_png()?).and_then(|()| std::fs::rename(&part, path));
        if written.is_err() {
            std::fs::remove_file(&part).ok();
        }
        written.map_err(DataError::io("write", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_is_read_as_it_was_written() {
        let pixels = (0..5 * 4 * 3).map(|i| (i * 41 % 256) as u8).collect();
        let picture = Picture::from_pixels(5, 4, pixels);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.png");
        picture.save(&path).unwrap();
        assert_eq!(Picture::open(&path).unwrap(), picture);
        assert_eq!(picture.at(1, 2), picture.row(2)[3..6]);
        let error = picture.save(&dir.path().join("none/x.png")).unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("none/x.png"), "{error}");
    }

    #[test]
    fn one_colour_stays_one_colour() {
        let picture = Picture::new(7, 3, [1, 2, 3]).resized(4, 9);
        assert_eq!((picture.width(), picture.height(), picture.at(3, 8)), (4, 9, [1, 2, 3]));
    }
}
