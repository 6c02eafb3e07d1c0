//! The `data` of a recipe: a named data set, or folders of images.
//!
//! In: `data = "cifar10"`, or `[data]` with folders. Out: [`DataRecipe`]. Invariant: nothing is opened here; the
//! shape of an example is known all the same, so that a model is checked before anything is fetched.

use super::section::Section;
use super::source::{Item, Node, Source};
use crate::error::Failure;
use std::path::{Path, PathBuf};
use thalweg::data::detection::{Augment, BadAnnotations};
use thalweg::data::{DataError, NAMES};
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
    /// Annotated pictures.
    Detection(Box<DetectionRecipe>),
}

/// Annotated pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionRecipe {
    /// The folder or file as the recipe names it: beside the recipe, or in the folder of data sets.
    pub path: PathBuf,
    /// The recipe's folder.
    pub base: PathBuf,
    /// The split to learn from, where there are several.
    pub train: Option<String>,
    /// The split to judge epochs by.
    pub validation: Option<String>,
    /// The split to judge the trained model by.
    pub test: Option<String>,
    /// Names of the classes, in their order.
    pub classes: Vec<String>,
    /// Rows and columns of the images.
    pub size: (usize, usize),
    /// Boxes of an image.
    pub boxes: usize,
    /// What becomes of bad annotations.
    pub bad: BadAnnotations,
    /// How training pictures are changed.
    pub augment: Augment,
}

impl DataRecipe {
    /// Reads `data`; folders are relative to `base`, the folder of the recipe.
    pub fn read(
        source: &Source,
        node: &Node,
        augmentation: Option<&Node>,
        base: &Path,
    ) -> Result<DataRecipe, Failure> {
        if let Item::Text(name) = &node.value {
            return named(source, node.at, name);
        }
        if let Item::Table(entries) = &node.value
            && entries.iter().any(|(key, _)| key.name == "detection")
        {
            return Ok(DataRecipe::Detection(Box::new(DetectionRecipe::read(
                source,
                node,
                augmentation,
                base,
            )?)));
        }
        if let Some(node) = augmentation {
            let what = "[augmentation] is for detection; images with one label each have layers for it";
            return Err(source.wrong(node.at, what));
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
            DataRecipe::Detection(d) => vec![d.size.0, d.size.1, 3],
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
            DataRecipe::Detection(d) => Some(d.classes.len()),
        }
    }

    /// In a few words.
    pub fn title(&self) -> String {
        match self {
            DataRecipe::Named(name) => name.clone(),
            DataRecipe::Folder { train, .. } => train.display().to_string(),
            DataRecipe::Detection(d) => d.path.display().to_string(),
        }
    }
}

impl DetectionRecipe {
    fn read(
        source: &Source,
        node: &Node,
        augmentation: Option<&Node>,
        base: &Path,
    ) -> Result<DetectionRecipe, Failure> {
        let known = [
            "detection",
            "train",
            "validation",
            "test",
            "classes",
            "image_size",
            "max_boxes",
            "bad_annotations",
        ];
        let section = Section::new(source, "[data]", node, &known)?;
        let path = PathBuf::from(section.text("detection")?.unwrap_or_default());
        let Some(size) = section.extent("image_size")? else {
            return Err(section.wrong("[data] of detection needs image_size = [rows, columns]"));
        };
        let Some(classes) = section.list("classes")? else {
            return Err(section.wrong("[data] of detection needs classes = [\"name\", ..], in their order"));
        };
        let name = |n: &Node| match &n.value {
            Item::Text(name) => Ok(name.clone()),
            _ => Err(source.wrong(n.at, format!("a class is a text in quotes, not {}", n.describe()))),
        };
        let classes = classes.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        if classes.is_empty() {
            return Err(section.wrong("classes of [data] is empty; name what is to be detected"));
        }
        let bad = match section.text("bad_annotations")? {
            None => BadAnnotations::default(),
            Some(word) => word.parse().map_err(|e: DataError| {
                source.wrong(section.get("bad_annotations").map_or(section.at, |n| n.at), e.to_string())
            })?,
        };
        let augment = match augmentation {
            None => Augment::default(),
            Some(node) => {
                let known = Augment::words();
                Section::new(
                    source,
                    "[augmentation]",
                    node,
                    &known.iter().map(String::as_str).collect::<Vec<_>>(),
                )?;
                Augment::from_value(node.to_json()).map_err(|e| source.wrong(node.blame(&e), e))?
            }
        };
        let split = |key: &str| section.text(key).map(|s| s.map(str::to_owned));
        Ok(DetectionRecipe {
            path,
            base: base.to_path_buf(),
            train: split("train")?,
            validation: split("validation")?,
            test: split("test")?,
            classes,
            size,
            boxes: section.count("max_boxes")?.unwrap_or(100),
            bad,
            augment,
        })
    }
}

fn named(source: &Source, at: usize, name: &str) -> Result<DataRecipe, Failure> {
    if NAMES.contains(&name) {
        return Ok(DataRecipe::Named(name.to_owned()));
    }
    let what = suggest::unknown("data set", name, &NAMES);
    Err(source.wrong(at, format!("{what}; for your own images write [data] with train, test and image_size")))
}
