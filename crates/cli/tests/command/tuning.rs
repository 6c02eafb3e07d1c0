//! `thalweg tune`: once on a GPU, which may be a program, and not at all on the CPU.

use super::support::Place;
use std::fs;

#[test]
fn the_cpu_has_nothing_to_tune() {
    let place = Place::new();
    place.recipe();
    let ran = place.run(&["tune", "tiny.toml", "--device", "cpu"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("cpu has nothing to tune; name a GPU with --device"), "{}", ran.err);
}

#[test]
fn what_is_tuned_is_known_to_later_commands() {
    let place = Place::new();
    place.recipe();
    let there = place.run(&["devices"]).ok().out.lines().any(|l| l.starts_with("wgpu:0"));
    if !there {
        assert!(std::env::var_os("THALWEG_NEED_WGPU").is_none(), "no adapter");
        return println!("skipped: no adapter");
    }
    let tune = ["tune", "tiny.toml", "--device", "wgpu", "--what", "predict", "--batch-size", "4", "--json"];
    let events = place.run(&tune).ok().events();
    let (last, products) = events.split_last().unwrap();
    assert_eq!((&last["event"], &last["known"], &last["left"]), (&"tuned".into(), &0.into(), &0.into()));
    let measured = last["measured"].as_u64().unwrap();
    assert!(measured >= 1 && last["products"] == measured, "{last}");
    for product in products.iter().filter(|e| e["event"] == "product") {
        assert!(product["ways"].as_u64() >= Some(2), "{product}");
    }
    let again = place.run(&tune).ok().last();
    assert_eq!((&again["known"], &again["measured"]), (&measured.into(), &0.into()), "{again}");
    let told = format!("{measured} tuned product");
    assert!(place.run(&["devices"]).ok().out.contains(&told));
    // A file that is damaged counts as not there.
    let files = fs::read_dir(place.path(".cache/thalweg/tuned")).unwrap().map(|f| f.unwrap().path());
    for file in files {
        fs::write(file, b"\xff\0 not a tuning").unwrap();
    }
    assert!(!place.run(&["devices"]).ok().out.contains("tuned"));
    // What cannot be kept is told.
    let folder = place.path(".cache/thalweg/tuned");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "not a folder").unwrap();
    let ran = place.run(&tune);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("what was found could not be kept in ") && ran.err.contains("tuned"),
        "{}",
        ran.err
    );
    fs::remove_file(&folder).unwrap();
    place
        .run(&["bench", "predict", "tiny.toml", "--device", "wgpu", "--batch-size", "4", "--seconds", "0.1"])
        .ok();
}
