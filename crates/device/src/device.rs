//! The interface every device implements: about a dozen methods.

use crate::gpu::tune::Tuning;
use crate::{DeviceError, Plan};
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

/// A persistent storage on a device, by number. Freed by [`Device::free`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Allocation(pub u32);

/// A loaded plan, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Program(pub u32);

/// What a device is, for people and for `--json`.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceInfo {
    /// As it is asked for: `cpu`, `cuda:0`.
    pub name: String,
    /// What it is: the processor's model and what is used of it.
    pub description: String,
    /// Parallel workers it uses.
    pub workers: usize,
    /// Whether it runs regions of a plan depth first, and makes images as needed
    /// ([`crate::plan::Expansion`]); if not, plans for it have none.
    pub regions: bool,
    /// Whether products read floats of 16 bits as they are and store them; if not, plans for it widen operands to f32 first.
    pub half_products: bool,
    /// Whether a data set that fits should lie in its memory, as copying a batch there takes time of the step's.
    pub keeps_data: bool,
}

/// Bytes the device holds for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryUse {
    /// Allocations of the host's (states, inputs, outputs).
    pub allocated: usize,
    /// Arena and slabs that programs share: the largest any loaded plan needs.
    pub arena: usize,
    /// What programs hold beside that: packed weights, workspaces, partial results. Fixed when loaded.
    pub workspace: usize,
}

impl MemoryUse {
    /// All of it.
    pub fn total(&self) -> usize {
        self.allocated + self.arena + self.workspace
    }
}

/// Time spent in one kernel over profiled runs.
#[derive(Clone, PartialEq, Debug)]
pub struct StageTime {
    /// The kernel's label.
    pub label: String,
    /// Seconds, all workers' together divided by their number.
    pub seconds: f64,
    /// Floating-point operations, of all profiled runs.
    pub flops: u64,
}

/// Bytes that a device was asked for, once they are there.
pub type Later = Pin<Box<dyn Future<Output = Result<Vec<u8>, DeviceError>> + Send>>;

/// A device: holds storage, loads plans, runs them. Nothing in `run` allocates.
pub trait Device: Send {
    /// What it is.
    fn info(&self) -> DeviceInfo;
    /// Storage of `bytes`, zeroed, aligned to [`crate::plan::ALIGN`].
    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError>;
    /// Gives storage back. No loaded program may be bound to it any more.
    fn free(&mut self, allocation: Allocation);
    /// Host to device.
    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError>;
    /// Device to host; waits for what was started.
    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;
    /// Device to host where the host may not wait (a browser's page): the copy is ordered now, behind what was started.
    /// A device that does not have to be asked so reads at once.
    fn read_later(&mut self, from: Allocation, offset: usize, bytes: usize) -> Result<Later, DeviceError> {
        let mut read = vec![0; bytes];
        self.read(from, offset, &mut read)?;
        Ok(Box::pin(ready(Ok(read))))
    }
    /// What it would hold beside the host's allocations if just these plans were loaded: known before anything
    /// is allocated, and equal to what [`Device::memory`] says once they are.
    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse;
    /// Bytes of arena and workspace that programs could have, if the device knows.
    fn room(&self) -> Option<usize> {
        None
    }
    /// Prepares a plan; `bindings` in the plan's order. Takes the arena and workspace it needs now.
    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError>;
    /// Forgets a program.
    fn unload(&mut self, program: Program);
    /// Starts one run; may return before it is done.
    fn run(&mut self, program: Program) -> Result<(), DeviceError>;
    /// Starts so many runs one after another, each on what the one before left: for devices on which starting a run costs
    /// more than a call.
    fn run_many(&mut self, program: Program, times: usize) -> Result<(), DeviceError> {
        (0..times).try_for_each(|_| self.run(program))
    }
    /// Waits for everything started.
    fn wait(&mut self) -> Result<(), DeviceError>;
    /// What it holds now.
    fn memory(&self) -> MemoryUse;
    /// Runs once, timing each kernel.
    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError>;
    /// How its programs are lowered, where that can be chosen: see [`tune`](crate::gpu::tune::tune()).
    fn tuning(&mut self) -> Option<&mut Tuning> {
        None
    }
}
