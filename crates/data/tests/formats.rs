//! CIFAR and MNIST files, small ones written here: what is read from good ones, what is said of bad ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::{TempDir, tempdir};
use thalweg_data::cifar::{self, Labels, Variant};
use thalweg_data::{Dataset, Split, Subset, class_counts, mnist, open_named};

/// Reads one example into fresh buffers.
fn read(set: &dyn Dataset, index: usize) -> Vec<Vec<u8>> {
    let mut buffers: Vec<Vec<u8>> = set.fields().iter().map(|f| vec![0xAA; f.bytes()]).collect();
    let mut views: Vec<&mut [u8]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
    set.read(index, &mut views).unwrap();
    buffers
}

/// A CIFAR record: the label bytes, then planes where red = `tone`, green = column, blue = row.
fn record(labels: &[u8], tone: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    bytes.extend([tone; 1024]);
    bytes.extend((0..1024).map(|i| (i % 32) as u8));
    bytes.extend((0..1024).map(|i| (i / 32) as u8));
    bytes
}

/// A CIFAR-10 folder with two records a file.
fn cifar10() -> TempDir {
    let dir = tempdir().unwrap();
    for (i, name) in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
        .into_iter()
        .chain(["test_batch"])
        .enumerate()
    {
        let i = i as u8;
        let bytes = [record(&[i], 10 * i), record(&[i + 1], 10 * i + 1)].concat();
        fs::write(dir.path().join(format!("{name}.bin")), bytes).unwrap();
    }
    dir
}

fn cifar_error(dir: &Path) -> String {
    cifar::open(dir, Variant::Cifar10, Split::Train).unwrap_err().to_string()
}

#[test]
fn cifar10_is_served_as_pixels_of_three_channels() {
    let dir = cifar10();
    let train = cifar::open(dir.path(), Variant::Cifar10, Split::Train).unwrap();
    assert_eq!((train.len(), train.fields()[0].shape.as_slice()), (10, &[32, 32, 3][..]));
    assert_eq!(train.fields()[1].shape, [0usize; 0]);
    let example = read(&train, 3); // the second of data_batch_2
    assert_eq!(example[1], 2i32.to_le_bytes());
    let pixel = |row: usize, column: usize| &example[0][(row * 32 + column) * 3..][..3];
    assert_eq!(
        (pixel(0, 0), pixel(5, 7), pixel(31, 30)),
        (&[11, 0, 0][..], &[11, 7, 5][..], &[11, 30, 31][..])
    );
    assert_eq!(train.images()[3 * 3072..][..3072], example[0]);
    assert_eq!(train.class_names()[9], "truck");
    assert!(train.describe().starts_with("CIFAR-10 train, 10 images from "), "{}", train.describe());
    let test = cifar::open(dir.path(), Variant::Cifar10, Split::Test).unwrap();
    assert_eq!(test.labels(), [5, 6]);
    assert_eq!(class_counts(&train).unwrap(), [1, 2, 2, 2, 2, 1, 0, 0, 0, 0]);
}

#[test]
fn cifar100_has_fine_and_coarse_labels() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("test.bin"), [record(&[19, 99], 1), record(&[3, 40], 2)].concat()).unwrap();
    let open = |labels| cifar::open(dir.path(), Variant::Cifar100(labels), Split::Test);
    let (fine, coarse) = (open(Labels::Fine).unwrap(), open(Labels::Coarse).unwrap());
    assert_eq!((fine.labels(), coarse.labels()), (&[99, 40][..], &[19, 3][..]));
    assert_eq!((fine.class_names().len(), coarse.class_names().len()), (100, 20));
    assert_eq!(read(&fine, 1)[0][0], 2);
    fs::write(dir.path().join("test.bin"), record(&[20, 1], 1)).unwrap();
    let error = open(Labels::Fine).unwrap_err().to_string();
    assert!(error.contains("record 0: the label is 20, but there are 20 classes (0 to 19)"), "{error}");
}

#[test]
fn class_names_come_from_the_file_when_there_is_one() {
    let dir = cifar10();
    let path = dir.path().join("batches.meta.txt");
    fs::write(&path, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    let set = cifar::open(dir.path(), Variant::Cifar10, Split::Test).unwrap();
    assert_eq!(set.class_names()[9], "j");
    fs::write(&path, "a\nb\n").unwrap();
    assert!(cifar_error(dir.path()).contains("2 class names, but CIFAR-10 has 10"));
}

#[test]
fn bad_cifar_files_are_named() {
    let dir = cifar10();
    let path = dir.path().join("data_batch_2.bin");
    let good = fs::read(&path).unwrap();
    for bad in [&good[..0], &good[..3072], &good[..good.len() - 1], &[&good[..], &[0]].concat()] {
        fs::write(&path, bad).unwrap();
        let error = cifar_error(dir.path());
        assert!(error.contains("data_batch_2.bin has") && error.contains("records of 3073 bytes"), "{error}");
    }
    let mut wrong = good.clone();
    wrong[3073] = 10;
    fs::write(&path, wrong).unwrap();
    let error = cifar_error(dir.path());
    assert!(
        error.contains("data_batch_2.bin, record 1: the label is 10, but there are 10 classes"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    let error = cifar_error(dir.path());
    assert!(error.contains("data_batch_2.bin is not there; run `thalweg data get cifar10`"), "{error}");
}

#[test]
fn the_built_in_sample_is_stratified_and_says_what_it_is() {
    for (split, per_class) in [(Split::Train, 100), (Split::Test, 20)] {
        let set = cifar::sample(split).unwrap();
        assert_eq!(class_counts(&set).unwrap(), [per_class; 10]);
        assert!(set.describe().starts_with("SAMPLE of CIFAR-10"), "{}", set.describe());
        let mean = set.images().iter().map(|&p| f64::from(p)).sum::<f64>() / set.images().len() as f64;
        assert!((115.0..128.0).contains(&mean), "the mean pixel of CIFAR-10 is 120.7, not {mean}");
        assert_eq!(read(&set, 7)[0], set.images()[7 * 3072..][..3072]);
    }
}

/// An idx file of bytes.
fn idx(axes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, axes.len() as u8];
    bytes.extend(axes.iter().flat_map(|a| a.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const IMAGES: &str = "t10k-images-idx3-ubyte";
const LABELS: &str = "t10k-labels-idx1-ubyte";

#[test]
fn mnist_is_read_plain_or_gzipped() {
    let pixels: Vec<u8> = (0..3 * 784).map(|i| (i % 251) as u8).collect();
    let (images, labels) = (idx(&[3, 28, 28], &pixels), idx(&[3], &[7, 0, 9]));
    for zipped in [false, true] {
        let root = tempdir().unwrap();
        let dir = root.path().join("mnist");
        fs::create_dir(&dir).unwrap();
        for (name, bytes) in [(IMAGES, &images), (LABELS, &labels)] {
            let (name, bytes) =
                if zipped { (format!("{name}.gz"), gz(bytes)) } else { (name.to_owned(), bytes.clone()) };
            fs::write(dir.join(name), bytes).unwrap();
        }
        let set = open_named("mnist", root.path(), Split::Test).unwrap();
        assert_eq!((set.len(), set.fields()[0].shape.as_slice()), (3, &[28, 28, 1][..]));
        assert_eq!(read(set.as_ref(), 1), [pixels[784..1568].to_vec(), 0i32.to_le_bytes().to_vec()]);
        assert_eq!(set.label(2), Some(9));
        assert_eq!(set.class_names()[3], "3");
        let error = open_named("mnist", root.path(), Split::Train).err().unwrap().to_string();
        assert!(
            error.contains("train-images-idx3-ubyte is not there; run `thalweg data get mnist`"),
            "{error}"
        );
    }
}

#[test]
fn bad_mnist_files_are_named() {
    let (images, labels) = (idx(&[2, 28, 28], &[1; 2 * 784]), idx(&[2], &[1, 2]));
    let huge = idx(&[u32::MAX, 28, 28], &[1; 784]);
    let case = |name: &str, bytes: &[u8], expected: &str| {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join(IMAGES), &images).unwrap();
        fs::write(dir.path().join(LABELS), &labels).unwrap();
        if let Some(plain) = name.strip_suffix(".gz") {
            fs::remove_file(dir.path().join(plain)).unwrap();
        }
        fs::write(dir.path().join(name), bytes).unwrap();
        let error = mnist::open(dir.path(), Split::Test).unwrap_err().to_string();
        let file = name.trim_end_matches(".gz");
        assert!(error.contains(expected) && error.contains(file), "expected '{expected}': {error}");
    };
    case(IMAGES, &[], "ends too early");
    case(IMAGES, &images[..10], "ends too early");
    case(IMAGES, &images[..images.len() - 1], "announces 1568 bytes of data (axes [2, 28, 28]), found 1567");
    case(IMAGES, &[&images[..], &[0]].concat(), "found more");
    case(IMAGES, &labels, "starts with [0, 0, 8, 1]");
    case(IMAGES, &huge, "found 784");
    case(IMAGES, &idx(&[2, 20, 20], &[0; 800]), "20 x 20 pixels, expected 28 x 28");
    case(IMAGES, &idx(&[0, 28, 28], &[]), "announces axes [0, 28, 28]");
    case(LABELS, &idx(&[3], &[1, 2, 3]), "3 labels, but there are 2 images");
    case(LABELS, &idx(&[2], &[1, 10]), "record 1: the label is 10");
    case("t10k-labels-idx1-ubyte.gz", b"plainly not gzip", "not a gzip file");
    case("t10k-labels-idx1-ubyte.gz", &gz(&labels)[..12], "ends too early");
}

#[test]
fn subsets_limit_and_split() {
    let dir = cifar10();
    let train: Arc<dyn Dataset> = Arc::new(cifar::open(dir.path(), Variant::Cifar10, Split::Train).unwrap());
    let few = Subset::first(train.clone(), 4).unwrap();
    assert_eq!((few.len(), few.indices()), (4, &[0, 1, 2, 3][..]));
    assert_eq!(Subset::first(train.clone(), 99).unwrap().len(), 10);
    let (fit, validation) = Subset::validation_split(train.clone(), 0.25).unwrap();
    assert_eq!((fit.len(), validation.indices()), (7, &[7, 8, 9][..]));
    assert_eq!(read(&validation, 0), read(train.as_ref(), 7));
    assert_eq!(validation.label(2), train.label(9));
    assert!(validation.describe().starts_with("the validation split, 3 of CIFAR-10"));
    for bad in [0.0, 1.0, -0.5, 0.999, f64::NAN] {
        assert!(Subset::validation_split(train.clone(), bad).is_err(), "{bad}");
    }
    assert!(Subset::first(train.clone(), 0).is_err());
    let error = Subset::new(train, vec![3, 10]).err().unwrap().to_string();
    assert!(error.starts_with("example 10 was asked for, but CIFAR-10 train"), "{error}");
}

#[test]
fn names_lead_to_data_sets() {
    let root = tempdir().unwrap();
    assert_eq!(open_named("cifar10-sample", root.path(), Split::Test).unwrap().len(), 200);
    let error = |name| open_named(name, root.path(), Split::Train).err().unwrap().to_string();
    assert!(error("cifar100").contains("run `thalweg data get cifar100`"));
    assert!(error("cifar").contains("'cifar' is not a known data set"));
    assert!("validation".parse::<Split>().is_err());
    assert!(thalweg_data::default_root().is_absolute());
}
