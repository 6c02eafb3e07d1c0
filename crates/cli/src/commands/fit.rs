//! `thalweg fit`: trains a model by a recipe, then judges it and shows what it makes of a few test images.

use super::{detections, prepare, run_folder};
use crate::args::FitArgs;
use crate::environment::Environment;
use crate::error::{Failure, Result};
use crate::recipe::{Recipe, Validation};
use crate::sets::{self, Data, Splits};
use crate::show::{Console, Tally, Watch, pasted};
use crate::signals;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg::data::Subset;
use thalweg::train::callbacks::{Callback, DetectionMetrics};
use thalweg::train::{End, Fit, Fitted, Logs, Model, step};

/// Test images that are shown at the end.
const SHOWN: usize = 5;

/// Runs it.
pub fn fit(args: &FitArgs, environment: &Environment, console: &Console) -> Result<()> {
    prepare::computes(&args.device)?;
    let mut recipe = Recipe::open(&args.recipe)?.in_policy(args.dtype.dtype_policy);
    recipe.fit.epochs = args.epochs.unwrap_or(recipe.fit.epochs);
    recipe.fit.batch_size = args.batch_size.unwrap_or(recipe.fit.batch_size);
    recipe.fit.seed = args.seed.unwrap_or(recipe.fit.seed);
    let mut model = prepare::model_of(&recipe, recipe.fit.seed)?;
    prepare::place(&mut model, &args.device, console)?;
    let splits = open_data(args, &recipe, environment, console)?;
    let name = args.run.as_deref().unwrap_or(&recipe.name);
    let chosen = run_folder::choose(name, args.resume, console)?;

    let tally = Arc::new(Mutex::new(Tally::default()));
    let plan = plan(&recipe, &splits)?
        .observer(Watch::new(console, Arc::clone(&tally)))
        .interrupt(signals::interrupt_flag())
        .run_folder(&chosen.folder);
    let plan = match &chosen.resume {
        Some(checkpoint) => plan.resume(checkpoint),
        None => plan,
    };
    let fitted = model.fit(Arc::clone(&splits.train), plan)?;
    if let End::Interrupted(checkpoint) = &fitted.end {
        return Err(interrupted(args, name, checkpoint.as_deref(), &environment.program, console));
    }
    if let Some(test) = splits.test.as_ref().or(splits.validation.as_ref()) {
        match test.detection() {
            Some(set) => {
                detections::judge(&mut model, set, "test", Some(&chosen.folder), console)?;
            }
            None => {
                let same = recipe.fit.validation == Validation::Test;
                let known = fitted.validation.as_ref().filter(|_| same);
                judge(&mut model, test, known, &recipe, console)?;
                show_predictions(&mut model, test, console)?;
            }
        }
    }
    let speed = tally.lock().unwrap_or_else(PoisonError::into_inner).images_per_second();
    done(&mut model, &fitted, speed, &chosen.folder, &environment.program, console)
}

fn open_data(
    args: &FitArgs,
    recipe: &Recipe,
    environment: &Environment,
    console: &Console,
) -> Result<Splits> {
    let root = environment.data_to_read(args.data.as_deref())?;
    let mut splits = sets::open(&recipe.data, root, recipe.fit.seed, console)?;
    splits.train = sets::limited(splits.train, args.limit)?;
    console.say(format!("learning from  {}", splits.train.describe()));
    if let Some(validation) = &splits.validation {
        console.say(format!("validating by  {}", validation.describe()));
    }
    if let Some(test) = &splits.test {
        console.say(format!("judging by     {}", test.describe()));
    }
    console.event(&json!({
        "event": "data", "train": splits.train.describe(), "test": splits.test.as_ref().map(|t| t.describe()),
        "instead": splits.instead,
    }));
    Ok(splits)
}

/// The recipe's `[fit]` and callbacks.
fn plan(recipe: &Recipe, splits: &Splits) -> Result<Fit> {
    let f = &recipe.fit;
    let mut callbacks: Vec<Box<dyn Callback>> = Vec::new();
    let held = match f.validation {
        Validation::Held => &splits.validation,
        Validation::Test => &splits.test,
        Validation::None | Validation::Share(_) => &None,
    };
    if let Some(set) = held.as_ref().and_then(|d| d.detection()) {
        // Before the recipe's own, which may watch what it logs.
        callbacks.push(Box::new(DetectionMetrics::new(Arc::new(set.clone()))));
    }
    for callback in &recipe.callbacks {
        callbacks.push(callback.build()?);
    }
    let mut plan = Fit::epochs(f.epochs)
        .batch_size(f.batch_size)
        .shuffle(f.shuffle)
        .seed(f.seed)
        .callbacks(callbacks)
        .recipe(&recipe.text);
    if let Some(steps) = f.steps_per_epoch {
        plan = plan.steps_per_epoch(steps);
    }
    Ok(match (f.validation, &splits.test) {
        (Validation::Share(share), _) => plan.validation_split(share),
        (Validation::Test, Some(test)) => plan.validation_data(Arc::clone(test)),
        (Validation::Held, _) => match &splits.validation {
            Some(held) => plan.validation_data(Arc::clone(held)),
            None => plan,
        },
        _ => plan,
    })
}

/// A path in a command to paste.
fn shown(path: &Path) -> String {
    pasted(&path.to_string_lossy())
}

/// Says how to go on.
fn interrupted(
    args: &FitArgs,
    name: &str,
    checkpoint: Option<&Path>,
    program: &str,
    console: &Console,
) -> Failure {
    let mut command = format!("{program} fit {} --run {name} --resume", shown(&args.recipe));
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            command += &format!(" {flag} {value}");
        }
    };
    // What decides the numbers must be the same again.
    add("--epochs", args.epochs.map(|n| n.to_string()));
    add("--batch-size", args.batch_size.map(|n| n.to_string()));
    add("--device", Some(args.device.device.clone()).filter(|d| d != "auto"));
    add("--dtype-policy", args.dtype.dtype_policy.map(|p| p.name().to_owned()));
    add("--seed", args.seed.map(|n| n.to_string()));
    add("--limit", args.limit.map(|n| n.to_string()));
    add("--data", args.data.as_ref().map(|d| shown(d)));
    console.event(&json!({ "event": "interrupted", "checkpoint": checkpoint, "resume": command }));
    if let Some(checkpoint) = checkpoint {
        console.say(format!("saved {}; to go on:\n  {command}", checkpoint.display()));
    }
    Failure::Interrupted
}

/// Loss and metrics over the test split; `known`: from the last epoch's validation by it.
fn judge(
    model: &mut Model,
    test: &Data,
    known: Option<&Logs>,
    recipe: &Recipe,
    console: &Console,
) -> Result<()> {
    let logs = match known {
        Some(logs) => logs.clone(),
        None => model.evaluate(Arc::clone(test), recipe.fit.batch_size)?,
    };
    let text: Vec<String> = logs.iter().map(|(name, value)| format!("test {name}: {value:.4}")).collect();
    console.say(console.bold(&text.join("  ")));
    let mut event = Map::from_iter([("event".to_owned(), Value::from("test"))]);
    event.extend(logs.to_json().as_object().cloned().unwrap_or_default());
    console.event(&Value::Object(event));
    Ok(())
}

/// What the model makes of the first test images, where it tells classes apart.
fn show_predictions(model: &mut Model, test: &Data, console: &Console) -> Result<()> {
    let classes = match model.network().outputs().first().map(|o| o.shape.clone()).as_deref() {
        Some(&[n]) if n > 1 => n,
        _ => return Ok(()),
    };
    let names = model.info().class_names.clone();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let few: Data = Arc::new(Subset::first(Arc::clone(test), SHOWN)?);
    let outputs = model.predict(Arc::clone(&few), few.len())?;
    let scores = outputs.first().map(|t| t.to_f32()).unwrap_or_default();
    for (i, row) in scores.chunks_exact(classes).enumerate() {
        let best = row.iter().enumerate().fold(0, |best, (j, s)| if *s > row[best] { j } else { best });
        let truth = few.label(i).and_then(|l| usize::try_from(l).ok()).map(&name);
        let is = truth.as_ref().map_or(String::new(), |t| format!(", and is: {t}"));
        console.say(format!("  test image {i}: {} ({:.1}%){is}", name(best), 100.0 * row[best]));
        console.event(&json!({
            "event": "prediction", "image": i, "class": name(best), "index": best, "probability": row[best],
            "truth": truth,
        }));
    }
    Ok(())
}

fn done(
    model: &mut Model,
    fitted: &Fitted,
    speed: Option<f64>,
    folder: &Path,
    program: &str,
    console: &Console,
) -> Result<()> {
    let steps = model.session()?.read_scalar(step::ITERATION)? as u64;
    let sha256 = model.weights_sha256()?;
    let log = |name: &str| fitted.history.last().and_then(|l| l.get(name));
    let path = folder.join("model.safetensors");
    console.event(&json!({
        "event": "done",
        "epochs": fitted.history.first_epoch + fitted.history.epochs.len(),
        "steps": steps,
        "images_per_second": speed.map(|s| crate::show::rounded(s, 1)),
        "loss": log("loss"),
        "accuracy": log("accuracy"),
        "val_loss": log("val_loss"),
        "val_accuracy": log("val_accuracy"),
        "model": path,
        "weights_sha256": sha256,
    }));
    console.say(format!("model:  {}", path.display()));
    console.say(format!("curves: {}", folder.join("curves.svg").display()));
    console.say(console.dim(&format!("next:   {program} predict {} IMAGE", shown(&path))));
    Ok(())
}
