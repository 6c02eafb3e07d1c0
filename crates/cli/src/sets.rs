//! Opens the data that a recipe or a user names; fetches what is not there; falls back to the sample, saying so.
//!
//! In: a [`DataRecipe`] and the data root. Out: an opened split. Invariant: what was opened instead of what was
//! asked for is always told, never silently.

use crate::annotated;
use crate::error::{Failure, Result};
use crate::recipe::DataRecipe;
use crate::show::{Bar, Console};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg::data::{DataError, Dataset, Progress, Split, Subset, dir_of, folder, get, open_named};

/// A data set.
pub type Data = Arc<dyn Dataset>;

/// The training and the test split; the test split is missing where the recipe names none.
pub struct Splits {
    /// To learn from.
    pub train: Data,
    /// To judge epochs by, where that is not the test split.
    pub validation: Option<Data>,
    /// To judge by.
    pub test: Option<Data>,
    /// What was opened, where it is not what was asked for: "cifar10-sample".
    pub instead: Option<&'static str>,
}

/// Opens both splits of what a recipe names.
pub fn open(recipe: &DataRecipe, root: &Path, seed: u64, console: &Console) -> Result<Splits> {
    match recipe {
        DataRecipe::Detection(recipe) => annotated::open(recipe, root, seed, console),
        DataRecipe::Named(name) => named(name, root, console),
        DataRecipe::Folder { train, test, size, channels } => {
            let options = |class_names| folder::FolderOptions {
                height: size.0,
                width: size.1,
                channels: *channels,
                class_names,
                ..Default::default()
            };
            let train = folder::open(train, options(None))?;
            let names = train.class_names().to_vec();
            let test = test.as_ref().map(|t| folder::open(t, options(Some(names)))).transpose()?;
            Ok(Splits {
                train: Arc::new(train),
                validation: None,
                test: test.map(|t| Arc::new(t) as Data),
                instead: None,
            })
        }
    }
}

/// The first `limit` examples, where there is a limit.
pub fn limited(data: Data, limit: Option<usize>) -> Result<Data> {
    Ok(match (limit, data.detection()) {
        (Some(limit), Some(set)) => Arc::new(set.first(limit)?),
        (Some(limit), None) => Arc::new(Subset::first(data, limit)?),
        (None, _) => data,
    })
}

fn named(name: &str, root: &Path, console: &Console) -> Result<Splits> {
    let root = &root_of(name, root);
    let both = |name: &str, instead| -> Result<Splits, DataError> {
        let test = open_named(name, root, Split::Test)?;
        let train = open_named(name, root, Split::Train)?;
        Ok(Splits { train, validation: None, test: Some(test), instead })
    };
    let missing = match both(name, None) {
        Err(DataError::Missing { .. }) => fetch(name, root, console),
        other => return Ok(other?),
    };
    match missing {
        Ok(()) => Ok(both(name, None)?),
        Err(error @ DataError::Download { .. }) if name == "cifar10" => {
            console.note(format!(
                "{error}; going on with the built-in SAMPLE of CIFAR-10 (1,000 images to train, 200 to test): what \
                 comes out proves nothing"
            ));
            Ok(both("cifar10-sample", Some("cifar10-sample"))?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Both the folder of data sets and a data set's own folder may be meant.
fn root_of(name: &str, dir: &Path) -> PathBuf {
    // `.` and links have no telling name of their own.
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let own = dir_of(name, dir).ok().filter(|f| !f.is_dir() && f.file_name() == whole.file_name());
    match own.and_then(|_| whole.parent()) {
        Some(root) => root.to_path_buf(),
        None => dir.to_path_buf(),
    }
}

/// Fetches a data set, showing how it goes.
pub fn fetch(name: &str, root: &Path, console: &Console) -> Result<(), DataError> {
    let bar = Bar::new(console, 0);
    let mut last = String::new();
    let outcome = get(name, root, &mut |progress: Progress| {
        let line = progress.to_string();
        bar.set(0, line.clone());
        // Bytes move the bar only; every other step is worth a line where there is none.
        let step = !matches!(progress, Progress::Downloading { .. } | Progress::Running { .. });
        if step && line != last {
            console.event(&json!({ "event": "fetch", "text": line }));
            if !console.live && !console.is_json() {
                eprintln!("{line}");
            }
            last = line;
        }
    });
    bar.clear();
    outcome.map(|_| ())
}

/// A folder with one folder of images per class, served in a model's shape and with its classes.
pub fn image_folder(dir: &Path, shape: &[usize], classes: &[String]) -> Result<Data> {
    let &[height, width, channels] = shape else {
        return Err(Failure::Usage(format!(
            "the model takes {shape:?}, not images, so a folder of images is no data for it"
        )));
    };
    let class_names = (!classes.is_empty()).then(|| classes.to_vec());
    let options = folder::FolderOptions { height, width, channels, class_names, ..Default::default() };
    Ok(Arc::new(folder::open(dir, options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_own_folder_is_taken_for_what_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let own = root.join("cifar-10-batches-bin");
        assert_eq!(root_of("cifar10", &root), root);
        std::fs::create_dir(&own).unwrap();
        assert_eq!(root_of("cifar10", &root), root);
        assert_eq!(root_of("cifar10", &own), root);
        assert_eq!(root_of("mnist", &own), own);
    }
}
