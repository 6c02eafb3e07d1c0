//! `thalweg predict`: classes and probabilities of image files, or boxes on them.

use super::detect::detect;
use super::prepare;
use crate::args::PredictArgs;
use crate::error::{Failure, Result};
use crate::show::Console;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use thalweg::data::decode;
use thalweg::graph::DType;
use thalweg::train::{Ranking, Tensor};

/// Images that are decoded and predicted together.
const TOGETHER: usize = 64;
/// Classes that are shown, unless the arguments say how many.
const TOP: usize = 3;

/// Runs it.
pub fn predict(args: &PredictArgs, console: &Console) -> Result<()> {
    prepare::computes(&args.device)?;
    let files = files(&args.inputs)?;
    let mut model = prepare::model_from(&args.model)?;
    let input = model.image_input().map_err(|e| Failure::Usage(e.to_string()))?;
    prepare::place_quietly(&mut model, &args.device)?;
    if model.detector_input().is_some() {
        return detect(&mut model, &files, args, console);
    }
    if args.confidence.is_some() || args.output.is_some() {
        return Err(Failure::Usage(
            "--confidence and --output are for detectors; a classifier has --top".into(),
        ));
    }
    for files in files.chunks(TOGETHER) {
        let mut pixels = Vec::with_capacity(files.len() * input.height * input.width * input.channels);
        for file in files {
            pixels.extend(decode::image(file, input.height, input.width, input.channels)?);
        }
        let extents = [files.len(), input.height, input.width, input.channels];
        let Some(images) = Tensor::from_bytes(DType::U8, &extents, pixels) else {
            return Err(Failure::Run("decoded images have a wrong size".into()));
        };
        let outputs = model.predict_tensors(&[(input.name.clone(), images)])?;
        let Some((_, output)) = outputs.into_iter().next() else { continue };
        let width = output.len() / files.len();
        let names = model.info().class_names.clone();
        for (file, row) in files.iter().zip(output.to_f32().chunks_exact(width.max(1))) {
            show(file, row, &output.shape()[1..], &names, args.top.unwrap_or(TOP), console);
        }
    }
    Ok(())
}

/// Image files as they are, folders as the images in them, sorted.
fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let listed = std::fs::read_dir(input)
            .map_err(|e| Failure::Data(format!("cannot list {}: {e}", input.display())))?;
        let image = |p: &PathBuf| {
            let extension = p.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            extension.is_some_and(|e| decode::EXTENSIONS.contains(&e.as_str()))
        };
        let mut found: Vec<PathBuf> = listed.flatten().map(|e| e.path()).filter(image).collect();
        if found.is_empty() {
            let known = decode::EXTENSIONS.join(", .");
            return Err(Failure::Data(format!("{} holds no image (.{known})", input.display())));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn show(file: &Path, row: &[f32], shape: &[usize], names: &[String], top: usize, console: &Console) {
    let is_classes = matches!(shape, [n] if *n > 1);
    if !is_classes {
        console.say(format!("{}: {row:?}", file.display()));
        console.event(&json!({ "input": file, "shape": shape, "output": row }));
        return;
    }
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let Ranking { order, are_probabilities } = Ranking::of(row);
    let value = |class: usize| match are_probabilities {
        true => format!("{:.1}%", 100.0 * row[class]),
        false => format!("{:.4}", row[class]),
    };
    let shown = || order.iter().take(top).copied();
    let texts: Vec<String> = shown().map(|c| format!("{} {}", name(c), value(c))).collect();
    console.say(format!("{}: {}", file.display(), texts.join(", ")));
    let key = if are_probabilities { "probability" } else { "score" };
    let entry = |c: usize| json!({ "class": name(c), "index": c, key: row[c] });
    let best = order.first().copied().unwrap_or(0);
    let top: Value = shown().map(entry).collect();
    console.event(&json!({ "input": file, "class": name(best), "index": best, key: row[best], "top": top }));
}
