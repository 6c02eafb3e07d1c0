//! Opens the annotated pictures that a recipe names.
//!
//! In: a [`DetectionRecipe`] and the data root. Out: opened splits. Invariant: how many annotations were dropped, and
//! why, is always told; the splits have the recipe's classes in the recipe's order.

use crate::error::{Failure, Result};
use crate::recipe::DetectionRecipe;
use crate::sets::{Data, Splits};
use crate::show::{Console, counted};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg::data::DataError;
use thalweg::data::detection::{self, ClassMap, DetectionSet, Format, Options, Problem, Shape};

/// Problems that are told one by one.
const TOLD: usize = 3;

/// Opens all splits that a recipe names.
pub fn open(recipe: &DetectionRecipe, root: &Path, seed: u64, console: &Console) -> Result<Splits> {
    let path = find(recipe, root)?;
    let held = |split: &Option<String>| -> Result<Option<Data>> {
        let open = |s: &String| one(recipe, &path, Some(s), console).map(|set| Arc::new(set) as Data);
        split.as_ref().map(open).transpose()
    };
    let train = one(recipe, &path, recipe.train.as_deref(), console)?;
    Ok(Splits {
        train: Arc::new(train.augmented(recipe.augment, seed)?),
        validation: held(&recipe.validation)?,
        test: held(&recipe.test)?,
        instead: None,
    })
}

/// Opens the split to judge a trained model by.
pub fn held(recipe: &DetectionRecipe, root: &Path, console: &Console) -> Result<Data> {
    let Some(split) = recipe.test.as_ref().or(recipe.validation.as_ref()) else {
        return Err(Failure::Usage(
            "the model's recipe names no test and no validation split, so there is nothing to judge it by"
                .into(),
        ));
    };
    Ok(Arc::new(one(recipe, &find(recipe, root)?, Some(split), console)?))
}

/// Opens a split, or all, of what lies at a path, as the recipe says.
pub fn one(
    recipe: &DetectionRecipe,
    path: &Path,
    split: Option<&str>,
    console: &Console,
) -> Result<DetectionSet> {
    let classes = ClassMap { names: Some(recipe.classes.clone()), ..ClassMap::default() };
    let options = Options { classes, bad: recipe.bad, images: None };
    let annotations = detection::open(path, split, &options)?;
    tell(split, &annotations.problems, console);
    let shape = Shape { boxes: recipe.boxes, ..Shape::new(recipe.size.0, recipe.size.1) };
    Ok(DetectionSet::new(annotations, shape)?)
}

/// Where the data are: in the folder of data sets, or that folder itself, or beside the recipe.
fn find(recipe: &DetectionRecipe, root: &Path) -> Result<PathBuf, DataError> {
    let beside = recipe.base.join(&recipe.path);
    let within = root.join(&recipe.path);
    // Any folder with a JSON file looks like COCO's.
    let is_set = matches!(Format::of(root), Some(Format::Voc | Format::Yolo));
    let itself = is_set.then(|| root.to_path_buf());
    let found =
        [Some(within.clone()), itself, Some(beside.clone())].into_iter().flatten().find(|p| p.exists());
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
        let count = counted(problems.len(), "annotation");
        console.note(format!("dropped {count}{of} in all; see `thalweg data stats`"));
    }
    if !problems.is_empty() {
        console.event(&json!({ "event": "dropped", "split": split, "annotations": problems.len() }));
    }
}
