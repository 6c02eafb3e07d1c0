//! `thalweg bench`: the speed of training steps or predictions in a steady state.
//!
//! In: a recipe. Out: images a second over windows of a third of a second (median, least, most), the time of a
//! step, for predictions the latency of one image, memory, the share of every kernel. Invariant: what is measured
//! is what `fit` and `predict` do: batches from the loader, written to the device, run; or, where the training data are
//! on the device, several steps at a time there.

use super::bench_devices::side_by_side;
use super::prepare;
use crate::args::{BenchArgs, Measured, What};
use crate::environment::Environment;
use crate::error::Result;
use crate::recipe::{DataRecipe, DetectionRecipe, Recipe};
use crate::sets::Data;
use crate::show::{Bar, Console, Table, counted, grouped, megabytes, rounded, short_flops};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg::data::detection::NO_CLASS;
use thalweg::data::{Arrays, Batch, Loader, LoaderOptions, Split, epoch_order, open_named};
use thalweg::device::cpu::contract::peak_flops;
use thalweg::device::cpu_target;
use thalweg::graph::philox::Sequence;
use thalweg::train::{Kind, Loaded, Model, Pace, ProgramSpec};

/// Length of a window.
const WINDOW: Duration = Duration::from_millis(333);
/// Time before the first window.
const WARM_UP: Duration = Duration::from_millis(500);
/// Runs that are profiled.
const PROFILED: usize = 20;
/// Objects of a picture of noise.
const OBJECTS: usize = 12;
/// Kernels that are shown.
const SHOWN: usize = 12;

/// What was measured.
pub struct Measurement {
    /// Images a second of each window, sorted.
    speeds: Vec<f64>,
    /// Microseconds of one image, of predictions.
    pub latency_us: Option<f64>,
    /// Bytes on the device.
    pub planned_bytes: usize,
    /// The program.
    spec: ProgramSpec,
}

impl Measurement {
    /// Images a second: median, least, most.
    pub fn speed(&self) -> [f64; 3] {
        let s = &self.speeds;
        [s[s.len() / 2], s[0], s[s.len() - 1]]
    }
}

/// Runs it.
pub fn bench(args: &BenchArgs, environment: &Environment, console: &Console) -> Result<()> {
    let recipe = Recipe::open(&args.recipe)?.in_policy(args.dtype.dtype_policy);
    let batch = args.batch_size.unwrap_or(recipe.fit.batch_size);
    let data = data(&recipe, environment, batch, console)?;
    if let Some(devices) = &args.devices {
        console.say(format!("images from    {}", data.describe()));
        return side_by_side(devices, args, console, |device| {
            let mut model = prepare::model_of(&recipe, recipe.fit.seed)?;
            prepare::place(&mut model, device, console)?;
            measure(&mut model, &data, args, batch, console)
        });
    }
    let mut model = prepare::model_of(&recipe, recipe.fit.seed)?;
    prepare::place(&mut model, &args.device, console)?;
    console.say(format!("images from    {}", data.describe()));
    let measured = measure(&mut model, &data, args, batch, console)?;
    let kernels = profile(&mut model, prepare::kind(what(args)), &measured.spec)?;
    report(&mut model, &measured, &kernels, batch, console)?;
    let peak = cpu_target(&args.device.device).map_or(0.0, |t| peak_flops(t.isa));
    show(&mut model, &kernels, peak, console)
}

fn what(args: &BenchArgs) -> What {
    match args.what {
        Measured::Train => What::Train,
        Measured::Predict => What::Predict,
    }
}

/// Speed, latency and memory of a model on its device.
fn measure(
    model: &mut Model,
    data: &Data,
    args: &BenchArgs,
    batch: usize,
    console: &Console,
) -> Result<Measurement> {
    let spec = prepare::spec(model, what(args), &**data, batch)?;
    let mut steps = Steps::new(model, data, what(args), spec)?;
    let speeds = windows(&mut steps, args.seconds, console)?;
    let spec = steps.spec;
    let latency_us = match args.what {
        Measured::Predict => Some(latency(model, data)?),
        Measured::Train => None,
    };
    let planned_bytes = model.memory()?.total();
    Ok(Measurement { speeds, latency_us, planned_bytes, spec })
}

/// The recipe's training data where they are there; else the sample, or noise of the same shape.
fn data(recipe: &Recipe, environment: &Environment, batch: usize, console: &Console) -> Result<Data> {
    if let DataRecipe::Named(name) = &recipe.data {
        if let Ok(data) = open_named(name, environment.data_root(None::<&Path>), Split::Train) {
            return Ok(data);
        }
        if name == "cifar10" && batch <= 1000 {
            console.note("cifar10 is not there: measuring on the built-in sample of 1,000 images");
            return Ok(open_named("cifar10-sample", Path::new(""), Split::Train)?);
        }
    }
    console.note("measuring on noise of the data's shape");
    let (shape, count) = (recipe.data.shape(), (4 * batch).max(256));
    let mut random = Sequence::new(recipe.fit.seed, 0, 0);
    let pixels: Vec<u8> =
        (0..count * shape.iter().product::<usize>()).map(|_| random.next_word() as u8).collect();
    let noise = Arrays::new().name("noise").input("image", &shape, pixels);
    if let DataRecipe::Detection(d) = &recipe.data {
        let (boxes, classes) = objects(d, count, &mut random);
        let noise = noise.target("boxes", &[d.boxes, 4], boxes).target("classes", &[d.boxes], classes);
        return Ok(Arc::new(noise.build()?));
    }
    let classes = recipe.network.outputs().first().and_then(|o| o.shape.last().copied()).unwrap_or(1);
    let labels: Vec<i32> = (0..count).map(|_| random.below(classes as u32) as i32).collect();
    Ok(Arc::new(noise.target("label", &[], labels).build()?))
}

/// Boxes and classes of so many pictures, as many and as large as in everyday data.
fn objects(recipe: &DetectionRecipe, count: usize, random: &mut Sequence) -> (Vec<f32>, Vec<i32>) {
    let (mut boxes, mut classes) =
        (vec![0.0; count * recipe.boxes * 4], vec![NO_CLASS; count * recipe.boxes]);
    let (height, width) = (recipe.size.0 as f32, recipe.size.1 as f32);
    let rows = boxes.chunks_exact_mut(4).zip(&mut classes).enumerate();
    for (_, (corners, class)) in rows.filter(|(i, _)| i % recipe.boxes < OBJECTS) {
        let mut side = |extent: f32| {
            let size = extent * (0.05 + 0.25 * random.next_unit());
            let from = (extent - size) * random.next_unit();
            (from, from + size)
        };
        let ((x0, x1), (y0, y1)) = (side(width), side(height));
        corners.copy_from_slice(&[x0, y0, x1, y1]);
        *class = random.below(recipe.classes.len() as u32) as i32;
    }
    (boxes, classes)
}

/// An endless run of whole batches.
struct Steps<'a> {
    model: &'a mut Model,
    data: &'a Data,
    program: Loaded,
    spec: ProgramSpec,
    batches: Batches,
    epoch: u32,
}

/// Where batches come from.
enum Batches {
    /// From the host: names of the program's inputs, and the fields that feed them.
    Host { feeds: Vec<(String, usize)>, loader: Loader },
    /// They are on the device: so many of the epoch are left.
    Device { left: usize, pace: Pace },
}

impl<'a> Steps<'a> {
    fn new(model: &'a mut Model, data: &'a Data, what: What, spec: ProgramSpec) -> Result<Steps<'a>> {
        let kept = match what {
            What::Train if data.len() >= spec.batch => model.keep_data(Kind::Train, data, &spec)?,
            _ => None,
        };
        let batches = match &kept {
            Some(_) => Batches::Device { left: 0, pace: Pace::START },
            None => {
                let names = model.input_names(&spec)?;
                let feeds = names.into_iter().zip(spec.wiring.fields().map(|w| w.field)).collect();
                Batches::Host { feeds, loader: loader(data, spec.batch, 0) }
            }
        };
        let spec = kept.unwrap_or(spec);
        let program = model.program(prepare::kind(what), &spec)?;
        Ok(Steps { model, data, program, spec, batches, epoch: 0 })
    }

    /// As many steps as `fit` would run without another look: how many.
    fn run(&mut self) -> Result<usize> {
        let Steps { model, data, program, spec, batches, epoch } = self;
        match batches {
            Batches::Host { feeds, loader } => {
                let batch = next_batch(loader, data, spec.batch, epoch)?;
                let session = model.session()?;
                for (name, field) in feeds {
                    session.write_input(program, name, &batch.fields[*field])?;
                }
                session.run(program)?;
                loader.recycle(batch);
                Ok(1)
            }
            Batches::Device { left, pace } => {
                if *left == 0 {
                    let order = order(data, spec.batch, *epoch);
                    model.begin_epoch(spec, &order, 0)?;
                    (*left, *epoch) = (order.len() / spec.batch, *epoch + 1);
                }
                let steps = pace.steps().min(*left);
                let (session, began) = (model.session()?, Instant::now());
                session.run_many(program, steps)?;
                session.wait()?;
                pace.took(steps, began.elapsed());
                *left -= steps;
                Ok(steps)
            }
        }
    }

    /// Steps until `time` has passed; images a second.
    fn run_for(&mut self, time: Duration) -> Result<f64> {
        let (began, mut images) = (Instant::now(), 0);
        while began.elapsed() < time {
            images += self.run()? * self.spec.batch;
        }
        self.model.session()?.wait()?;
        Ok(images as f64 / began.elapsed().as_secs_f64())
    }
}

/// The next batch of an endless run.
fn next_batch(from: &mut Loader, data: &Data, size: usize, epoch: &mut u32) -> Result<Batch> {
    loop {
        if let Some(batch) = from.next_batch()? {
            return Ok(batch);
        }
        *epoch += 1;
        *from = loader(data, size, *epoch);
    }
}

fn loader(data: &Data, batch: usize, epoch: u32) -> Loader {
    Loader::new(Arc::clone(data), order(data, batch, epoch).into(), batch, LoaderOptions::default())
}

/// An epoch of whole batches; small data go round often enough to fill one.
fn order(data: &Data, batch: usize, epoch: u32) -> Vec<u32> {
    let mut order = epoch_order(data.len(), 0, epoch, true);
    let whole = order.len() - order.len() % batch;
    if whole > 0 {
        order.truncate(whole);
    } else {
        order = order.iter().copied().cycle().take(batch).collect();
    }
    order
}

fn windows(steps: &mut Steps<'_>, seconds: f64, console: &Console) -> Result<Vec<f64>> {
    steps.run_for(WARM_UP.min(Duration::from_secs_f64(seconds)))?;
    let count = ((seconds / WINDOW.as_secs_f64()).round() as usize).max(1);
    let window = Duration::from_secs_f64(seconds / count as f64);
    let bar = Bar::new(console, count as u64);
    let mut speeds = Vec::with_capacity(count);
    for i in 0..count {
        let speed = steps.run_for(window)?;
        bar.set(i as u64 + 1, format!("{} images/s", grouped(speed as u64)));
        speeds.push(speed);
    }
    bar.clear();
    speeds.sort_by(f64::total_cmp);
    Ok(speeds)
}

/// Median microseconds from one image on the host to its result on the host.
fn latency(model: &mut Model, data: &Data) -> Result<f64> {
    let spec = prepare::spec(model, What::Predict, &**data, 1)?;
    let program = model.program(Kind::Predict, &spec)?;
    let fields: Vec<usize> = data.fields().iter().map(|f| f.bytes()).collect();
    let mut example: Vec<Vec<u8>> = fields.iter().map(|n| vec![0; *n]).collect();
    let (inputs, outputs) = (model.network().inputs(), model.network().outputs());
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 50 || (began.elapsed() < Duration::from_secs(1) && times.len() < 20_000) {
        let mut views: Vec<&mut [u8]> = example.iter_mut().map(Vec::as_mut_slice).collect();
        data.read(times.len() % data.len(), &mut views)?;
        let session = model.session()?;
        let start = Instant::now();
        for (input, wire) in inputs.iter().zip(&spec.wiring.inputs) {
            session.write_input(&program, &format!("input/{}", input.name), &example[wire.field])?;
        }
        session.run(&program)?;
        for output in &outputs {
            session.read_output(&program, &format!("output/{}", output.name))?;
        }
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn report(
    model: &mut Model,
    m: &Measurement,
    kernels: &[KernelTime],
    batch: usize,
    console: &Console,
) -> Result<()> {
    let [median, least, most] = m.speed();
    let step_us = batch as f64 / median * 1e6;
    let device = model.device_info()?.name;
    let peak = peak_resident();
    console.event(&json!({
        "images_per_second": { "median": rounded(median, 1), "min": rounded(least, 1), "max": rounded(most, 1) },
        "step_us": rounded(step_us, 2), "latency_us": m.latency_us.map(|l| rounded(l, 2)),
        "peak_mb": peak.map_or(Value::Null, |p| megabytes(p).into()), "planned_mb": megabytes(m.planned_bytes as u64),
        "device": device, "batch_size": batch, "windows": m.speeds.len(),
        "kernels": kernels.iter().map(|k| json!({ "kernel": k.label, "us": rounded(k.us, 1), "flops": k.flops }))
            .collect::<Vec<_>>(),
    }));
    let n = |x: f64| grouped(x as u64);
    console.say(console.bold(&format!(
        "{} images/s  ({} to {} over {})",
        n(median),
        n(least),
        n(most),
        counted(m.speeds.len(), "window")
    )));
    console.say(format!("step of {batch}: {step_us:.1} us on {device}"));
    if let Some(latency) = m.latency_us {
        console.say(format!("one image: {latency:.1} us"));
    }
    let peak = peak.map_or("unknown".into(), |p| format!("{} MB", megabytes(p)));
    console.say(format!(
        "memory: {} MB planned on the device, {peak} at most in the process",
        megabytes(m.planned_bytes as u64)
    ));
    Ok(())
}

/// The most memory that this process ever had, where the system says.
fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Where the time goes: kernels of one label together, of one step.
struct KernelTime {
    label: String,
    us: f64,
    flops: u64,
}

/// Times every kernel, the slowest first.
fn profile(model: &mut Model, kind: Kind, spec: &ProgramSpec) -> Result<Vec<KernelTime>> {
    let program = model.program(kind, spec)?;
    if let Some(kept) = spec.kept {
        let order: Vec<u32> = (0..kept.examples as u32).collect();
        model.begin_epoch(spec, &order, 0)?;
    }
    let session = model.session()?;
    let mut times: BTreeMap<String, (Vec<f64>, u64)> = BTreeMap::new();
    for run in 0..PROFILED {
        for stage in session.profile(&program)? {
            let (seconds, flops) = times.entry(stage.label).or_insert_with(|| (vec![0.0; PROFILED], 0));
            seconds[run] += stage.seconds;
            *flops += stage.flops;
        }
    }
    // The median: others may use the machine now and then.
    let time = |(label, (mut seconds, flops)): (String, (Vec<f64>, u64))| {
        seconds.sort_by(f64::total_cmp);
        KernelTime { label, us: seconds[PROFILED / 2] * 1e6, flops: flops / PROFILED as u64 }
    };
    let mut kernels: Vec<KernelTime> = times.into_iter().map(time).collect();
    kernels.sort_by(|a, b| b.us.total_cmp(&a.us));
    Ok(kernels)
}

/// The table of kernels; `peak`: FLOP/s of one worker, 0 where it is not known.
fn show(model: &mut Model, kernels: &[KernelTime], peak: f64, console: &Console) -> Result<()> {
    let us: f64 = kernels.iter().map(|k| k.us).sum();
    let flops: u64 = kernels.iter().map(|k| k.flops).sum();
    if us == 0.0 || console.is_json() {
        return Ok(());
    }
    let workers = model.device_info()?.workers;
    let peak = peak * workers as f64;
    let mut table = Table::new(1, &["kernel", "share", "us", "GFLOP/s"]);
    for k in kernels.iter().take(SHOWN) {
        table.row([
            k.label.clone(),
            format!("{:.1}%", 100.0 * k.us / us),
            format!("{:.1}", k.us),
            format!("{:.1}", k.flops as f64 / k.us.max(1e-6) / 1e3),
        ]);
    }
    console.say("");
    table.lines().iter().for_each(|line| console.say(line));
    if kernels.len() > SHOWN {
        console.say(format!("and {} with less", counted(kernels.len() - SHOWN, "kernel")));
    }
    let reached = flops as f64 / us / 1e3;
    let of_peak = match peak > 0.0 {
        true => format!(
            ", {:.0}% of the {:.0} that {} can multiply and add (some algorithms need fewer)",
            1e11 * reached / peak,
            peak / 1e9,
            counted(workers, "worker")
        ),
        false => String::new(),
    };
    console.say(format!(
        "{reached:.1} GFLOP/s{of_peak}, {} a step by definition; timing every kernel costs time of its own",
        short_flops(flops)
    ));
    Ok(())
}
