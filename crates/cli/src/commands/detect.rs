//! `thalweg predict` with a detector: boxes on pictures.
//!
//! In: picture files. Out: a line or an event for each; pictures with the boxes drawn and `detections.json` (a list as
//! COCO's tools take it; pictures are numbered from 1 in the order given) in a folder. Invariant: a picture that cannot be
//! read ends nothing but itself, and the exit code says so.

use super::detections::write_file;
use crate::args::PredictArgs;
use crate::error::{Failure, Result};
use crate::show::{Console, counted};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thalweg::data::Picture;
use thalweg::data::detection::Detection;
use thalweg::data::draw::{Mark, mark};
use thalweg::train::Model;

/// Pictures that are decoded and looked at together.
const TOGETHER: usize = 8;
/// The least score of a box that is shown, and where pictures go, unless the arguments say otherwise.
const CONFIDENCE: f64 = 0.25;
const OUTPUT: &str = "runs/detections";

/// Detects in all files.
pub fn detect(model: &mut Model, files: &[PathBuf], args: &PredictArgs, console: &Console) -> Result<()> {
    if args.top.is_some() {
        return Err(Failure::Usage(
            "--top is for classifiers; a detector shows boxes from --confidence on".into(),
        ));
    }
    let (least, default) = (args.confidence.unwrap_or(CONFIDENCE), Path::new(OUTPUT));
    let mut folder = Folder::new(args.output.as_deref().unwrap_or(default), files)?;
    let names = model.info().class_names.clone();
    let mut unreadable = 0;
    for (group, numbered) in files.chunks(TOGETHER).enumerate() {
        let mut pictures = Vec::with_capacity(numbered.len());
        for (i, file) in numbered.iter().enumerate() {
            match Picture::open(file) {
                Ok(picture) => pictures.push((group * TOGETHER + i + 1, file, picture)),
                Err(error) => {
                    unreadable += 1;
                    console.note(error.to_string());
                }
            }
        }
        let each: Vec<&Picture> = pictures.iter().map(|(_, _, p)| p).collect();
        let found = model.detect_pictures(&each)?;
        for ((number, file, mut picture), mut found) in pictures.into_iter().zip(found) {
            found.retain(|d| d.score >= least);
            tell(file, &found, &names, console);
            mark(&mut picture, &found.iter().map(|d| Mark::detection(d, &names)).collect::<Vec<_>>());
            folder.add(number, file, &picture, &found)?;
        }
    }
    if unreadable < files.len() {
        folder.finish(console)?;
    }
    match unreadable {
        0 => Ok(()),
        n => Err(Failure::Data(format!("{n} of {} could not be read", counted(files.len(), "picture")))),
    }
}

fn name(class: usize, names: &[String]) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// How many of each class.
fn tell(file: &Path, found: &[Detection], names: &[String], console: &Console) {
    let classes: BTreeSet<usize> = found.iter().map(|d| d.class).collect();
    let counts: Vec<String> = classes
        .iter()
        .map(|&c| format!("{} {}", found.iter().filter(|d| d.class == c).count(), name(c, names)))
        .collect();
    let text = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    console.say(format!("{}: {text}", file.display()));
    let each: Vec<Value> = found
        .iter()
        .map(|d| {
            json!({ "class": name(d.class, names), "index": d.class, "score": d.score,
                    "bbox": [d.rect.x, d.rect.y, d.rect.width, d.rect.height] })
        })
        .collect();
    console.event(&json!({ "input": file, "detections": each }));
}

/// What is written.
struct Folder {
    path: PathBuf,
    names: BTreeSet<String>,
    records: Vec<Value>,
}

impl Folder {
    /// Makes it; refused where pictures would be replaced by drawings of themselves.
    fn new(path: &Path, files: &[PathBuf]) -> Result<Folder> {
        std::fs::create_dir_all(path)
            .map_err(|e| Failure::Run(format!("cannot make the folder {}: {e}", path.display())))?;
        let whole = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.to_path_buf());
        let own = whole(path);
        if files.iter().any(|f| whole(f).parent() == Some(&own)) {
            return Err(Failure::Usage(format!(
                "{} is a folder of the pictures themselves, which would be overwritten; give another --output",
                path.display()
            )));
        }
        Ok(Folder { path: path.to_path_buf(), names: BTreeSet::new(), records: Vec::new() })
    }

    fn add(&mut self, number: usize, file: &Path, picture: &Picture, found: &[Detection]) -> Result<()> {
        let stem = file.file_stem().map_or("picture".into(), |s| s.to_string_lossy().into_owned());
        // Pictures of the same name come from different folders.
        let mut name = stem.clone();
        for again in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{stem}_{again}");
        }
        picture.save(&self.path.join(format!("{name}.png")))?;
        self.records.extend(found.iter().map(|d| {
            json!({ "image_id": number, "file_name": file, "category_id": d.class + 1,
                    "bbox": [d.rect.x, d.rect.y, d.rect.width, d.rect.height], "score": d.score })
        }));
        Ok(())
    }

    fn finish(self, console: &Console) -> Result<()> {
        let path = self.path.join("detections.json");
        write_file(&path, &Value::Array(self.records).to_string())?;
        console.say(format!("pictures with boxes, and detections.json: {}", self.path.display()));
        Ok(())
    }
}
