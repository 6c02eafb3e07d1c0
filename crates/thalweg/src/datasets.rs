//! Data sets by name, fetched into the user's cache when they are not there.
//!
//! In: nothing, or a folder. Out: the training and the test split. Invariant: what is returned is what was asked
//! for; when it cannot be had, that is an error that says how to get it, never other data.

use std::path::Path;
use std::sync::Arc;
use thalweg_data::{DataError, Dataset, Split, default_root, get, open_named};

/// A data set, shared with the threads that read it.
pub type Data = Arc<dyn Dataset>;

/// CIFAR-10: 50,000 and 10,000 images of 32 x 32 in 10 classes.
pub fn cifar10() -> Result<(Data, Data), DataError> {
    named("cifar10", &default_root())
}

/// CIFAR-100: as CIFAR-10, in 100 classes.
pub fn cifar100() -> Result<(Data, Data), DataError> {
    named("cifar100", &default_root())
}

/// MNIST: 60,000 and 10,000 gray images of 28 x 28 in 10 classes.
pub fn mnist() -> Result<(Data, Data), DataError> {
    named("mnist", &default_root())
}

/// 1,000 and 200 real images of CIFAR-10 that are part of the program: for first steps and tests.
pub fn cifar10_sample() -> Result<(Data, Data), DataError> {
    named("cifar10-sample", Path::new(""))
}

/// A data set by its name (see [`thalweg_data::NAMES`]) under the folder `root`.
pub fn named(name: &str, root: &Path) -> Result<(Data, Data), DataError> {
    let open = || Ok((open_named(name, root, Split::Train)?, open_named(name, root, Split::Test)?));
    match open() {
        Err(DataError::Missing { .. }) => {
            // The classes of CIFAR-100 come in two sorts from the same files.
            get(name.trim_end_matches("-coarse"), root, &mut |_| {})?;
            open()
        }
        other => other,
    }
}
