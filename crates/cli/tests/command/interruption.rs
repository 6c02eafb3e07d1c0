//! Ctrl-C and `kill -9`: what was saved goes on to the very weights of an uninterrupted run.
use crate::support::{self, Place};
use serde_json::Value;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Long enough to be interrupted in, short enough for a test: the sample of CIFAR-10.
fn long_run() -> Place {
    let place = Place::new();
    let recipe = support::TINY
        .replace(
            "[data]\ntrain = \"train\"\ntest = \"test\"\nimage_size = [8, 8]\n",
            "data = \"cifar10-sample\"\n",
        )
        .replace("units = 2", "units = 10")
        .replace("epochs = 4", "epochs = 30");
    place.write("long.toml", &recipe);
    place
}

fn sum(place: &Place, run: &str, more: &[&str]) -> Value {
    let args = [&["fit", "long.toml", "--run", run, "--json"], more].concat();
    let done = place.run(&args).ok().last();
    assert_eq!(done["epochs"], 30);
    done["weights_sha256"].clone()
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Waits until the run has written a checkpoint.
fn until_checkpoint(place: &Place, run: &str) {
    let file = place.path(&format!("runs/{run}/checkpoints/last.safetensors"));
    for _ in 0..15_000 {
        if file.is_file() {
            return;
        }
        sleep(Duration::from_millis(2));
    }
    panic!("no checkpoint after 30 s");
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let place = long_run();
    let whole = sum(&place, "whole", &[]);
    let child = place.start(&["fit", "long.toml", "--run", "cut", "--json"]);
    until_checkpoint(&place, "cut");
    signal("-INT", child.id());
    let ran = place.wait(child);
    assert_eq!(ran.code, 130, "{}", ran.err);
    let last = ran.last();
    assert_eq!(last["event"], "interrupted");
    let program = env!("CARGO_BIN_EXE_thalweg");
    assert_eq!(last["resume"], format!("{program} fit long.toml --run cut --resume"));
    assert_eq!(sum(&place, "cut", &["--resume"]), whole);
    // Once more: there is nothing left to do, and the end is the same.
    assert_eq!(sum(&place, "cut", &["--resume"]), whole);
}

#[test]
fn kill_9_at_any_time_loses_nothing_that_matters() {
    let place = long_run();
    let whole = sum(&place, "whole", &[]);
    // Milliseconds after a checkpoint is there; the last is so late that some runs are over.
    for (i, wait) in [3, 41, 97, 230, 555].into_iter().enumerate() {
        let run = format!("killed{i}");
        let mut more = vec!["fit", "long.toml", "--run", run.as_str(), "--json"];
        for _ in 0..2 {
            let mut child = place.start(&more);
            until_checkpoint(&place, &run);
            sleep(Duration::from_millis(wait));
            child.kill().unwrap();
            child.wait().unwrap();
            if !more.contains(&"--resume") {
                more.push("--resume");
            }
        }
        assert_eq!(sum(&place, &run, &["--resume"]), whole, "killed after {wait} ms");
    }
}

#[test]
fn other_settings_are_refused() {
    let place = long_run();
    let child = place.start(&["fit", "long.toml", "--run", "cut", "--json"]);
    until_checkpoint(&place, "cut");
    signal("-TERM", child.id());
    place.wait(child);
    let ran = place.run(&["fit", "long.toml", "--run", "cut", "--resume", "--batch-size", "8"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("batch size"), "{}", ran.err);
}
