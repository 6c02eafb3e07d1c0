//! A browser's GPU predicts what the CPU device predicts, from the same files: classes, boxes, numbers; and says in one line
//! what is wrong.
//!
//! Needs the package of `cargo xtask web` (its folder in `THALWEG_WEB`) and Chromium, whose software adapter will do. Where
//! one is missing the test says that it was skipped; with `THALWEG_NEED_WEB=1`, as `cargo xtask web --check` has it, it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod browser;
mod models;
mod server;
#[path = "../shapes/mod.rs"]
mod shapes;

use serde_json::Value;
use std::path::{Path, PathBuf};
use thalweg::data::detection::{Detection, Rect};
use thalweg::data::{Picture, decode};
use thalweg::graph::DType;
use thalweg::train::{Model, Tensor};

/// What outputs may differ by.
const APART: f64 = 1e-4;

/// The package's folder and the browser, or what is missing.
fn needs() -> Result<(PathBuf, PathBuf), String> {
    let package = std::env::var_os("THALWEG_WEB").map(PathBuf::from);
    let package = package.ok_or("no package: run `cargo xtask web --check`")?;
    if !package.join("thalweg_bg.wasm").exists() {
        return Err(format!("{} holds no package: run `cargo xtask web`", package.display()));
    }
    let browser =
        browser::find().ok_or("no Chromium was found; install it (Debian: apt-get install chromium)")?;
    Ok((package, browser))
}

#[test]
fn a_browser_predicts_what_the_cpu_predicts() {
    let (package, browser) = match needs() {
        Ok(found) => found,
        Err(missing) => {
            assert!(std::env::var_os("THALWEG_NEED_WEB").is_none_or(|v| v != "1"), "{missing}");
            return eprintln!("SKIPPED: {missing}");
        }
    };
    let temp = tempfile::tempdir().unwrap();
    let files = temp.path().join("files");
    std::fs::create_dir_all(&files).unwrap();
    models::classifier(&files);
    models::detector(&files);
    models::two_inputs(&files);
    std::fs::write(files.join("page.html"), include_str!("page.html")).unwrap();

    let server = server::Server::start(vec![files.clone(), package]);
    let told = browser::visit(&browser, &server, &temp.path().join("profile"));
    assert!(told["failed"].is_null(), "{}", told["failed"]);
    println!("on {}", told["device"]);
    classes(&files, &told["classifier"]);
    boxes(&files, &told["detector"]);
    numbers(&files, &told["two"]);
    errors(&told["errors"]);
}

fn on_cpu(path: PathBuf) -> Model {
    let mut model = Model::load(path).unwrap();
    model.set_device("cpu", Some(1)).unwrap();
    model
}

fn list(values: &Value) -> Vec<f64> {
    values.as_array().unwrap_or_else(|| panic!("{values}")).iter().map(|v| v.as_f64().unwrap()).collect()
}

fn near(what: &str, told: &[f64], ours: &[f32]) {
    assert_eq!(told.len(), ours.len(), "{what}");
    let apart = told.iter().zip(ours).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
    println!("{what}: {} numbers, at most {apart:.1e} apart", ours.len());
    assert!(apart <= APART, "{what}: {told:?} is not {ours:?}");
}

fn classes(files: &Path, told: &Value) {
    let mut model = on_cpu(files.join("classifier.safetensors"));
    let [h, w, c] = models::IMAGE;
    let mut scores = |n: usize, pixels: Vec<u8>| {
        let images = Tensor::from_bytes(DType::U8, &[n, h, w, c], pixels).unwrap();
        model.predict_tensors(&[("image".into(), images)]).unwrap().remove(0).1.to_f32()
    };
    let three: Vec<u8> = (0..3 * h * w * c).map(|i| (i * 7 % 256) as u8).collect();
    let one = h * w * c;
    near("a batch of three", &list(&told["three"]["data"]), &scores(3, three.clone()));
    assert_eq!(list(&told["three"]["shape"]), [3.0, models::CLASSES.len() as f64]);
    near("an example without a shape", &list(&told["one"]["data"]), &scores(1, three[..one].to_vec()));
    near("two at once, first", &list(&told["both"][0]), &scores(1, three[one..2 * one].to_vec()));
    near("two at once, second", &list(&told["both"][1]), &scores(1, three[2 * one..].to_vec()));
    assert!(told["verified"].as_f64().unwrap() <= APART, "{told}");
    assert_eq!(told["classes"], serde_json::json!(models::CLASSES));
    assert_eq!(told["inputs"], serde_json::json!([{"name": "image", "shape": [h, w, c], "dtype": "u8"}]));
    assert_eq!((&told["isDetector"], &told["name"]), (&false.into(), &"colours".into()));

    let mut all = scores(1, decode::image(&files.join("picture0.png"), h, w, c).unwrap());
    let ranked = told["ranked"].as_array().unwrap();
    let probabilities: Vec<f64> = ranked.iter().map(|r| r["probability"].as_f64().unwrap()).collect();
    for (r, p) in ranked.iter().zip(&probabilities) {
        let index = r["index"].as_u64().unwrap() as usize;
        assert_eq!(r["className"], models::CLASSES[index]);
        assert!((p - f64::from(all[index])).abs() <= APART, "{told}");
    }
    all.sort_by(|a, b| b.total_cmp(a));
    near("a picture's classes", &probabilities, &all[..2]);
}

fn boxes(files: &Path, told: &Value) {
    let mut model = on_cpu(files.join("detector.safetensors"));
    assert_eq!(told["isDetector"], true);
    let open = |i| Picture::open(&files.join(format!("picture{i}.png"))).unwrap();
    let pictures: Vec<Picture> = (0..models::PICTURES).map(open).collect();
    let mut ours = model.detect_pictures(&pictures.iter().collect::<Vec<_>>()).unwrap();
    ours.iter_mut().for_each(|found| found.retain(|d| d.score >= models::CONFIDENCE));
    let detection = |d: &Value| {
        let [x, y, width, height] = list(&d["bbox"])[..] else { panic!("{d}") };
        let class = d["index"].as_u64().unwrap() as usize;
        assert_eq!(d["class"], model.info().class_names[class]);
        Detection { rect: Rect { x, y, width, height }, class, score: d["score"].as_f64().unwrap() }
    };
    let each = |found: &Value| found.as_array().unwrap().iter().map(detection).collect();
    let told: Vec<Vec<Detection>> = told["found"].as_array().unwrap().iter().map(each).collect();
    println!("{} boxes in {} pictures", ours.iter().flatten().count(), ours.len());
    assert_eq!(told.len(), ours.len());
    shapes::same(&told, &ours, models::CONFIDENCE + 0.01);
}

fn numbers(files: &Path, told: &Value) {
    let mut model = on_cpu(files.join("two.safetensors"));
    let a: Vec<f32> = (0..8).map(|i| i as f32 / 8.0).collect();
    let inputs = [
        ("a".into(), Tensor::f32(&[2, 4], &a).unwrap()),
        ("b".into(), Tensor::f32(&[2, 4], &[1.0; 8]).unwrap()),
    ];
    let ours = model.predict_tensors(&inputs).unwrap();
    for (told, (name, ours)) in told["outputs"].as_array().unwrap().iter().zip(&ours) {
        assert_eq!(told["name"], name.as_str());
        near(name, &list(&told["data"]), &ours.to_f32());
    }
    assert!(told["verified"].is_null(), "its file has no examples: {told}");
}

fn errors(told: &Value) {
    let expected = [
        ("garbage", "bad.bin: its header claims"),
        ("empty", "fewer than any safetensors file"),
        ("truncated", "it is truncated"),
        ("noBytes", "an ArrayBuffer or a Uint8Array"),
        ("wrongShape", "input 'image' has the shape [1, 2, 2, 3]"),
        ("wrongCount", "data has 7 numbers"),
        ("shapeOfStrings", "whole numbers, the number of examples first"),
        ("noNumbers", "data must be a Float32Array"),
        ("noPicture", "a picture must be an ImageData"),
        ("fewPixels", "8 bytes are no picture of 4 rows and 4 columns"),
        ("noDetector", "the model is no detector"),
        ("detectorAsClassifier", "is a detector; use detect"),
        ("missingInput", "input 'b': data must be a Float32Array"),
        ("noGpu", "this page has no GPU: use a browser with WebGPU"),
    ];
    for (name, part) in expected {
        let message = told[name].as_str().unwrap_or_else(|| panic!("{name}: {told}"));
        assert!(message.contains(part) && !message.contains('\n'), "{name}: {message}");
    }
}
