//! `thalweg explain`: the graph after every pass, the kernels with their cost, the memory map.

use super::prepare;
use crate::args::ExplainArgs;
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::show::{Console, Table, grouped, short_bytes, short_flops};
use serde_json::json;
use thalweg::compile::{Compiled, Options, compile};
use thalweg::device::plan::{Place, Plan, Stage};
use thalweg::nn::suggest;

/// What is shown beside the passes.
const KERNELS: &str = "kernels";
const MEMORY_MAP: &str = "memory-map";

/// Runs it.
pub fn explain(args: &ExplainArgs, console: &Console) -> Result<()> {
    let recipe = Recipe::open(&args.recipe)?.in_policy(args.dtype.dtype_policy);
    let batch = args.batch_size.unwrap_or(recipe.fit.batch_size);
    let model = prepare::model_of(&recipe, recipe.fit.seed)?;
    let spec = prepare::spec(&model, args.what, &prepare::blank(&recipe)?, batch)?;
    let kind = prepare::kind(args.what);
    let graph = model.graph(kind, &spec)?;
    let compiled =
        compile(&graph, &Options { name: kind.name().into(), explain: true, ..Options::default() });
    let names: Vec<&str> =
        compiled.passes.iter().map(|(name, _)| *name).chain([KERNELS, MEMORY_MAP]).collect();
    if let Some(asked) = args.pass.as_deref().filter(|p| !names.contains(p)) {
        return Err(Failure::Usage(suggest::unknown("pass", asked, &names)));
    }
    let wanted = |name: &str| args.pass.as_deref().is_none_or(|p| p == name);
    passes(&compiled, wanted, console);
    if wanted(KERNELS) {
        kernels(&compiled.plan, console);
    }
    if wanted(MEMORY_MAP) {
        memory_map(&compiled.plan, console);
    }
    Ok(())
}

fn passes(compiled: &Compiled, wanted: impl Fn(&str) -> bool, console: &Console) {
    for (name, text) in compiled.passes.iter().filter(|(name, _)| wanted(name)) {
        console
            .say(console.bold(&format!("── after {name}: {} lines", grouped(text.lines().count() as u64))));
        console.say(text.trim_end());
        console.say("");
        console.event(&json!({ "event": "pass", "name": name, "text": text }));
    }
}

/// Kernels in the order in which they run, with what they cost.
fn kernels(plan: &Plan, console: &Console) {
    let all = plan.flops().max(1);
    let mut table = Table::new(2, &["stage", "kernel", "FLOPs", "share", "bytes", "FLOP/byte"]);
    for (number, stage) in plan.stages.iter().enumerate() {
        let (ids, what) = match stage {
            Stage::Launch(ids) => (ids, format!("{number} launch")),
            Stage::Region { kernels, slice, .. } => (kernels, format!("{number} region by {slice}")),
        };
        for id in ids {
            let e = plan.kernel(*id);
            table.row([
                what.clone(),
                format!("k{} {}", id.0, e.label),
                short_flops(e.flops),
                format!("{:.1}%", 100.0 * e.flops as f64 / all as f64),
                short_bytes(e.bytes),
                format!("{:.1}", e.flops as f64 / e.bytes.max(1) as f64),
            ]);
            console.event(&json!({
                "event": "kernel", "stage": number, "kernel": id.0, "label": e.label, "flops": e.flops, "bytes": e.bytes,
            }));
        }
    }
    console.say(console.bold(&format!(
        "── kernels: {} in {} stages, {}",
        plan.kernels.len(),
        plan.stages.len(),
        short_flops(plan.flops())
    )));
    table.lines().iter().for_each(|line| console.say(line));
    console.say("");
}

/// Where every buffer lies.
fn memory_map(plan: &Plan, console: &Console) {
    let place = |p: Place| match p {
        Place::Binding(n) => (0, n as usize, format!("{:?}", plan.bindings[n as usize].role).to_lowercase()),
        Place::Arena { offset } => (1, offset, format!("arena @{}", grouped(offset as u64))),
        Place::Slab { offset } => (2, offset, format!("slab @{}", grouped(offset as u64))),
    };
    let mut buffers: Vec<_> = plan.buffers.iter().map(|b| (place(b.place), b)).collect();
    buffers.sort_by(|a, b| a.0.cmp(&b.0));
    let mut table = Table::new(3, &["place", "type", "name", "bytes"]);
    for ((_, _, place), b) in &buffers {
        table.row([
            place.clone(),
            format!("{}[{}]", b.dtype, b.len),
            b.name.clone(),
            grouped(b.bytes() as u64),
        ]);
        console.event(&json!({
            "event": "buffer", "place": place, "name": b.name, "dtype": b.dtype.to_string(), "bytes": b.bytes(),
        }));
    }
    console.say(console.bold(&format!(
        "── memory map: arena {}, slab {} a worker",
        short_bytes(plan.arena as u64),
        short_bytes(plan.slab as u64)
    )));
    table.lines().iter().for_each(|line| console.say(line));
}
