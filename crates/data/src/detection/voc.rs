//! Pascal VOC: one XML file per picture.
//!
//! Input: a folder with `Annotations/*.xml`, `JPEGImages/` and, for splits, `ImageSets/Main/<split>.txt`; or a
//! folder of pictures with their XML files beside them. Output: [`Annotations`]. Corners are taken as they are
//! written: the tools that write this format now count pixels from 0 and say where a box ends; the first data sets
//! counted from 1 and said the last pixel, which moves a box by a pixel at most. Documents with a DTD are refused,
//! so that no entity is ever expanded.

use super::annotations::{Annotations, Object};
use super::lines::Lines;
use super::problem::{Fault, Place};
use super::reading::{Numbering, Options, Reading, files, stem};
use super::rect::Rect;
use crate::decode;
use crate::error::{DataError, Result};
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Annotations of one picture are never larger; what is larger is no annotation.
const MAX_BYTES: u64 = 16 << 20;

/// Names of the lists in `ImageSets/Main` that hold pictures of all classes.
const LISTS: [&str; 4] = ["train", "val", "test", "trainval"];

/// Where a data set has what.
struct Folders {
    annotations: PathBuf,
    images: PathBuf,
    lists: PathBuf,
}

impl Folders {
    fn of(root: &Path, options: &Options) -> Folders {
        let nested = root.join("Annotations").is_dir();
        let beside = |name: &str| if nested { root.join(name) } else { root.to_path_buf() };
        let images = options.images.clone().unwrap_or_else(|| beside("JPEGImages"));
        Folders { annotations: beside("Annotations"), images, lists: root.join("ImageSets/Main") }
    }
}

/// The splits that a data set has lists of.
pub(super) fn splits(root: &Path) -> Vec<String> {
    let lists = root.join("ImageSets/Main");
    LISTS.iter().filter(|l| lists.join(format!("{l}.txt")).is_file()).map(|l| l.to_string()).collect()
}

/// Reads a split, or without one all annotations.
pub fn read(root: &Path, split: Option<&str>, options: &Options) -> Result<Annotations> {
    let folders = Folders::of(root, options);
    let mut reading = Reading::new(options)?;
    let named: Vec<(PathBuf, Option<Place>)> = match split {
        Some(split) => listed(&folders.lists.join(format!("{split}.txt")), &splits(root))?
            .into_iter()
            .map(|(name, place)| (folders.annotations.join(format!("{name}.xml")), Some(place)))
            .collect(),
        None => files(&folders.annotations, &["xml"])?.into_iter().map(|file| (file, None)).collect(),
    };
    let mut seen = BTreeSet::new();
    for (file, place) in named {
        let shown = file.display();
        match place {
            Some(place) if !seen.insert(file.clone()) => {
                reading.problems.add(Fault::Duplicate, place, format!("{} is listed twice", stem(&file)));
            }
            Some(place) if !file.is_file() => {
                let what = format!("{} is listed, but {shown} is not there", stem(&file));
                reading.problems.add(Fault::MissingAnnotation, place, what);
            }
            _ => image(&mut reading, &file, &folders.images)?,
        }
    }
    let part = split.map_or(String::new(), |s| format!(", {s}"));
    reading.finish(Numbering::ByName, format!("{}{part} (Pascal VOC)", root.display()))
}

/// The names in a list, with their lines. A list of one class says after each name whether the class is there.
fn listed(list: &Path, known: &[String]) -> Result<Vec<(String, Place)>> {
    let text = fs::read_to_string(list).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing {
            path: list.to_path_buf(),
            fix: match known {
                [] => "the data set has no lists: leave the split out".into(),
                known => format!("splits of this data set: {}", known.join(", ")),
            },
        },
        _ => DataError::io("read", list)(e),
    })?;
    let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let name = |line: &str| match line.rsplit_once(char::is_whitespace) {
        Some((name, "1" | "0" | "-1")) => name.trim_end().to_owned(),
        _ => line.to_owned(),
    };
    Ok(lines.filter(|l| !l.0.is_empty()).map(|(l, n)| (name(l), Place::at(list, n, 1))).collect())
}

/// Reads the annotations of one picture.
fn image(reading: &mut Reading, file: &Path, images: &Path) -> Result<()> {
    let size = fs::metadata(file).map_err(DataError::io("read", file))?.len();
    let malformed = |reading: &mut Reading, place: Place, what: String| {
        reading.problems.add(Fault::Malformed, place, what);
    };
    if size > MAX_BYTES {
        malformed(
            reading,
            Place::file(file),
            format!("{size} bytes are too many for one picture's annotations"),
        );
        return Ok(());
    }
    let bytes = fs::read(file).map_err(DataError::io("read", file))?;
    let Ok(text) = String::from_utf8(bytes) else {
        malformed(reading, Place::file(file), "not UTF-8; convert it".into());
        return Ok(());
    };
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    match Document::parse_with_options(&text, options) {
        Ok(document) => {
            let picture = Picture { reading, file, lines: Lines::new(file, &text) };
            picture.read(document.root_element(), images);
        }
        Err(error) => {
            let at = error.pos();
            let what = match error {
                roxmltree::Error::DtdDetected => "has a DTD, which could define entities; remove it".into(),
                other => format!("not XML: {other}"),
            };
            malformed(reading, Place::at(file, at.row, at.col), what);
        }
    }
    Ok(())
}

/// One annotation file.
struct Picture<'a> {
    reading: &'a mut Reading,
    file: &'a Path,
    lines: Lines<'a>,
}

impl Picture<'_> {
    fn read(mut self, root: Node, images: &Path) {
        if !root.has_tag_name("annotation") {
            let what = format!("<annotation> was expected, not <{}>", root.tag_name().name());
            return self.malformed(root, what);
        }
        let Some(path) = self.path(root, images) else { return };
        let claimed = child(root, "size").and_then(|size| {
            let side = |name: &str| child(size, name).and_then(|n| n.text()?.trim().parse::<u32>().ok());
            // Some tools write 0 when they do not know.
            side("width").zip(side("height")).filter(|(w, h)| *w > 0 && *h > 0)
        });
        let Some(size) = self.reading.picture(&Place::file(self.file), &path, claimed) else { return };
        let objects = root.children().filter(|n| n.has_tag_name("object"));
        let objects: Vec<Object> = objects.filter_map(|node| self.object(node, size)).collect();
        self.reading.add(path, None, size, objects);
    }

    /// The picture: of the same name as the annotations, else of the name they give.
    fn path(&mut self, root: Node, images: &Path) -> Option<PathBuf> {
        let stem = stem(self.file);
        let same = decode::EXTENSIONS.iter().flat_map(|e| [e.to_string(), e.to_ascii_uppercase()]);
        if let Some(path) = same.map(|e| images.join(format!("{stem}.{e}"))).find(|p| p.is_file()) {
            return Some(path);
        }
        // Tools write whole paths of the machine that they ran on.
        let name = child(root, "filename").and_then(|n| n.text());
        let name =
            name.and_then(|n| n.trim().rsplit(['/', '\\']).next()).filter(|n| !matches!(*n, "" | "." | ".."));
        let path = images.join(name.unwrap_or(&format!("{stem}.jpg")));
        if path.is_file() {
            return Some(path);
        }
        let what = format!("the picture {} is not there", path.display());
        self.reading.problems.add(Fault::MissingImage, Place::file(self.file), what);
        None
    }

    fn object(&mut self, node: Node, size: (u32, u32)) -> Option<Object> {
        let name = self.required(node, "name")?;
        let corners = self.required(node, "bndbox")?;
        let mut sides = [0.0; 4];
        for (side, key) in sides.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
            let number = self.required(corners, key)?;
            let text = number.text().unwrap_or_default().trim();
            let Ok(value) = text.parse() else {
                self.malformed(number, format!("{key} is '{}', not a number", text.escape_debug()));
                return None;
            };
            *side = value;
        }
        let rect = Rect::from_corners(sides);
        let place = |node: Node| self.lines.place(node.range().start);
        if !self.reading.usable(|| place(corners), &rect, size) {
            return None;
        }
        let text = name.text().unwrap_or_default().trim();
        let class = self.reading.class(|| place(name), text)?;
        let difficult = child(node, "difficult").and_then(|n| n.text()).is_some_and(|t| t.trim() == "1");
        Some(Object { rect, class, area: rect.area(), crowd: false, difficult })
    }

    fn required<'n, 'i>(&mut self, node: Node<'n, 'i>, name: &str) -> Option<Node<'n, 'i>> {
        let found = child(node, name);
        if found.is_none() {
            self.malformed(node, format!("<{}> has no <{name}>", node.tag_name().name()));
        }
        found
    }

    fn malformed(&mut self, node: Node, what: String) {
        let place = self.lines.place(node.range().start);
        self.reading.problems.add(Fault::Malformed, place, what);
    }
}

fn child<'n, 'i>(node: Node<'n, 'i>, name: &str) -> Option<Node<'n, 'i>> {
    node.children().find(|n| n.has_tag_name(name))
}
