//! `thalweg tune`: how products are computed fastest on a GPU, measured there.
//!
//! In: a recipe, a device. Out: choices that the device keeps for later programs of the same batch size and types, and what was
//! found. A command of its own and not a flag of `fit`: measuring takes a minute, its result holds for all programs with the
//! same products, and whether a program is tuned must not depend on which command ran first by chance. What cannot be kept is
//! a failure, as nothing else is left of it.

use super::prepare;
use crate::args::{DeviceArgs, TuneArgs, What};
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::show::{Bar, Console, Table, counted, rounded};
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
        Some(report) => {
            show(&report, &device, console);
            report.unkept.map_or(Ok(()), |why| Err(Failure::Run(format!("what was found {why}"))))
        }
        None => Err(Failure::Usage(format!(
            "{device} has nothing to tune; name a GPU with --device: see `thalweg devices`"
        ))),
    }
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
        "library_refused": report.calls_refused,
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
    console.say(said(report, faster));
}

/// What a tuning did, in a line.
fn said(report: &Report, faster: usize) -> String {
    if report.products == 0 {
        return "no products to tune: these programs have neither a matrix product nor a convolution".into();
    }
    let (of, known, measured) = (counted(report.products, "product"), report.known, report.measured.len());
    let mut said = format!("{of}: {known} known before, {measured} measured, {faster} faster than before");
    if let Some(why) = &report.reason {
        said += &format!("; {} refused ({why})", report.refused);
    }
    if let Some(why) = &report.library_said {
        said += &format!("; libraries refused {} ({why})", counted(report.calls_refused, "way"));
    }
    if report.left > 0 {
        said += &format!("; {} left for want of time: tune once more, or for more --seconds", report.left);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let mut report = Report::default();
        assert!(said(&report, 0).starts_with("no products to tune"));
        (report.products, report.known) = (1, 1);
        assert_eq!(said(&report, 0), "1 product: 1 known before, 0 measured, 0 faster than before");
        (report.products, report.refused, report.left) = (3, 1, 1);
        report.reason = Some("gpu: too many registers".into());
        assert_eq!(
            said(&report, 0),
            "3 products: 1 known before, 0 measured, 0 faster than before; 1 refused (gpu: too many registers); \
             1 left for want of time: tune once more, or for more --seconds"
        );
        (report.refused, report.left, report.reason) = (0, 0, None);
        (report.calls_refused, report.library_said) = (2, Some("cuDNN: no".into()));
        assert!(said(&report, 0).ends_with("0 faster than before; libraries refused 2 ways (cuDNN: no)"));
    }
}
