//! One image: from JPEG, PNG or WebP bytes to U8 pixels of a given size.
//!
//! Input: a file or bytes. Output: `height x width x channels` bytes, NHWC without the batch: rows from the
//! top, turned upright by the EXIF orientation, channels gray (1), RGB (3) or RGBA (4), stretched to the size
//! with an antialiased bilinear filter. Invariant: nothing is decoded before the size in its header has been
//! checked, so no file can make the program use more than a few times `max_pixels` bytes.

use crate::error::{DataError, Result};
use crate::resize::resize;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

/// How many pixels are decoded unless the caller says otherwise: 8192 x 8192.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Extensions of the files that can be decoded, in lower case.
pub const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Bytes beyond the pixels that a decoder may use: tables, rows, the compressed data.
const DECODER_BYTES: u64 = 64 << 20;

/// Deflate cannot shrink data more than this; a PNG that announces more pixels lies.
const DEFLATE_RATIO: u64 = 1032;

/// A JPEG block of 64 pixels takes a bit at the very least, so a byte holds at most 512 pixels; twice that
/// for safety.
const JPEG_RATIO: u64 = 1024;

/// The size to which an image is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 = gray, 3 = RGB, 4 = RGBA.
    pub channels: usize,
}

impl Size {
    /// Bytes of the image.
    pub fn bytes(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether images of this size can be made.
    pub(crate) fn check(self) -> Result<()> {
        let axis = 1..=1 << 16;
        if axis.contains(&self.height) && axis.contains(&self.width) && [1, 3, 4].contains(&self.channels) {
            return Ok(());
        }
        Err(DataError::argument(format!(
            "images cannot be brought to {} x {} pixels of {} channels; use 1 to 65536 rows and columns, and \
             1 (gray), 3 (RGB) or 4 (RGBA) channels",
            self.height, self.width, self.channels
        )))
    }
}

/// Decodes an image file to `height x width x channels` bytes.
pub fn image(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let size = Size { height, width, channels };
    size.check()?;
    let mut out = vec![0; size.bytes()];
    file_into(path, size, MAX_PIXELS, &mut out)?;
    Ok(out)
}

/// Decodes image bytes; `name` is what errors call them.
pub fn image_bytes(bytes: &[u8], name: &str, size: Size) -> Result<Vec<u8>> {
    size.check()?;
    let mut out = vec![0; size.bytes()];
    bytes_into(bytes, Path::new(name), size, MAX_PIXELS, &mut out)?;
    Ok(out)
}

/// Brings pixels that were decoded elsewhere, RGBA of `from` = (rows, columns) as a browser's canvas has them, to `size`.
/// Nothing shines through: colours count as they are, as in files.
pub fn rgba(pixels: Vec<u8>, from: (usize, usize), size: Size) -> Result<Vec<u8>> {
    size.check()?;
    let mut out = vec![0; size.bytes()];
    stretch(canvas(pixels, from)?, size, &mut out);
    Ok(out)
}

/// RGBA pixels of (rows, columns) as an image.
pub(crate) fn canvas(pixels: Vec<u8>, (height, width): (usize, usize)) -> Result<DynamicImage> {
    let bytes = pixels.len();
    let fits = height.checked_mul(width).and_then(|n| n.checked_mul(4)) == Some(bytes) && bytes > 0;
    let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok()).filter(|_| fits);
    let image = sides.and_then(|(width, height)| image::RgbaImage::from_raw(width, height, pixels));
    image.map(DynamicImage::from).ok_or_else(|| {
        DataError::argument(format!(
            "{bytes} bytes are no picture of {height} rows and {width} columns with 4 bytes (RGBA) a pixel"
        ))
    })
}

/// Decodes an image file into `out`, which holds exactly `size` bytes.
pub(crate) fn file_into(path: &Path, size: Size, max_pixels: u64, out: &mut [u8]) -> Result<()> {
    let bytes = fs::read(path).map_err(DataError::io("read", path))?;
    bytes_into(&bytes, path, size, max_pixels, out)
}

/// Decodes an image file to RGB in its own size.
pub(crate) fn rgb(path: &Path, max_pixels: u64) -> Result<RgbImage> {
    let bytes = fs::read(path).map_err(DataError::io("read", path))?;
    Ok(decode(&bytes, path, max_pixels)?.into_rgb8())
}

fn bytes_into(bytes: &[u8], path: &Path, size: Size, max_pixels: u64, out: &mut [u8]) -> Result<()> {
    stretch(decode(bytes, path, max_pixels)?, size, out);
    Ok(())
}

/// Brings an image to a size.
fn stretch(image: DynamicImage, size: Size, out: &mut [u8]) {
    let from = (image.height() as usize, image.width() as usize);
    let to = (size.height, size.width);
    match size.channels {
        1 => resize::<1>(&image.into_luma8(), from, out, to),
        3 => resize::<3>(&image.into_rgb8(), from, out, to),
        _ => resize::<4>(&image.into_rgba8(), from, out, to),
    }
}

/// Rows and columns of an image file as they are seen, turned upright by EXIF; only its head is read where that says it.
pub fn dimensions(path: &Path) -> Result<(u32, u32)> {
    const HEAD: u64 = 64 << 10;
    let file = fs::File::open(path).map_err(DataError::io("read", path))?;
    let mut bytes = Vec::new();
    (&file).take(HEAD).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    let measure = |bytes: &[u8]| -> Result<(u32, u32)> {
        let (mut decoder, _) = header(bytes, path, MAX_PIXELS)?;
        let (width, height) = decoder.dimensions();
        let turned = match decoder.orientation() {
            Ok(o) => matches!(
                o,
                Orientation::Rotate90
                    | Orientation::Rotate270
                    | Orientation::Rotate90FlipH
                    | Orientation::Rotate270FlipH
            ),
            Err(e) => return Err(wrong(path, MAX_PIXELS, e)),
        };
        Ok(if turned { (width, height) } else { (height, width) })
    };
    match measure(&bytes) {
        Err(_) if bytes.len() as u64 == HEAD => {
            (&file).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
            measure(&bytes)
        }
        measured => measured,
    }
}

fn bad(path: &Path, what: String) -> DataError {
    DataError::Image { path: path.to_path_buf(), what }
}

fn wrong(path: &Path, max_pixels: u64, error: ImageError) -> DataError {
    match error {
        ImageError::Limits(_) => {
            bad(path, format!("its header asks for more memory than the limit of {max_pixels} pixels allows"))
        }
        other => bad(path, other.to_string()),
    }
}

/// The decoder of a file whose header has been read and asks for no more than it may.
fn header<'a>(
    bytes: &'a [u8],
    path: &Path,
    max_pixels: u64,
) -> Result<(impl ImageDecoder + use<'a>, ImageFormat)> {
    if bytes.is_empty() {
        return Err(bad(path, "the file is empty".into()));
    }
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(DataError::io("read", path))?;
    let format = match reader.format() {
        Some(f @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => f,
        Some(other) => return Err(bad(path, format!("the format {other:?} is not supported"))),
        None => return Err(bad(path, "neither JPEG, PNG nor WebP by its first bytes".into())),
    };
    let mut limits = Limits::no_limits();
    // 8 bytes a pixel: RGBA of 16 bits. The pixel limit itself is checked below, with a better message.
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(DECODER_BYTES));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| wrong(path, max_pixels, e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DataError::TooManyPixels { path: path.to_path_buf(), width, height, limit: max_pixels });
    }
    Ok((decoder, format))
}

/// Decodes to whatever the file holds, after its header has been checked.
fn decode(bytes: &[u8], path: &Path, max_pixels: u64) -> Result<DynamicImage> {
    let (mut decoder, format) = header(bytes, path, max_pixels)?;
    let ceiling = match format {
        // Palettes and 1-bit images expand by at most 8 x 4 on top of what deflate does.
        ImageFormat::Png => DEFLATE_RATIO * 32,
        ImageFormat::Jpeg => JPEG_RATIO * 3,
        _ => u64::MAX,
    };
    if decoder.total_bytes() > ceiling.saturating_mul(bytes.len() as u64) {
        let (width, height) = decoder.dimensions();
        return Err(bad(
            path,
            format!(
                "the header announces {width} x {height} pixels, but {} bytes cannot hold them",
                bytes.len()
            ),
        ));
    }
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(bad(path, "the file is cut short: it has no end marker".into()));
    }
    let orientation = decoder.orientation().map_err(|e| wrong(path, max_pixels, e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| wrong(path, max_pixels, e))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether a JPEG goes on to its end marker. The decoder fills what is missing with gray and says nothing.
fn jpeg_ends(bytes: &[u8]) -> bool {
    const STANDALONE: [u8; 9] = [0x01, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7];
    const END: u8 = 0xD9;
    let mut at = 2; // after the start marker
    // Entropy-coded data has no length: markers are found by their 0xFF, which data follows with a zero.
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        at += match (first, marker) {
            (0xFF, END) => return true,
            (0xFF, 0) => 2,
            (0xFF, 0xFF) => 1, // fill byte
            (0xFF, m) if STANDALONE.contains(&m) => 2,
            // A segment: its length counts itself but not the marker. Thumbnails inside are jumped over.
            (0xFF, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
            _ => 1,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ExtendedColorType;
    use thalweg_base::philox::Sequence;

    /// Files with damaged bytes are errors or images, never panics.
    #[test]
    fn damaged_files_never_panic() {
        let size = Size { height: 3, width: 3, channels: 3 };
        let pixels: Vec<u8> = (0..20 * 20 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let mut random = Sequence::new(1, 0, 0);
        let mut out = vec![0; size.bytes()];
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let mut file = Cursor::new(Vec::new());
            image::write_buffer_with_format(&mut file, &pixels, 20, 20, ExtendedColorType::Rgb8, format)
                .unwrap();
            let file = file.into_inner();
            bytes_into(&file, Path::new("whole"), size, 1 << 16, &mut out).unwrap();
            for _ in 0..400 {
                let mut damaged = file.clone();
                for _ in 0..1 + random.below(4) {
                    let at = random.below(file.len() as u32) as usize;
                    damaged[at] = random.next_word() as u8;
                }
                damaged.truncate(
                    file.len() - random.below(2) as usize * random.below(file.len() as u32) as usize,
                );
                // Either outcome is right.
                let _ = bytes_into(&damaged, Path::new("damaged"), size, 1 << 16, &mut out);
            }
        }
    }
}
