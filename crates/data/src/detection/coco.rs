//! COCO: one JSON file for all pictures.
//!
//! Input: the JSON file and the folder of its pictures. Output: [`Annotations`], which [`write`] turns into such a
//! file again. Outlines (`segmentation`) are counted, not read. Each picture and annotation is parsed on its own, so
//! that one that is wrong can be told by line and column and left out.

use super::annotations::{AnnotatedImage, Annotations, Object};
use super::lines::Lines;
use super::problem::{Fault, Place};
use super::reading::{Numbering, Options, Reading, stem};
use super::rect::Rect;
use crate::error::{DataError, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The file as far as it is needed; everything else in it is passed over.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    images: Vec<&'a RawValue>,
    #[serde(borrow)]
    categories: Vec<&'a RawValue>,
    /// Missing in files that only list pictures to be predicted.
    #[serde(borrow, default)]
    annotations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<u64>,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Truth,
    segmentation: Option<Outline>,
}

/// `0`, `1`, `true` or `false`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Truth {
    Number(u8),
    Truth(bool),
}

impl Default for Truth {
    fn default() -> Truth {
        Truth::Truth(false)
    }
}

/// Polygons, a bitmap, or an empty list where there is neither.
#[derive(Deserialize)]
#[serde(untagged)]
enum Outline {
    Polygons(Vec<IgnoredAny>),
    Other(IgnoredAny),
}

/// The text and where what stands in it.
struct Source<'a> {
    text: &'a str,
    lines: Lines<'a>,
}

impl Source<'_> {
    /// Where a part of the text begins.
    fn place(&self, part: &RawValue) -> Place {
        self.lines.place((part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }
}

/// Reads a file; `images` of the options, or a folder nearby, holds its pictures.
pub fn read(file: &Path, options: &Options) -> Result<Annotations> {
    let bytes = fs::read(file).map_err(DataError::io("read", file))?;
    let fix = "it should hold \"images\", \"annotations\" and \"categories\" as COCO has them";
    let not_json = |what: String| DataError::Format { path: file.to_path_buf(), what, fix };
    let text = String::from_utf8(bytes).map_err(|_| not_json("not UTF-8".into()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let listed: Listed = serde_json::from_str(text).map_err(|e| not_json(e.to_string()))?;
    let mut reader = Reader {
        source: Source { text, lines: Lines::new(file, text) },
        reading: Reading::new(options)?,
        names: BTreeMap::new(),
        pictures: BTreeMap::new(),
        ids: BTreeSet::new(),
    };
    let numbers = reader.categories(&listed.categories, options);
    let folder = match &options.images {
        Some(folder) => folder.clone(),
        None => folder_near(file, &listed.images),
    };
    listed.images.iter().for_each(|part| reader.image(part, &folder));
    listed.annotations.iter().for_each(|part| reader.annotation(part));
    let Reader { mut reading, pictures, .. } = reader;
    for (id, picture) in pictures {
        if let Some(size) = picture.size {
            reading.add(picture.path, Some(id), size, picture.objects);
        }
    }
    reading.finish(Numbering::Own(numbers), format!("{} (COCO)", file.display()))
}

/// The first folder near the file that holds its first picture; else the file's own.
fn folder_near(file: &Path, images: &[&RawValue]) -> PathBuf {
    let own = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let above = own.join("..");
    let stem = stem(file);
    let split = stem.strip_prefix("instances_").unwrap_or(&stem);
    let first = images.first().and_then(|part| serde_json::from_str::<Image>(part.get()).ok());
    let Some(first) = first else { return own };
    let folders = [
        own.clone(),
        own.join("images"),
        own.join(split),
        above.join("images"),
        above.join(split),
        above.join("images").join(split),
        above,
    ];
    folders.into_iter().find(|f| f.join(&first.file_name).is_file()).unwrap_or(own)
}

/// A picture of the file; without a size it is not used, nor is what is annotated in it.
struct Picture {
    path: PathBuf,
    size: Option<(u32, u32)>,
    objects: Vec<Object>,
}

/// A file while it is read.
struct Reader<'a> {
    source: Source<'a>,
    reading: Reading,
    /// Of the classes, by the file's numbers.
    names: BTreeMap<u64, String>,
    /// By the file's numbers, which is their order.
    pictures: BTreeMap<u64, Picture>,
    /// Of the annotations so far.
    ids: BTreeSet<u64>,
}

impl Reader<'_> {
    /// Parses a part; what is wrong with it is noted.
    fn parse<'p, T: Deserialize<'p>>(&mut self, part: &'p RawValue, what: &str) -> Option<T> {
        match serde_json::from_str(part.get()) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let text = error.to_string();
                // The parser counts lines within the part.
                let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
                self.reading.problems.add(
                    Fault::Malformed,
                    self.source.place(part),
                    format!("this is not {what}: {reason}"),
                );
                None
            }
        }
    }

    /// Takes down the classes; the number of each is the file's own, or for a given class that the file does not
    /// know one that is free.
    fn categories(&mut self, parts: &[&RawValue], options: &Options) -> Vec<u64> {
        for part in parts {
            let Some(category) = self.parse::<Category>(part, "a category") else { continue };
            match self.names.entry(category.id) {
                Entry::Vacant(entry) => {
                    entry.insert(category.name);
                }
                Entry::Occupied(_) => {
                    let what = format!("there is a category {} already", category.id);
                    self.reading.problems.add(Fault::Duplicate, self.source.place(part), what);
                }
            }
        }
        // Classes are numbered in the order of the file's numbers, whether or not there is an object of them.
        let given = options.classes.names.as_ref().map_or(0, Vec::len);
        let mut numbers: Vec<Option<u64>> = vec![None; given];
        for (number, name) in &self.names {
            if let Some(index) = self.reading.classes.index(name) {
                numbers.resize(numbers.len().max(index + 1), None);
                numbers[index].get_or_insert(*number);
            }
        }
        let mut free = self.names.keys().next_back().map_or(1, |last| last.saturating_add(1))..;
        numbers.into_iter().map(|n| n.or_else(|| free.next()).unwrap_or(u64::MAX)).collect()
    }

    fn image(&mut self, part: &RawValue, folder: &Path) {
        let Some(image) = self.parse::<Image>(part, "an image") else { return };
        let place = self.source.place(part);
        if self.pictures.contains_key(&image.id) {
            let what = format!("there is an image {} already", image.id);
            return self.reading.problems.add(Fault::Duplicate, place, what);
        }
        let name = Path::new(&image.file_name);
        let path = folder.join(name);
        let inside = name.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let size = if inside {
            self.reading.picture(&place, &path, image.width.zip(image.height))
        } else {
            let what = format!("file_name '{}' leads out of the folder", image.file_name.escape_debug());
            self.reading.problems.add(Fault::Malformed, place, what);
            None
        };
        self.pictures.insert(image.id, Picture { path, size, objects: Vec::new() });
    }

    fn annotation(&mut self, part: &RawValue) {
        let Some(found) = self.parse::<Annotation>(part, "an annotation") else { return };
        let Reader { source, reading, names, pictures, ids } = self;
        let place = || source.place(part);
        if let Some(id) = found.id
            && !ids.insert(id)
        {
            let what = format!("there is an annotation {id} already");
            return reading.problems.add(Fault::Duplicate, place(), what);
        }
        let Some(picture) = pictures.get_mut(&found.image_id) else {
            let what = format!("image_id {} is none of the images", found.image_id);
            return reading.problems.add(Fault::MissingImage, place(), what);
        };
        // What is wrong with the picture has been said.
        let Some(size) = picture.size else { return };
        let [x, y, width, height] = found.bbox;
        let rect = Rect { x, y, width, height };
        if !reading.usable(place, &rect, size) {
            return;
        }
        let Some(name) = names.get(&found.category_id) else {
            let what = format!("category_id {} is none of the categories", found.category_id);
            return reading.problems.add(Fault::UnknownClass, place(), what);
        };
        let Some(class) = reading.class(place, name) else { return };
        let crowd = match found.iscrowd {
            Truth::Number(n) => n != 0,
            Truth::Truth(t) => t,
        };
        reading.segmentations += match found.segmentation {
            None => 0,
            Some(Outline::Polygons(all)) => usize::from(!all.is_empty()),
            Some(Outline::Other(IgnoredAny)) => 1,
        };
        let area = found.area.filter(|a| a.is_finite()).unwrap_or_else(|| rect.area());
        picture.objects.push(Object { rect, class, area, crowd, difficult: false });
    }
}

/// The annotations as a COCO file, from which any tool reads the same pictures, classes and boxes.
pub fn write(annotations: &Annotations) -> String {
    let image = |i: &AnnotatedImage| json!({ "id": i.id, "file_name": file_name(i), "width": i.width, "height": i.height });
    let images: Vec<Value> = annotations.images.iter().map(image).collect();
    let categories = annotations.category_ids.iter().zip(&annotations.class_names);
    let categories: Vec<Value> = categories.map(|(id, name)| json!({ "id": id, "name": name })).collect();
    let objects = annotations.images.iter().flat_map(|i| i.objects.iter().map(move |o| (i.id, o)));
    let objects = objects.zip(1u64..).map(|((image, o), id)| {
        json!({
            "id": id, "image_id": image, "category_id": annotations.category_ids[o.class],
            "bbox": [o.rect.x, o.rect.y, o.rect.width, o.rect.height], "area": o.area, "iscrowd": u8::from(o.crowd),
        })
    });
    let objects: Vec<Value> = objects.collect();
    json!({ "images": images, "annotations": objects, "categories": categories }).to_string()
}

fn file_name(image: &AnnotatedImage) -> String {
    image.path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
}
