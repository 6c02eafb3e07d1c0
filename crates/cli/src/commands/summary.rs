//! `thalweg summary`: the layers of a recipe or a model, with shapes, parameters, FLOPs and memory.

use super::prepare;
use crate::args::SummaryArgs;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::show::{Console, Table, counted, grouped, short_bytes, short_flops};
use serde_json::{Value, json};
use thalweg::nn::{Network, batched};
use thalweg::train::Model;

/// Runs it.
pub fn summary(args: &SummaryArgs, console: &Console) -> Result<()> {
    let is_recipe = args.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    if is_recipe {
        show(&Recipe::open(&args.file)?.network, console);
        return Ok(());
    }
    let model = prepare::model_from(&args.file)?;
    show(model.network(), console);
    provenance(&model, console);
    Ok(())
}

fn show(network: &Network, console: &Console) {
    let summary = network.summary();
    let mut table = Table::new(2, &["layer (type)", "output", "params", "FLOPs", "memory"]);
    let branched = summary.rows.windows(2).any(|w| w[1].connected_to != [w[0].name.clone()]);
    for row in &summary.rows {
        let frozen = if row.params > 0 && row.trainable_params == 0 { ", frozen" } else { "" };
        let from = match branched && !row.connected_to.is_empty() {
            true => format!(" ← {}", row.connected_to.join(", ")),
            false => String::new(),
        };
        table.row([
            format!("{} ({}{frozen}){from}", row.name, row.class_name),
            batched(&row.output_shape),
            grouped(row.params as u64),
            grouped(row.flops),
            short_bytes(row.activation_bytes as u64),
        ]);
    }
    console.say(console.bold(&format!("Model \"{}\", per image", summary.name)));
    table.lines().iter().for_each(|line| console.say(line));
    console.say(format!(
        "parameters: {} ({}), {} of them learn",
        grouped(summary.params as u64),
        short_bytes(4 * summary.params as u64),
        grouped(summary.trainable_params as u64)
    ));
    console.say(format!(
        "prediction: {} and {} of activations an image",
        short_flops(summary.flops),
        short_bytes(summary.activation_bytes as u64)
    ));
    let layers: Value = summary
        .rows
        .iter()
        .map(|r| {
            json!({
                "name": r.name, "class_name": r.class_name, "output_shape": r.output_shape, "params": r.params,
                "trainable_params": r.trainable_params, "flops": r.flops, "activation_bytes": r.activation_bytes,
                "connected_to": r.connected_to,
            })
        })
        .collect();
    console.event(&json!({
        "event": "summary", "name": summary.name, "params": summary.params,
        "trainable_params": summary.trainable_params, "flops": summary.flops,
        "activation_bytes": summary.activation_bytes, "layers": layers,
    }));
}

/// Where a trained model is from.
fn provenance(model: &Model, console: &Console) {
    let (info, p) = (model.info(), &model.info().provenance);
    if !info.class_names.is_empty() {
        let shown: Vec<&str> = info.class_names.iter().take(10).map(String::as_str).collect();
        let more = if info.class_names.len() > shown.len() { ", .." } else { "" };
        console.say(format!("classes: {} ({}{more})", info.class_names.len(), shown.join(", ")));
    }
    if p.epochs > 0 {
        console.say(format!(
            "trained: {} on {}, seed {}, {}",
            counted(p.epochs, "epoch"),
            p.data,
            p.seed,
            p.date
        ));
    }
    console.event(&json!({
        "event": "provenance", "class_names": info.class_names, "data": p.data, "epochs": p.epochs, "seed": p.seed,
        "date": p.date, "version": p.version,
    }));
}
