//! YOLO: one text file per picture, a line per object: class, centre, size, in shares of the picture.
//!
//! Input: a folder with `images/<split>/` and `labels/<split>/` (or without splits, or with both kinds of file in
//! one folder), and the names of the classes, one a line, in `classes.txt`. Output: [`Annotations`]. A picture
//! without a text file has no objects: that is the format's way to say so.

use super::annotations::{Annotations, Object};
use super::problem::{Fault, Place};
use super::reading::{Numbering, Options, Reading, files, stem};
use super::rect::Rect;
use crate::decode;
use crate::error::{DataError, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the file of names may be called.
pub(super) const NAMES: [&str; 4] = ["classes.txt", "names.txt", "obj.names", "data.names"];

/// A line is never longer than this share of the picture away from it; more is not in shares at all.
const FAR: f64 = 2.0;

/// The folder of names in `images`, or nothing where the pictures lie in it directly.
pub(super) fn splits(root: &Path) -> Vec<String> {
    let images = root.join("images");
    let folders =
        fs::read_dir(images).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir());
    let name = |p: PathBuf| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let mut names: Vec<String> = folders.filter_map(name).filter(|n| !n.starts_with('.')).collect();
    // As they are used, then by name.
    names.sort_by_key(|n| (["train", "val", "test"].iter().position(|k| k == n).unwrap_or(3), n.clone()));
    names
}

/// The file of class names of a data set, if it has one.
pub(super) fn names_file(root: &Path) -> Option<PathBuf> {
    NAMES.iter().flat_map(|n| [root.join(n), root.join("labels").join(n)]).find(|p| p.is_file())
}

fn is_names_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| NAMES.iter().any(|n| name == *n))
}

/// Reads a split, or without one the whole folder.
pub fn read(root: &Path, split: Option<&str>, options: &Options) -> Result<Annotations> {
    let (mut images, mut labels) = match root.join("images").is_dir() {
        true => (root.join("images"), root.join("labels")),
        false => (root.to_path_buf(), root.to_path_buf()),
    };
    if let Some(split) = split {
        let known = splits(root);
        if !known.iter().any(|k| k == split) {
            let fix = match known.as_slice() {
                [] => "the data set has no splits: leave the split out".into(),
                known => format!("splits of this data set: {}", known.join(", ")),
            };
            return Err(DataError::Missing { path: images.join(split), fix });
        }
        images.push(split);
        labels.push(split);
    }
    if let Some(folder) = &options.images {
        images.clone_from(folder);
    }
    let names = class_names(root)?;
    let mut reading = Reading::new(options)?;
    // Numbers in the files count the names, so all of them are met, in their order.
    for name in &names {
        reading.classes.index(name);
    }
    let mut labelled = BTreeSet::new();
    for path in files(&images, &decode::EXTENSIONS)? {
        let stem = stem(&path);
        let file = labels.join(format!("{stem}.txt"));
        if !labelled.insert(stem) {
            let what = format!("{} is annotated by the same file as another picture", path.display());
            reading.problems.add(Fault::Duplicate, Place::file(&file), what);
            continue;
        }
        image(&mut reading, path, &file, &names)?;
    }
    let texts = if labels.is_dir() { files(&labels, &["txt"])? } else { Vec::new() };
    for text in texts.iter().filter(|t| !labelled.contains(&stem(t)) && !is_names_file(t)) {
        let what = format!("there is no picture {}", images.join(stem(text)).display());
        reading.problems.add(Fault::MissingImage, Place::file(text), what);
    }
    let part = split.map_or(String::new(), |s| format!(", {s}"));
    reading.finish(Numbering::AsMet, format!("{}{part} (YOLO)", root.display()))
}

/// The names that numbers in the files stand for.
fn class_names(root: &Path) -> Result<Vec<String>> {
    let Some(file) = names_file(root) else {
        return Err(DataError::Missing {
            path: root.join(NAMES[0]),
            fix: "write the names of the classes into it, one a line, the first for number 0".into(),
        });
    };
    let text = fs::read_to_string(&file).map_err(DataError::io("read", &file))?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    let used = names.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
    match names[..used].iter().position(String::is_empty) {
        None if used > 0 => Ok(names[..used].to_vec()),
        empty => Err(DataError::Format {
            path: file,
            what: empty.map_or("no names in it".into(), |line| format!("line {} is empty", line + 1)),
            fix: "write the names of the classes, one a line, the first for number 0",
        }),
    }
}

fn image(reading: &mut Reading, path: PathBuf, file: &Path, names: &[String]) -> Result<()> {
    let Some(size) = reading.picture(&Place::file(&path), &path, None) else { return Ok(()) };
    let text = match fs::read(file) {
        Ok(bytes) => String::from_utf8(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => return Err(DataError::io("read", file)(e)),
    };
    let Ok(text) = text else {
        reading.problems.add(Fault::Malformed, Place::file(file), "not UTF-8; convert it");
        return Ok(());
    };
    let mut objects = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty()) {
        let place = || Place::at(file, number, 1);
        match fields(line) {
            Err(what) => reading.problems.add(Fault::Malformed, place(), what),
            Ok((class, rect)) => {
                let (w, h) = (f64::from(size.0), f64::from(size.1));
                let rect =
                    Rect { x: rect.x * w, y: rect.y * h, width: rect.width * w, height: rect.height * h };
                if !reading.usable(place, &rect, size) {
                    continue;
                }
                let Some(name) = names.get(class) else {
                    let what = format!("class {class} has no name; there are {} (from 0)", names.len());
                    reading.problems.add(Fault::UnknownClass, place(), what);
                    continue;
                };
                if let Some(class) = reading.class(place, name) {
                    objects.push(Object { rect, class, area: rect.area(), crowd: false, difficult: false });
                }
            }
        }
    }
    reading.add(path, None, size, objects);
    Ok(())
}

/// The class and the box of a line, in shares of the picture.
fn fields(line: &str) -> Result<(usize, Rect), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[class, ref numbers @ ..] = words.as_slice() else { return Err("an empty line".into()) };
    let class =
        class.parse().map_err(|_| format!("the class is '{}', not a number", class.escape_debug()))?;
    let [x, y, width, height] = numbers else {
        return Err(format!(
            "{} numbers after the class; a box has four: centre x, centre y, width, height",
            numbers.len()
        ));
    };
    let share = |text: &&str| match text.parse::<f64>() {
        Ok(v) if v.abs() <= FAR => Ok(v),
        Ok(v) => Err(format!("{v} is not a share of the picture: numbers go from 0 to 1")),
        Err(_) => Err(format!("'{}' is not a number", text.escape_debug())),
    };
    let (x, y, width, height) = (share(x)?, share(y)?, share(width)?, share(height)?);
    Ok((class, Rect { x: x - width / 2.0, y: y - height / 2.0, width, height }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_boxes_or_say_why_not() {
        let (class, rect) = fields("3 0.5 0.25 0.5 0.25").unwrap();
        assert_eq!((class, rect), (3, Rect { x: 0.25, y: 0.125, width: 0.5, height: 0.25 }));
        for (line, words) in [
            ("x 0.5 0.5 1 1", "the class is 'x'"),
            ("-1 0.5 0.5 1 1", "the class is '-1'"),
            ("1 0.5 0.5 1", "3 numbers after the class"),
            ("1 0 0 1 0 1 1", "6 numbers after the class"),
            ("1 0.5 0.5 1 y", "'y' is not a number"),
            ("1 320 240 100 100", "320 is not a share"),
            ("1 nan 0.5 1 1", "NaN is not a share"),
        ] {
            assert!(fields(line).unwrap_err().contains(words), "{line}: {}", fields(line).unwrap_err());
        }
    }
}
