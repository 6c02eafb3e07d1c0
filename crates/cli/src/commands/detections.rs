//! How good a detector is, and pictures of it: what `fit` and `evaluate` tell of detection.
//!
//! In: a model, annotated pictures. Out: tables, an event, and in a folder the precision-recall curves, the confusion
//! matrix, sheets of the worst and of other pictures, and the detections as COCO's tools take them.

use crate::error::{Failure, Result};
use crate::show::{Console, Table, confusion_text, counted};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;
use thalweg::data::Picture;
use thalweg::data::detection::evaluate::{Judge, NUMBERS};
use thalweg::data::detection::{Detection, DetectionSet, results};
use thalweg::data::draw::{Mark, Sheet, Tile, class_colour, sheet};
use thalweg::train::Model;
use thalweg::train::detection::Report;
use thalweg::train::files::write_atomic;
use thalweg::train::report::{Confusion, precision_recall};

/// Pictures on a sheet.
const SHOWN: usize = 12;

/// Judges a detector by annotated pictures and tells it; `event` names the event. Files go to `folder` where one is given.
pub fn judge(
    model: &mut Model,
    data: &DetectionSet,
    event: &str,
    folder: Option<&Path>,
    console: &Console,
) -> Result<()> {
    let began = Instant::now();
    let found = model.detect(data)?;
    let speed = found.len() as f64 / began.elapsed().as_secs_f64();
    let report = Report::new(data.annotations(), &found)?;
    let names = data.annotations().class_names.clone();
    tell(&report, &names, speed, console);
    let confusion = with_nothing(&report, &names);
    let least = Judge::default().score;
    console.say(format!("\nwhat objects were taken for, detections of a score from {least} on:"));
    confusion_text(&confusion).iter().for_each(|line| console.say(line));
    console.event(&numbers(&report, &names, &confusion, event));
    if let Some(folder) = folder {
        write(data, &found, &report, &confusion, folder, console)?;
    }
    Ok(())
}

/// From 0 to 1, as everywhere else.
fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.3}"))
}

/// The table: all classes, then each.
fn tell(report: &Report, names: &[String], speed: f64, console: &Console) {
    let coco = &report.coco;
    let get = |name: &str| coco.get(name);
    console.say(console.bold(&format!(
        "AP {}  AP50 {}  AP75 {}  recall {}  ({}, {speed:.0} a second)",
        share(get("AP")),
        share(get("AP50")),
        share(get("AP75")),
        share(get("AR_100")),
        counted(coco.images as usize, "picture")
    )));
    let sizes = ["AP_small", "AP_medium", "AP_large"];
    let mut table = Table::new(
        1,
        &["class", "objects", "AP", "AP50", "AP75", "VOC AP50", "small", "medium", "large", "recall"],
    );
    let mut all = vec!["all".to_owned(), coco.classes.iter().map(|c| c.truths).sum::<u64>().to_string()];
    all.extend(["AP", "AP50", "AP75"].map(|n| share(get(n))));
    all.push(share(report.voc.map50));
    all.extend(sizes.map(|n| share(get(n))));
    all.push(share(get("AR_100")));
    table.row(all);
    for ((class, voc), name) in coco.classes.iter().zip(&report.voc.ap50).zip(names) {
        let mut row = vec![name.clone(), class.truths.to_string()];
        row.extend([class.ap, class.ap50, class.ap75, *voc].map(share));
        row.extend(class.ap_by_area.map(share));
        row.push(share(class.ar));
        table.row(row);
    }
    table.lines().iter().for_each(|line| console.say(line));
    let recalls = ["AR_1", "AR_10", "AR_small", "AR_medium", "AR_large"].map(|n| share(get(n)));
    let [one, ten, small, medium, large] = recalls;
    console.say(format!(
        "recall with 1 detection a picture {one}, with 10 {ten}; of small {small}, medium {medium}, large {large}"
    ));
}

/// The confusion matrix with nothing as a class of its own.
fn with_nothing(report: &Report, names: &[String]) -> Confusion {
    let own = &report.confusion;
    let all = own.classes() + 1;
    let counts = (0..all * all).map(|i| own.get(i / all, i % all)).collect();
    Confusion::of(names.iter().cloned().chain(["(nothing)".to_owned()]).collect(), counts)
}

fn numbers(report: &Report, names: &[String], confusion: &Confusion, event: &str) -> Value {
    let mut all = Map::from_iter([("event".to_owned(), Value::from(event))]);
    all.insert("images".into(), report.coco.images.into());
    all.extend(NUMBERS.iter().map(|n| ((*n).to_owned(), json!(report.coco.get(n)))));
    all.insert("VOC_mAP50".into(), json!(report.voc.map50));
    let class = |(i, c): (usize, &thalweg::data::detection::evaluate::ClassSummary)| {
        json!({ "class": names.get(i), "objects": c.truths, "AP": c.ap, "AP50": c.ap50, "AP75": c.ap75,
                "VOC_AP50": report.voc.ap50.get(i) })
    };
    all.insert("classes".into(), report.coco.classes.iter().enumerate().map(class).collect());
    let n = confusion.names().len();
    all.insert(
        "confusion".into(),
        (0..n).map(|l| (0..n).map(|p| confusion.get(l, p)).collect::<Value>()).collect(),
    );
    Value::Object(all)
}

fn write(
    data: &DetectionSet,
    found: &[Vec<Detection>],
    report: &Report,
    confusion: &Confusion,
    folder: &Path,
    console: &Console,
) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| Failure::Run(format!("cannot write {path}: {e}"))
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let names = &data.annotations().class_names;
    let texts = [
        ("precision_recall.svg", precision_recall(&report.curves, names, "precision by recall, overlap 0.5")),
        ("confusion.svg", confusion.svg("objects and what they were taken for")),
        ("detections.json", results::to_json(data.annotations(), found)),
    ];
    for (name, text) in texts {
        write_file(&folder.join(name), &text)?;
    }
    let (count, all) = (report.worst.len().min(SHOWN), report.worst.len());
    let spread: Vec<usize> = (0..count).map(|i| i * all / count).collect();
    let sheets = [
        ("worst", "The worst pictures", &report.worst[..count]),
        ("examples", "Pictures", spread.as_slice()),
    ];
    for (name, title, chosen) in sheets {
        let path = folder.join(format!("{name}.png"));
        marked(data, found, title, chosen)?.save(&path)?;
        console.say(format!("{:<10}{}", format!("{name}:"), path.display()));
    }
    Ok(())
}

/// Writes a text file, whole or not at all.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    Ok(write_atomic(path, text.len() as u64, |out| out.write_all(text.as_bytes()))?)
}

/// Pictures with what is there and what was found.
fn marked(data: &DetectionSet, found: &[Vec<Detection>], title: &str, chosen: &[usize]) -> Result<Picture> {
    let truth = data.annotations();
    let names = &truth.class_names;
    let least = Judge::default().score;
    let mut tiles = Vec::new();
    for &index in chosen {
        let image = &truth.images[index];
        let shown = found[index].iter().filter(|d| d.score >= least);
        let mut marks: Vec<Mark> = image.objects.iter().map(|o| Mark::object(o, names).as_truth()).collect();
        marks.extend(shown.map(|d| Mark::detection(d, names)));
        let caption = image.path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
        tiles.push(Tile { picture: Picture::open(&image.path)?, marks, caption });
    }
    let legend = names.iter().enumerate().map(|(i, n)| (class_colour(i), n.clone())).collect();
    let title = format!("{title}: dashed is true, solid is found (score from {least})");
    Ok(sheet(&tiles, &Sheet { title, legend, ..Sheet::default() }))
}
