//! The `data` of a recipe: a named data set, or folders of images.
//!
//! In: `data = "cifar10"`, or `[data]` with folders. Out: [`DataRecipe`]. Invariant: nothing is opened here; the
//! shape of an example is known all the same, so that a model is checked before anything is fetched.

use super::section::Section;
use super::source::{Item, Node, Source};
use crate::error::Failure;
use std::path::{Path, PathBuf};
use thalweg::data::NAMES;
use thalweg::nn::suggest;

/// What to learn from.
#[derive(Clone, Debug, PartialEq)]
pub enum DataRecipe {
    /// A data set that Thalweg knows by name.
    Named(String),
    /// Folders of images in class folders.
    Folder {
        /// To learn from.
        train: PathBuf,
        /// To judge by.
        test: Option<PathBuf>,
        /// Rows and columns that images are brought to.
        size: (usize, usize),
        /// 1, 3 or 4.
        channels: usize,
    },
}

impl DataRecipe {
    /// Reads `data`; folders are relative to `base`, the folder of the recipe.
    pub fn read(source: &Source, node: &Node, base: &Path) -> Result<DataRecipe, Failure> {
        if let Item::Text(name) = &node.value {
            return named(source, node.at, name);
        }
        let known = ["name", "train", "test", "image_size", "color_mode"];
        let section = Section::new(source, "[data]", node, &known)?;
        if let Some(name) = section.text("name")? {
            if let Some(key) = known[1..].iter().find(|k| section.get(k).is_some()) {
                return Err(section.wrong(format!(
                    "[data] has both name and {key}: give the name of a data set, or folders of images"
                )));
            }
            return named(source, node.at, name);
        }
        let Some(train) = section.text("train")? else {
            return Err(section.wrong(
                "[data] needs a name (\"cifar10\"), or train = \"folder\" with one folder of images per class",
            ));
        };
        let Some(size) = section.extent("image_size")? else {
            return Err(section.wrong("[data] of a folder needs image_size = [rows, columns]"));
        };
        let channels = match section.text("color_mode")? {
            None | Some("rgb") => 3,
            Some("grayscale") => 1,
            Some("rgba") => 4,
            Some(other) => {
                let at = section.get("color_mode").map_or(section.at, |n| n.at);
                return Err(
                    source.wrong(at, suggest::unknown("color_mode", other, &["rgb", "grayscale", "rgba"]))
                );
            }
        };
        let test = section.text("test")?.map(|t| base.join(t));
        Ok(DataRecipe::Folder { train: base.join(train), test, size, channels })
    }

    /// Shape of one example.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            DataRecipe::Named(name) if name == "mnist" => vec![28, 28, 1],
            DataRecipe::Named(_) => vec![32, 32, 3],
            DataRecipe::Folder { size: (h, w), channels, .. } => vec![*h, *w, *channels],
        }
    }

    /// Number of classes, where it is known without opening anything.
    pub fn classes(&self) -> Option<usize> {
        match self {
            DataRecipe::Named(name) => Some(match name.as_str() {
                "cifar100" => 100,
                "cifar100-coarse" => 20,
                _ => 10,
            }),
            DataRecipe::Folder { .. } => None,
        }
    }

    /// In a few words.
    pub fn title(&self) -> String {
        match self {
            DataRecipe::Named(name) => name.clone(),
            DataRecipe::Folder { train, .. } => train.display().to_string(),
        }
    }
}

fn named(source: &Source, at: usize, name: &str) -> Result<DataRecipe, Failure> {
    if NAMES.contains(&name) {
        return Ok(DataRecipe::Named(name.to_owned()));
    }
    let what = suggest::unknown("data set", name, &NAMES);
    Err(source.wrong(at, format!("{what}; for your own images write [data] with train, test and image_size")))
}
