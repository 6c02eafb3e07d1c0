//! [`InterpretedGpu`]: a device that lowers plans as GPUs do and interprets the kernels.

use super::calls::run_call;
use super::machine::{Clock, run_kernel};
use super::memory::{Memory, Window};
use std::sync::Arc;
use thalweg_device::gpu::launch::{Abilities, Argument, Launches, Work};
use thalweg_device::gpu::tune::Tuning;
use thalweg_device::plan::{Place, check};
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};

struct Loaded {
    plan: Arc<Plan>,
    launches: Launches,
    bound: Vec<Allocation>,
}

/// The device.
pub struct InterpretedGpu {
    tuning: Tuning,
    /// The arena, then allocations.
    memories: Vec<Option<Memory>>,
    programs: Vec<Option<Loaded>>,
    clock: Clock,
}

impl InterpretedGpu {
    /// One that can do this.
    pub fn new(abilities: Abilities) -> InterpretedGpu {
        let memories = vec![Some(Memory::new(Vec::new()))];
        InterpretedGpu {
            tuning: Tuning::new(abilities, None),
            memories,
            programs: Vec::new(),
            clock: Clock::default(),
        }
    }

    fn storage(&mut self, a: Allocation) -> &mut Memory {
        self.memories[a.0 as usize + 1].as_mut().expect("a live allocation")
    }

    fn share(&mut self) {
        let needed = self.programs.iter().flatten().map(|l| l.launches.arena).max().unwrap_or(0);
        // Not zero: nothing may rely on it.
        self.memories[0] = Some(Memory::new(vec![0xa5; needed]));
    }
}

/// Where an argument lies: memories are numbered as a run takes them, the arena first.
fn window(a: &Argument) -> Window {
    match a.place {
        Place::Arena { offset } => Window { memory: 0, first: offset, bytes: a.bytes },
        Place::Binding(n) => Window { memory: n as usize + 1, first: 0, bytes: a.bytes },
        Place::Slab { .. } => unreachable!("plans for GPUs have no slabs"),
    }
}

impl Device for InterpretedGpu {
    fn info(&self) -> DeviceInfo {
        let description = "interpreter of the kernel IR".into();
        let name = "interpreted".into();
        DeviceInfo { name, description, workers: 1, regions: false, half_products: true, keeps_data: true }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        self.memories.push(Some(Memory::new(vec![0; bytes])));
        Ok(Allocation(self.memories.len() as u32 - 2))
    }

    fn free(&mut self, allocation: Allocation) {
        self.memories[allocation.0 as usize + 1] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.storage(to).bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let n = bytes.len();
        bytes.copy_from_slice(&self.storage(from).bytes[offset..offset + n]);
        Ok(())
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        let lowered = plans.iter().filter_map(|p| self.tuning.lower(p).ok());
        MemoryUse { arena: lowered.map(|l| l.arena).max().unwrap_or(0), ..MemoryUse::default() }
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        check(&plan).map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        let launches = self.tuning.lower(&plan)?;
        self.programs.push(Some(Loaded { plan, launches, bound: bindings.to_vec() }));
        self.share();
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
        self.share();
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        let loaded = self.programs[program.0 as usize].take().expect("a loaded program");
        // Every memory that the program knows, the arena first; windows count them in this order.
        let numbers: Vec<usize> =
            std::iter::once(0).chain(loaded.bound.iter().map(|a| a.0 as usize + 1)).collect();
        let take = |i: &usize| self.memories[*i].take().expect("a live memory");
        let mut memories: Vec<Memory> = numbers.iter().map(take).collect();
        for stage in &loaded.launches.stages {
            self.clock.next_stage();
            for launch in stage {
                let windows: Vec<Window> = launch.arguments.iter().map(window).collect();
                match &launch.work {
                    Work::Kernel { kernel, groups } => {
                        let kernel = &loaded.launches.kernels[*kernel];
                        run_kernel(kernel, *groups, &mut memories, &windows, &mut self.clock);
                    }
                    Work::Call(call) => run_call(call, &mut memories, &windows, &mut self.clock),
                }
            }
        }
        for (i, memory) in numbers.into_iter().zip(memories) {
            self.memories[i] = Some(memory);
        }
        self.programs[program.0 as usize] = Some(loaded);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        let size = |m: &Option<Memory>| m.as_ref().map_or(0, |m| m.bytes.len());
        MemoryUse {
            allocated: self.memories[1..].iter().map(size).sum(),
            arena: size(&self.memories[0]),
            workspace: 0,
        }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.run(program)?;
        let loaded = self.programs[program.0 as usize].as_ref().expect("a loaded program");
        let time = |e: &thalweg_device::plan::Entry| StageTime {
            label: e.label.clone(),
            seconds: 0.0,
            flops: e.flops,
        };
        Ok(loaded.plan.kernels.iter().map(time).collect())
    }

    fn tuning(&mut self) -> Option<&mut Tuning> {
        Some(&mut self.tuning)
    }
}
