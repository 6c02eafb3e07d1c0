//! Image files and folders: what is decoded, and what is said of those that cannot be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use image::{ExtendedColorType, ImageFormat};
use std::fs;
use std::io::Cursor;
use std::path::Path;
use tempfile::tempdir;
use thalweg_data::Picture;
use thalweg_data::decode::{self, Size};
use thalweg_data::folder::{self, FolderOptions};
use thalweg_data::{Dataset, class_counts};

/// RGB pixels as a file of some format.
fn encode(pixels: &[u8], width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut out, pixels, width, height, ExtendedColorType::Rgb8, format)
        .unwrap();
    out.into_inner()
}

/// An image of one colour.
fn plain(colour: [u8; 3], width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    encode(&colour.repeat((width * height) as usize), width, height, format)
}

/// A PNG whose header announces another size than its data has, with a right checksum.
fn lying_png(width: u32, height: u32) -> Vec<u8> {
    let mut png = plain([9, 8, 7], 4, 4, ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    png
}

fn read(set: &dyn Dataset, index: usize) -> thalweg_data::Result<(Vec<u8>, i32)> {
    let (mut image, mut label) = (vec![0; set.fields()[0].bytes()], [0; 4]);
    set.read(index, &mut [&mut image, &mut label])?;
    Ok((image, i32::from_le_bytes(label)))
}

const RGB: Size = Size { height: 4, width: 4, channels: 3 };

fn decode_error(bytes: &[u8]) -> String {
    decode::image_bytes(bytes, "the image", RGB).unwrap_err().to_string()
}

#[test]
fn class_folders_are_read_sorted_and_lazily() {
    let dir = tempdir().unwrap();
    for (file, bytes) in [
        ("dog/b.jpg", plain([200, 10, 10], 40, 20, ImageFormat::Jpeg)),
        ("dog/a.PNG", plain([1, 2, 3], 5, 7, ImageFormat::Png)),
        ("cat/x.webp", plain([30, 60, 90], 6, 6, ImageFormat::WebP)),
        ("cat/.hidden.png", b"not read".to_vec()),
        ("cat/notes.txt", b"not an image".to_vec()),
        (".git/x.png", b"not a class".to_vec()),
        ("ant/z.jpeg", b"broken".to_vec()),
    ] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let set = folder::open(dir.path(), FolderOptions::new(6, 8)).unwrap();
    assert_eq!(set.class_names(), ["ant", "cat", "dog"]);
    assert_eq!(set.fields()[0].shape, [6, 8, 3]);
    assert!(set.file(2).unwrap().0.ends_with("dog/a.PNG"));
    assert_eq!(class_counts(&set).unwrap(), [1, 1, 2]); // without decoding the broken one
    assert_eq!(read(&set, 1).unwrap(), ([30, 60, 90].repeat(48), 1));
    assert_eq!(read(&set, 2).unwrap(), ([1, 2, 3].repeat(48), 2));
    let (jpeg, label) = read(&set, 3).unwrap();
    assert_eq!(label, 2);
    assert!(jpeg.chunks(3).all(|p| p[0].abs_diff(200) < 4 && p[1].abs_diff(10) < 4), "{jpeg:?}");
    let error = read(&set, 0).unwrap_err().to_string();
    assert!(error.contains("z.jpeg: not a readable image"), "{error}");
}

#[test]
fn folders_without_images_are_refused() {
    let dir = tempdir().unwrap();
    let error = |options: FolderOptions| folder::open(dir.path(), options).unwrap_err().to_string();
    assert!(error(FolderOptions::new(8, 8)).contains("no class folders in it"));
    fs::create_dir(dir.path().join("cat")).unwrap();
    let message = error(FolderOptions::new(8, 8));
    assert!(message.contains("cat: no images in this class folder; expected"), "{message}");
    assert!(error(FolderOptions::new(0, 8)).contains("0 x 8 pixels"));
    assert!(error(FolderOptions { channels: 2, ..FolderOptions::default() }).contains("of 2 channels"));
    let missing = folder::open(Path::new("/nowhere/at/all"), FolderOptions::default()).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/at/all is not there"), "{missing}");
}

#[test]
fn a_test_folder_takes_the_labels_of_its_training_folder() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("dog")).unwrap();
    fs::write(dir.path().join("dog/1.png"), plain([1, 1, 1], 2, 2, ImageFormat::Png)).unwrap();
    let options = |names: &[&str]| FolderOptions {
        class_names: Some(names.iter().map(|&n| n.into()).collect()),
        ..FolderOptions::new(2, 2)
    };
    let set = folder::open(dir.path(), options(&["ant", "cat", "dog"])).unwrap();
    assert_eq!(read(&set, 0).unwrap().1, 2);
    let error = folder::open(dir.path(), options(&["ant", "cat"])).unwrap_err().to_string();
    assert!(error.contains("none of the 2 known classes"), "{error}");
}

#[test]
fn images_are_stretched_with_an_antialiased_filter() {
    // Columns of 0 and 255: an unfiltered quarter would keep one of them.
    let stripes: Vec<u8> = (0..64 * 64).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
    let png = encode(&stripes, 64, 64, ImageFormat::Png);
    let small = decode::image_bytes(&png, "stripes", Size { height: 16, width: 16, channels: 3 }).unwrap();
    assert!(small.iter().all(|&p| (100..156).contains(&p)), "{small:?}");
    let same = decode::image_bytes(&png, "stripes", Size { height: 64, width: 64, channels: 3 }).unwrap();
    assert_eq!(same, stripes);
    let gray = decode::image_bytes(&png, "stripes", Size { height: 64, width: 64, channels: 1 }).unwrap();
    assert_eq!(gray[..4], [0, 255, 0, 255]);
    let rgba = decode::image_bytes(&png, "stripes", Size { height: 64, width: 64, channels: 4 }).unwrap();
    assert_eq!(rgba[..8], [0, 0, 0, 255, 255, 255, 255, 255]);

    // Pixels that a browser decoded are brought to a size in the same way, whatever their alpha.
    for size in [(16, 16, 3), (7, 64, 1), (64, 5, 4)] {
        let size = Size { height: size.0, width: size.1, channels: size.2 };
        let file = decode::image_bytes(&png, "stripes", size).unwrap();
        assert_eq!(decode::rgba(rgba.clone(), (64, 64), size).unwrap(), file);
    }
    let clear: Vec<u8> = rgba.chunks(4).flat_map(|p| [p[0], p[1], p[2], 7]).collect();
    assert_eq!(Picture::from_rgba(64, 64, clear).unwrap().pixels(), stripes);
    for from in [(64, 63), (65, 64), (0, 64), (usize::MAX, 5)] {
        let error = Picture::from_rgba(from.0, from.1, rgba.clone()).unwrap_err().to_string();
        assert!(error.contains("16384 bytes are no picture"), "{error}");
    }

    let dir = tempdir().unwrap();
    let path = dir.path().join("s.png");
    fs::write(&path, png).unwrap();
    assert_eq!(decode::image(&path, 16, 16, 3).unwrap(), small);
    let missing = decode::image(&dir.path().join("t.png"), 16, 16, 3).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("t.png"), "{missing}");
}

#[test]
fn unreadable_images_are_named() {
    let png = plain([1, 2, 3], 64, 64, ImageFormat::Png);
    let jpeg = plain([1, 2, 3], 64, 64, ImageFormat::Jpeg);
    let webp = plain([1, 2, 3], 64, 64, ImageFormat::WebP);
    for bytes in [
        &b""[..],
        b"text",
        &png[..20],
        &png[..png.len() / 2],
        &jpeg[..100],
        &jpeg[..jpeg.len() - 40],
        &jpeg[..jpeg.len() - 2],
        &webp[..webp.len() - 6],
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    ] {
        let error = decode_error(bytes);
        assert!(error.starts_with("the image: not a readable image"), "{error}");
    }
}

#[test]
fn a_png_that_lies_about_its_size_is_refused_before_memory_is_taken() {
    let error = decode_error(&lying_png(100_000, 100_000));
    assert!(error.contains("announces 100000 x 100000 pixels, more than the limit of 67108864"), "{error}");
    let error = decode_error(&lying_png(u32::MAX >> 1, u32::MAX >> 1));
    assert!(error.contains("more memory than the limit of 67108864 pixels"), "{error}");
    // Within the limit, but not with this little data.
    let error = decode_error(&lying_png(8000, 8000));
    assert!(error.contains("8000 x 8000 pixels, but") && error.contains("cannot hold them"), "{error}");
    assert!(decode_error(&lying_png(64, 64)).contains("not a readable image"));

    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("a/big.png"), plain([1, 1, 1], 50, 50, ImageFormat::Png)).unwrap();
    let options = FolderOptions { max_pixels: 2499, ..FolderOptions::new(4, 4) };
    let error = read(&folder::open(dir.path(), options).unwrap(), 0).unwrap_err().to_string();
    assert!(error.contains("big.png: the header announces 50 x 50") && error.contains("2499"), "{error}");
}

/// Cameras store photographs as the sensor lay and say in the EXIF data how to turn them.
#[test]
fn photographs_are_turned_upright() {
    // Left half dark, right half bright.
    let pixels: Vec<u8> = (0..32 * 16).flat_map(|i| [if i % 32 < 16 { 10 } else { 240 }; 3]).collect();
    let jpeg = encode(&pixels, 32, 16, ImageFormat::Jpeg);
    // One entry, the orientation (0x0112, a short): 6, to be turned clockwise.
    let exif = b"\xFF\xE1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let size = Size { height: 32, width: 16, channels: 1 };
    let upright = decode::image_bytes(&turned, "photograph", size).unwrap();
    assert!(upright[..16 * 12].iter().all(|&p| p < 60), "dark above");
    assert!(upright[16 * 20..].iter().all(|&p| p > 190), "bright below");
}

#[test]
fn a_jpeg_that_lies_about_its_size_is_refused() {
    let mut jpeg = plain([1, 2, 3], 8, 8, ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x1F, 0x40, 0x1F, 0x40]);
    let error = decode_error(&jpeg);
    assert!(error.contains("8000 x 8000 pixels, but") && error.contains("cannot hold them"), "{error}");
}
