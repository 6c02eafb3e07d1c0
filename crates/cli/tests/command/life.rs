//! A model's life by the command alone: train, judge, predict, look at it; from files, with JSON and without.

use crate::support::{self, Place};
use serde_json::{Value, json};
use std::path::Path;

const DONE: [&str; 10] = [
    "event",
    "epochs",
    "steps",
    "images_per_second",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "model",
    "weights_sha256",
];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn train_judge_predict() {
    let place = Place::new();
    place.recipe();
    let fit = place.run(&["fit", "tiny.toml", "--json", "--threads", "2"]).ok();
    let done = fit.last();
    assert_eq!(keys(&done), DONE);
    assert_eq!((&done["event"], &done["epochs"], &done["steps"]), (&json!("done"), &json!(4), &json!(20)));
    assert_eq!(done["model"], "runs/tiny/model.safetensors");
    assert_eq!(done["val_accuracy"], 1.0);
    assert_eq!(done["weights_sha256"].as_str().map(str::len), Some(64));
    assert!(done["images_per_second"].as_f64().unwrap() > 0.0);
    let named = |name: &str| fit.events().iter().filter(|e| e["event"] == name).count();
    assert_eq!((named("start"), named("epoch"), named("test"), named("prediction")), (1, 4, 1, 5));
    let test = fit.events().into_iter().find(|e| e["event"] == "test").unwrap();
    assert_eq!((&test["loss"], &test["accuracy"]), (&done["val_loss"], &done["val_accuracy"]));
    for file in
        ["recipe.toml", "history.csv", "curves.svg", "model.safetensors", "checkpoints/last.safetensors"]
    {
        assert!(place.path("runs/tiny").join(file).is_file(), "{file}");
    }

    let model = "runs/tiny/model.safetensors";
    let judged = place.run(&["evaluate", model, "--json"]).ok().last();
    assert_eq!((&judged["accuracy"], &judged["examples"]), (&json!(1.0), &json!(20)));
    assert_eq!(judged["confusion"], json!([[10, 0], [0, 10]]));
    let other = place.run(&["evaluate", model, "--data", "train", "--json"]).ok().last();
    assert_eq!(other["examples"], 80);
    let text = place.run(&["evaluate", model]).ok().out;
    assert!(text.contains("accuracy: 1.0000") && text.contains("recall"), "{text}");

    let seen = place.run(&["predict", model, "test/red/000.png", "test/blue", "--json"]).ok().events();
    assert_eq!(seen.len(), 11);
    assert_eq!((&seen[0]["class"], &seen[0]["index"]), (&json!("red"), &json!(1)));
    assert!(seen[1..].iter().all(|e| e["class"] == "blue"));
    assert!(seen[0]["probability"].as_f64().unwrap() > 0.5);
    let text = place.run(&["predict", model, "test/red/000.png"]).ok().out;
    assert!(text.starts_with("test/red/000.png: red "), "{text}");
    let boxes = place.run(&["predict", model, "test/red/000.png", "--confidence", "0.5"]);
    assert!(
        boxes.code == 2 && boxes.err.contains("--confidence and --output are for detectors"),
        "{}",
        boxes.err
    );

    let summary = place.run(&["summary", model, "--json"]).ok().events();
    assert_eq!(summary[0]["params"], 4 * 27 + 4 + 36 * 2 + 2);
    assert_eq!(summary[1]["class_names"], json!(["blue", "red"]));
}

#[test]
fn the_same_seed_gives_the_same_weights() {
    let place = Place::new();
    place.recipe();
    let sum = |args: &[&str]| {
        let all = [&["fit", "tiny.toml", "--json", "--epochs", "1"], args].concat();
        place.run(&all).ok().last()["weights_sha256"].clone()
    };
    let first = sum(&[]);
    assert_eq!(sum(&["--threads", "1"]), first);
    assert_ne!(sum(&["--seed", "5"]), first);
    assert_ne!(sum(&["--batch-size", "8"]), first);
    assert_ne!(sum(&["--limit", "60"]), first);
    // Earlier runs are kept.
    assert!(place.path("runs/tiny.4/model.safetensors").is_file());
}

#[test]
fn without_a_terminal_there_is_one_line_an_epoch() {
    let place = Place::new();
    place.recipe();
    let ran = place.run(&["fit", "tiny.toml"]).ok();
    let epochs: Vec<&str> = ran.out.lines().filter(|l| l.starts_with("Epoch ")).collect();
    assert_eq!(epochs.len(), 4, "{}", ran.out);
    assert!(epochs[0].starts_with("Epoch 1/4 ") && epochs[0].contains("val_accuracy: "), "{}", epochs[0]);
    assert!(!ran.out.contains('\x1b') && !ran.out.contains('\r') && ran.err.is_empty(), "{}", ran.err);
    assert!(ran.out.contains("test accuracy: 1.0000"), "{}", ran.out);
    assert!(ran.out.contains("186 parameters, 80 images, batches of 16, 4 epochs, on "), "{}", ran.out);
    let next = format!("next:   {} predict runs/tiny/model.safetensors IMAGE", env!("CARGO_BIN_EXE_thalweg"));
    assert!(ran.out.contains(&next), "{}", ran.out);
    let once = place.run(&["fit", "tiny.toml", "--epochs", "1", "--limit", "1"]).ok().out;
    assert!(once.contains(" 1 image, batches of 16, 1 epoch, on "), "{once}");
}

/// Whatever the crates read from the environment, and not their tests, `--help` names.
#[test]
fn help_names_every_variable() {
    let help = Place::new().run(&["--help"]).ok().out;
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut folders, mut found) = (Vec::new(), 0);
    for name in ["base", "graph", "device", "compile", "data", "nn", "train", "vision", "cli"] {
        folders.push(crates.join(name).join("src"));
    }
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for (at, start) in text.match_indices("\"THALWEG_") {
                let name = text[at + 1..].split('"').next().unwrap_or(start);
                if !["THALWEG_NEED_", "THALWEG_TEST_"].iter().any(|tests| name.starts_with(tests)) {
                    assert!(help.contains(name), "{name} of {} is not in --help", path.display());
                    found += 1;
                }
            }
        }
    }
    assert!(found >= 3, "{found} variables");
}

/// No network, no data: the quick start goes on with the sample and says so.
#[test]
fn the_quick_start_falls_back_to_the_sample() {
    let place = Place::new();
    place.write(
        "quick.toml",
        &support::TINY
            .replace(
                "[data]\ntrain = \"train\"\ntest = \"test\"\nimage_size = [8, 8]\n",
                "data = \"cifar10\"\n",
            )
            .replace("units = 2", "units = 10"),
    );
    let nowhere = place.run(&["fit", "quick.toml", "--data", "sets"]);
    assert!(
        nowhere.code == 3 && nowhere.err.contains("--data sets: there is no such folder"),
        "{}",
        nowhere.err
    );
    std::fs::create_dir(place.path("sets")).unwrap();
    // A proxy that is not there and no npm: nothing can be reached.
    let nowhere = "http://127.0.0.1:9";
    let output = place
        .command(&["fit", "quick.toml", "--json", "--epochs", "1", "--data", "sets"])
        .envs([("HTTPS_PROXY", nowhere), ("https_proxy", nowhere), ("ALL_PROXY", nowhere), ("PATH", "")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("built-in SAMPLE of CIFAR-10") && text.contains("\"instead\":\"cifar10-sample\""),
        "{text}"
    );
    assert!(text.lines().last().unwrap().contains("\"event\":\"done\""), "{text}");
}

#[test]
fn looking_before_running() {
    let place = Place::new();
    place.recipe();
    let plans = place.run(&["plan", "tiny.toml", "--json", "--batch-size", "64"]).ok().events();
    assert_eq!(
        plans.iter().map(|p| p["what"].as_str().unwrap()).collect::<Vec<_>>(),
        ["train", "evaluate", "predict"]
    );
    assert!(plans.iter().all(|p| p["peak_bytes"].as_u64() > Some(0) && p["flops"].as_u64() > Some(0)));
    assert!(plans[0]["state_bytes"].as_u64() > plans[2]["state_bytes"].as_u64());
    let larger =
        place.run(&["plan", "tiny.toml", "--json", "--batch-size", "256", "--what", "train"]).ok().last();
    assert!(larger["peak_bytes"].as_u64() > plans[0]["peak_bytes"].as_u64());

    let text = place.run(&["explain", "tiny.toml"]).ok().out;
    for part in ["── after build", "── after memory", "── kernels", "── memory map", "conv2d"]
    {
        assert!(text.contains(part), "{part}");
    }
    let one = place
        .run(&["explain", "tiny.toml", "--pass", "simplify", "--what", "predict", "--json"])
        .ok()
        .events();
    assert_eq!((one.len(), &one[0]["name"]), (1, &json!("simplify")));

    let text = place.run(&["summary", "tiny.toml"]).ok().out;
    assert!(
        text.contains("conv2d (Conv2D)") && text.contains("[N, 6, 6, 4]") && text.contains("parameters: 186"),
        "{text}"
    );

    let bench = place.run(&["bench", "train", "tiny.toml", "--seconds", "0.4", "--json"]).ok().last();
    assert!(bench["images_per_second"]["median"].as_f64().unwrap() > 0.0);
    let predict = place.run(&["bench", "predict", "tiny.toml", "--seconds", "0.4", "--json"]).ok().last();
    for key in ["images_per_second", "step_us", "latency_us", "planned_mb", "device"] {
        assert!(!predict[key].is_null(), "{key}: {predict}");
    }
}

#[test]
fn the_machine_and_its_data() {
    let place = Place::new();
    place.images("photos", 3);
    let listed = place.run(&["devices", "--json"]).ok();
    let devices = listed.events();
    assert!(devices.iter().any(|d| d["name"] == "cpu" && d["usable"] == true), "{devices:?}");
    let told = place.run(&["doctor"]).ok();
    let text = told.out;
    // Drivers may complain whenever GPUs are looked for: that is done once.
    assert_eq!(told.err, listed.err);
    // Found or not, each kind of device and each library has its line.
    assert!(
        ["cuda", "wgpu", "cpu ", "cuBLASLt", "cuDNN", "free"].iter().all(|part| text.contains(part)),
        "{text}"
    );
    let list = place.run(&["data", "list", "--json"]).ok().events();
    assert!(list.iter().any(|d| d["name"] == "cifar10" && d["there"] == false));
    let stats = place.run(&["data", "stats", "cifar10-sample", "--json"]).ok().events();
    assert_eq!(stats[0]["counts"], json!(vec![100; 10]));
    let own = place.run(&["data", "stats", "photos", "--json"]).ok().last();
    assert_eq!((&own["counts"], &own["class_names"]), (&json!([3, 3]), &json!(["blue", "red"])));
    let rooted = place.command(&["doctor", "--json"]).env("THALWEG_DATA", "/somewhere").output().unwrap();
    assert!(String::from_utf8(rooted.stdout).unwrap().contains("\"root\":\"/somewhere\""));
    let info = place.run(&["data", "info", "cifar10-sample"]).ok().out;
    assert!(info.contains("10 classes: airplane, automobile"), "{info}");
    let script = place.run(&["completions", "bash"]).ok().out;
    assert!(script.contains("_thalweg") && script.contains("--batch-size"));
}
