//! The tuner: runs every product of some plans in every way that is worth it, on the device itself, and chooses the fastest.
//!
//! In: an open device, plans for it, how much time there is. Out: choices in the device's [`Tuning`](super::Tuning), kept on
//! its shelf, and a [`Report`]. A product runs alone, with its epilogue, over and over: its operands are in the device's caches
//! as far as they fit, and it is not merged with its neighbours of the plan. Invariants: another way than the account's is
//! chosen only if it was faster by more than [`BETTER`] when both ran in turns; what has been measured once is not measured
//! again, but for text that is no way, and beside other libraries; what goes wrong with one way leaves all others as they are; a device that is lost is
//! an error and chooses nothing.

use super::mini::program_of;
use super::stopwatch::{Effort, Timed};
use crate::gpu::lower::{Way, legal, products};
use crate::plan::{Kernel, KernelId, Stage};
use crate::{Allocation, Device, DeviceError, Plan, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use thalweg_base::DType;
use thalweg_base::half;
use thalweg_base::philox::Sequence;

/// How much faster than the account's way another has to be.
const BETTER: f64 = 1.03;
/// Numbers that operands repeat.
const NUMBERS: usize = 1 << 16;
/// Bytes that are written at a time, at least: devices may gather smaller parts before they send any.
const PART: usize = 1 << 20;

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
    /// Those of which nothing was chosen: the device did not run them alone, or had no memory for some of their ways.
    pub refused: usize,
    /// What the device said to the last of these.
    pub reason: Option<String>,
    /// Those for which there was no time: tuning once more goes on with them.
    pub left: usize,
    /// Calls that libraries refused, so that these ways were not measured.
    pub calls_refused: usize,
    /// What a library said to the last of these.
    pub library_said: Option<String>,
    /// Why what was chosen holds only until the device is closed: a line, as [`Tuning::keep`](super::Tuning::keep) gives it.
    pub unkept: Option<String>,
}

/// A product that is to be measured.
struct Job {
    label: String,
    plan: Arc<Plan>,
    kernel: KernelId,
    product: String,
    ways: Vec<Way>,
    /// Whether one of its ways was chosen before.
    known: bool,
    /// Of all that have it.
    flops: u64,
}

/// What came of a product.
enum Outcome {
    /// And whether there was memory for all of its ways.
    Chosen(Measured, bool),
    /// By the device, which said why.
    Refused(String),
    /// The time was over before all ways were measured.
    Late,
}

/// What a device refused, unless it is lost.
fn refused(device: &mut dyn Device, why: &DeviceError) -> Result<Outcome, DeviceError> {
    device.wait().map(|()| Outcome::Refused(why.to_string()))
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
    // Of what was refused before nothing is measured; what is refused now is told here, and what is chosen was not refused.
    tuning.choices_mut().take_refusals();
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for plan in plans {
        for kernel in plan.stages.iter().flat_map(kernels) {
            let entry = plan.kernel(kernel);
            let Kernel::Contraction(c) = &entry.kernel else { continue };
            let all: BTreeMap<String, Vec<Way>> = legal(plan, c, &abilities).into_iter().collect();
            for (product, ways) in products(plan, c, &abilities) {
                let (label, plan) = (entry.label.clone(), Arc::clone(plan));
                let is = |text: &str| all[&product].iter().any(|way| way.to_string() == text);
                let same = [String::new(), choices.beside(&product).to_owned()].contains(&libraries(&ways));
                let known = same && choices.get(&product).is_some_and(is);
                let job = Job { label, plan, kernel, product: product.clone(), ways, known, flops: 0 };
                jobs.entry(product).or_insert(job).flops += entry.flops;
            }
        }
    }
    let mut report = Report { products: jobs.len(), ..Report::default() };
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    jobs.retain(|j| !j.known);
    report.known = report.products - jobs.len();
    // A whole behind its parts, so that these are at their best when it is measured.
    jobs.sort_by_key(|j| (std::cmp::Reverse(j.flops), j.ways[0] == Way::Apart));
    let (until, count) = ((effort.clock)().saturating_add(effort.budget), jobs.len());
    for (i, job) in jobs.iter().enumerate() {
        let outcome = if (effort.clock)() >= until {
            Outcome::Late
        } else {
            watch(i, count, &job.label);
            measure(device, job, effort, until)?
        };
        let refusals = device.tuning().map_or(Vec::new(), |t| t.choices_mut().take_refusals());
        report.calls_refused += refusals.len();
        report.library_said = refusals.last().map(|r| r.why.clone()).or(report.library_said);
        // What was not chosen anew stays as it was.
        if let (Outcome::Late | Outcome::Refused(_), Some(text)) = (&outcome, choices.text(&job.product))
            && let Some(tuning) = device.tuning()
        {
            tuning.choices_mut().set(&job.product, text);
        }
        match outcome {
            Outcome::Late => {
                report.left = count - i;
                break;
            }
            Outcome::Refused(why) => {
                report.refused += 1;
                report.reason = Some(why);
            }
            Outcome::Chosen(measured, all) => {
                let all = all && refusals.iter().all(|r| r.lasting);
                let beside = if all { libraries(&job.ways) } else { String::new() };
                if let Some(tuning) = device.tuning() {
                    tuning.choices_mut().set_beside(&job.product, &measured.way, &beside);
                    report.unkept = tuning.keep().err();
                }
                report.measured.push(measured);
            }
        }
    }
    Ok(Some(report))
}

/// The libraries that have ways among these.
fn libraries(ways: &[Way]) -> String {
    let of = |way: &Way| match way {
        Way::Library(library) => Some(library.of()),
        Way::Direct | Way::Tiles(_) | Way::Apart => None,
    };
    let all: BTreeSet<String> = ways.iter().filter_map(of).collect();
    all.into_iter().collect::<Vec<_>>().join(" and ")
}

fn kernels(stage: &Stage) -> Vec<KernelId> {
    match stage {
        Stage::Launch(kernels) | Stage::Region { kernels, .. } => kernels.clone(),
    }
}

/// Measures all ways of a product.
fn measure(
    device: &mut dyn Device,
    job: &Job,
    effort: &Effort<'_>,
    until: Duration,
) -> Result<Outcome, DeviceError> {
    let plan = Arc::new(program_of(&job.plan, job.kernel));
    let mut bound = Vec::new();
    let outcome = match operands(device, &plan, &mut bound) {
        Ok(()) => Bench { plan: &plan, bound: &bound, job, effort, until }.fastest(device),
        Err(why) => refused(device, &why),
    };
    bound.into_iter().for_each(|a| device.free(a));
    outcome
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
        let bytes = bytes.repeat(PART.div_ceil(bytes.len()));
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
    job: &'a Job,
    effort: &'a Effort<'a>,
    /// When the time is over.
    until: Duration,
}

impl Bench<'_> {
    /// The program with the product in this way.
    fn load(&self, device: &mut dyn Device, way: &Way) -> Result<Program, DeviceError> {
        if let Some(tuning) = device.tuning() {
            tuning.choices_mut().set(&self.job.product, way.to_string());
        }
        let loaded = device.load(Arc::clone(self.plan), self.bound);
        let refused = loaded.is_ok() && self.refused(device, way);
        if let Some(tuning) = device.tuning() {
            tuning.choices_mut().forget(&self.job.product);
        }
        match loaded {
            Ok(program) if refused => {
                device.unload(program);
                let (device, reason) = (device.info().name, format!("{way} was refused"));
                Err(DeviceError::Gpu { device, reason })
            }
            loaded => loaded,
        }
    }

    /// Whether what was to be left to a library was not, as the library does not compute it.
    fn refused(&self, device: &mut dyn Device, way: &Way) -> bool {
        let Way::Library(_) = way else { return false };
        let lowered = device.tuning().and_then(|tuning| tuning.lower(self.plan).ok());
        lowered.is_some_and(|launches| launches.calls().next().is_none())
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

    fn late(&self) -> bool {
        (self.effort.clock)() >= self.until
    }

    fn chosen(&self, way: &Way, seconds: [f64; 2], all: bool) -> Outcome {
        let Job { label, product, ways, .. } = self.job;
        let (label, product, way) = (label.clone(), product.clone(), way.to_string());
        Outcome::Chosen(Measured { label, product, ways: ways.len(), way, seconds }, all)
    }

    /// The way to choose.
    fn fastest(&self, device: &mut dyn Device) -> Result<Outcome, DeviceError> {
        let first = self.job.ways[0];
        let alone = self.with(device, &first, |d, p| self.effort.time(d, p, f64::INFINITY));
        let accounted = match alone {
            Ok(seconds) => seconds,
            Err(why) => return refused(device, &why),
        };
        let (mut best, mut crowded) = ((first, accounted), None);
        for way in &self.job.ways[1..] {
            if self.late() {
                return Ok(Outcome::Late);
            }
            match self.with(device, way, |d, p| self.effort.time(d, p, best.1)) {
                Ok(time) if time < best.1 => best = (*way, time),
                Ok(_) => {}
                // Of one that the device's compiler, memory or bindings refuse there is nothing to choose.
                Err(why) => {
                    device.wait()?;
                    if matches!(why, DeviceError::OutOfMemory { .. }) {
                        crowded = Some(why);
                    }
                }
            }
        }
        let mut times = [accounted, best.1];
        if accounted > BETTER * best.1 {
            if self.late() {
                return Ok(Outcome::Late);
            }
            match self.in_turns(device, &first, &best.0) {
                Ok(both) => times = both,
                Err(why) => return refused(device, &why),
            }
        }
        if times[0] > BETTER * times[1] {
            return Ok(self.chosen(&best.0, times, crowded.is_none()));
        }
        match crowded {
            // One that is measured when there is memory may be faster.
            Some(why) => refused(device, &why),
            None => Ok(self.chosen(&first, [times[0]; 2], true)),
        }
    }

    /// Seconds of two ways, loaded at once.
    fn in_turns(&self, device: &mut dyn Device, a: &Way, b: &Way) -> Result<[f64; 2], DeviceError> {
        let times = self.with(device, a, |d, a| {
            self.with(d, b, |d, b| {
                let warm: Vec<Timed> = vec![self.effort.warm_up(d, a)?.0, self.effort.warm_up(d, b)?.0];
                self.effort.together(d, &warm)
            })
        })?;
        Ok([times[0], times[1]])
    }
}
