//! MNIST, and whatever comes in its format (Fashion-MNIST, KMNIST): idx files, plain or gzipped.
//!
//! Input: a folder with `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]` and the two `t10k-`
//! files. An idx file is a magic number (two zeros, the type 8 = unsigned byte, the number of axes), the
//! axes as big-endian u32, then the bytes. Output: images as U8 [28, 28, 1], labels as I32 scalars.
//! Invariant: sizes are those of the header exactly; never more memory than the header announces plus a byte.

use crate::dataset::Split;
use crate::error::{DataError, Result};
use crate::memory::{LabelledImages, delegate_dataset};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const SIDE: usize = 28;
const CLASSES: usize = 10;
const DAMAGED: &str = "the file is damaged or not of this data set: delete it and get the data set again";

/// One split of MNIST in memory.
#[derive(Debug)]
pub struct Mnist(LabelledImages);

delegate_dataset!(Mnist);

/// Opens one split of the idx files in `dir`, plain or `.gz`.
pub fn open(dir: &Path, split: Split) -> Result<Mnist> {
    let prefix = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let (_, [count, h, w], images) = idx(dir, &format!("{prefix}-images-idx3-ubyte"))?;
    if [h, w] != [SIDE, SIDE] {
        return Err(DataError::Format {
            path: dir.join(format!("{prefix}-images-idx3-ubyte")),
            what: format!("images of {h} x {w} pixels, expected 28 x 28"),
            fix: DAMAGED,
        });
    }
    let (path, [label_count], labels) = idx(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
    if label_count != count {
        let what = format!("{label_count} labels, but there are {count} images");
        return Err(DataError::Format { path, what, fix: DAMAGED });
    }
    if let Some((record, &label)) = labels.iter().enumerate().find(|(_, l)| usize::from(**l) >= CLASSES) {
        return Err(DataError::Label { path, record, found: i64::from(label), classes: CLASSES });
    }
    let class_names = (0..CLASSES).map(|c| c.to_string()).collect();
    let description = format!("MNIST {split}, {count} images from {}", dir.display());
    let labels = labels.into_iter().map(i32::from).collect();
    Ok(Mnist(LabelledImages::new([SIDE, SIDE, 1], images, labels, class_names, description)))
}

/// Reads the idx file `stem` or `stem.gz`: its path, axes and bytes.
fn idx<const AXES: usize>(dir: &Path, stem: &str) -> Result<(PathBuf, [usize; AXES], Vec<u8>)> {
    let (path, mut reader) = open_stem(dir, stem)?;
    let bad = |what: String| DataError::Format { path: path.clone(), what, fix: DAMAGED };
    let unreadable = |e: std::io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => bad("the file ends too early".into()),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => bad(format!("not a gzip file ({e})")),
        _ => DataError::io("read", &path)(e),
    };
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(unreadable)?;
    if magic != [0, 0, 8, AXES as u8] {
        return Err(bad(format!(
            "starts with {magic:?}, but an idx file of bytes with {AXES} axes starts with [0, 0, 8, {AXES}]"
        )));
    }
    let mut axes = [0; AXES];
    for axis in &mut axes {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(unreadable)?;
        *axis = u32::from_be_bytes(word) as usize;
    }
    // Three axes of 32 bits overflow 64: a header like that is damaged anyway.
    let size = axes.iter().try_fold(1usize, |n, &a| n.checked_mul(a)).filter(|&n| n > 0);
    let Some(size) = size else { return Err(bad(format!("the header announces axes {axes:?}"))) };
    let mut bytes = Vec::new();
    reader.take(size as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() != size {
        let found = if bytes.len() > size { "more".into() } else { bytes.len().to_string() };
        return Err(bad(format!("the header announces {size} bytes of data (axes {axes:?}), found {found}")));
    }
    Ok((path, axes, bytes))
}

/// The plain file if it is there, else the gzipped one.
fn open_stem(dir: &Path, stem: &str) -> Result<(PathBuf, Box<dyn Read>)> {
    for (name, gz) in [(stem.to_owned(), false), (format!("{stem}.gz"), true)] {
        let path = dir.join(name);
        match File::open(&path) {
            Ok(file) if gz => return Ok((path, Box::new(MultiGzDecoder::new(BufReader::new(file))))),
            Ok(file) => return Ok((path, Box::new(BufReader::new(file)))),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(DataError::io("open", &path)(e)),
        }
    }
    let fix = "run `thalweg data get mnist`, or give the folder with the idx files (plain or .gz)".to_owned();
    Err(DataError::Missing { path: dir.join(stem), fix })
}
