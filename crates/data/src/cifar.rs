//! CIFAR-10 and CIFAR-100 in their official binary format.
//!
//! Input: a folder with `data_batch_1..5.bin` and `test_batch.bin` (CIFAR-10), or `train.bin` and `test.bin`
//! (CIFAR-100). A record is the label byte (CIFAR-100: coarse, then fine) and three 32 x 32 planes: red,
//! green, blue. Output: images as U8 NHWC [32, 32, 3], labels as I32 scalars. Invariant: every record is
//! checked when the set is opened; the planes are interleaved once, then.

use crate::dataset::Split;
use crate::error::{DataError, Result};
use crate::memory::{LabelledImages, delegate_dataset};
use std::fs;
use std::path::Path;

/// Image height and width.
const SIDE: usize = 32;
/// Pixels of one plane.
const PLANE: usize = SIDE * SIDE;
/// Bytes of one image.
pub(crate) const IMAGE: usize = 3 * PLANE;

/// The classes of CIFAR-10, by label.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The 20 superclasses of CIFAR-100, by coarse label.
#[rustfmt::skip]
pub const CIFAR100_COARSE_CLASSES: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
    "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees",
    "vehicles_1", "vehicles_2",
];

/// The 100 classes of CIFAR-100, by fine label.
#[rustfmt::skip]
pub const CIFAR100_FINE_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

/// Which labels of CIFAR-100 to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Labels {
    /// The 100 classes.
    Fine,
    /// The 20 superclasses.
    Coarse,
}

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// 10 classes.
    Cifar10,
    /// 100 classes in 20 superclasses.
    Cifar100(Labels),
}

impl Variant {
    /// The name that is printed.
    fn title(self) -> &'static str {
        match self {
            Variant::Cifar10 => "CIFAR-10",
            Variant::Cifar100(Labels::Fine) => "CIFAR-100",
            Variant::Cifar100(Labels::Coarse) => "CIFAR-100 (20 superclasses)",
        }
    }

    /// Number of classes of each label byte of a record, and which of them is served.
    fn label_bytes(self) -> (&'static [usize], usize) {
        match self {
            Variant::Cifar10 => (&[10], 0),
            Variant::Cifar100(Labels::Coarse) => (&[20, 100], 0),
            Variant::Cifar100(Labels::Fine) => (&[20, 100], 1),
        }
    }

    fn files(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Variant::Cifar10, Split::Train) => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            (Variant::Cifar10, Split::Test) => &["test_batch.bin"],
            (Variant::Cifar100(_), Split::Train) => &["train.bin"],
            (Variant::Cifar100(_), Split::Test) => &["test.bin"],
        }
    }

    /// The file with the names of the classes, and the names when it is not there.
    fn names(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Variant::Cifar10 => ("batches.meta.txt", &CIFAR10_CLASSES),
            Variant::Cifar100(Labels::Fine) => ("fine_label_names.txt", &CIFAR100_FINE_CLASSES),
            Variant::Cifar100(Labels::Coarse) => ("coarse_label_names.txt", &CIFAR100_COARSE_CLASSES),
        }
    }

    fn get_name(self) -> &'static str {
        match self {
            Variant::Cifar10 => "cifar10",
            Variant::Cifar100(_) => "cifar100",
        }
    }
}

/// CIFAR-10 or CIFAR-100, or the sample of CIFAR-10, in memory.
#[derive(Debug)]
pub struct Cifar(LabelledImages);

delegate_dataset!(Cifar);

/// Opens one split of the official binary files in `dir`.
///
/// Any whole number of records per file is accepted, so that cut-down sets can be made; `describe` says how
/// many there are.
pub fn open(dir: &Path, variant: Variant, split: Split) -> Result<Cifar> {
    let class_names = class_names(dir, variant)?;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for file in variant.files(split) {
        let path = dir.join(file);
        let bytes = fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => DataError::Missing {
                path: path.clone(),
                fix: format!(
                    "run `thalweg data get {}`, or give the folder with the official binary files of {}",
                    variant.get_name(),
                    variant.title()
                ),
            },
            _ => DataError::io("read", &path)(e),
        })?;
        append_records(&path, &bytes, variant, &mut images, &mut labels)?;
    }
    let description = format!("{} {split}, {} images from {}", variant.title(), labels.len(), dir.display());
    Ok(Cifar(LabelledImages::new([SIDE, SIDE, 3], images, labels, class_names, description)))
}

/// A stratified sample of CIFAR-10 that is part of the program: 1,000 images to train, 200 to test, as many
/// of each class. For first steps and tests without a download; a model trained on it proves nothing.
pub fn sample(split: Split) -> Result<Cifar> {
    let (sprite, labels): (&[u8], &str) = match split {
        Split::Train => (
            include_bytes!("../sample/cifar10-sample.train.png"),
            include_str!("../sample/cifar10-sample.train.txt"),
        ),
        Split::Test => (
            include_bytes!("../sample/cifar10-sample.test.png"),
            include_str!("../sample/cifar10-sample.test.txt"),
        ),
    };
    let name = Path::new("the built-in sample of CIFAR-10");
    let damaged = |what: String| DataError::Format {
        path: name.to_path_buf(),
        what,
        fix: "the program was built from a damaged checkout: restore crates/data/sample",
    };
    let labels: Vec<i32> = labels.trim().bytes().map(|b| i32::from(b) - i32::from(b'0')).collect();
    if let Some((record, &found)) = labels.iter().enumerate().find(|(_, l)| !(0..10).contains(*l)) {
        return Err(DataError::Label {
            path: name.to_path_buf(),
            record,
            found: i64::from(found),
            classes: CIFAR10_CLASSES.len(),
        });
    }
    // The sprite is one column of images, so its bytes are already NHWC.
    let decoded = image::load_from_memory_with_format(sprite, image::ImageFormat::Png)
        .map_err(|e| damaged(e.to_string()))?
        .into_rgb8();
    if decoded.dimensions() != (SIDE as u32, (SIDE * labels.len()) as u32) {
        return Err(damaged(format!("{} labels for {:?} pixels", labels.len(), decoded.dimensions())));
    }
    let description = format!(
        "SAMPLE of CIFAR-10 {split}, {} of {} images, built into thalweg (for the real set: `thalweg data get cifar10`)",
        labels.len(),
        if split == Split::Train { "50,000" } else { "10,000" },
    );
    let class_names = CIFAR10_CLASSES.map(String::from).to_vec();
    Ok(Cifar(LabelledImages::new([SIDE, SIDE, 3], decoded.into_raw(), labels, class_names, description)))
}

/// The class names from the set's own file when it is there, else the built-in ones.
fn class_names(dir: &Path, variant: Variant) -> Result<Vec<String>> {
    let (file, built_in) = variant.names();
    let path = dir.join(file);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(built_in.iter().map(|&n| n.to_owned()).collect());
        }
        Err(e) => return Err(DataError::io("read", &path)(e)),
    };
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.len() != built_in.len() {
        return Err(DataError::Format {
            path,
            what: format!("{} class names, but {} has {}", names.len(), variant.title(), built_in.len()),
            fix: "write one name a line, or delete the file to use the official names",
        });
    }
    Ok(names)
}

/// Checks the records of one file and appends them, interleaved, to what has been read so far.
fn append_records(
    path: &Path,
    bytes: &[u8],
    variant: Variant,
    images: &mut Vec<u8>,
    labels: &mut Vec<i32>,
) -> Result<()> {
    let (classes, served) = variant.label_bytes();
    let record_size = classes.len() + IMAGE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record_size) {
        return Err(DataError::Size {
            path: path.to_path_buf(),
            found: bytes.len() as u64,
            expected: format!("a whole number of records of {record_size} bytes, at least one,"),
            fix: "the file is cut short or not of this data set: delete it and get the data set again",
        });
    }
    let first = images.len();
    let count = bytes.len() / record_size;
    images.resize(first + count * IMAGE, 0);
    labels.reserve(count);
    let records = bytes.chunks_exact(record_size);
    for (record, (source, image)) in records.zip(images[first..].chunks_exact_mut(IMAGE)).enumerate() {
        let (label_bytes, planes) = source.split_at(classes.len());
        for (&label, &classes) in label_bytes.iter().zip(classes) {
            if usize::from(label) >= classes {
                let found = i64::from(label);
                return Err(DataError::Label { path: path.to_path_buf(), record, found, classes });
            }
        }
        labels.push(i32::from(label_bytes[served]));
        interleave(planes, image);
    }
    Ok(())
}

/// Three planes to pixels of three channels.
fn interleave(planes: &[u8], pixels: &mut [u8]) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    for (pixel, ((&r, &g), &b)) in pixels.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
        pixel.copy_from_slice(&[r, g, b]);
    }
}
