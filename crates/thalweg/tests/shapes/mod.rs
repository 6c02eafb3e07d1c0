//! Squares and discs: small pictures with boxes, and the smallest detector, which learns to find them.

use std::fs;
use std::path::Path;
use thalweg::data::Picture;
use thalweg::data::detection::{self, Detection, DetectionSet, Options, Shape};
use thalweg::graph::philox::Sequence;
use thalweg::nn::ModelConfig;
use thalweg::nn::layers::{AnyLayer, Rescaling};
use thalweg::nn::losses::TaskAligned;
use thalweg::nn::optimizers::Adam;
use thalweg::train::{Compile, Model};
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

pub fn pictures(folder: &Path, count: usize, seed: u32) -> DetectionSet {
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

pub fn model() -> Model {
    let mut model = Model::from_config(config(), 3).unwrap();
    let adam = thalweg::nn::optimizers::Optimizer::from(Adam::default()).learning_rate(0.004).ema(0.95);
    model.compile(Compile::new(adam, TaskAligned::default())).unwrap();
    model.set_device("cpu", Some(2)).unwrap();
    model
}

/// Boxes and scores differ by at most a tenth of a pixel and a thousandth.
pub fn same(a: &[Vec<Detection>], b: &[Vec<Detection>], least: f64) {
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
