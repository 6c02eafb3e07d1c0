//! Running a plan on a device: allocate, write, run, read, free.

use crate::Results;
use std::sync::Arc;
use thalweg_base::{DType, half};
use thalweg_device::plan::{Binding, Role};
use thalweg_device::{Allocation, Device, DeviceError, Plan};
use thalweg_graph::Graph;
use thalweg_graph::reference::{Feeds, Tensor};

/// One step of `plan`, compiled from `graph`, with these values. Everything is freed again.
pub fn run_plan(
    device: &mut dyn Device,
    plan: &Arc<Plan>,
    graph: &Graph,
    feeds: &Feeds,
) -> Result<Results, DeviceError> {
    run_plan_often(device, plan, graph, feeds, 1)
}

/// As [`run_plan`], so many times over.
pub fn run_plan_often(
    device: &mut dyn Device,
    plan: &Arc<Plan>,
    graph: &Graph,
    feeds: &Feeds,
    times: usize,
) -> Result<Results, DeviceError> {
    let mut storage = Vec::new();
    for binding in &plan.bindings {
        let allocation = device.allocate(binding.bytes())?;
        storage.push(allocation);
        if let Some(value) = fed(binding, graph, feeds) {
            device.write(allocation, 0, &encode(binding.dtype, &value.data))?;
        }
    }
    let program = device.load(Arc::clone(plan), &storage)?;
    match times {
        1 => device.run(program)?,
        _ => device.run_many(program, times)?,
    }
    device.wait()?;
    let mut results = Results::default();
    for o in &graph.outputs {
        results.outputs.push((o.name.clone(), read(device, plan, &storage, Role::Output, &o.name)?));
    }
    for (i, s) in graph.states.iter().enumerate() {
        // A state that the plan does not mention keeps its value.
        let value = match plan.binding(Role::State, &s.name) {
            Some(_) => read(device, plan, &storage, Role::State, &s.name)?,
            None => feeds.states[i].clone(),
        };
        results.states.push((s.name.clone(), value));
    }
    device.unload(program);
    storage.into_iter().for_each(|a| device.free(a));
    Ok(results)
}

fn fed<'a>(binding: &Binding, graph: &Graph, feeds: &'a Feeds) -> Option<&'a Tensor> {
    match binding.role {
        Role::Input => graph.inputs.iter().position(|i| i.name == binding.name).map(|i| &feeds.inputs[i]),
        Role::State => graph.states.iter().position(|s| s.name == binding.name).map(|i| &feeds.states[i]),
        Role::Output => None,
    }
}

fn read(
    device: &mut dyn Device,
    plan: &Plan,
    storage: &[Allocation],
    role: Role,
    name: &str,
) -> Result<Tensor, DeviceError> {
    let Some(at) = plan.binding(role, name) else { panic!("the plan has no {role:?} '{name}'") };
    let binding = &plan.bindings[at as usize];
    let mut bytes = vec![0; binding.bytes()];
    device.read(storage[at as usize], 0, &mut bytes)?;
    Ok(Tensor::new(&binding.shape, decode(binding.dtype, &bytes)))
}

fn encode(dtype: DType, data: &[f64]) -> Vec<u8> {
    match dtype {
        DType::Bool | DType::U8 => data.iter().map(|&v| v as u8).collect(),
        DType::U32 => data.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
        DType::I32 => data.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
        DType::F16 => data.iter().flat_map(|&v| half::to_f16(v as f32).to_le_bytes()).collect(),
        DType::BF16 => data.iter().flat_map(|&v| half::to_bf16(v as f32).to_le_bytes()).collect(),
        DType::F32 => data.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let (words, _) = bytes.as_chunks::<4>();
    let (halves, _) = bytes.as_chunks::<2>();
    let wide = |f: fn(u16) -> f32| halves.iter().map(|&h| f64::from(f(u16::from_le_bytes(h)))).collect();
    match dtype {
        DType::Bool | DType::U8 => bytes.iter().map(|&b| f64::from(b)).collect(),
        DType::U32 => words.iter().map(|&w| f64::from(u32::from_le_bytes(w))).collect(),
        DType::I32 => words.iter().map(|&w| f64::from(i32::from_le_bytes(w))).collect(),
        DType::F16 => wide(half::from_f16),
        DType::BF16 => wide(half::from_bf16),
        DType::F32 => words.iter().map(|&w| f64::from(f32::from_le_bytes(w))).collect(),
    }
}
