//! The null device: everything but arithmetic. It checks plans, keeps what the host writes, and counts.
//!
//! Invariant: it asks the host for no memory beyond what is written to it: planning a huge model costs nothing.

use crate::plan::{Stage, check};
use crate::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};
use std::sync::Arc;

/// What was run so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Calls of `run`.
    pub runs: usize,
    /// Stages: barriers.
    pub stages: usize,
    /// Stages that are launches.
    pub launches: usize,
    /// Kernels.
    pub kernels: usize,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written by kernels.
    pub bytes: u64,
}

/// An allocation: its size, and what the host wrote (shorter: the rest is zero).
struct Storage {
    bytes: usize,
    written: Vec<u8>,
}

/// The device.
#[derive(Default)]
pub struct NullDevice {
    allocations: Vec<Option<Storage>>,
    programs: Vec<Option<Arc<Plan>>>,
    counts: Counts,
}

impl NullDevice {
    /// An empty one.
    pub fn new() -> Self {
        NullDevice::default()
    }

    /// What was run so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn storage(&self, a: Allocation) -> &Storage {
        match self.allocations.get(a.0 as usize) {
            Some(Some(s)) => s,
            _ => panic!("allocation {} is not live", a.0),
        }
    }

    fn plan(&self, p: Program) -> &Arc<Plan> {
        match self.programs.get(p.0 as usize) {
            Some(Some(plan)) => plan,
            _ => panic!("program {} is not loaded", p.0),
        }
    }
}

fn fits(what: &str, have: usize, offset: usize, bytes: usize) -> Result<(), DeviceError> {
    let found = offset.saturating_add(bytes);
    if found <= have { Ok(()) } else { Err(DeviceError::Size { what: what.into(), expected: have, found }) }
}

impl Device for NullDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "null".into(),
            description: "computes nothing".into(),
            workers: 1,
            regions: true,
            half_products: false,
            keeps_data: false,
        }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        self.allocations.push(Some(Storage { bytes, written: Vec::new() }));
        Ok(Allocation((self.allocations.len() - 1) as u32))
    }

    fn free(&mut self, allocation: Allocation) {
        self.allocations[allocation.0 as usize] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        fits("write", self.storage(to).bytes, offset, bytes.len())?;
        if let Some(s) = &mut self.allocations[to.0 as usize] {
            let end = offset + bytes.len();
            if s.written.len() < end {
                s.written.resize(end, 0);
            }
            s.written[offset..end].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let s = self.storage(from);
        fits("read", s.bytes, offset, bytes.len())?;
        bytes.fill(0);
        let have = s.written.get(offset..).unwrap_or_default();
        let n = have.len().min(bytes.len());
        bytes[..n].copy_from_slice(&have[..n]);
        Ok(())
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        let most = |f: fn(&Arc<Plan>) -> usize| plans.iter().map(f).max().unwrap_or(0);
        MemoryUse { arena: most(|p| p.arena) + most(|p| p.slab), ..MemoryUse::default() }
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        let sizes: Vec<usize> = bindings.iter().map(|a| self.storage(*a).bytes).collect();
        crate::bound(&plan, bindings, &sizes)?;
        check(&plan).map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        self.programs.push(Some(plan));
        Ok(Program((self.programs.len() - 1) as u32))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        let plan = self.plan(program).clone();
        let c = &mut self.counts;
        c.runs += 1;
        c.stages += plan.stages.len();
        for stage in &plan.stages {
            let kernels = match stage {
                Stage::Launch(kernels) => {
                    c.launches += 1;
                    kernels
                }
                Stage::Region { kernels, .. } => kernels,
            };
            c.kernels += kernels.len();
            c.flops += kernels.iter().map(|k| plan.kernel(*k).flops).sum::<u64>();
            c.bytes += kernels.iter().map(|k| plan.kernel(*k).bytes).sum::<u64>();
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        let plans: Vec<Arc<Plan>> = self.programs.iter().flatten().cloned().collect();
        let allocated = self.allocations.iter().flatten().map(|s| s.bytes).sum();
        MemoryUse { allocated, ..self.needs(&plans) }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.run(program)?;
        let entries = &self.plan(program).kernels;
        Ok(entries
            .iter()
            .map(|e| StageTime { label: e.label.clone(), seconds: 0.0, flops: e.flops })
            .collect())
    }
}
