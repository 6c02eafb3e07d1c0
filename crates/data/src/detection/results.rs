//! Detections: what a detector finds, and the JSON file of them that COCO's tools take.
//!
//! Input: detections by picture. Output: a list of `{"image_id", "category_id", "bbox", "score"}`, and back.
//! Invariant: numbers are written so that they are read as the same.

use super::annotations::Annotations;
use super::rect::Rect;
use crate::error::{DataError, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where.
    pub rect: Rect,
    /// Its class, an index into the names.
    pub class: usize,
    /// How sure the detector is; more is surer.
    pub score: f64,
}

/// Pictures, classes and their numbers, by which a file names them.
struct Numbers {
    images: BTreeMap<u64, usize>,
    classes: BTreeMap<u64, usize>,
}

#[derive(Deserialize)]
struct Record {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    score: f64,
}

/// The file of detections: `found` has those of each picture of `annotations`.
pub fn to_json(annotations: &Annotations, found: &[Vec<Detection>]) -> String {
    let records: Vec<Value> = annotations
        .images
        .iter()
        .zip(found)
        .flat_map(|(image, found)| found.iter().map(|d| (image.id, d)))
        .map(|(id, d)| {
            json!({
                "image_id": id, "category_id": annotations.category_ids[d.class],
                "bbox": [d.rect.x, d.rect.y, d.rect.width, d.rect.height], "score": d.score,
            })
        })
        .collect();
    Value::Array(records).to_string()
}

/// Reads a file of detections in pictures of `annotations`, in the file's order within each picture.
pub fn read(file: &Path, annotations: &Annotations) -> Result<Vec<Vec<Detection>>> {
    let text = fs::read_to_string(file).map_err(DataError::io("read", file))?;
    let fix = "it should be a list of {\"image_id\", \"category_id\", \"bbox\", \"score\"} for these pictures and classes";
    let wrong = |what: String| DataError::Format { path: file.to_path_buf(), what, fix };
    let records: Vec<Record> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let numbers = Numbers {
        images: annotations.images.iter().enumerate().map(|(i, image)| (image.id, i)).collect(),
        classes: annotations.category_ids.iter().enumerate().map(|(i, id)| (*id, i)).collect(),
    };
    let mut found = vec![Vec::new(); annotations.images.len()];
    for (at, record) in records.iter().enumerate() {
        let unknown =
            |what: &str, id: u64| wrong(format!("detection {at} has {what} {id}, which is unknown"));
        let image =
            numbers.images.get(&record.image_id).ok_or_else(|| unknown("image_id", record.image_id))?;
        let class = numbers.classes.get(&record.category_id);
        let class = *class.ok_or_else(|| unknown("category_id", record.category_id))?;
        let [x, y, width, height] = record.bbox;
        found[*image].push(Detection { rect: Rect { x, y, width, height }, class, score: record.score });
    }
    Ok(found)
}
