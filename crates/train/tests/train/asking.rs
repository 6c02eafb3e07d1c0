//! A device around another one: it asks for data sets or not, has as much memory as it is told, and counts what it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};

/// What a device was given.
#[derive(Default)]
pub struct Given {
    pub writes: AtomicUsize,
    /// Calls that start runs, and runs.
    pub starts: AtomicUsize,
    pub runs: AtomicUsize,
    /// Raised after so many runs.
    pub fuse: AtomicUsize,
    pub flag: Arc<AtomicBool>,
}

pub struct Asking {
    pub inner: Box<dyn Device>,
    pub keeps_data: bool,
    /// What it says that there is room for.
    pub room: Option<usize>,
    /// The largest allocation that it makes.
    pub most: usize,
    /// The kind of programs that have no room while data are kept.
    pub full: Option<&'static str>,
    /// Whether a program that reads kept data is loaded.
    pub kept: bool,
    pub given: Arc<Given>,
}

impl Asking {
    pub fn new(inner: Box<dyn Device>, keeps_data: bool) -> Asking {
        Asking {
            inner,
            keeps_data,
            room: None,
            most: usize::MAX,
            full: None,
            kept: false,
            given: Arc::default(),
        }
    }
}

impl Device for Asking {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { keeps_data: self.keeps_data, ..self.inner.info() }
    }
    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        if bytes > self.most {
            let (device, what) = (self.info().name, "storage".into());
            return Err(DeviceError::OutOfMemory { device, needed: bytes, what });
        }
        self.inner.allocate(bytes)
    }
    fn free(&mut self, allocation: Allocation) {
        self.inner.free(allocation)
    }
    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.given.writes.fetch_add(1, SeqCst);
        self.inner.write(to, offset, bytes)
    }
    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.inner.read(from, offset, bytes)
    }
    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        self.inner.needs(plans)
    }
    fn room(&self) -> Option<usize> {
        self.room.or_else(|| self.inner.room())
    }
    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        let reads = |start: &str| plan.bindings.iter().any(|b| b.name.starts_with(start));
        self.kept |= reads(":data/");
        if self.full.is_some_and(|kind| self.kept && plan.name.starts_with(kind)) {
            let (device, what) = (self.info().name, "programs".into());
            return Err(DeviceError::OutOfMemory { device, needed: 1, what });
        }
        self.inner.load(plan, bindings)
    }
    fn unload(&mut self, program: Program) {
        self.kept = false;
        self.inner.unload(program)
    }
    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        self.run_many(program, 1)
    }
    fn run_many(&mut self, program: Program, times: usize) -> Result<(), DeviceError> {
        self.given.starts.fetch_add(1, SeqCst);
        let before = self.given.runs.fetch_add(times, SeqCst);
        if (before + 1..=before + times).contains(&self.given.fuse.load(SeqCst)) {
            self.given.flag.store(true, SeqCst);
        }
        self.inner.run_many(program, times)
    }
    fn wait(&mut self) -> Result<(), DeviceError> {
        self.inner.wait()
    }
    fn memory(&self) -> MemoryUse {
        self.inner.memory()
    }
    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.inner.profile(program)
    }
}
