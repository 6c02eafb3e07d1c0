//! [`CpuDevice`]: storage, programs, and the memory that programs share.
//!
//! Arena, slabs and scratch are one set for all programs, as large as the largest needs: one program runs at a
//! time. What a program has packed of its operands stays packed while their storage does not change: a clock
//! counts changes, and each storage and program remembers when it was last changed or packed. Invariants:
//! [`Device::memory`] is the sum of the blocks held; nothing changes storage without a tick of the clock.

use super::memory::Block;
use super::program::Loaded;
use super::workers::Workers;
use super::{Isa, Target};
use crate::host::Host;
use crate::plan::{Entry, Kernel, check};
use crate::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Workers beyond this many for each core (of at least as many cores) only stand in each other's way.
const MOST_PER_CORE: usize = 8;

/// What outlives programs.
struct Storage {
    block: Block,
    /// The clock at its last change.
    changed: u64,
}

/// A program, and the clock when it last packed; `None` before.
struct Slot {
    loaded: Loaded,
    packed: Option<u64>,
}

/// The processor of this machine.
pub struct CpuDevice {
    target: Target,
    workers: Workers,
    allocations: Vec<Option<Storage>>,
    programs: Vec<Option<Slot>>,
    /// Changes of storage so far.
    clock: u64,
    arena: Block,
    /// Per worker: scratch, slab.
    desks: Vec<(Block, Block)>,
}

impl CpuDevice {
    /// With so many threads (as many as the system lets us use) and that target (the best instructions there are).
    pub fn new(threads: Option<usize>, target: Option<Target>) -> Result<Self, DeviceError> {
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        let n = threads.unwrap_or(available).max(1);
        let most = MOST_PER_CORE * available.max(MOST_PER_CORE);
        if n > most {
            let reason = format!("{n} are far more than its {available} cores can use; at most {most}");
            return Err(DeviceError::Workers { device: "cpu".into(), reason });
        }
        let workers = Workers::start(n)
            .map_err(|e| DeviceError::Workers { device: "cpu".into(), reason: e.to_string() })?;
        Ok(CpuDevice {
            target: usable(target),
            desks: (0..workers.len()).map(|_| (Block::EMPTY, Block::EMPTY)).collect(),
            workers,
            allocations: Vec::new(),
            programs: Vec::new(),
            clock: 0,
            arena: Block::EMPTY,
        })
    }

    /// What its kernels are made for.
    pub fn target(&self) -> Target {
        self.target
    }

    fn block(&self, a: Allocation) -> &Block {
        match self.allocations.get(a.0 as usize) {
            Some(Some(storage)) => &storage.block,
            _ => panic!("allocation {} is not live", a.0),
        }
    }

    fn loaded(&self, p: Program) -> &Loaded {
        match self.programs.get(p.0 as usize) {
            Some(Some(slot)) => &slot.loaded,
            _ => panic!("program {} is not loaded", p.0),
        }
    }

    /// Makes what programs share as large as `needed` (arena, slab, scratch) and tells every program.
    fn share(&mut self, [arena, slab, scratch]: [usize; 3]) -> Result<(), DeviceError> {
        // First all that is new, so that nothing changes if one is refused.
        let resize = |have: &Block, bytes: usize, what: &str| {
            (have.bytes() != bytes).then(|| Block::zeroed(bytes, what)).transpose()
        };
        let new_arena = resize(&self.arena, arena, "activations")?;
        let mut new_desks = Vec::with_capacity(self.desks.len());
        for (have_scratch, have_slab) in &self.desks {
            let workspace = resize(have_scratch, scratch, "a worker's workspace")?;
            new_desks.push((workspace, resize(have_slab, slab, "a worker's activations")?));
        }
        if let Some(block) = new_arena {
            self.arena = block;
        }
        for (desk, (scratch, slab)) in self.desks.iter_mut().zip(new_desks) {
            if let Some(block) = scratch {
                desk.0 = block;
            }
            if let Some(block) = slab {
                desk.1 = block;
            }
        }
        let desks: Vec<_> = self.desks.iter().map(|(scratch, slab)| (scratch.ptr(), slab.ptr())).collect();
        for Slot { loaded, .. } in self.programs.iter_mut().flatten() {
            let at = |a: &Allocation| {
                self.allocations[a.0 as usize].as_ref().map_or(std::ptr::null_mut(), |s| s.block.ptr())
            };
            let bindings: Vec<_> = loaded.bindings.iter().map(at).collect();
            loaded.place(&bindings, self.arena.ptr(), &desks);
        }
        Ok(())
    }

    /// Bytes of arena, slab and scratch that the loaded programs need.
    fn needed(&self) -> [usize; 3] {
        self.programs.iter().flatten().fold([0; 3], |[arena, slab, scratch], Slot { loaded, .. }| {
            let plan = loaded.plan();
            [arena.max(plan.arena), slab.max(plan.slab), scratch.max(loaded.scratch_bytes())]
        })
    }

    fn run_timed(&mut self, program: Program, times: Option<&[AtomicU64]>) {
        let Some(Some(Slot { loaded, packed })) = self.programs.get_mut(program.0 as usize) else {
            panic!("program {} is not loaded", program.0)
        };
        let changed = |a: &Allocation| self.allocations[a.0 as usize].as_ref().map(|s| s.changed);
        let fresh = packed.is_some() && loaded.packed().iter().all(|a| changed(a) <= *packed);
        // Were the run to panic, nothing would be known of what is packed; and what it writes has changed.
        *packed = None;
        let now = self.clock;
        self.clock += 1;
        for a in loaded.written() {
            if let Some(storage) = &mut self.allocations[a.0 as usize] {
                storage.changed = self.clock;
            }
        }
        // SAFETY: `share` placed it in blocks that this device holds; `&mut self` keeps everybody else out.
        unsafe { loaded.run(&mut self.workers, fresh, times) }
        *packed = Some(now);
    }
}

/// Products are of f32 alone: see [`DeviceInfo::half_products`].
fn in_f32(plan: &Plan) -> Result<(), String> {
    let half = |k: &Entry| match &k.kernel {
        Kernel::Contraction(c) => [c.a, c.b, c.out].iter().any(|b| plan.buffer(*b).dtype.is_half()),
        _ => false,
    };
    let found = plan.kernels.iter().find(|k| half(k));
    found.map_or(Ok(()), |k| {
        Err(format!("{} is a product of 16-bit floats, which the CPU has in f32", k.label))
    })
}

impl Device for CpuDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "cpu".into(),
            description: format!("{}, {}", Host::read().cpu, self.target),
            workers: self.workers.len(),
            regions: true,
            half_products: false,
            keeps_data: false,
        }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        let block = Block::zeroed(bytes, "storage")?;
        let free = self.allocations.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.allocations.push(None);
            self.allocations.len() - 1
        });
        self.clock += 1;
        self.allocations[at] = Some(Storage { block, changed: self.clock });
        Ok(Allocation(at as u32))
    }

    fn free(&mut self, allocation: Allocation) {
        let bound = self.programs.iter().flatten().any(|p| p.loaded.bindings.contains(&allocation));
        assert!(!bound, "allocation {} is bound to a loaded program", allocation.0);
        self.allocations[allocation.0 as usize] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let block = self.block(to);
        fits("write", block.bytes(), offset, bytes.len())?;
        // SAFETY: the range is inside the block; nothing runs, as `run` returns when it is done.
        unsafe { block.ptr().wrapping_add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.clock += 1;
        if let Some(storage) = &mut self.allocations[to.0 as usize] {
            storage.changed = self.clock;
        }
        Ok(())
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let block = self.block(from);
        fits("read", block.bytes(), offset, bytes.len())?;
        // SAFETY: the range is inside the block; nothing runs.
        unsafe { block.ptr().wrapping_add(offset).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        let (mut arena, mut slab, mut scratch, mut packed) = (0, 0, 0, 0);
        for plan in plans {
            let (shared, each) = Loaded::sizes(plan, self.target);
            (arena, slab, scratch) = (arena.max(plan.arena), slab.max(plan.slab), scratch.max(each));
            packed += shared;
        }
        let workers = self.workers.len();
        MemoryUse { allocated: 0, arena: arena + workers * slab, workspace: workers * scratch + packed }
    }

    fn room(&self) -> Option<usize> {
        Host::available().map(|free| free + self.memory().arena + self.memory().workspace)
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        let sizes: Vec<usize> = bindings.iter().map(|a| self.block(*a).bytes()).collect();
        crate::bound(&plan, bindings, &sizes)?;
        // Kernels rely on these rules without looking; checking a thousand of them takes a few milliseconds.
        check(&plan)
            .and_then(|()| in_f32(&plan))
            .map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        let loaded = Loaded::new(plan, bindings.to_vec(), self.target)?;
        let at = self.programs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.programs.push(None);
            self.programs.len() - 1
        });
        self.programs[at] = Some(Slot { loaded, packed: None });
        if let Err(e) = self.share(self.needed()) {
            self.programs[at] = None;
            return Err(e);
        }
        Ok(Program(at as u32))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
        // Less is needed now. If that should be refused, the larger blocks stay.
        let _ = self.share(self.needed());
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        self.run_timed(program, None);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        let desks = |f: fn(&(Block, Block)) -> usize| self.desks.iter().map(f).sum::<usize>();
        MemoryUse {
            allocated: self.allocations.iter().flatten().map(|s| s.block.bytes()).sum(),
            arena: self.arena.bytes() + desks(|d| d.1.bytes()),
            workspace: desks(|d| d.0.bytes())
                + self.programs.iter().flatten().map(|s| s.loaded.shared_bytes()).sum::<usize>(),
        }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        let n = self.loaded(program).plan().kernels.len();
        let times: Vec<AtomicU64> = (0..n).map(|_| AtomicU64::new(0)).collect();
        self.run_timed(program, Some(&times));
        let workers = self.workers.len() as f64;
        let entries = &self.loaded(program).plan().kernels;
        let seconds = times.into_iter().map(|t| t.into_inner() as f64 * 1e-9 / workers);
        Ok(entries
            .iter()
            .zip(seconds)
            .map(|(e, seconds)| StageTime { label: e.label.clone(), seconds, flops: e.flops })
            .collect())
    }
}

/// The target, with the best instructions there are if its own are not there.
fn usable(target: Option<Target>) -> Target {
    let best = Target::fast(Isa::detect());
    let target = target.unwrap_or(best);
    if target.isa.is_available() { target } else { Target { isa: best.isa, ..target } }
}

fn fits(what: &str, have: usize, offset: usize, bytes: usize) -> Result<(), DeviceError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= have => Ok(()),
        end => Err(DeviceError::Size { what: what.into(), expected: have, found: end.unwrap_or(usize::MAX) }),
    }
}
