//! Opens the annotated pictures that a recipe names.
//!
//! In: a [`DetectionRecipe`] and the data root. Out: opened splits. Invariant: how many annotations were dropped, and
//! why, is always told; the splits have the recipe's classes in the recipe's order.

use crate::error::Result;
use crate::recipe::DetectionRecipe;
use crate::sets::{Data, Splits};
use crate::show::{Console, grouped};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg::data::DataError;
use thalweg::data::detection::{self, ClassMap, DetectionSet, Options, Problem, Shape};

/// Problems that are told one by one.
const TOLD: usize = 3;

/// Opens all splits that a recipe names.
pub fn open(recipe: &DetectionRecipe, root: &Path, seed: u64, console: &Console) -> Result<Splits> {
    let path = find(recipe, root)?;
    let open = |split: &Option<String>| -> Result<DetectionSet> {
        let classes = ClassMap { names: Some(recipe.classes.clone()), ..ClassMap::default() };
        let options = Options { classes, bad: recipe.bad, images: None };
        let annotations = detection::open(&path, split.as_deref(), &options)?;
        tell(split.as_deref(), &annotations.problems, console);
        let shape = Shape { boxes: recipe.boxes, ..Shape::new(recipe.size.0, recipe.size.1) };
        Ok(DetectionSet::new(annotations, shape)?)
    };
    let held = |split: &Option<String>| -> Result<Option<Data>> {
        split.is_some().then(|| open(split).map(|set| Arc::new(set) as Data)).transpose()
    };
    Ok(Splits {
        train: Arc::new(open(&recipe.train)?.augmented(recipe.augment, seed)?),
        validation: held(&recipe.validation)?,
        test: held(&recipe.test)?,
        instead: None,
    })
}

/// Where the data are: beside the recipe, in the folder of data sets, or that folder itself.
fn find(recipe: &DetectionRecipe, root: &Path) -> Result<PathBuf, DataError> {
    let beside = recipe.base.join(&recipe.path);
    let within = root.join(&recipe.path);
    let itself = detection::Format::of(root).map(|_| root.to_path_buf());
    let found =
        [Some(beside.clone()), Some(within.clone()), itself].into_iter().flatten().find(|p| p.exists());
    found.ok_or_else(|| DataError::Missing {
        fix: format!("it was looked for there and at {}; put it there, or give --data DIR", within.display()),
        path: beside,
    })
}

/// What was wrong with annotations: how many, and the first ones.
fn tell(split: Option<&str>, problems: &[Problem], console: &Console) {
    let of = split.map_or(String::new(), |s| format!(" of {s}"));
    for problem in problems.iter().take(TOLD) {
        console.note(format!("dropped: {problem}"));
    }
    if problems.len() > TOLD {
        let count = grouped(problems.len() as u64);
        console.note(format!("dropped {count} annotations{of} in all; see `thalweg data stats`"));
    }
    if !problems.is_empty() {
        console.event(&json!({ "event": "dropped", "split": split, "annotations": problems.len() }));
    }
}
