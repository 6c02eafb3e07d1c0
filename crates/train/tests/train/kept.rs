//! Data on the device change no bit of a training, are checked as on the host, and make way where there is no room.

use crate::asking::{Asking, Given};
use crate::interpreted::Interpreted;
use crate::support::{Notes, blobs, mlp};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use thalweg_base::philox::Sequence;
use thalweg_data::{Arrays, Dataset};
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::{Device, open};
use thalweg_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D, Rescaling};
use thalweg_nn::{ModelConfig, Sequential};
use thalweg_testkit::gpu::{InterpretedGpu, SoftwareCuda};
use thalweg_train::callbacks::{Callback, StepContext};
use thalweg_train::{Compile, End, Event, Fit, Fitted, Kind, Model, OnNan, Result};

/// A compiled model on a device, which asks for data or not, and what that was given.
fn on(device: Box<dyn Device>, keeps_data: bool, config: ModelConfig) -> (Model, Arc<Given>) {
    let mut model = Model::from_config(config, 7).unwrap();
    let compile = Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"]).unwrap();
    model.compile(compile).unwrap();
    let device = Asking::new(device, keeps_data);
    let given = Arc::clone(&device.given);
    model.use_device(Box::new(device)).unwrap();
    (model, given)
}

fn slow(keeps_data: bool) -> Model {
    on(Box::<Interpreted>::default(), keeps_data, mlp(6, 3, true)).0
}

/// A device by name, if it is there.
fn device(name: &str) -> Option<Box<dyn Device>> {
    Some(match name {
        "plans" => Box::<Interpreted>::default(),
        "kernels" => Box::new(InterpretedGpu::new(Abilities::LEAST)),
        name => open(name, Some(2)).map_err(|e| println!("skipped: {e}")).ok()?,
    })
}

/// Images of bytes in three shades, the labels as floats, with weights.
fn images(n: usize, weights: bool) -> Arc<dyn Dataset> {
    let mut random = Sequence::new(5, 9, 0);
    let pixels: Vec<u8> = (0..n * 48).map(|i| (80 * (i / 48 % 3) as u32 + random.below(90)) as u8).collect();
    let labels = (0..n).map(|i| (i % 3) as i32).collect::<Vec<_>>();
    let data = Arrays::new().input("image", &[4, 4, 3], pixels).target("y", &[], labels).name("shades");
    let weights = weights.then(|| (0..n).map(|i| 0.5 + (i % 4) as f32).collect());
    Arc::new(weights.into_iter().fold(data, |d, w| d.sample_weight(w)).build().unwrap())
}

fn small_cnn() -> ModelConfig {
    Sequential::new()
        .input(&[4, 4, 3])
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(4, 3).padding("same").activation("relu"))
        .add(MaxPooling2D::new())
        .add(Flatten::new())
        .add(Dense::new(3).activation("softmax"))
        .build()
        .unwrap()
}

/// All that a training gives: its weights' sum, what it said.
fn trained(model: &mut Model, data: Arc<dyn Dataset>, fit: Fit) -> (String, Fitted, bool) {
    let notes = Notes::default();
    let fitted = model.fit(data, fit.observer(notes.clone())).unwrap();
    let there = notes.with("TrainBegin")[0].contains("data_there: true");
    let session = model.session().unwrap();
    assert!(session.state_names().all(|n| !n.starts_with(":data/")), "data were not given back");
    assert_eq!(session.planned_bytes(), session.memory().total());
    (model.weights_sha256().unwrap(), Fitted { seconds: 0.0, ..fitted }, there)
}

/// Whole trainings on a device, with the data there and without.
fn no_bit_changes(name: &str) {
    if device(name).is_none() {
        return;
    }
    let fit = |shuffle: bool| Fit::epochs(2).batch_size(8).shuffle(shuffle);
    // A compiler in software takes seconds for every kernel.
    let all = std::env::var_os("SOFTWARE_CUDA").is_none();
    let run = |keeps_data: bool| {
        let (mut model, _) = on(device(name).unwrap(), keeps_data, mlp(6, 3, true));
        // 45 examples: the last batch has five.
        let validated = fit(true).validation_data(blobs(20, 3, 5));
        let mut done = vec![trained(&mut model, blobs(45, 3, 1), validated)];
        if all {
            done.push(trained(&mut model, blobs(45, 3, 1), fit(false).steps_per_epoch(4)));
            // Fewer than a batch.
            done.push(trained(&mut model, blobs(7, 3, 1), fit(true).class_weight(&[(1, 3.0)])));
        }
        let (mut model, _) = on(device(name).unwrap(), keeps_data, small_cnn());
        if all {
            done.push(trained(&mut model, images(45, true), fit(true)));
        }
        done.push(trained(&mut model, images(24, true), fit(true).class_weight(&[(2, 0.5)])));
        done
    };
    for (n, (a, b)) in run(false).into_iter().zip(run(true)).enumerate() {
        assert!(!a.2 && b.2, "{name}, training {n}: data there {} and {}", a.2, b.2);
        assert_eq!((a.0, a.1), (b.0, b.1), "{name}, training {n}");
    }
}

#[test]
fn no_bit_changes_anywhere() {
    ["plans", "kernels", "cpu", "wgpu"].into_iter().for_each(no_bit_changes);
}

#[test]
fn no_bit_changes_on_cuda() {
    no_bit_changes("cuda");
}

/// The same with a driver in software.
#[test]
fn no_bit_changes_on_cuda_in_software() {
    match SoftwareCuda::new() {
        Ok(software) => {
            let run = software.run_test("kept::no_bit_changes_on_cuda", &[]).unwrap();
            let told = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
            let ran = run.status.success() && told.contains("1 passed") && !told.contains("skipped");
            assert!(ran, "{}: {told}", run.status);
        }
        Err(e) if std::env::var_os("THALWEG_NEED_CXX").is_none() => println!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}

/// The host writes what an epoch needs, and not what a step does; steps are started several at a time.
#[test]
fn an_epoch_is_a_few_words_to_the_device() {
    let count = |n: usize| {
        let (mut model, given) = on(Box::<Interpreted>::default(), true, mlp(6, 3, false));
        let fit = Fit::epochs(1).batch_size(8).validation_data(blobs(n / 2, 3, 5));
        model.fit(blobs(n, 3, 1), fit).unwrap();
        [&given.writes, &given.starts, &given.runs].map(|c| c.load(SeqCst))
    };
    let ([few, _, _], [many, starts, runs]) = (count(80), count(1600));
    assert_eq!(few, many);
    assert!(runs >= 300 && starts < runs / 2, "{starts} starts of {runs} runs");
}

/// Raises a flag after some steps, goes on in a new model, with the data on the device or not.
#[test]
fn resumed_anywhere_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("last.safetensors");
    let data = || blobs(45, 3, 1);
    let fit = || Fit::epochs(4).batch_size(8);
    let (sum, whole, _) = trained(&mut slow(false), data(), fit());
    let mut stopped = 0;
    for steps in (1..24).step_by(2) {
        let (mut first, given) = on(Box::<Interpreted>::default(), true, mlp(6, 3, true));
        given.fuse.store(steps, SeqCst);
        let ended = first.fit(data(), fit().interrupt(Arc::clone(&given.flag)).checkpoint_to(path)).unwrap();
        if ended.end == End::Complete {
            continue;
        }
        stopped += 1;
        for keeps_data in [true, false] {
            let mut second = slow(keeps_data);
            let (found, fitted, there) = trained(&mut second, data(), fit().resume(path));
            assert_eq!((found, there), (sum.clone(), keeps_data), "after {steps} steps");
            assert_eq!(fitted.history, whole.history, "after {steps} steps");
        }
    }
    assert!(stopped >= 10, "only {stopped} runs were interrupted");
}

#[test]
fn an_unknown_label_is_refused_as_from_the_host() {
    let x = vec![0.5f32; 80];
    let y: Vec<i32> = (0..40).map(|i| if i == 37 { 3 } else { i % 3 }).collect();
    let data =
        Arc::new(Arrays::new().input("x", &[2], x).target("y", &[], y).name("points").build().unwrap());
    let refused = |keeps_data: bool| {
        let mut model = slow(keeps_data);
        let told = model.fit(data.clone(), Fit::epochs(1).batch_size(8)).unwrap_err().to_string();
        (told, model.weights_sha256().unwrap(), model)
    };
    let ((from_host, wanted, _), (told, weights, mut model)) = (refused(false), refused(true));
    assert!(told.contains("example 37 has the label 3"), "{told}");
    assert_eq!((told, weights), (from_host, wanted));
    // Nothing is left of it.
    let session = model.session().unwrap();
    assert_eq!(session.planned_bytes(), session.memory().total());
    model.fit(blobs(45, 3, 1), Fit::epochs(1)).unwrap();
}

#[test]
fn a_bad_batch_is_found_and_passed_over() {
    let mut x: Vec<f32> = (0..160).map(|i| (i as f32 * 0.7).sin()).collect();
    x[2 * 41] = f32::NAN;
    let y: Vec<i32> = (0..80).map(|i| i % 3).collect();
    let data: Arc<dyn Dataset> =
        Arc::new(Arrays::new().input("x", &[2], x).target("y", &[], y).name("points").build().unwrap());
    let fit = || Fit::epochs(3).batch_size(8);
    let run = |keeps_data: bool| {
        let told = slow(keeps_data).fit(data.clone(), fit()).unwrap_err().to_string();
        (told, trained(&mut slow(keeps_data), data.clone(), fit().on_nan(OnNan::Skip)))
    };
    let ((told, kept), (from_host, read)) = (run(true), run(false));
    assert!(told.contains("field 'x' of example 41 of points"), "{told}");
    assert_eq!((told, kept.0, kept.1), (from_host, read.0, read.1));
    assert!(kept.2);
}

/// Notes the steps that it is told of.
struct Every(usize, Arc<Mutex<Vec<(usize, usize)>>>);

impl Callback for Every {
    fn name(&self) -> String {
        format!("Every{}", self.0)
    }
    fn every_steps(&self) -> Option<usize> {
        Some(self.0)
    }
    fn on_step_end(&mut self, context: &mut StepContext<'_>) -> Result<()> {
        self.1.lock().unwrap().push((context.epoch, context.batch));
        Ok(())
    }
}

#[test]
fn callbacks_hear_of_their_steps() {
    let heard = |keeps_data: bool| {
        let (threes, fives) = (Arc::default(), Arc::default());
        let fit = Fit::epochs(2).batch_size(4).callback(Every(3, Arc::clone(&threes)));
        trained(&mut slow(keeps_data), blobs(45, 3, 1), fit.callback(Every(5, Arc::clone(&fives))));
        (threes.lock().unwrap().clone(), fives.lock().unwrap().clone())
    };
    let (threes, fives) = heard(true);
    assert_eq!((threes.len(), fives.len()), (8, 4));
    assert_eq!(heard(false), (threes, fives));
}

#[test]
fn data_that_do_not_fit_stay_on_the_host() {
    let wanted = trained(&mut slow(false), blobs(45, 3, 1), Fit::epochs(2).batch_size(8));
    // A quarter of the room; what an allocation may be.
    // The order has 192 bytes, the positions 360.
    for (room, most, there) in
        [(None, usize::MAX, true), (Some(1000), usize::MAX, false), (None, 45 * 4, false), (None, 200, false)]
    {
        let (mut model, _) = on(Box::<Interpreted>::default(), true, mlp(6, 3, true));
        let device = Asking { room, most, ..Asking::new(Box::<Interpreted>::default(), true) };
        model.use_device(Box::new(device)).unwrap();
        let data = blobs(45, 3, 1);
        let spec = model.program_spec(&*data, 8, false, 7).unwrap();
        assert_eq!(model.keep_data(Kind::Train, &data, &spec).unwrap().is_some(), there);
        let session = model.session().unwrap();
        assert_eq!(
            session.state_names().any(|n| n.starts_with(":data/")),
            there,
            "half of the data was left"
        );
        assert_eq!(session.planned_bytes(), session.memory().total());
        model.give_back_data();
        let found = trained(&mut model, blobs(45, 3, 1), Fit::epochs(2).batch_size(8));
        assert_eq!(
            (found.0, found.1, found.2),
            (wanted.0.clone(), wanted.1.clone(), there),
            "{room:?} {most}"
        );
    }
}

/// A device on which programs that read kept data of one kind have no room.
#[test]
fn data_make_way_for_programs() {
    let fit = || Fit::epochs(2).batch_size(8).validation_data(blobs(30, 3, 2));
    let wanted = trained(&mut slow(false), blobs(45, 3, 1), fit());
    let (mut model, _) = on(Box::<Interpreted>::default(), true, mlp(6, 3, true));
    let full = Asking { full: Some("evaluate"), ..Asking::new(Box::<Interpreted>::default(), true) };
    model.use_device(Box::new(full)).unwrap();
    let found = trained(&mut model, blobs(45, 3, 1), fit());
    assert_eq!((found.0, found.1, found.2), (wanted.0, wanted.1, false));
}

/// A layer may be called as our own names begin.
#[test]
fn a_layer_called_data_keeps_its_weights() {
    for keeps_data in [false, true] {
        let config = Sequential::new().input(&[2]).add(Dense::new(3).name("data").activation("softmax"));
        let (mut model, _) = on(Box::<Interpreted>::default(), keeps_data, config.build().unwrap());
        model.fit(blobs(45, 3, 1), Fit::epochs(1).batch_size(8)).unwrap();
        assert_eq!(model.weights().unwrap().len(), 2);
    }
}

/// What is planned with data is what is held, and all is as before once they are given back.
#[test]
fn memory_is_planned_with_the_data_in_it() {
    let data = images(45, false);
    let (mut model, _) = on(Box::new(InterpretedGpu::new(Abilities::LEAST)), true, small_cnn());
    let spec = model.program_spec(&*data, 8, false, 7).unwrap();
    let held = |m: &mut Model| (m.planned_bytes().unwrap(), m.memory().unwrap().total());
    model.program(Kind::Train, &spec).unwrap();
    let before = held(&mut model);
    assert!(model.keep_data(Kind::Train, &data, &spec).unwrap().is_some());
    let with = held(&mut model);
    assert_eq!(with.0, with.1);
    // Images, labels, the order of six rows.
    assert!(with.0 >= before.0 + 45 * 52 + 48 * 4, "{before:?} {with:?}");
    model.give_back_data();
    assert_eq!(held(&mut model), before);
}

/// Progress is told ten times a second at most, however many steps that is.
#[test]
fn progress_is_told_at_its_pace() {
    let told = Arc::new(Mutex::new(0u32));
    let count = Arc::clone(&told);
    let observer = move |event: &Event<'_>| {
        *count.lock().unwrap() += u32::from(matches!(event, Event::Progress { .. }));
    };
    let began = Instant::now();
    slow(true).fit(blobs(3000, 3, 1), Fit::epochs(1).batch_size(1).observer(observer)).unwrap();
    let (seconds, told) = (began.elapsed().as_secs_f64(), *told.lock().unwrap());
    assert!(f64::from(told) <= 10.0 * seconds && (told > 0 || seconds < 0.3), "{told} in {seconds} s");
}
