//! A detector from annotated pictures to boxes: it learns squares and discs, its file gives the same boxes again and on a
//! GPU (in software), a training that was broken off ends as if it had not been.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod shapes;

use shapes::{model, pictures, same};
use std::sync::Arc;
use thalweg::data::detection::{Augment, Detection};
use thalweg::data::{Dataset, Picture};
use thalweg::nn::losses::TaskAligned;
use thalweg::nn::optimizers::Adam;
use thalweg::train::callbacks::{DetectionMetrics, SwapEMAWeights};
use thalweg::train::detection::Report;
use thalweg::train::{Compile, Fit, Model};

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
