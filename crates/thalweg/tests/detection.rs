//! A detector from annotated pictures to boxes: it learns squares and discs, its file gives the same boxes again and on a
//! GPU (in software), a training that was broken off ends as if it had not been.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use thalweg::data::detection::{self, Augment, Detection, DetectionSet, Options, Shape};
use thalweg::data::{Dataset, Picture};
use thalweg::graph::philox::Sequence;
use thalweg::nn::ModelConfig;
use thalweg::nn::layers::{AnyLayer, Rescaling};
use thalweg::nn::losses::TaskAligned;
use thalweg::nn::optimizers::Adam;
use thalweg::train::callbacks::{DetectionMetrics, SwapEMAWeights};
use thalweg::train::detection::Report;
use thalweg::train::{Compile, Fit, Model};
use thalweg::vision::detector::{DetectorSize, NANO, detector};

const SIDE: usize = 64;
const CLASSES: [&str; 2] = ["square", "disc"];

/// Pictures with one to three shapes, in YOLO form.
fn draw(folder: &Path, count: usize, seed: u32) {
    let mut random = Sequence::new(u64::from(seed), 9, 0);
    for part in ["images", "labels"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::write(folder.join("classes.txt"), CLASSES.join("\n")).unwrap();
    for number in 0..count {
        let mut picture = Picture::new(SIDE, SIDE, [90, 100, 110]);
        let mut labels = String::new();
        for slot in 0..1 + random.below(3) as usize {
            // Each in a quarter of its own.
            let size = 14 + random.below(14) as usize;
            let room = (32 - size) as u32;
            let x = slot % 2 * 32 + random.below(room) as usize;
            let y = slot / 2 * 32 + random.below(room) as usize;
            let class = random.below(2) as usize;
            let half = size as f64 / 2.0;
            for (row, column) in (0..size).flat_map(|r| (0..size).map(move |c| (r, c))) {
                let (dy, dx) = (row as f64 + 0.5 - half, column as f64 + 0.5 - half);
                if class == 0 || dx * dx + dy * dy <= half * half {
                    let at = ((y + row) * SIDE + x + column) * 3;
                    picture.pixels_mut()[at..at + 3].copy_from_slice(&[[220, 60, 40], [40, 90, 230]][class]);
                }
            }
            let part = |from: usize| (from as f64 + half) / SIDE as f64;
            let share = size as f64 / SIDE as f64;
            labels += &format!("{class} {} {} {share} {share}\n", part(x), part(y));
        }
        picture.save(&folder.join(format!("images/{number:03}.png"))).unwrap();
        fs::write(folder.join(format!("labels/{number:03}.txt")), labels).unwrap();
    }
}

fn pictures(folder: &Path, count: usize, seed: u32) -> DetectionSet {
    draw(folder, count, seed);
    let annotations = detection::open(folder, None, &Options::default()).unwrap();
    assert!(annotations.problems.is_empty(), "{:?}", annotations.problems);
    DetectionSet::new(annotations, Shape { boxes: 8, ..Shape::new(SIDE, SIDE) }).unwrap()
}

/// The smallest detector, bytes to numbers first.
fn config() -> ModelConfig {
    let size = DetectorSize { width: 0.125, ..NANO };
    let mut config = detector(&size, [SIDE, SIDE, 3], CLASSES.len()).unwrap();
    let input = config.layers.iter_mut().find(|l| l.name == "image").unwrap();
    input.config.insert("dtype".into(), "uint8".into());
    let mut scale = config.layers[1].clone();
    let rescaling = Rescaling::new(1.0 / 255.0);
    (scale.name, scale.class_name) = ("scale".into(), "Rescaling".into());
    scale.config = AnyLayer::from(rescaling).get().config();
    scale.inbound = vec![vec![thalweg::nn::TensorRef::first("image")]];
    for link in config.layers.iter_mut().flat_map(|l| l.inbound.iter_mut().flatten()) {
        if link.layer == "image" {
            *link = thalweg::nn::TensorRef::first("scale");
        }
    }
    config.layers.insert(1, scale);
    config
}

fn model() -> Model {
    let mut model = Model::from_config(config(), 3).unwrap();
    let adam = thalweg::nn::optimizers::Optimizer::from(Adam::default()).learning_rate(0.004).ema(0.95);
    model.compile(Compile::new(adam, TaskAligned::default())).unwrap();
    model.set_device("cpu", Some(2)).unwrap();
    model
}

/// Boxes and scores differ by at most a tenth of a pixel and a thousandth.
fn same(a: &[Vec<Detection>], b: &[Vec<Detection>], least: f64) {
    among(a, b, least);
    among(b, a, least);
}

/// Every box of `a` is one of its own of `b`.
fn among(a: &[Vec<Detection>], b: &[Vec<Detection>], least: f64) {
    let mut compared = 0;
    for (a, b) in a.iter().zip(b) {
        let mut free = b.clone();
        for one in a.iter().filter(|d| d.score >= least) {
            let close = |other: &&Detection| {
                let corners =
                    one.rect.corners().iter().zip(other.rect.corners()).all(|(x, y)| (x - y).abs() < 0.1);
                corners && one.class == other.class && (one.score - other.score).abs() < 1e-3
            };
            let at = free.iter().position(|other| close(&other));
            free.remove(at.unwrap_or_else(|| panic!("{one:?} is not among {b:?}")));
            compared += 1;
        }
    }
    assert!(compared > 5, "hardly anything was found");
}

#[test]
fn shapes_are_learnt_and_found() {
    let temp = tempfile::tempdir().unwrap();
    let set = pictures(&temp.path().join("train"), 48, 1);
    let test = pictures(&temp.path().join("test"), 16, 2);
    let augment = Augment { mosaic: 0.25, plain_epochs: 6, ..Augment::default() };
    let train: Arc<dyn Dataset> = Arc::new(set.augmented(augment, 5).unwrap());
    let judged = Arc::new(test.clone());
    let fit = |epochs: usize| {
        Fit::epochs(epochs)
            .batch_size(8)
            .validation_data(Arc::clone(&judged) as Arc<dyn Dataset>)
            .callback(DetectionMetrics::new(Arc::clone(&judged)))
            .callback(SwapEMAWeights::default())
            .run_folder(temp.path().join("run"))
    };
    let mut first = model();
    let history = first.fit(Arc::clone(&train), fit(30)).unwrap().history;
    let last = history.last().unwrap();
    assert!(last.get("val_ap50").unwrap() > 0.7, "{last:?}");
    let found = first.detect(&test).unwrap();
    let report = Report::new(test.annotations(), &found).unwrap();
    // Training ends with the means, by which the last epoch was judged.
    assert_eq!(report.coco.get("AP50"), last.get("val_ap50"));
    assert_eq!((report.curves.len(), report.worst.len()), (2, 16));

    // Pictures one by one, and by the file: the same boxes.
    let path = temp.path().join("run/model.safetensors");
    let mut second = Model::load(&path).unwrap();
    second.set_device("cpu", Some(1)).unwrap();
    let opened: Vec<Picture> =
        test.annotations().images.iter().map(|i| Picture::open(&i.path).unwrap()).collect();
    let each: Vec<Vec<Detection>> =
        opened.iter().map(|p| second.detect_pictures(&[p]).unwrap().remove(0)).collect();
    same(&found, &each, 0.2);
    match second
        .set_device("wgpu", None)
        .and_then(|()| second.detect_pictures(&opened.iter().collect::<Vec<_>>()))
    {
        Ok(elsewhere) => same(&found, &elsewhere, 0.2),
        Err(error) => eprintln!("SKIPPED on wgpu: {error}"),
    }
    let error =
        Model::from_config(thalweg::vision::lenet5([28, 28, 1], 10).unwrap(), 0).unwrap().detect(&test);
    assert!(error.unwrap_err().to_string().contains("no detector"));
}

#[test]
fn a_broken_off_training_ends_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let set = pictures(temp.path(), 20, 4);
    let train: Arc<dyn Dataset> = Arc::new(set.augmented(Augment::default(), 5).unwrap());
    let whole = {
        let mut model = model();
        model
            .fit(Arc::clone(&train), Fit::epochs(4).batch_size(8).callback(SwapEMAWeights::default()))
            .unwrap();
        model.weights_sha256().unwrap()
    };
    let interrupt = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let run = temp.path().join("run");
    let fit = || Fit::epochs(4).batch_size(8).callback(SwapEMAWeights::default()).run_folder(&run);
    let mut broken = model();
    let mut resume = None;
    // Every run is broken off at its first step, until there are none left.
    for _ in 0..5 {
        let plan = fit().interrupt(Arc::clone(&interrupt));
        let plan = match &resume {
            Some(path) => plan.resume(path),
            None => plan,
        };
        match broken.fit(Arc::clone(&train), plan).unwrap().end {
            thalweg::train::End::Interrupted(path) => resume = path,
            _ => break,
        }
        broken = model();
    }
    let path: std::path::PathBuf = resume.unwrap();
    let mut last = model();
    last.fit(Arc::clone(&train), fit().resume(&path)).unwrap();
    assert_eq!(last.weights_sha256().unwrap(), whole);
}

#[test]
fn averages_need_an_optimizer_that_keeps_them() {
    let temp = tempfile::tempdir().unwrap();
    let set = pictures(temp.path(), 8, 6);
    let mut model = model();
    model.compile(Compile::new(Adam::default(), TaskAligned::default())).unwrap();
    let error = model.fit(Arc::new(set), Fit::epochs(1).callback(SwapEMAWeights::default())).unwrap_err();
    assert!(error.to_string().contains("use_ema"), "{error}");
}
