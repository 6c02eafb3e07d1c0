//! `thalweg plan`: what a run will need, found without running it.

use super::prepare;
use crate::args::{PlanArgs, What};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::show::{Console, Table, counted, grouped, short_bytes, short_flops};
use serde_json::json;
use std::sync::Arc;
use thalweg::compile::{Options, compile};
use thalweg::device::plan::{Plan, Role, Stage};
use thalweg::device::{MemoryUse, open};

/// Runs it.
pub fn plan(args: &PlanArgs, console: &Console) -> Result<()> {
    let recipe = Recipe::open(&args.recipe)?.in_policy(args.dtype.dtype_policy);
    let batch = args.batch_size.unwrap_or(recipe.fit.batch_size);
    let model = prepare::model_of(&recipe, recipe.fit.seed)?;
    let blank = prepare::blank(&recipe)?;
    let device = open(&args.device, args.threads)?;
    let info = device.info();
    let all = [What::Train, What::Evaluate, What::Predict];
    let mut columns: Vec<[String; 9]> = Vec::new();
    let mut heads = vec![""];
    for what in all.into_iter().filter(|w| args.what.is_none_or(|only| only == *w)) {
        let spec = prepare::spec(&model, what, &blank, batch)?;
        let kind = prepare::kind(what);
        let graph = model.graph(kind, &spec)?;
        let options = Options { name: kind.name().into(), ..Options::of(&info) };
        let plan = Arc::new(compile(&graph, &options).plan);
        let needs = Needs::of(&plan, device.needs(&[Arc::clone(&plan)]));
        heads.push(kind.name());
        columns.push(needs.cells());
        console.event(&json!({
            "event": "plan", "what": kind.name(), "batch_size": batch, "peak_bytes": needs.peak(),
            "state_bytes": needs.states, "input_bytes": needs.inputs, "output_bytes": needs.outputs,
            "arena_bytes": needs.device.arena, "workspace_bytes": needs.device.workspace, "device": info.name,
            "workers": info.workers, "kernels": needs.kernels, "stages": needs.stages, "launches": needs.launches, "flops": needs.flops,
        }));
    }
    let labels = [
        "peak memory",
        "  states",
        "  inputs and outputs",
        "  activations",
        "  packed weights, workspace",
        "kernels",
        "stages",
        "FLOPs a step",
        "FLOPs an image",
    ];
    let mut table = Table::new(1, &heads);
    for (i, label) in labels.iter().enumerate() {
        let mut row = vec![label.to_string()];
        row.extend(columns.iter().map(|c| c[i].clone()));
        table.row(row);
    }
    console.say(console.bold(&format!("{}, batches of {batch}", args.recipe.display())));
    table.lines().iter().for_each(|line| console.say(line));
    console.say(format!(
        "on {} with {}; states are weights, optimizer slots and metrics",
        info.name,
        counted(info.workers, "worker")
    ));
    Ok(())
}

/// What a plan needs.
struct Needs {
    states: usize,
    inputs: usize,
    outputs: usize,
    device: MemoryUse,
    kernels: usize,
    stages: usize,
    launches: usize,
    flops: u64,
    batch: u64,
}

impl Needs {
    fn of(plan: &Plan, device: MemoryUse) -> Needs {
        let batch =
            plan.bindings.iter().find(|b| b.role == Role::Input).and_then(|b| b.shape.first()).copied();
        Needs {
            states: plan.binding_bytes(Role::State),
            inputs: plan.binding_bytes(Role::Input),
            outputs: plan.binding_bytes(Role::Output),
            device,
            kernels: plan.kernels.len(),
            stages: plan.stages.len(),
            launches: plan.stages.iter().filter(|s| matches!(s, Stage::Launch(_))).count(),
            flops: plan.flops(),
            batch: batch.unwrap_or(1).max(1) as u64,
        }
    }

    fn peak(&self) -> usize {
        self.states + self.inputs + self.outputs + self.device.total()
    }

    fn cells(&self) -> [String; 9] {
        [
            short_bytes(self.peak() as u64),
            short_bytes(self.states as u64),
            short_bytes((self.inputs + self.outputs) as u64),
            short_bytes(self.device.arena as u64),
            short_bytes(self.device.workspace as u64),
            self.kernels.to_string(),
            grouped(self.stages as u64),
            short_flops(self.flops),
            short_flops(self.flops / self.batch),
        ]
    }
}
