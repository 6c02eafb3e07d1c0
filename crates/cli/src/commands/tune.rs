//! `thalweg tune`: how products are computed fastest on a GPU, measured there.
//!
//! In: a recipe, a device. Out: choices that the device keeps for every later run, and what was found. A command of its own and
//! not a flag of `fit`: measuring takes a minute, its result holds for all programs with the same products, and whether a
//! program is tuned must not depend on which command ran first by chance.

use super::prepare;
use crate::args::{DeviceArgs, TuneArgs, What};
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::show::{Bar, Console, Table, rounded};
use serde_json::json;
use std::time::Duration;
use thalweg::device::gpu::tune::{Measured, Report};

/// Products that are shown.
const SHOWN: usize = 20;

/// Runs it.
pub fn tune(args: &TuneArgs, console: &Console) -> Result<()> {
    let recipe = Recipe::open(&args.recipe)?.in_policy(args.dtype.dtype_policy);
    let batch = args.batch_size.unwrap_or(recipe.fit.batch_size);
    let mut model = prepare::model_of(&recipe, recipe.fit.seed)?;
    let blank = prepare::blank(&recipe)?;
    prepare::place(&mut model, &DeviceArgs { device: args.device.clone(), threads: 0 }, console)?;
    let all = [What::Train, What::Evaluate, What::Predict];
    let mut programs = Vec::new();
    for what in all.into_iter().filter(|w| args.what.is_none_or(|only| only == *w)) {
        programs.push((prepare::kind(what), prepare::spec(&model, what, &blank, batch)?));
    }
    let bar = Bar::new(console, 0);
    let report = model.tune(&programs, Duration::from_secs_f64(args.seconds), &mut |i, of, label| {
        bar.set(i as u64, format!("product {} of {of}: {label}", i + 1));
    });
    bar.clear();
    let device = model.device_info()?.name;
    match report? {
        Some(report) => show(&report, &device, console),
        None => {
            return Err(Failure::Usage(format!(
                "{device} has nothing to tune; name a GPU with --device: see `thalweg devices`"
            )));
        }
    }
    Ok(())
}

fn us(seconds: f64) -> f64 {
    seconds * 1e6
}

fn show(report: &Report, device: &str, console: &Console) {
    let mut found: Vec<&Measured> = report.measured.iter().collect();
    found.sort_by(|a, b| (b.seconds[0] - b.seconds[1]).total_cmp(&(a.seconds[0] - a.seconds[1])));
    for m in &found {
        console.event(&json!({
            "event": "product", "label": m.label, "product": m.product, "ways": m.ways, "way": m.way,
            "account_us": rounded(us(m.seconds[0]), 2), "us": rounded(us(m.seconds[1]), 2),
        }));
    }
    let faster = found.iter().filter(|m| m.seconds[1] < m.seconds[0]).count();
    console.event(&json!({
        "event": "tuned", "products": report.products, "known": report.known, "measured": found.len(),
        "faster": faster, "refused": report.refused, "left": report.left, "device": device,
    }));
    if faster > 0 {
        let mut table = Table::new(2, &["product of", "way", "us before", "us"]);
        for m in found.iter().take(faster.min(SHOWN)) {
            table.row([
                m.label.clone(),
                m.way.clone(),
                format!("{:.1}", us(m.seconds[0])),
                format!("{:.1}", us(m.seconds[1])),
            ]);
        }
        table.lines().iter().for_each(|line| console.say(line));
    }
    let mut said = format!(
        "{} products: {} known before, {} measured, {faster} of them faster than they were",
        report.products,
        report.known,
        found.len()
    );
    if report.refused > 0 {
        said += &format!("; {} could not be run alone", report.refused);
    }
    if report.left > 0 {
        said += &format!("; {} were left for want of time: tune once more", report.left);
    }
    console.say(said);
}
