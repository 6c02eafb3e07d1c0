//! `thalweg evaluate`: loss, metrics and the confusion matrix of a model on test data.

use super::{detections, prepare};
use crate::annotated;
use crate::args::EvaluateArgs;
use crate::environment::Environment;
use crate::error::{Failure, Result};
use crate::recipe::{DataRecipe, Recipe};
use crate::sets::{self, Data};
use crate::show::{Bar, Console, confusion_text, grouped, rounded};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Instant;
use thalweg::data::LoaderOptions;
use thalweg::train::{Event, Model, Observer};

/// Runs it.
pub fn evaluate(args: &EvaluateArgs, environment: &Environment, console: &Console) -> Result<()> {
    prepare::computes(&args.device)?;
    let mut model = prepare::model_from(&args.model)?;
    prepare::place(&mut model, &args.device, console)?;
    let data = sets::limited(open(&model, args, environment, console)?, args.limit)?;
    console.say(format!("judging by     {}", data.describe()));
    if let Some(set) = data.detection() {
        return detections::judge(&mut model, set, "evaluate", args.output.as_deref(), console);
    }
    if args.output.is_some() {
        return Err(Failure::Usage("--output is for detectors; of a classifier all is printed".into()));
    }
    let began = Instant::now();
    let bar = Bar::new(console, data.len().div_ceil(args.batch_size) as u64);
    let observer = move |event: &Event<'_>| {
        if let Event::Evaluating { step, .. } = event {
            bar.set(*step as u64, String::new());
        }
    };
    let mut observer: Option<Box<dyn Observer>> = Some(Box::new(observer));
    let logs = model.evaluate_watched(&data, args.batch_size, LoaderOptions::default(), &mut observer)?;
    drop(observer);
    let speed = data.len() as f64 / began.elapsed().as_secs_f64();
    let confusion = model.confusion(&data, args.batch_size).ok();
    let text: Vec<String> = logs.iter().map(|(name, value)| format!("{name}: {value:.4}")).collect();
    console.say(console.bold(&format!("{}  ({} images/s)", text.join("  "), grouped(speed as u64))));
    let mut event = Map::from_iter([("event".to_owned(), Value::from("evaluate"))]);
    event.extend(logs.to_json().as_object().cloned().unwrap_or_default());
    event.insert("examples".into(), data.len().into());
    event.insert("images_per_second".into(), rounded(speed, 1).into());
    event.insert("data".into(), data.describe().into());
    if let Some(confusion) = &confusion {
        console.say("");
        confusion_text(confusion).iter().for_each(|line| console.say(line));
        let n = confusion.names().len();
        event.insert("class_names".into(), confusion.names().to_vec().into());
        event.insert(
            "confusion".into(),
            (0..n).map(|l| (0..n).map(|p| confusion.get(l, p)).collect::<Value>()).collect(),
        );
    }
    console.event(&Value::Object(event));
    Ok(())
}

/// The data that the user names, else the test split of the recipe that the model was trained by.
fn open(model: &Model, args: &EvaluateArgs, environment: &Environment, console: &Console) -> Result<Data> {
    let trained_by = model.info().provenance.recipe.as_deref();
    let recipe = trained_by
        .map(|text| Recipe::read("the model's recipe", text, "model", Path::new("")))
        .transpose()?;
    if let Some(dir) = args.data.as_deref()
        && model.detector_input().is_none()
        && has_class_folders(dir)
    {
        let inputs = model.network().inputs();
        let shape = inputs.first().map(|i| i.shape.clone()).unwrap_or_default();
        return sets::image_folder(dir, &shape, &model.info().class_names);
    }
    let Some(recipe) = recipe else {
        return Err(Failure::Usage(format!(
            "{} was not trained by a recipe, so its test data are not known; give --data DIR with one folder of \
             images per class",
            args.model.display()
        )));
    };
    if let DataRecipe::Detection(pictures) = &recipe.data {
        return annotated::held(pictures, environment.data_to_read(args.data.as_deref())?, console);
    }
    let splits = sets::open(&recipe.data, environment.data_to_read(args.data.as_deref())?, 0, console)?;
    splits.test.ok_or_else(|| {
        Failure::Usage(
            "the model's recipe names no test data; give --data DIR with one folder of images per class"
                .into(),
        )
    })
}

/// Whether a folder holds folders that hold images: not the folder of data sets.
fn has_class_folders(dir: &Path) -> bool {
    let image = |p: &Path| {
        let extension = p.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        extension.is_some_and(|e| thalweg::data::decode::EXTENSIONS.contains(&e.as_str()))
    };
    let entries = |d: &Path| std::fs::read_dir(d).into_iter().flatten().flatten().map(|e| e.path());
    entries(dir).filter(|p| p.is_dir()).any(|class| entries(&class).take(1000).any(|p| image(&p)))
}
