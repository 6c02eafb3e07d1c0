//! A resumed run is bit by bit the uninterrupted one, wherever it was interrupted.

use crate::support::{blobs, mlp, model};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use thalweg_base::philox::Sequence;
use thalweg_data::{Dataset, Field};
use thalweg_train::callbacks::{EarlyStopping, ReduceLROnPlateau};
use thalweg_train::{End, Fit, Fitted, Model};

/// Raises the flag when so many examples were read: an interruption at any step.
struct Fuse {
    data: Arc<dyn Dataset>,
    left: AtomicUsize,
    flag: Arc<AtomicBool>,
}

impl Dataset for Fuse {
    fn len(&self) -> usize {
        self.data.len()
    }
    fn fields(&self) -> &[Field] {
        self.data.fields()
    }
    fn class_names(&self) -> &[String] {
        self.data.class_names()
    }
    fn describe(&self) -> String {
        self.data.describe()
    }
    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> thalweg_data::Result<()> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1) {
            self.flag.store(true, Ordering::SeqCst);
        }
        self.data.read(index, out)
    }
}

const EPOCHS: usize = 4;

fn fit(epochs: usize) -> Fit {
    Fit::epochs(epochs)
        .batch_size(8)
        .validation_data(blobs(20, 3, 5))
        .loader(thalweg_data::LoaderOptions { workers: 0, prefetch: 1 })
        .callback(ReduceLROnPlateau::new("loss").factor(0.5).patience(1).min_delta(0.5))
        .callback(EarlyStopping::new("val_loss").patience(3).restore_best_weights(true))
}

fn new_model() -> Model {
    model(mlp(6, 3, true), "adam")
}

/// Trains with an interruption after `reads` examples, then to the end in a new process's stead: a new model.
fn interrupted(reads: usize, checkpoint: &Path) -> (Model, Fitted, bool) {
    let flag = Arc::new(AtomicBool::new(false));
    let data = Fuse { data: blobs(45, 3, 1), left: AtomicUsize::new(reads), flag: flag.clone() };
    let mut first = new_model();
    let fitted = first.fit(Arc::new(data), fit(EPOCHS).interrupt(flag).checkpoint_to(checkpoint)).unwrap();
    if fitted.end == End::Complete {
        return (first, fitted, false);
    }
    assert_eq!(fitted.end, End::Interrupted(Some(checkpoint.to_path_buf())));
    drop(first);
    let mut second = new_model();
    let fitted = second.fit(blobs(45, 3, 1), fit(EPOCHS).resume(checkpoint)).unwrap();
    (second, fitted, true)
}

#[test]
fn resumed_anywhere_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    let mut whole = new_model();
    let history = whole.fit(blobs(45, 3, 1), fit(EPOCHS)).unwrap().history;
    let sum = whole.weights_sha256().unwrap();
    let mut random = Sequence::new(3, 4, 5);
    let mut stopped = 0;
    for _ in 0..24 {
        let reads = 17 + random.below(45 * EPOCHS as u32) as usize;
        let (mut model, fitted, was_stopped) = interrupted(reads, &checkpoint);
        stopped += usize::from(was_stopped);
        assert_eq!(fitted.history, history, "interrupted after {reads} reads");
        assert_eq!(model.weights_sha256().unwrap(), sum, "interrupted after {reads} reads");
    }
    assert!(stopped >= 16, "only {stopped} of 24 runs were interrupted");
}

#[test]
fn other_settings_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    new_model().fit(blobs(45, 3, 1), fit(2).checkpoint_to(&checkpoint)).unwrap();
    let mut model = new_model();
    let before = model.weights_sha256().unwrap();
    let mut error = |data, fit: Fit| model.fit(data, fit.resume(&checkpoint)).unwrap_err().to_string();
    let text = error(blobs(45, 3, 1), fit(3).batch_size(9));
    assert!(text.contains("made with batch size 8, and now batch size is 9"), "{text}");
    let text = error(blobs(45, 3, 2), fit(3));
    assert!(text.contains("training data"), "{text}");
    let text = error(blobs(45, 3, 1), fit(3).seed(8));
    assert!(text.contains("seed 7, and now seed is 8"), "{text}");
    let text = error(blobs(45, 3, 1), Fit::epochs(3).batch_size(8));
    assert!(text.contains("callbacks"), "{text}");
    assert_eq!(model.weights_sha256().unwrap(), before);
    // A longer run is the same run.
    let fitted = model.fit(blobs(45, 3, 1), fit(3).resume(&checkpoint)).unwrap();
    assert_eq!(fitted.history.epochs.len(), 3);
    let mut straight = new_model();
    straight.fit(blobs(45, 3, 1), fit(3)).unwrap();
    assert_eq!(model.weights_sha256().unwrap(), straight.weights_sha256().unwrap());
}

/// Checkpoints by steps are as good as those of an interruption: a run that is killed has only those.
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    let copies = folder.path().to_path_buf();
    let (from, saved) = (checkpoint.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = saved.clone();
    let observer = move |event: &thalweg_train::Event<'_>| {
        if let thalweg_train::Event::Saved { checkpoint: true, .. } = event {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            std::fs::copy(&from, copies.join(format!("{n}.safetensors"))).unwrap();
        }
    };
    let mut whole = new_model();
    let watched = fit(2).checkpoint_to(&checkpoint).checkpoint_every_steps(2).observer(observer);
    whole.fit(blobs(45, 3, 1), watched).unwrap();
    let sum = whole.weights_sha256().unwrap();
    let count = saved.load(Ordering::SeqCst);
    assert!(count >= 6, "{count} checkpoints");
    for n in 0..count {
        let mut model = new_model();
        let path = folder.path().join(format!("{n}.safetensors"));
        model.fit(blobs(45, 3, 1), fit(2).resume(&path)).unwrap();
        assert_eq!(model.weights_sha256().unwrap(), sum, "checkpoint {n}");
    }
}

/// An interruption while the validation data are read ends at once, and going on is the uninterrupted run.
#[test]
fn validation_is_interrupted_too() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    let mut whole = new_model();
    let history = whole.fit(blobs(45, 3, 1), fit(EPOCHS)).unwrap().history;
    // Validation reads 20 examples an epoch: once in its first batch, once in its last one of the last epoch.
    for reads in [3, 20 * EPOCHS - 14] {
        let flag = Arc::new(AtomicBool::new(false));
        let left = AtomicUsize::new(reads);
        let validation = Arc::new(Fuse { data: blobs(20, 3, 5), left, flag: flag.clone() });
        let mut first = new_model();
        let stopping = fit(EPOCHS).validation_data(validation).interrupt(flag).checkpoint_to(&checkpoint);
        let fitted = first.fit(blobs(45, 3, 1), stopping).unwrap();
        assert_eq!(fitted.end, End::Interrupted(Some(checkpoint.clone())), "{reads}");
        assert_eq!(fitted.history.epochs.len(), (reads - 1) / 20, "{reads}");
        let mut second = new_model();
        let fitted = second.fit(blobs(45, 3, 1), fit(EPOCHS).resume(&checkpoint)).unwrap();
        assert_eq!(fitted.history, history, "{reads}");
        assert_eq!(second.weights_sha256().unwrap(), whole.weights_sha256().unwrap(), "{reads}");
    }
}

/// What a callback has ended stays ended: a run killed after its last checkpoint is not trained further.
#[test]
fn a_stopped_run_stays_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    let stopping = |epochs| {
        let callback = EarlyStopping::new("loss").min_delta(10.0).patience(2).restore_best_weights(true);
        Fit::epochs(epochs).batch_size(8).callback(callback).checkpoint_to(&checkpoint)
    };
    let mut whole = new_model();
    let ended = whole.fit(blobs(45, 3, 1), stopping(9)).unwrap();
    let mut again = new_model();
    let resumed = again.fit(blobs(45, 3, 1), stopping(9).resume(&checkpoint)).unwrap();
    assert_eq!((resumed.history, resumed.end), (ended.history, ended.end));
    assert_eq!(again.weights_sha256().unwrap(), whole.weights_sha256().unwrap());
}
