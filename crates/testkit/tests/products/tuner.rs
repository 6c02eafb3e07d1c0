//! The tuner on a device of which a clock that only it moves says how long each way takes.

use super::libraries::BOTH;
use super::{LARGE, contraction_of, dot, plan};
use super::{Random, naive::Case};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg_base::{ConvDims, DType, Window};
use thalweg_device::gpu::call;
use thalweg_device::gpu::lower::{legal, products};
use thalweg_device::gpu::tune::{Effort, Report, Shelf, Tuning, tune};
use thalweg_device::plan::Product;
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};

/// Nanoseconds of a run, by its product's line, its way and how often it was loaded before; `None`: it cannot be loaded.
type Cost = Box<dyn Fn(&str, usize) -> Option<u64> + Send>;

struct Paced {
    tuning: Tuning,
    clock: Arc<AtomicU64>,
    cost: Cost,
    loads: BTreeMap<String, usize>,
    programs: Vec<u64>,
    allocated: usize,
    room: usize,
    lost: bool,
    /// What becomes of a load that is refused.
    refusal: Refusal,
    /// What a library says to what it is asked, if it refuses.
    says: Option<call::Refusal>,
    /// Bytes of what was written, each time.
    writes: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Refusal {
    Load,
    Memory,
    Run,
    Loss,
}

/// A cost that is none: running fails.
const FAILS: u64 = u64::MAX;

impl Paced {
    fn new(shelf: Option<Shelf>, cost: impl Fn(&str, usize) -> Option<u64> + Send + 'static) -> Paced {
        Paced {
            tuning: Tuning::new(LARGE, shelf),
            clock: Arc::default(),
            cost: Box::new(cost),
            loads: BTreeMap::new(),
            programs: Vec::new(),
            allocated: 0,
            room: usize::MAX,
            lost: false,
            refusal: Refusal::Load,
            says: None,
            writes: Vec::new(),
        }
    }

    fn tune(&mut self, plans: &[Arc<Plan>], budget: Duration) -> Report {
        let clock = Arc::clone(&self.clock);
        let now = move || Duration::from_nanos(clock.load(Ordering::Relaxed));
        let effort = Effort { budget, sample: Duration::from_millis(5), clock: &now };
        let report = tune(self, plans, &effort, &mut |_, _, _| {}).unwrap().unwrap();
        assert_eq!(self.allocated, 0, "everything is given back");
        assert!(self.programs.iter().all(|cost| *cost == 0), "programs are unloaded");
        report
    }
}

impl Device for Paced {
    fn info(&self) -> DeviceInfo {
        let name = "paced".to_owned();
        let description = name.clone();
        DeviceInfo { name, description, workers: 1, regions: false, half_products: true, keeps_data: true }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        if bytes > self.room {
            let what = "storage".into();
            return Err(DeviceError::OutOfMemory { device: "paced".into(), needed: bytes, what });
        }
        self.allocated += 1;
        Ok(Allocation(0))
    }

    fn free(&mut self, _: Allocation) {
        self.allocated -= 1;
    }

    fn write(&mut self, _: Allocation, _: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.writes.push(bytes.len());
        Ok(())
    }

    fn read(&mut self, _: Allocation, _: usize, _: &mut [u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn needs(&self, _: &[Arc<Plan>]) -> MemoryUse {
        MemoryUse::default()
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        assert_eq!(thalweg_device::plan::check(&plan), Ok(()));
        assert_eq!(bindings.len(), plan.bindings.len());
        let launches = self.tuning.lower(&plan)?;
        for (call, said) in launches.calls().zip(self.says.iter().cycle()) {
            self.tuning.choices_mut().refuse(*call, said.clone());
        }
        // All ways that the program is lowered with, by what its kernels look like.
        let ways: Vec<String> = products(&plan, contraction_of(&plan), self.tuning.abilities())
            .into_iter()
            .map(|(product, ways)| {
                self.tuning.choices().get(&product).map_or(ways[0].to_string(), str::to_owned)
            })
            .collect();
        assert!(!launches.stages.is_empty());
        let ways = ways.join(" + ");
        let before = self.loads.entry(ways.clone()).or_default();
        let cost = (self.cost)(&ways, *before);
        *before += 1;
        let device = "paced".to_owned();
        let cost = match (cost, self.refusal) {
            (Some(cost), _) => cost,
            (None, Refusal::Load) => {
                return Err(DeviceError::Gpu { device, reason: "too many registers".into() });
            }
            (None, Refusal::Memory) => {
                return Err(DeviceError::OutOfMemory { device, needed: 1 << 20, what: "scratch".into() });
            }
            (None, Refusal::Run) => FAILS,
            (None, Refusal::Loss) => {
                self.lost = true;
                return Err(DeviceError::Gpu { device, reason: "too many registers".into() });
            }
        };
        self.programs.push(cost);
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = 0;
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        let cost = self.programs[program.0 as usize];
        if cost == FAILS {
            return Err(DeviceError::Gpu { device: "paced".into(), reason: "a binding too large".into() });
        }
        self.clock.fetch_add(cost, Ordering::Relaxed);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        match self.lost {
            true => Err(DeviceError::Gpu { device: "paced".into(), reason: "it is lost".into() }),
            false => Ok(()),
        }
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse::default()
    }

    fn profile(&mut self, _: Program) -> Result<Vec<StageTime>, DeviceError> {
        Ok(Vec::new())
    }

    fn tuning(&mut self) -> Option<&mut Tuning> {
        Some(&mut self.tuning)
    }
}

fn plan_of(case: &Case) -> Arc<Plan> {
    plan::of(case, &case.data(&mut Random(0)), DType::F32)
}

/// A product with its line and its ways.
fn product() -> (Arc<Plan>, String, Vec<String>) {
    let plan = plan_of(&dot(1, [128, 128, 512], false, false));
    let (product, ways) = products(&plan, contraction_of(&plan), &LARGE).remove(0);
    (plan, product, ways.iter().map(ToString::to_string).collect())
}

const LONG: Duration = Duration::from_secs(3600);

/// A folder of this test.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("thalweg-{name}-{}", std::process::id()))
}

fn shelf(folder: &Path) -> Option<Shelf> {
    Some(Shelf::new(folder, "paced"))
}

#[test]
fn the_fastest_way_is_chosen_kept_and_not_measured_again() {
    let (plan, product, ways) = product();
    assert!(ways.len() > 6, "{ways:?}");
    let folder = folder("tuner");
    for favourite in [&ways[ways.len() - 1], &ways[3]] {
        let _ = fs::remove_dir_all(&folder);
        let wanted = favourite.clone();
        let mut device = Paced::new(shelf(&folder), move |way, _| {
            Some(if way == wanted { 50_000 } else { 100_000 + way.len() as u64 })
        });
        let report = device.tune(&[Arc::clone(&plan)], LONG);
        let [measured] = &report.measured[..] else { panic!("{report:?}") };
        assert_eq!((&measured.way, measured.ways), (favourite, ways.len()));
        assert_eq!((report.products, report.known, report.left, report.refused), (1, 0, 0, 0));
        assert!((1.9..2.1).contains(&(measured.seconds[0] / measured.seconds[1])), "{measured:?}");

        // Another process, which must not measure anything.
        let mut later = Paced::new(shelf(&folder), |_, _| None);
        assert_eq!(later.tuning.choices().get(&product), Some(favourite.as_str()));
        let lowered = later.tuning.lower(&plan).unwrap();
        assert_eq!(lowered, device.tuning.lower(&plan).unwrap());
        assert_ne!(lowered, Tuning::new(LARGE, None).lower(&plan).unwrap());
        let report = later.tune(&[Arc::clone(&plan)], LONG);
        assert_eq!((report.known, report.measured.len()), (1, 0));
        assert!(later.loads.is_empty());
    }
    // A file that is damaged is measured anew, and whole again.
    for file in fs::read_dir(&folder).unwrap() {
        fs::write(file.unwrap().path(), b"\0\xff").unwrap();
    }
    let mut device = Paced::new(shelf(&folder), |_, _| Some(1000));
    assert_eq!(device.tune(&[Arc::clone(&plan)], LONG).measured.len(), 1);
    assert_eq!(Paced::new(shelf(&folder), |_, _| None).tuning.choices().len(), 1);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_hardly_faster_or_only_once_is_not_chosen() {
    let (plan, _, ways) = product();
    let account = ways[0].clone();
    let first = account.clone();
    let mut device = Paced::new(None, move |way, _| Some(if way == first { 100_000 } else { 98_000 }));
    assert_eq!(device.tune(&[Arc::clone(&plan)], LONG).measured[0].way, account, "by 2%");
    // Twice as fast when measured alone, and not when in turns with the first.
    let first = account.clone();
    let mut device =
        Paced::new(None, move |way, before| Some(if way == first || before > 0 { 100_000 } else { 50_000 }));
    assert_eq!(device.tune(&[plan], LONG).measured[0].way, account);
}

#[test]
fn what_goes_wrong_is_left_out() {
    let (plan, product, ways) = product();
    let (account, broken, fast) = (ways[0].clone(), ways[1].clone(), ways[2].clone());
    let (b, f) = (broken.clone(), fast.clone());
    let mut device = Paced::new(None, move |way, _| match way {
        _ if way == b => None,
        _ if way == f => Some(10_000),
        _ => Some(20_000),
    });
    assert_eq!(device.tune(&[Arc::clone(&plan)], LONG).measured[0].way, fast);
    assert_ne!(fast, account);
    let mut crowded = Paced::new(None, |_, _| Some(1000));
    crowded.room = 1 << 10;
    let report = crowded.tune(&[Arc::clone(&plan)], LONG);
    assert_eq!((report.refused, report.measured.len()), (1, 0));
    assert_eq!(crowded.tuning.choices().get(&product), None);
    let mut none = Paced::new(None, |_, _| None);
    let report = none.tune(&[Arc::clone(&plan)], LONG);
    assert_eq!((report.refused, report.measured.len()), (1, 0), "not even the account's");
    assert_eq!(report.reason.as_deref(), Some("paced: too many registers"));
    // A device that is lost is told, and nothing stays behind.
    let mut lost = Paced::new(None, |_, _| Some(1000));
    lost.lost = true;
    let effort = Effort { budget: LONG, sample: LONG, clock: &|| Duration::ZERO };
    let told = tune(&mut lost, &[plan], &effort, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(told.contains("it is lost") && lost.allocated == 0, "{told}");
    assert!(lost.tuning.choices().is_empty());
}

/// One way that is loaded and fails when it is run; one for which there is no memory; one that the device does not survive.
#[test]
fn what_goes_wrong_midway_is_no_verdict() {
    let (plan, product, ways) = product();
    let device = |refusal: Refusal, fast: Option<usize>| {
        let (broken, fast) = (ways[2].clone(), fast.map(|i| ways[i].clone()));
        let mut device = Paced::new(None, move |way, _| match way {
            _ if way == broken => None,
            _ if fast.as_deref() == Some(way) => Some(10_000),
            _ => Some(20_000),
        });
        device.refusal = refusal;
        device
    };
    let one = [plan];
    for refusal in [Refusal::Load, Refusal::Memory, Refusal::Run] {
        assert_eq!(device(refusal, Some(3)).tune(&one, LONG).measured[0].way, ways[3]);
    }
    assert_eq!(device(Refusal::Run, None).tune(&one, LONG).measured[0].way, ways[0]);
    let mut crowded = device(Refusal::Memory, None);
    let report = crowded.tune(&one, LONG);
    assert_eq!((report.refused, report.measured.len()), (1, 0));
    assert!(report.reason.unwrap().contains("cannot allocate"));
    assert_eq!(crowded.tuning.choices().get(&product), None);
    let mut lost = device(Refusal::Loss, Some(1));
    let effort = Effort { budget: LONG, sample: LONG, clock: &|| Duration::ZERO };
    let told = tune(&mut lost, &one, &effort, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(told.contains("it is lost") && lost.allocated == 0, "{told}");
    assert!(lost.tuning.choices().is_empty());
    // The account's own way has to run.
    let mut none = Paced::new(None, |_, _| None);
    none.refusal = Refusal::Run;
    assert_eq!(none.tune(&one, LONG).reason.as_deref(), Some("paced: a binding too large"));
}

/// Text that is no way is measured; that of a way which is not worth measuring is known.
#[test]
fn what_is_stale_is_measured() {
    let (plan, product, ways) = product();
    let (_, all) = legal(&plan, contraction_of(&plan), &LARGE).remove(0);
    let other = all.iter().map(ToString::to_string).find(|w| !ways.contains(w)).unwrap();
    for (text, known) in [("threads 9x9x9 of 9x9, 9 deep, 1 pieces", 0), ("", 0), (&other, 1), (&ways[1], 1)]
    {
        let mut device = Paced::new(None, |_, _| Some(1000));
        device.tuning.choices_mut().set(&product, text);
        let report = device.tune(&[Arc::clone(&plan)], LONG);
        assert_eq!((report.known, report.measured.len()), (known, 1 - known), "{text}");
    }
}

#[test]
fn what_cannot_be_kept_is_told() {
    let (plan, product, ways) = product();
    for (shelf, told) in [
        (shelf(Path::new("/proc/none/at/all")), "could not be kept in /proc/none/at/all/"),
        (None, "could not be kept: there is no folder"),
    ] {
        let mut device = Paced::new(shelf, |_, _| Some(1000));
        let report = device.tune(&[Arc::clone(&plan)], LONG);
        assert!(report.unkept.unwrap().starts_with(told));
        assert_eq!(device.tuning.choices().get(&product), Some(ways[0].as_str()));
    }
}

/// A.B, A^T.B, A.B^T and A^T.B^T of the same sizes.
#[test]
fn transposed_operands_are_other_products() {
    let lines: BTreeSet<String> = [(false, false), (true, false), (false, true), (true, true)]
        .into_iter()
        .flat_map(|(ta, tb)| {
            let plan = plan_of(&dot(1, [8, 8, 8], ta, tb));
            products(&plan, contraction_of(&plan), &LARGE).into_iter().map(|(product, _)| product)
        })
        .collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
}

/// Of a product of seconds, what is hopeless runs once, and no way is begun behind the end.
#[test]
fn slow_ways_take_no_longer_than_they_must() {
    let (plan, _, ways) = product();
    let second = 1_000_000_000;
    let first = ways[0].clone();
    let mut device = Paced::new(None, move |way, _| Some(if way == first { second } else { 2 * second }));
    let report = device.tune(&[Arc::clone(&plan)], LONG);
    assert_eq!(report.measured[0].way, ways[0]);
    let account = 2 + 3;
    assert_eq!(device.clock.load(Ordering::Relaxed), (account + 2 * (ways.len() as u64 - 1)) * second);
    let mut short = Paced::new(None, move |_, _| Some(second));
    let report = short.tune(&[plan], Duration::from_secs(6));
    assert_eq!((report.measured.len(), report.left, report.refused), (0, 1, 0));
    assert_eq!(short.clock.load(Ordering::Relaxed), 2 * account * second, "the second way was the last");
}

/// Parts that a device sends at once.
#[test]
fn operands_are_written_in_large_parts() {
    let plan = plan_of(&dot(1, [520, 8, 520], false, false));
    let large = Arc::clone(&plan);
    let mut device = Paced::new(None, |_, _| Some(1000));
    device.tune(&[large], LONG);
    let most = plan.bindings.iter().map(|b| b.bytes()).max().unwrap();
    assert!(most > 1 << 20 && device.writes.contains(&(1 << 20)), "{:?}", device.writes);
}

/// The largest first, as far as there is time; equal products once; the next time goes on.
#[test]
fn a_budget_ends_it_and_the_next_goes_on() {
    let sizes = [[64, 64, 64], [256, 64, 256], [64, 64, 64], [128, 64, 128]];
    let mut plans: Vec<Arc<Plan>> = sizes.iter().map(|s| plan_of(&dot(1, *s, false, false))).collect();
    for plan in &mut plans {
        let n = plan.buffers[0].len as u64;
        Arc::make_mut(plan).kernels[0].flops = n;
    }
    let mut device = Paced::new(None, |_, _| Some(1_000_000));
    // For all ways of the first, which are at most twelve, and some of the second.
    let report = device.tune(&plans, Duration::from_millis(600));
    assert_eq!((report.products, report.measured.len(), report.left), (3, 1, 2));
    assert!(report.measured[0].product.contains("256 x 64 over 256"), "{report:?}");
    let report = device.tune(&plans, LONG);
    assert_eq!((report.products, report.known, report.measured.len(), report.left), (3, 1, 2, 0));
    assert!(report.measured[0].product.contains("128 x 64 over 128"), "{report:?}");
}

/// An input gradient of strides is several products, of which each has its own way.
#[test]
fn products_of_one_contraction_are_chosen_one_by_one() {
    let window = Window::same(16, 3, 2, 1);
    let d =
        ConvDims { n: 8, h: 16, w: 16, c: 64, k: 64, oh: 8, ow: 8, rows: window, cols: window, groups: 1 };
    let plan = plan_of(&Case::new(Product::ConvInputGrad(d)));
    let all = products(&plan, contraction_of(&plan), &LARGE);
    assert_eq!(all.len(), 4);
    let wanted: BTreeMap<String, String> =
        all.iter().map(|(product, ways)| (product.clone(), ways[ways.len() / 2].to_string())).collect();
    assert!(wanted.len() >= 3, "of one, two, two and four taps");
    let favourites: Vec<String> = all.iter().map(|(product, _)| wanted[product].clone()).collect();
    // Each product that has its favourite takes a tenth off.
    let mut device = Paced::new(None, move |ways, _| {
        let right = ways.split(" + ").zip(&favourites).filter(|(way, favourite)| way == favourite).count();
        Some(100_000 - 10_000 * right as u64)
    });
    let report = device.tune(&[plan], LONG);
    assert_eq!(report.measured.len(), wanted.len());
    for (product, way) in &wanted {
        assert_eq!(device.tuning.choices().get(product), Some(way.as_str()), "{product}");
    }
}

/// A library's way of a whole is chosen behind those of its parts, which are at their best then; one that it refuses never is,
/// whatever the program takes that runs instead.
#[test]
fn libraries_are_measured_behind_what_they_replace() {
    let window = Window::valid(3, 2, 1);
    let d =
        ConvDims { n: 8, h: 17, w: 17, c: 64, k: 64, oh: 8, ow: 8, rows: window, cols: window, groups: 1 };
    let plan = plan_of(&Case::new(Product::ConvInputGrad(d)));
    let device = || {
        let cost = |ways: &str, _| Some(if ways.contains("cudnn") { 50_000 } else { 100_000 });
        let mut device = Paced::new(None, cost);
        device.tuning.set_libraries(BOTH);
        device
    };
    let mut there = device();
    let (_, whole) = legal(&plan, contraction_of(&plan), there.tuning.abilities()).pop().unwrap();
    let library = whole[1].to_string();
    let report = there.tune(&[Arc::clone(&plan)], LONG);
    let chosen: Vec<&str> = report.measured.iter().map(|m| m.way.as_str()).collect();
    assert!(chosen.len() > 1 && chosen.last() == Some(&library.as_str()), "{chosen:?}");
    // What it may compute another time is measured then.
    for lasting in [true, false] {
        let mut refusing = device();
        refusing.says = Some(call::Refusal { why: "no".into(), lasting });
        let report = refusing.tune(&[Arc::clone(&plan)], LONG);
        assert!(report.measured.iter().all(|m| m.way != library), "{report:?}");
        assert_eq!((report.measured.last().unwrap().way.as_str(), report.refused), ("apart", 0));
        assert_eq!((report.calls_refused, report.library_said.as_deref()), (1, Some("no")));
        refusing.says = None;
        let again = refusing.tune(&[Arc::clone(&plan)], LONG);
        let ways: Vec<&str> = again.measured.iter().map(|m| m.way.as_str()).collect();
        assert_eq!(ways, if lasting { vec![] } else { vec![library.as_str()] });
    }
}
