//! Data sets by name, and where they are kept.
//!
//! Input: a name and a root folder. Output: the folder of that data set under the root, or the open data
//! set. Invariant: nothing is downloaded here; a set that is not there is an error that says how to get it.

use crate::cifar::{self, Labels, Variant};
use crate::dataset::{Dataset, Split};
use crate::error::{DataError, Result};
use crate::mnist;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names that [`open_named`] knows.
pub const NAMES: [&str; 5] = ["cifar10", "cifar10-sample", "cifar100", "cifar100-coarse", "mnist"];

/// The root folder when the user names none: the cache folder of the user, where the data sets lie under the
/// names of their official archives (so a set that another tool unpacked there is found too).
///
/// The command may have better knowledge from its environment (`$THALWEG_DATA`, `$XDG_CACHE_HOME`) and then
/// does not ask.
pub fn default_root() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    if cfg!(target_os = "macos") {
        home.join("Library/Caches")
    } else if cfg!(windows) {
        home.join("AppData").join("Local")
    } else {
        home.join(".cache")
    }
}

/// The folder of a named data set under `root`.
pub fn dir_of(name: &str, root: &Path) -> Result<PathBuf> {
    Ok(root.join(match name {
        "cifar10" => "cifar-10-batches-bin",
        "cifar100" | "cifar100-coarse" => "cifar-100-binary",
        "mnist" => "mnist",
        _ => return Err(DataError::UnknownName { name: name.to_owned() }),
    }))
}

/// Opens one split of a data set by its name; `root` is where [`crate::get`] put it.
pub fn open_named(name: &str, root: &Path, split: Split) -> Result<Arc<dyn Dataset>> {
    Ok(match name {
        "cifar10-sample" => Arc::new(cifar::sample(split)?),
        "cifar10" => Arc::new(cifar::open(&dir_of(name, root)?, Variant::Cifar10, split)?),
        "cifar100" => Arc::new(cifar::open(&dir_of(name, root)?, Variant::Cifar100(Labels::Fine), split)?),
        "cifar100-coarse" => {
            Arc::new(cifar::open(&dir_of(name, root)?, Variant::Cifar100(Labels::Coarse), split)?)
        }
        "mnist" => Arc::new(mnist::open(&dir_of(name, root)?, split)?),
        _ => return Err(DataError::UnknownName { name: name.to_owned() }),
    })
}
