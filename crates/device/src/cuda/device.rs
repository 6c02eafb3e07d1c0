//! [`CudaDevice`]: storage, programs, runs.
//!
//! The arena is one piece of memory for all programs, as large as the largest needs, since one runs at a time. Invariant:
//! [`Device::memory`] is what was allocated for plans and host.

use super::cache::Cache;
use super::driver::{self, About, Gpu, Memory};
use super::kernels::{Compiler, Kernels};
use super::libraries::Libraries;
use super::loaded::Loaded;
use super::nvrtc::Nvrtc;
use super::places::Places;
use super::staging::Staging;
use crate::caches;
use crate::gpu::call::{Call, Library, Refusal};
use crate::gpu::launch::{Abilities, Launches};
use crate::gpu::tune::{Shelf, Tuning, tuned};
use crate::plan::check;
use crate::{Allocation, Device, DeviceError, DeviceInfo, Found, MemoryUse, Plan, Program, StageTime};
use std::sync::Arc;

/// The first architecture whose tensor cores take tf32 and bf16, and that copies asynchronously.
const AMPERE: i32 = 8;
/// Threads that a multiprocessor holds at a time.
const THREADS_PER_UNIT: usize = 2048;
/// Memories that a kernel may use: pointers are all alike.
const MEMORIES: usize = 1 << 10;
/// Shared memory that every kernel may declare.
const SHARED: usize = 48 << 10;

/// An NVIDIA GPU.
pub struct CudaDevice {
    description: String,
    tuning: Tuning,
    allocations: Vec<Option<Memory>>,
    programs: Vec<Option<Loaded>>,
    arena: Option<Memory>,
    staging: Staging,
    kernels: Kernels,
    libraries: Libraries,
    /// The driver's version.
    driver: i32,
    gpu: Arc<Gpu>,
}

/// What a GPU is, for people.
fn describe(about: &About, nvrtc: &Nvrtc) -> String {
    let (a, b) = nvrtc.version;
    let gigabytes = about.memory as f64 / 1e9;
    format!("{}, {}, {gigabytes:.0} GB, NVRTC {a}.{b}", about.name, architecture(about))
}

/// Where its tuned products are kept: by all that their speed depends on.
fn shelf(about: &About, nvrtc: &Nvrtc) -> Option<Shelf> {
    let ((a, b), driver) = (nvrtc.version, driver::version().ok()?);
    let of = format!(
        "{}, {}, {} units, NVRTC {a}.{b}, driver {driver}",
        about.name,
        architecture(about),
        about.units
    );
    Some(Shelf::new(&caches::folder()?.join("tuned"), &of))
}

/// What its kernels are compiled for. Only code for just this architecture may use all of its instructions, from Hopper on.
fn architecture(about: &About) -> String {
    let [major, minor] = about.architecture;
    format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
}

/// The compiler for a GPU: one that its driver takes code of, and that knows its architecture.
fn compiler(about: &About) -> Result<Nvrtc, String> {
    let driver = driver::version()? / 1000;
    Nvrtc::find_for(&Places::read(), driver as u32, &architecture(about)).map_err(|why| {
        format!(
            "NVIDIA's run-time compiler was not found ({why}): pip install nvidia-cuda-nvrtc in an active environment, install the \
             CUDA toolkit, or name its folder in THALWEG_NVRTC; --device wgpu needs none"
        )
    })
}

/// All NVIDIA GPUs, or one line that says why there is none.
pub fn found() -> Vec<Found> {
    let one = |i: usize| {
        let about = driver::about(i);
        let usable = about.as_ref().map_err(Clone::clone).and_then(compiler);
        let description = match (about, &usable) {
            (Ok(about), Ok(nvrtc)) => describe(&about, nvrtc) + &tuned(shelf(&about, nvrtc)),
            (Ok(about), Err(why)) => format!("{}: {why}", about.name),
            (Err(why), _) => why,
        };
        Found { name: format!("cuda:{i}"), usable: usable.is_ok(), description }
    };
    match driver::count() {
        Ok(n) => (0..n).map(one).collect(),
        Err(why) => vec![Found { name: "cuda".into(), usable: false, description: why }],
    }
}

impl CudaDevice {
    /// The `index`-th GPU. `tf32`: whether tensor cores may multiply f32, with 10 bits of mantissa.
    pub fn new(index: usize, tf32: bool) -> Result<Self, DeviceError> {
        let gpu = Gpu::open(index)?;
        let failed = |reason: String| DeviceError::Gpu { device: gpu.name.clone(), reason };
        let about = driver::about(index).map_err(failed)?;
        let nvrtc = compiler(&about).map_err(failed)?;
        let description = describe(&about, &nvrtc) + if tf32 { ", tf32" } else { "" };
        let abilities = Abilities {
            shared_bytes: SHARED,
            parallel: about.units * THREADS_PER_UNIT,
            memories: MEMORIES,
            tensor: about.architecture[0] >= AMPERE,
            tf32,
            ..Abilities::LEAST
        };
        let tuning = Tuning::new(abilities, shelf(&about, &nvrtc));
        let driver = driver::version().map_err(failed)?;
        let cache = Cache::new(Places::read().cache);
        let compiler = Compiler { nvrtc, cache, architecture: architecture(&about), driver };
        let names_one = tuning.choices().iter().any(|(_, way)| Library::is_named(way));
        let mut device = CudaDevice {
            description,
            tuning,
            allocations: Vec::new(),
            programs: Vec::new(),
            arena: None,
            staging: Staging::new(&gpu)?,
            kernels: Kernels::new(Arc::clone(&gpu), compiler),
            libraries: Libraries::new(Arc::clone(&gpu)),
            driver,
            gpu,
        };
        if names_one {
            device.look_for_libraries();
        }
        Ok(device)
    }

    /// Looks for the libraries that products may be left to. Not done before somebody has chosen one or may do so: they are
    /// large.
    fn look_for_libraries(&mut self) {
        self.libraries.look(self.driver as u32 / 1000);
        self.tuning.set_libraries(self.libraries.there());
    }

    /// Lowers a plan to what runs here: what a library refuses is computed in the account's way.
    fn lower(&mut self, plan: &Plan) -> Result<Launches, DeviceError> {
        loop {
            let launches = self.tuning.lower(plan)?;
            let mut refused = false;
            for call in launches.calls() {
                if let Err(why) = self.prepare(call)? {
                    self.tuning.choices_mut().refuse(*call, why);
                    refused = true;
                }
            }
            if !refused {
                return Ok(launches);
            }
        }
    }

    /// Prepares a call. Its first run may need the arena's memory, which [`CudaDevice::share`] makes anew; where that is not
    /// enough the call is refused, as nobody knows what its library would say.
    fn prepare(&mut self, call: &Call) -> Result<Result<(), Refusal>, DeviceError> {
        let lacks = |e: &DeviceError| matches!(e, DeviceError::OutOfMemory { .. });
        let mut prepared = self.libraries.prepare(call);
        if prepared.as_ref().is_err_and(lacks) && self.arena.take().is_some() {
            prepared = self.libraries.prepare(call);
        }
        match prepared {
            Err(e) if lacks(&e) => Ok(Err(format!("{}: {e}", call.library()).into())),
            prepared => prepared,
        }
    }

    /// What was chosen and is not done, in a line.
    fn amiss(&self) -> Option<String> {
        let choices = self.tuning.choices();
        if let Some(why) = choices.refusals().next() {
            return Some(format!("a library refused what was chosen for it ({why})"));
        }
        let there = self.libraries.there();
        let mut chosen = choices.iter().map(|(_, way)| way).filter(|way| Library::is_named(way));
        let way = chosen.find(|way| !there.have(way))?;
        let library = way.split(',').next().unwrap_or(way);
        Some(format!("what was tuned for {library} is done without it ({})", self.libraries.missing(way)))
    }

    fn storage(&self, a: Allocation) -> &Memory {
        match self.allocations.get(a.0 as usize) {
            Some(Some(memory)) => memory,
            _ => panic!("allocation {} is not live", a.0),
        }
    }

    fn loaded(&self, p: Program) -> &Loaded {
        match self.programs.get(p.0 as usize) {
            Some(Some(loaded)) => loaded,
            _ => panic!("program {} is not loaded", p.0),
        }
    }

    /// Makes the arena as large as the loaded programs need and tells them; `fresh`: this one has no place yet.
    fn share(&mut self, fresh: Option<usize>) -> Result<(), DeviceError> {
        let needed = self.programs.iter().flatten().map(|l| l.launches.arena).max().unwrap_or(0);
        let moved = self.arena.as_ref().is_none_or(|a| a.bytes != needed);
        if moved {
            // The old one first, so that both need not fit.
            self.arena = None;
            self.arena = Some(Memory::zeroed(&self.gpu, needed, "activations")?);
        }
        let start = self.arena.as_ref().map_or(0, |a| a.start);
        for (i, loaded) in self.programs.iter_mut().enumerate() {
            let Some(loaded) = loaded.as_mut().filter(|_| moved || fresh == Some(i)) else { continue };
            let at = |a: &Allocation| self.allocations[a.0 as usize].as_ref().map_or(0, |m| m.start);
            let bindings: Vec<_> = loaded.bound.iter().map(at).collect();
            loaded.place((&self.kernels, &self.libraries), start, &bindings)?;
        }
        Ok(())
    }

    fn fits(&self, what: &str, a: Allocation, offset: usize, bytes: usize) -> Result<(), DeviceError> {
        let (have, end) = (self.storage(a).bytes, offset.saturating_add(bytes));
        match end <= have {
            true => Ok(()),
            false => Err(DeviceError::Size { what: what.into(), expected: have, found: end }),
        }
    }
}

impl Device for CudaDevice {
    fn info(&self) -> DeviceInfo {
        let (name, mut description) = (self.gpu.name.clone(), self.description.clone());
        if let Some(amiss) = self.amiss() {
            description += &format!(", {amiss}");
        }
        DeviceInfo { name, description, workers: 1, regions: false, half_products: true, keeps_data: true }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        let memory = Memory::zeroed(&self.gpu, bytes, "storage")?;
        let at = self.allocations.iter().position(Option::is_none).unwrap_or_else(|| {
            self.allocations.push(None);
            self.allocations.len() - 1
        });
        self.allocations[at] = Some(memory);
        Ok(Allocation(at as u32))
    }

    fn free(&mut self, allocation: Allocation) {
        let bound = self.programs.iter().flatten().any(|p| p.bound.contains(&allocation));
        assert!(!bound, "allocation {} is bound to a loaded program", allocation.0);
        self.allocations[allocation.0 as usize] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.fits("write", to, offset, bytes.len())?;
        let start = self.storage(to).start + offset as u64;
        // SAFETY: inside the allocation, which waits for the stream before it is given back.
        unsafe { self.staging.write(start, bytes) }
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.fits("read", from, offset, bytes.len())?;
        self.storage(from).read(offset, bytes)
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        // A plan that cannot be lowered is refused when it is loaded, with the reason. What a library refuses then needs no
        // workspace any more.
        let lowered = plans.iter().filter_map(|p| self.tuning.lower(p).ok());
        MemoryUse { arena: lowered.map(|l: Launches| l.arena).max().unwrap_or(0), ..MemoryUse::default() }
    }

    fn room(&self) -> Option<usize> {
        Some(self.gpu.free()? + self.memory().arena)
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        let sizes: Vec<usize> = bindings.iter().map(|a| self.storage(*a).bytes).collect();
        crate::bound(&plan, bindings, &sizes)?;
        check(&plan).map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        let made = self.lower(&plan).and_then(|launches| {
            Loaded::new(&self.gpu, &mut self.kernels, plan, launches, bindings.to_vec())
        });
        // The others get back the arena they had, should a library's first run have taken it.
        let loaded = made.inspect_err(|_| _ = self.share(None))?;
        let at = self.programs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.programs.push(None);
            self.programs.len() - 1
        });
        self.programs[at] = Some(loaded);
        if let Err(e) = self.share(Some(at)) {
            self.programs[at] = None;
            // The others get back the arena they had.
            let _ = self.share(None);
            return Err(e);
        }
        Ok(Program(at as u32))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
        // Less is needed now, and what is needed was there before.
        let _ = self.share(None);
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        self.loaded(program).run()
    }

    fn run_many(&mut self, program: Program, times: usize) -> Result<(), DeviceError> {
        match self.programs.get_mut(program.0 as usize) {
            Some(Some(loaded)) => loaded.run_many(times),
            _ => panic!("program {} is not loaded", program.0),
        }
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        self.gpu.wait()
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            allocated: self.allocations.iter().flatten().map(|m| m.bytes).sum(),
            arena: self.arena.as_ref().map_or(0, |a| a.bytes),
            workspace: 0,
        }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        let loaded = self.loaded(program);
        let time = |(e, seconds): (&crate::plan::Entry, f64)| StageTime {
            label: e.label.clone(),
            seconds,
            flops: e.flops,
        };
        Ok(loaded.plan.kernels.iter().zip(loaded.profile()?).map(time).collect())
    }

    fn tuning(&mut self) -> Option<&mut Tuning> {
        self.look_for_libraries();
        Some(&mut self.tuning)
    }
}
