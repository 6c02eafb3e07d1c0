//! Opens annotated pictures of any format.
//!
//! Input: a path, and a split where the data set has some. Output: [`Annotations`]. Invariant: the format is told
//! by what lies there, never by trying to read it: a JSON file or a folder of such files is COCO, `Annotations` or
//! XML files are Pascal VOC, `labels` or text files with a file of names are YOLO.

use super::annotations::Annotations;
use super::reading::Options;
use super::{coco, voc, yolo};
use crate::error::{DataError, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A format of annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pascal VOC.
    Voc,
    /// COCO.
    Coco,
    /// YOLO.
    Yolo,
}

impl Format {
    /// The format of what lies at a path; none where that is not annotated pictures.
    pub fn of(path: &Path) -> Option<Format> {
        let ends = |p: &Path, ending: &str| {
            p.extension().and_then(|e| e.to_str()).is_some_and(|e| e.eq_ignore_ascii_case(ending))
        };
        if path.is_file() {
            return ends(path, "json").then_some(Format::Coco);
        }
        if path.join("Annotations").is_dir() {
            return Some(Format::Voc);
        }
        if path.join("images").is_dir() && path.join("labels").is_dir() {
            return Some(Format::Yolo);
        }
        if !json_files(path).is_empty() {
            return Some(Format::Coco);
        }
        let holds = |ending: &str| {
            fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .any(|e| e.path().is_file() && ends(&e.path(), ending))
        };
        match holds("xml") {
            true => Some(Format::Voc),
            false => yolo::names_file(path).map(|_| Format::Yolo),
        }
    }
}

/// The COCO files of a folder by split: in `annotations`, in the folder itself, or one in each folder of a split.
fn json_files(root: &Path) -> Vec<(String, PathBuf)> {
    let listed = |dir: &Path| {
        let all = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let mut all: Vec<PathBuf> = all.collect();
        all.sort();
        all
    };
    let json = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|e| e == "json");
    let name = |path: &Path| path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
    for dir in [root.join("annotations"), root.to_path_buf()] {
        let files: Vec<PathBuf> = listed(&dir).into_iter().filter(json).collect();
        // Beside `instances_train2017.json` lie files of captions and key points.
        let split = |p: &PathBuf| name(p).strip_prefix("instances_").map(|s| (s.to_owned(), p.clone()));
        let instances: Vec<_> = files.iter().filter_map(split).collect();
        match (instances.is_empty(), files.is_empty()) {
            (false, _) => return instances,
            (true, false) => return files.into_iter().map(|p| (name(&p), p)).collect(),
            (true, true) => {}
        }
    }
    let below = listed(root).into_iter().filter_map(|dir| {
        let file = dir.join("_annotations.coco.json");
        file.is_file().then(|| (name(&dir), file))
    });
    below.collect()
}

/// The splits of a data set; empty where it is one.
pub fn splits(path: &Path) -> Vec<String> {
    match Format::of(path) {
        Some(Format::Voc) => voc::splits(path),
        Some(Format::Yolo) => yolo::splits(path),
        Some(Format::Coco) if path.is_dir() => json_files(path).into_iter().map(|(split, _)| split).collect(),
        Some(Format::Coco) | None => Vec::new(),
    }
}

/// Reads a data set, or one split of it.
pub fn open(path: &Path, split: Option<&str>, options: &Options) -> Result<Annotations> {
    let annotations = match Format::of(path) {
        Some(Format::Voc) => voc::read(path, split, options)?,
        Some(Format::Yolo) => yolo::read(path, split, options)?,
        Some(Format::Coco) => coco::read(&json_file(path, split)?, options)?,
        None if !path.exists() => {
            let fix =
                "give a COCO file, or a folder of pictures annotated as Pascal VOC, COCO or YOLO".into();
            return Err(DataError::Missing { path: path.to_path_buf(), fix });
        }
        None => {
            return Err(DataError::Format {
                path: path.to_path_buf(),
                what: "no annotated pictures".into(),
                fix: "expected a COCO file, a folder with Annotations and JPEGImages (Pascal VOC), or one with \
                      images, labels and classes.txt (YOLO)",
            });
        }
    };
    match annotations.images.is_empty() {
        false => Ok(annotations),
        true => Err(DataError::Format {
            path: path.to_path_buf(),
            what: match annotations.problems.first() {
                Some(first) => format!("no picture can be used; {first}"),
                None => "no pictures".into(),
            },
            fix: "correct the files",
        }),
    }
}

fn json_file(path: &Path, split: Option<&str>) -> Result<PathBuf> {
    let files = if path.is_file() { vec![(String::new(), path.to_path_buf())] } else { json_files(path) };
    let known =
        || files.iter().map(|(s, _)| s.as_str()).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ");
    match (split, files.as_slice()) {
        (None, [(_, file)]) => Ok(file.clone()),
        (None, _) => {
            Err(DataError::argument(format!("{} has several splits ({}); name one", path.display(), known())))
        }
        (Some(split), files) => {
            files.iter().find(|(s, _)| s == split).map(|(_, f)| f.clone()).ok_or_else(|| {
                let fix = match known() {
                    none if none.is_empty() => "a single COCO file has no splits: leave the split out".into(),
                    known => format!("splits of this data set: {known}"),
                };
                DataError::Missing { path: path.join(split), fix }
            })
        }
    }
}
