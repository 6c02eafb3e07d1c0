//! A detector by the command: trained, judged, used; annotated pictures described and drawn; what is wrong said at its place.

use crate::support::Place;
use std::fs;
use thalweg::data::Picture;

const RECIPE: &str = r#"model = "detector_nano"
preprocessing = [{ class_name = "Rescaling", scale = "1/255" }]

[data]
detection = "shapes"
test = "all"
classes = ["bright", "dark"]
image_size = 64
max_boxes = 8

[augmentation]
mosaic = 0.5

[compile]
optimizer = { name = "adamw", learning_rate = 1e-3, use_ema = true }
loss = "task_aligned"

[fit]
epochs = 1
batch_size = 4
validation_data = "test"

[[callbacks]]
name = "SwapEMAWeights"

[[callbacks]]
name = "ModelCheckpoint"
filepath = "best.safetensors"
monitor = "val_ap50"
save_best_only = true
"#;

/// Four pictures of 80 x 60 pixels with two boxes each, as Pascal VOC; one more box has no area.
fn place() -> Place {
    let place = Place::new();
    for part in ["Annotations", "JPEGImages", "ImageSets/Main"] {
        fs::create_dir_all(place.path("shapes").join(part)).unwrap();
    }
    let object = |name: &str, [a, b, c, d]: [usize; 4]| {
        format!(
            "<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        )
    };
    for i in 0..4 {
        let mut picture = Picture::new(80, 60, [120, 120, 120]);
        let boxes = [("bright", [4 + i, 6, 24 + i, 30], 250), ("dark", [44, 20 + i, 70, 50 + i], 10)];
        let mut text = format!("<annotation>\n<filename>{i}.png</filename>\n");
        for (name, [x0, y0, x1, y1], value) in boxes {
            for (y, x) in (y0..y1).flat_map(|y| (x0..x1).map(move |x| (y, x))) {
                picture.pixels_mut()[(y * 80 + x) * 3..][..3].fill(value);
            }
            text += &object(name, [x0, y0, x1, y1]);
        }
        if i == 3 {
            text += &object("dark", [5, 5, 5, 5]);
        }
        picture.save(&place.path(&format!("shapes/JPEGImages/{i}.png"))).unwrap();
        place.write(&format!("shapes/Annotations/{i}.xml"), &(text + "</annotation>\n"));
    }
    place.write("shapes/ImageSets/Main/all.txt", "0\n1\n2\n3\n");
    place.write("shapes.toml", RECIPE);
    place
}

#[test]
fn from_pictures_to_boxes() {
    let place = place();
    let events = place.run(&["fit", "shapes.toml", "--json"]).ok().events();
    let named = |name: &str| events.iter().find(|e| e["event"] == name).cloned().unwrap_or_default();
    assert_eq!((&named("dropped")["annotations"], &named("test")["images"]), (&1.into(), &4.into()));
    assert!(named("test")["AP50"].is_number() && named("done")["model"].is_string(), "{events:?}");
    for file in [
        "worst.png",
        "examples.png",
        "precision_recall.svg",
        "confusion.svg",
        "detections.json",
        "model.safetensors",
    ] {
        assert!(place.path("runs/shapes").join(file).is_file(), "{file}");
    }
    assert!(place.path("best.safetensors").is_file(), "val_ap50 can be watched");
    let model = "runs/shapes/model.safetensors";
    let judged = place.run(&["evaluate", model, "--output", "judged", "--json"]).ok().last();
    assert_eq!((&judged["event"], &judged["AP50"]), (&"evaluate".into(), &named("test")["AP50"]));
    assert!(place.path("judged/detections.json").is_file());

    let args = ["predict", model, "shapes/JPEGImages", "--confidence", "0", "--output", "found", "--json"];
    let found = place.run(&args).ok().events();
    assert_eq!(found.len(), 4);
    let drawn = Picture::open(&place.path("found/0.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (80, 60));
    let records: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.path("found/detections.json")).unwrap()).unwrap();
    let count: usize = found.iter().map(|e| e["detections"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(records.as_array().map(Vec::len), Some(count));
    let own = place.run(&["predict", model, "shapes/JPEGImages", "--output", "shapes/JPEGImages"]);
    assert!(own.code == 2 && own.err.contains("would be overwritten"), "{}", own.err);
    let top = place.run(&["predict", model, "shapes/JPEGImages", "--top", "2"]);
    assert!(top.code == 2 && top.err.contains("--top is for classifiers"), "{}", top.err);
    fs::write(place.path("shapes/JPEGImages/x.png"), "no picture").unwrap();
    let ran = place.run(&args);
    assert_eq!((ran.code, ran.events().len()), (3, 6), "four pictures, a note and the error; {}", ran.err);
}

#[test]
fn pictures_are_described_and_drawn() {
    let place = place();
    let stats = place.run(&["data", "stats", "shapes", "--json"]).ok().last();
    assert_eq!((&stats["pictures"], &stats["objects"]), (&4.into(), &8.into()));
    let problem = stats["problems"][0].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("3.xml:5") && problem.contains("no area"), "{problem}");
    place.run(&["data", "sheet", "shapes", "--count", "3", "--output", "a.png"]).ok();
    place.run(&["data", "sheet", "shapes", "--recipe", "shapes.toml", "--output", "b.png"]).ok();
    assert!(Picture::open(&place.path("a.png")).is_ok() && Picture::open(&place.path("b.png")).is_ok());
    place.run(&["plan", "shapes.toml"]).ok();
    place.run(&["bench", "train", "shapes.toml", "--seconds", "0.1"]).ok();
}

#[test]
fn mistakes_are_said_at_their_place() {
    let place = place();
    let check = |from: &str, to: &str, code: i32, words: &str| {
        assert!(RECIPE.contains(from), "{from}");
        place.write("wrong.toml", &RECIPE.replacen(from, to, 1));
        let ran = place.run(&["fit", "wrong.toml"]);
        assert_eq!(ran.code, code, "{to}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{to}: {}", ran.err);
    };
    check("image_size = 64", "image_size = 65", 2, "use multiples of 32");
    check("image_size = 64\n", "", 2, "needs image_size");
    check("classes = [\"bright\", \"dark\"]\n", "", 2, "needs classes");
    check("mosaic = 0.5", "mosaik = 0.5", 2, "did you mean 'mosaic'?");
    check("mosaic = 0.5", "mosaic = 1.5", 2, "mosaic");
    check("max_boxes = 8", "bad_annotations = \"ignore\"", 2, "wrong.toml:9:");
    check("max_boxes = 8", "bad_annotations = \"error\"", 3, "3.xml:5");
    check("\"dark\"]", "\"grey\"]\nbad_annotations = \"error\"", 3, "the class 'dark' is not known");
    check("\"shapes\"", "\"nowhere\"", 3, "nowhere");
    check("test = \"all\"", "test = \"tset\"", 3, "tset");
    check("validation_data = \"test\"", "validation_data = \"validation\"", 2, "add validation");
    check("validation_data = \"test\"", "validation_split = 0.5", 2, "name a split for it");
    let moved = "scale = \"1/255\" }, { class_name = \"RandomFlip\" }]";
    check("scale = \"1/255\" }]", moved, 2, "say it in [augmentation]");
    check("use_ema = true", "use_ema = false", 2, "use_ema");
    check("loss = \"task_aligned\"", "loss = { name = \"task_aligned\", bins = 16 }", 2, "bins");
    check("\"task_aligned\"", "\"mean_squared_error\"", 2, "needs targets");
    check("detector_nano", "simple_cnn", 2, "needs the predictions");
    check(
        "loss = \"task_aligned\"",
        "loss = \"task_aligned\"\nmetrics = [\"accuracy\"]",
        2,
        "does not judge detections",
    );
}
