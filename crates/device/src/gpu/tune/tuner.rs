//! The tuner: runs every product of some plans in every way that is worth it, on the device itself, and chooses the fastest.
//!
//! In: an open device, plans for it, how much time there is. Out: choices in the device's [`Tuning`](super::Tuning), kept on
//! its shelf, and a [`Report`]. A product runs alone, with its epilogue, over and over: its operands are in the device's caches
//! as far as they fit, and it is not merged with its neighbours of the plan. Invariants: another way than the account's is
//! chosen only if it was faster by more than [`BETTER`] when both ran in turns; what has been measured once is not measured
//! again; what goes wrong with one way leaves all others as they are.

use super::mini::program_of;
use super::stopwatch::{Effort, Timed};
use crate::gpu::lower::{Way, products};
use crate::plan::{Kernel, KernelId, Stage};
use crate::{Allocation, Device, DeviceError, Plan, Program};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_base::DType;
use thalweg_base::half;
use thalweg_base::philox::Sequence;

/// How much faster than the account's way another has to be.
const BETTER: f64 = 1.03;
/// Numbers that operands repeat.
const NUMBERS: usize = 1 << 16;

/// A product that was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// Label of the kernel that it is, or is part of.
    pub label: String,
    /// Its line.
    pub product: String,
    /// Ways that were measured.
    pub ways: usize,
    /// The way that was chosen.
    pub way: String,
    /// Seconds of its contraction in the account's way, and in the one that was chosen.
    pub seconds: [f64; 2],
}

/// What a tuning did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Different products.
    pub products: usize,
    /// Those whose ways were known before.
    pub known: usize,
    /// Those that were measured now.
    pub measured: Vec<Measured>,
    /// Those that the device did not run alone, mostly as there was no memory for all operands at once.
    pub refused: usize,
    /// Those for which there was no time: tuning once more goes on with them.
    pub left: usize,
}

/// A product that is to be measured.
struct Job {
    label: String,
    plan: Arc<Plan>,
    kernel: KernelId,
    product: String,
    ways: Vec<Way>,
    /// Of all that have it.
    flops: u64,
}

/// Measures the products of these plans, the largest first. `watch` is told before each: which of how many, and its label.
/// `None` if there is nothing on this device that could be chosen. No program may be loaded that is to be compared with
/// [`Device::needs`] later, as what is chosen changes that.
pub fn tune(
    device: &mut dyn Device,
    plans: &[Arc<Plan>],
    effort: &Effort<'_>,
    watch: &mut dyn FnMut(usize, usize, &str),
) -> Result<Option<Report>, DeviceError> {
    let Some(tuning) = device.tuning() else { return Ok(None) };
    let (abilities, choices) = (*tuning.abilities(), tuning.choices().clone());
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for plan in plans {
        for kernel in plan.stages.iter().flat_map(kernels) {
            let entry = plan.kernel(kernel);
            let Kernel::Contraction(c) = &entry.kernel else { continue };
            for (product, ways) in products(plan, c, &abilities) {
                let (label, plan) = (entry.label.clone(), Arc::clone(plan));
                let job = Job { label, plan, kernel, product: product.clone(), ways, flops: 0 };
                jobs.entry(product).or_insert(job).flops += entry.flops;
            }
        }
    }
    let mut report = Report { products: jobs.len(), ..Report::default() };
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    jobs.retain(|j| choices.get(&j.product).is_none());
    report.known = report.products - jobs.len();
    jobs.sort_by_key(|j| std::cmp::Reverse(j.flops));
    let (began, count) = ((effort.clock)(), jobs.len());
    for (i, job) in jobs.iter().enumerate() {
        if (effort.clock)().saturating_sub(began) >= effort.budget {
            report.left = count - i;
            break;
        }
        watch(i, count, &job.label);
        match measure(device, job, effort)? {
            None => report.refused += 1,
            Some(measured) => {
                if let Some(tuning) = device.tuning() {
                    tuning.choices_mut().set(&job.product, &measured.way);
                    tuning.keep();
                }
                report.measured.push(measured);
            }
        }
    }
    Ok(Some(report))
}

fn kernels(stage: &Stage) -> Vec<KernelId> {
    match stage {
        Stage::Launch(kernels) | Stage::Region { kernels, .. } => kernels.clone(),
    }
}

/// Measures all ways of a product; `None` if it could not be run alone.
fn measure(device: &mut dyn Device, job: &Job, effort: &Effort<'_>) -> Result<Option<Measured>, DeviceError> {
    let plan = Arc::new(program_of(&job.plan, job.kernel));
    let mut bound = Vec::new();
    let outcome = operands(device, &plan, &mut bound).and_then(|()| {
        let bench = Bench { plan: &plan, bound: &bound, product: &job.product, effort };
        bench.fastest(device, &job.ways)
    });
    bound.into_iter().for_each(|a| device.free(a));
    match outcome {
        // A device that is lost fails here, too.
        Err(_) => device.wait().map(|()| None),
        Ok((way, seconds)) => Ok(Some(Measured {
            label: job.label.clone(),
            product: job.product.clone(),
            ways: job.ways.len(),
            way: way.to_string(),
            seconds,
        })),
    }
}

/// Storage for the operands, with numbers in it: of zeros a GPU's multipliers take less power, and some run faster.
fn operands(device: &mut dyn Device, plan: &Plan, bound: &mut Vec<Allocation>) -> Result<(), DeviceError> {
    let mut random = Sequence::new(1, 0, 0);
    let numbers: Vec<f32> = (0..NUMBERS).map(|_| 2.0 * random.next_unit() - 1.0).collect();
    for binding in &plan.bindings {
        let bytes: Vec<u8> = match binding.dtype {
            DType::F32 => numbers.iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => numbers.iter().flat_map(|v| half::to_f16(*v).to_le_bytes()).collect(),
            DType::BF16 => numbers.iter().flat_map(|v| half::to_bf16(*v).to_le_bytes()).collect(),
            // Positions in windows, which are small.
            DType::Bool | DType::U8 => numbers.iter().map(|v| u8::from(*v > 0.0)).collect(),
            DType::U32 | DType::I32 => vec![0; 4 * NUMBERS],
        };
        let storage = device.allocate(binding.bytes())?;
        bound.push(storage);
        for offset in (0..binding.bytes()).step_by(bytes.len()) {
            let part = bytes.len().min(binding.bytes() - offset);
            device.write(storage, offset, &bytes[..part])?;
        }
    }
    device.wait()
}

/// A product's program, of which each way is measured.
struct Bench<'a> {
    plan: &'a Arc<Plan>,
    bound: &'a [Allocation],
    product: &'a str,
    effort: &'a Effort<'a>,
}

impl Bench<'_> {
    /// The program with the product in this way.
    fn load(&self, device: &mut dyn Device, way: &Way) -> Result<Program, DeviceError> {
        if let Some(tuning) = device.tuning() {
            tuning.choices_mut().set(self.product, way.to_string());
        }
        let loaded = device.load(Arc::clone(self.plan), self.bound);
        if let Some(tuning) = device.tuning() {
            tuning.choices_mut().forget(self.product);
        }
        loaded
    }

    /// Calls `f` with the program in this way.
    fn with<T>(
        &self,
        device: &mut dyn Device,
        way: &Way,
        f: impl FnOnce(&mut dyn Device, Program) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let program = self.load(device, way)?;
        let result = f(device, program);
        device.unload(program);
        result
    }

    /// The way to choose; seconds in the first and in that one.
    fn fastest(&self, device: &mut dyn Device, ways: &[Way]) -> Result<(Way, [f64; 2]), DeviceError> {
        let first = ways[0];
        let accounted = self.with(device, &first, |d, p| self.effort.time(d, p, f64::INFINITY))?;
        let mut best = (first, accounted);
        for way in &ways[1..] {
            // Of one that the device's compiler, memory or bindings refuse there is nothing to choose.
            let Ok(program) = self.load(device, way) else { continue };
            let time = self.effort.time(device, program, best.1);
            device.unload(program);
            let time = time?;
            if time < best.1 {
                best = (*way, time);
            }
        }
        if accounted <= BETTER * best.1 {
            return Ok((first, [accounted; 2]));
        }
        let times = self.with(device, &first, |d, a| {
            self.with(d, &best.0, |d, b| {
                let warm: Vec<Timed> = vec![self.effort.warm_up(d, a)?.0, self.effort.warm_up(d, b)?.0];
                self.effort.together(d, &warm)
            })
        })?;
        match times[0] > BETTER * times[1] {
            true => Ok((best.0, [times[0], times[1]])),
            false => Ok((first, [times[0]; 2])),
        }
    }
}
