//! What the readers of all formats share: options, and the checks that make annotations sound.
//!
//! Input: pictures, boxes and classes as a format has them, each with its place. Output: [`Annotations`] that keep
//! their invariants. Nothing is decoded: of a picture only the head is read, for its size.

use super::annotations::{AnnotatedImage, Annotations, Object};
use super::classes::{ClassMap, Classes};
use super::problem::{BadAnnotations, Fault, Place, Problems};
use super::rect::Rect;
use crate::decode;
use crate::error::{DataError, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A box may reach so many pixels beyond the picture before that is called a problem: formats count from 1, and
/// fractions are rounded.
const TOLERANCE: f64 = 1.0;

/// How annotations are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which classes there are and what files call them.
    pub classes: ClassMap,
    /// What becomes of bad annotations.
    pub bad: BadAnnotations,
    /// The folder of the pictures, where it is not the format's usual one.
    pub images: Option<PathBuf>,
}

/// A data set while it is read.
pub(super) struct Reading {
    pub(super) classes: Classes,
    pub(super) problems: Problems,
    pub(super) segmentations: usize,
    images: Vec<AnnotatedImage>,
    /// Which file named a picture first.
    paths: BTreeMap<PathBuf, Place>,
    bad: BadAnnotations,
}

/// How classes of a format are numbered.
pub(super) enum Numbering {
    /// From 1, sorted by name where they were found.
    ByName,
    /// As they were met.
    AsMet,
    /// By the format's own numbers.
    Own(Vec<u64>),
}

impl Reading {
    pub(super) fn new(options: &Options) -> Result<Reading> {
        if let Some(names) = &options.classes.names {
            let mut sorted: Vec<&String> = names.iter().collect();
            sorted.sort();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(DataError::argument(format!(
                    "the class '{}' is named twice; name each class once",
                    pair[0].escape_debug()
                )));
            }
        }
        Ok(Reading {
            classes: Classes::new(&options.classes),
            problems: Problems::default(),
            segmentations: 0,
            images: Vec::new(),
            paths: BTreeMap::new(),
            bad: options.bad,
        })
    }

    /// The size (width, height) of a picture that is new, there, and as large as its annotations claim.
    pub(super) fn picture(
        &mut self,
        place: &Place,
        path: &Path,
        claimed: Option<(u32, u32)>,
    ) -> Option<(u32, u32)> {
        let shown = path.display();
        if let Some(first) = self.paths.get(path) {
            let what = format!("the picture {shown} has been annotated in {first} already");
            self.problems.add(Fault::Duplicate, place.clone(), what);
            return None;
        }
        let measured = match decode::dimensions(path) {
            Ok((height, width)) => (width, height),
            Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("the picture {shown} is not there");
                self.problems.add(Fault::MissingImage, place.clone(), what);
                return None;
            }
            Err(error) => {
                self.problems.add(Fault::BadImage, place.clone(), error.to_string());
                return None;
            }
        };
        if let Some((width, height)) = claimed.filter(|c| *c != measured) {
            let what = format!(
                "the picture is said to have {width} x {height} pixels, but {shown} has {} x {}",
                measured.0, measured.1
            );
            self.problems.add(Fault::SizeMismatch, place.clone(), what);
            return None;
        }
        self.paths.insert(path.to_path_buf(), place.clone());
        Some(measured)
    }

    /// Whether a box can be used in a picture of `size` (width, height).
    pub(super) fn usable(&mut self, place: impl FnOnce() -> Place, rect: &Rect, size: (u32, u32)) -> bool {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let [x0, y0, x1, y1] = rect.corners();
        let (fault, what) = if !rect.area().is_finite() || !rect.corners().iter().all(|v| v.is_finite()) {
            (Fault::Malformed, "holds a number that is not finite".to_owned())
        } else if rect.width <= 0.0 || rect.height <= 0.0 {
            (Fault::ZeroArea, format!("is {} x {} pixels: it has no area", rect.width, rect.height))
        } else if rect.inside(width, height).is_none() {
            (Fault::Outside, format!("lies outside the picture of {width} x {height} pixels"))
        } else if x0.min(y0) < -TOLERANCE || x1 > width + TOLERANCE || y1 > height + TOLERANCE {
            (Fault::ReachesOutside, format!("reaches outside the picture of {width} x {height} pixels"))
        } else {
            return true;
        };
        let what = format!("the box from {x0}, {y0} to {x1}, {y1} {what}");
        self.problems.add(fault, place(), what);
        fault == Fault::ReachesOutside
    }

    /// The number of a class.
    pub(super) fn class(&mut self, place: impl FnOnce() -> Place, name: &str) -> Option<usize> {
        let index = self.classes.index(name);
        if index.is_none() {
            let what = format!("the class '{}' is not known; {}", name.escape_debug(), self.classes.known());
            self.problems.add(Fault::UnknownClass, place(), what);
        }
        index
    }

    /// Adds a picture whose size and objects have been checked; without an id it gets the next number.
    pub(super) fn add(&mut self, path: PathBuf, id: Option<u64>, size: (u32, u32), objects: Vec<Object>) {
        let id = id.unwrap_or(self.images.len() as u64 + 1);
        self.images.push(AnnotatedImage { path, id, width: size.0, height: size.1, objects });
    }

    /// What was read.
    pub(super) fn finish(mut self, numbering: Numbering, origin: String) -> Result<Annotations> {
        let (class_names, moved) = self.classes.finish(!matches!(numbering, Numbering::ByName));
        for object in self.images.iter_mut().flat_map(|i| &mut i.objects) {
            object.class = moved[object.class];
        }
        let category_ids = match numbering {
            Numbering::Own(ids) => ids,
            Numbering::ByName | Numbering::AsMet => (1..=class_names.len() as u64).collect(),
        };
        self.images.sort_by_key(|image| image.id);
        Ok(Annotations {
            images: self.images,
            class_names,
            category_ids,
            problems: self.problems.judge(self.bad)?,
            segmentations: self.segmentations,
            origin,
        })
    }
}

/// The files of some extensions in a folder, sorted; hidden ones are left out.
pub(super) fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let path = entry.map_err(DataError::io("list", folder))?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && extensions.iter().any(|e| e.eq_ignore_ascii_case(extension)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file's name without its extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned())
}
