//! What the command says to mistakes, and the exit code that scripts see.

use crate::support::{self, Place};

#[track_caller]
fn check(place: &Place, args: &[&str], code: i32, words: &str) {
    let ran = place.run(args);
    assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
    assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

#[test]
fn every_kind_of_fault_has_its_code() {
    let place = Place::new();
    place.recipe();
    check(&place, &["fit"], 2, "RECIPE");
    check(&place, &["fitt", "tiny.toml"], 2, "fit");
    check(&place, &["fit", "tiny.toml", "--epochs", "0"], 2, "from 1 to 1,000,000,000");
    check(&place, &["fit", "tiny.toml", "--epochs", "-1"], 2, "");
    check(&place, &["fit", "none.toml"], 2, "cannot read the recipe none.toml");
    check(&place, &["fit", "tiny.toml", "--run", "../x"], 2, "plain name");
    check(&place, &["fit", "tiny.toml", "--resume"], 2, "there is no run runs/tiny to go on with");
    check(&place, &["fit", "tiny.toml", "--device", "tpu"], 4, "device 'tpu'");
    check(&place, &["fit", "tiny.toml", "--device", "cdua"], 4, "device 'cdua'; did you mean 'cuda'?");
    check(&place, &["fit", "tiny.toml", "--device", "null"], 4, "null computes nothing");
    assert!(!place.path("runs").exists());
    check(&place, &["fit", "tiny.toml", "--device", "cuda:99"], 4, "cuda:99: ");
    check(&place, &["fit", "tiny.toml", "--device", "wgpu:99"], 4, "wgpu:99: ");
    check(&place, &["explain", "tiny.toml", "--pass", "fues"], 2, "pass 'fues' is not known");
    check(&place, &["data", "info", "cifar11"], 2, "did you mean 'cifar10'?");
    check(&place, &["data", "info", "cifar10"], 3, "fetch it with `thalweg data get cifar10`");
    check(&place, &["evaluate", "none.safetensors"], 1, "none.safetensors");
    check(&place, &["evaluate", "tiny.toml"], 2, "tiny.toml is a recipe");
    std::fs::write(place.path("bytes.toml"), [0xff, 0xfe]).unwrap();
    check(&place, &["fit", "bytes.toml"], 2, "bytes.toml is no recipe");
    place.write("wrong.toml", &support::TINY.replace("batch_size", "bach_size"));
    check(
        &place,
        &["fit", "wrong.toml"],
        2,
        "wrong.toml:35:1: [fit] has no key 'bach_size'; did you mean 'batch_size'?",
    );
    place.write("bare.toml", &support::TINY.replace("[[layers]]\nclass_name = \"Flatten\"", ""));
    check(&place, &["summary", "bare.toml"], 2, "Dense got [N, 3, 3, 4]; put a Flatten");
}

#[test]
fn data_that_do_not_fit() {
    let place = Place::new();
    place.recipe();
    place.write("none.toml", &support::TINY.replace("train = \"train\"", "train = \"elsewhere\""));
    check(&place, &["fit", "none.toml"], 3, "elsewhere is not there");
    place.write("one.toml", &support::TINY.replace("units = 2", "units = 1"));
    check(&place, &["fit", "one.toml"], 2, "use binary_crossentropy");
    std::fs::write(place.path("train/red/000.png"), b"no image").unwrap();
    check(&place, &["fit", "tiny.toml"], 3, "not a readable image");
    place.write("cut.safetensors", "{}");
    check(&place, &["predict", "cut.safetensors", "x.png"], 1, "cut.safetensors");
}

#[test]
fn with_json_a_fault_is_an_event_too() {
    let place = Place::new();
    place.recipe();
    let ran = place.run(&["fit", "tiny.toml", "--device", "tpu", "--json"]);
    assert_eq!(ran.code, 4);
    let error = ran.last();
    assert_eq!((error["event"].as_str(), error["code"].as_u64()), (Some("error"), Some(4)));
}
