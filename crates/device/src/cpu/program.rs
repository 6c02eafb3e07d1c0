//! A loaded plan: every kernel compiled, every stage turned into phases, every address known.
//!
//! A launch's units, of all its kernels, are handed out in one phase. A region's tasks are its slices; the worker
//! that takes one runs all kernels on it, in order, with its own slab. What contractions pack is packed in a phase
//! before: at the start, and only if the storage has changed since, where nothing before it writes it; else right
//! before the stage. A small weight that every run changes is packed by each worker for itself, when it first needs it.
//! Invariant: `run` allocates nothing, and no result depends on the number of workers.

use super::contract::Prepared;
use super::loops::CompiledLoop;
use super::memory::Block;
use super::workers::Workers;
use super::{Bases, Target, argmax, gather, suppress, top_k, window};
use crate::plan::{ALIGN, BufferId, Kernel, KernelId, Place, Plan, Stage};
use crate::{Allocation, DeviceError};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A stage cheaper than this, in nanoseconds as estimated, runs on the caller alone.
const SMALL: f64 = 4000.0;
/// Estimated costs: nanoseconds per floating-point operation and per byte on one core.
const PER_FLOP: f64 = 0.05;
const PER_BYTE: f64 = 0.1;

/// Bytes of a packed weight that each worker packs for itself: half of a second-level cache. Shared, most of it would come
/// from other cores, line by line, and wait for a phase of its own.
const OWN: usize = 512 << 10;

/// A kernel, compiled.
enum Work {
    Loop(CompiledLoop),
    Contraction { prepared: Box<Prepared>, packed: Packed },
    Other(Kernel),
}

/// Where a contraction's packed operand (or its partial sums) lie, in bytes.
#[derive(Clone, Copy)]
enum Packed {
    /// In what all workers share.
    Shared(usize),
    /// In each worker's own.
    Own(usize),
}

/// A part of a phase: kernel, and the tasks before its last, counted from the phase's start.
struct Piece {
    kernel: usize,
    end: usize,
}

/// What runs between two barriers.
enum Phase {
    /// `kept`: what is packed is in bindings, as the run finds them, and stays packed until they change.
    Pack {
        pieces: Vec<Piece>,
        kept: bool,
    },
    Launch {
        pieces: Vec<Piece>,
        small: bool,
    },
    Region {
        kernels: Vec<usize>,
        slabs: Vec<SlabBuffer>,
        batch: usize,
        slice: usize,
        small: bool,
    },
}

/// A buffer in the slab.
struct SlabBuffer {
    buffer: BufferId,
    offset: usize,
    image_bytes: usize,
}

/// What a worker has to itself.
struct Desk {
    bases: UnsafeCell<Bases>,
    /// What it packs for itself.
    own: *mut u8,
    scratch: *mut u8,
    slab: *mut u8,
    /// Per kernel: the last run for which the worker has packed its own operand.
    packed: UnsafeCell<Vec<u64>>,
}

/// A plan, ready to run.
pub struct Loaded {
    plan: Arc<Plan>,
    /// What its bindings are bound to.
    pub bindings: Vec<Allocation>,
    /// Bindings that are packed as the run finds them; that the plan writes.
    packed: Vec<Allocation>,
    written: Vec<Allocation>,
    work: Vec<Work>,
    phases: Vec<Phase>,
    shared: Block,
    /// Bytes that each worker packs for itself.
    own: usize,
    /// Runs so far.
    runs: AtomicU64,
    desks: Vec<Desk>,
    target: Target,
}

// SAFETY: a desk is only used by the worker of its number; the rest is not changed while a phase runs.
unsafe impl Sync for Loaded {}
// SAFETY: the addresses are of memory that the device owns as long as the program is loaded.
unsafe impl Send for Loaded {}

impl Loaded {
    /// Compiles a plan.
    pub fn new(plan: Arc<Plan>, bindings: Vec<Allocation>, target: Target) -> Result<Self, DeviceError> {
        let (work, [shared, own]) = work(&plan, target);
        let shared = Block::zeroed(shared, "packed weights")?;
        let phases = phases(&plan, &work);
        let bound = |b: BufferId| match plan.buffer(b).place {
            Place::Binding(n) => Some(bindings[n as usize]),
            _ => None,
        };
        let kept = phases.iter().flat_map(|p| match p {
            Phase::Pack { pieces, kept: true } => &pieces[..],
            _ => &[],
        });
        let operands = |p: &Piece| match &plan.kernels[p.kernel].kernel {
            Kernel::Contraction(c) => c.filters().filter_map(bound).collect(),
            _ => Vec::new(),
        };
        let packed = kept.flat_map(operands).collect();
        let written = plan.kernels.iter().flat_map(|k| k.kernel.writes()).filter_map(bound).collect();
        let (runs, desks) = (AtomicU64::new(0), Vec::new());
        Ok(Loaded { plan, bindings, packed, written, work, phases, shared, own, runs, desks, target })
    }

    /// Storage whose change makes what is packed stale.
    pub fn packed(&self) -> &[Allocation] {
        &self.packed
    }

    /// Storage that a run changes.
    pub fn written(&self) -> &[Allocation] {
        &self.written
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of packed operands.
    pub fn shared_bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Scratch that each worker needs.
    pub fn scratch_bytes(&self) -> usize {
        self.own + scratch_bytes(&self.work)
    }

    /// Bytes of (packed operands, scratch of each worker) that a plan takes when loaded.
    pub fn sizes(plan: &Plan, target: Target) -> (usize, usize) {
        let (work, [shared, own]) = work(plan, target);
        (shared, own + scratch_bytes(&work))
    }

    /// Sets all addresses: the bindings' storage, the arena, and scratch and slab of each worker.
    pub fn place(&mut self, bindings: &[*mut u8], arena: *mut u8, desks: &[(*mut u8, *mut u8)]) {
        let base = |place: &Place| match *place {
            Place::Binding(n) => bindings[n as usize],
            Place::Arena { offset } => arena.wrapping_add(offset),
            Place::Slab { .. } => std::ptr::null_mut(),
        };
        let bases = Bases::new(self.plan.buffers.iter().map(|b| base(&b.place)).collect());
        let desk = |&(own, slab): &(*mut u8, *mut u8)| Desk {
            bases: UnsafeCell::new(bases.clone()),
            own,
            scratch: own.wrapping_add(self.own),
            slab,
            packed: UnsafeCell::new(vec![0; self.work.len()]),
        };
        self.desks = desks.iter().map(desk).collect();
    }

    /// Runs all phases; `times`, one per kernel, take the nanoseconds that workers spent in each. `fresh`: nothing of
    /// [`Loaded::packed`] has changed since the last run.
    ///
    /// # Safety
    /// [`Loaded::place`] was given live storage of the plan's sizes, which nobody else uses meanwhile, and as many
    /// desks as there are workers.
    pub unsafe fn run(&self, workers: &mut Workers, fresh: bool, times: Option<&[AtomicU64]>) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        for w in &self.work {
            if let Work::Contraction { prepared, .. } = w {
                prepared.begin();
            }
        }
        for phase in &self.phases {
            let (tasks, small) = match phase {
                Phase::Pack { kept: true, .. } if fresh => continue,
                Phase::Pack { pieces, .. } => (pieces.last().map_or(0, |p| p.end), false),
                Phase::Launch { pieces, small } => (pieces.last().map_or(0, |p| p.end), *small),
                Phase::Region { batch, slice, small, .. } => (batch.div_ceil(*slice), *small),
            };
            // SAFETY: tasks of a phase are independent, as the plan promises; each runs once.
            let f =
                |worker: usize, tasks: Range<usize>| unsafe { self.tasks(phase, worker, tasks, run, times) };
            if small { workers.run_here(tasks, &f) } else { workers.run(tasks, &f) }
        }
    }

    /// Some tasks of a phase of run number `run`.
    unsafe fn tasks(
        &self,
        phase: &Phase,
        worker: usize,
        tasks: Range<usize>,
        run: u64,
        times: Option<&[AtomicU64]>,
    ) {
        let desk = &self.desks[worker];
        // SAFETY: the desk is this worker's alone.
        let bases = unsafe { &mut *desk.bases.get() };
        match phase {
            Phase::Pack { pieces, .. } => each_piece(pieces, tasks, |kernel, units| {
                timed(times, kernel, || {
                    let Work::Contraction { prepared, packed } = &self.work[kernel] else { return };
                    // SAFETY: the operand is complete: no kernel of this stage writes it.
                    unsafe { prepared.pack(units, bases, self.packed_at(*packed, desk)) }
                });
            }),
            Phase::Launch { pieces, .. } => each_piece(pieces, tasks, |kernel, units| {
                // SAFETY: units are independent.
                timed(times, kernel, || unsafe {
                    self.pack_own(kernel, run, bases, desk);
                    self.units(kernel, units, bases, desk);
                });
            }),
            Phase::Region { kernels, slabs, batch, slice, .. } => {
                for s in tasks {
                    let images = s * slice..((s + 1) * slice).min(*batch);
                    for b in slabs {
                        let first = images.start * b.image_bytes;
                        bases.set(b.buffer, desk.slab.wrapping_add(b.offset).wrapping_sub(first));
                    }
                    for &kernel in kernels {
                        timed(times, kernel, || {
                            // SAFETY: slices are independent; this one's images are this worker's.
                            unsafe {
                                self.pack_own(kernel, run, bases, desk);
                                self.images(kernel, images.clone(), s, bases, desk);
                            }
                        });
                    }
                }
            }
        }
    }

    /// Where a contraction's packed operand is for a worker.
    fn packed_at(&self, packed: Packed, desk: &Desk) -> *mut u8 {
        match packed {
            Packed::Shared(at) => self.shared.ptr().wrapping_add(at),
            Packed::Own(at) => desk.own.wrapping_add(at),
        }
    }

    /// Packs a kernel's operand for a worker alone, if that is how it is packed and has not been done in this run.
    unsafe fn pack_own(&self, kernel: usize, run: u64, bases: &Bases, desk: &Desk) {
        let Work::Contraction { prepared, packed: packed @ Packed::Own(_) } = &self.work[kernel] else {
            return;
        };
        // SAFETY: the desk is this worker's alone; the operand is complete, as no kernel of this stage writes it.
        unsafe {
            let last = &mut (&mut *desk.packed.get())[kernel];
            if *last != run {
                prepared.pack(0..prepared.pack_units(), bases, self.packed_at(*packed, desk));
                *last = run;
            }
        }
    }

    /// Units of a kernel on its own.
    unsafe fn units(&self, kernel: usize, units: Range<usize>, bases: &Bases, desk: &Desk) {
        // SAFETY: the addresses are valid and the units this worker's.
        unsafe {
            match &self.work[kernel] {
                Work::Loop(l) => l.run(units, bases, desk.scratch),
                Work::Contraction { prepared, packed } => {
                    prepared.run(units, bases, self.packed_at(*packed, desk), desk.scratch);
                }
                Work::Other(k) => other(k, units, bases, self.target),
            }
        }
    }

    /// Some images of a kernel, of slice `slice`.
    unsafe fn images(&self, kernel: usize, images: Range<usize>, slice: usize, bases: &Bases, desk: &Desk) {
        // SAFETY: the addresses are valid and the images this worker's.
        unsafe {
            match &self.work[kernel] {
                Work::Loop(l) => l.run_slice(images, slice, bases, desk.scratch),
                Work::Contraction { prepared, packed } => {
                    let packed = self.packed_at(*packed, desk);
                    prepared.run_images(slice, images, bases, packed, desk.scratch);
                }
                Work::Other(k) => other(k, images, bases, self.target),
            }
        }
    }
}

/// Steps of axis 0 of a kernel that is neither loop nor contraction.
unsafe fn other(kernel: &Kernel, steps: Range<usize>, bases: &Bases, Target { isa, .. }: Target) {
    // SAFETY: passed on.
    unsafe {
        match kernel {
            Kernel::Pool(p) => window::pool(p, steps, bases, isa),
            Kernel::Unpool(u) => window::unpool(u, steps, bases, isa),
            Kernel::ArgMax(a) => argmax::run(a, steps, bases),
            Kernel::TopK(t) => top_k::run(t, steps, bases),
            Kernel::Gather(g) => gather::run(g, steps, bases),
            Kernel::Suppress(s) => suppress::run(s, steps, bases),
            Kernel::Loop(_) | Kernel::Contraction(_) => unreachable!("these are compiled"),
        }
    }
}

/// The tasks of a phase, piece by piece, as units of the kernels.
fn each_piece(pieces: &[Piece], tasks: Range<usize>, mut f: impl FnMut(usize, Range<usize>)) {
    let mut start = 0;
    for p in pieces {
        let (from, to) = (tasks.start.max(start), tasks.end.min(p.end));
        if from < to {
            f(p.kernel, from - start..to - start);
        }
        start = p.end;
    }
}

fn timed(times: Option<&[AtomicU64]>, kernel: usize, f: impl FnOnce()) {
    let Some(times) = times else { return f() };
    let start = Instant::now();
    f();
    times[kernel].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
}

/// Compiles each kernel; and the bytes of packed operands, shared and of each worker.
fn work(plan: &Plan, target: Target) -> (Vec<Work>, [usize; 2]) {
    let [mut shared, mut own] = [0; 2];
    let written: Vec<Place> =
        plan.kernels.iter().flat_map(|k| k.kernel.writes()).map(|b| plan.buffer(b).place).collect();
    let compiled = plan.kernels.iter().map(|entry| match &entry.kernel {
        Kernel::Loop(l) => Work::Loop(CompiledLoop::new(l, target.isa)),
        Kernel::Contraction(c) => {
            let prepared = Box::new(Prepared::new(c, target));
            let bytes = prepared.shared_bytes().next_multiple_of(ALIGN);
            let changes = |b: BufferId| {
                let place = plan.buffer(b).place;
                matches!(place, Place::Binding(_)) && written.contains(&place)
            };
            let alone = c.filters().any(changes) && prepared.pack_units() > 0 && bytes <= OWN;
            let end = if alone { &mut own } else { &mut shared };
            let at = *end;
            *end += bytes;
            let packed = if alone { Packed::Own(at) } else { Packed::Shared(at) };
            Work::Contraction { prepared, packed }
        }
        other => Work::Other(other.clone()),
    });
    (compiled.collect(), [shared, own])
}

fn scratch_bytes(work: &[Work]) -> usize {
    let each = work.iter().map(|w| match w {
        Work::Loop(l) => l.scratch_bytes(),
        Work::Contraction { prepared, .. } => prepared.worker_bytes(),
        Work::Other(_) => 0,
    });
    each.max().unwrap_or(0).next_multiple_of(ALIGN)
}

fn phases(plan: &Plan, work: &[Work]) -> Vec<Phase> {
    let mut phases = Vec::new();
    let packs = |k: &KernelId| match &work[k.0 as usize] {
        Work::Contraction { prepared, packed: Packed::Shared(_) } => prepared.pack_units(),
        _ => 0,
    };
    let kernels_of = |s: &Stage| match s {
        Stage::Launch(k) | Stage::Region { kernels: k, .. } => k.clone(),
    };
    let constant = |k: &KernelId| {
        let Kernel::Contraction(c) = &plan.kernel(*k).kernel else { return false };
        // Nothing before the kernel's own stage may write it, in this run.
        let before = plan.stages.iter().map(kernels_of).take_while(|kernels| !kernels.contains(k));
        let mut written = before.flatten().flat_map(|b| plan.kernel(b).kernel.writes());
        let places: Vec<Place> = c.filters().map(|b| plan.buffer(b).place).collect();
        let bound = places.iter().all(|p| matches!(p, Place::Binding(_)));
        bound && !written.any(|b| places.contains(&plan.buffer(b).place))
    };
    let pack = |kernels: Vec<KernelId>, kept: bool, phases: &mut Vec<Phase>| {
        let pieces = pieces(kernels.iter().map(|k| (k, packs(k))));
        if !pieces.is_empty() {
            phases.push(Phase::Pack { pieces, kept });
        }
    };
    let all = plan.stages.iter().flat_map(kernels_of);
    pack(all.filter(constant).collect(), true, &mut phases);
    for stage in &plan.stages {
        let kernels = kernels_of(stage);
        pack(kernels.iter().copied().filter(|k| !constant(k)).collect(), false, &mut phases);
        let cost: f64 = kernels
            .iter()
            .map(|k| plan.kernel(*k))
            .map(|e| e.flops as f64 * PER_FLOP + e.bytes as f64 * PER_BYTE)
            .sum();
        let small = cost < SMALL;
        phases.push(match stage {
            Stage::Launch(kernels) => {
                Phase::Launch { pieces: pieces(kernels.iter().map(|k| (k, units(plan, work, *k)))), small }
            }
            Stage::Region { kernels, batch, slice } => Phase::Region {
                slabs: slab_buffers(plan, kernels, *slice),
                kernels: kernels.iter().map(|k| k.0 as usize).collect(),
                batch: *batch,
                slice: *slice,
                small,
            },
        });
    }
    phases
}

fn units(plan: &Plan, work: &[Work], k: KernelId) -> usize {
    match &work[k.0 as usize] {
        Work::Loop(l) => l.units(),
        Work::Contraction { prepared, .. } => prepared.units(),
        Work::Other(_) => plan.kernel(k).kernel.extent(),
    }
}

fn pieces<'a>(units: impl Iterator<Item = (&'a KernelId, usize)>) -> Vec<Piece> {
    let mut end = 0;
    let piece = |(k, n): (&KernelId, usize)| {
        end += n;
        Piece { kernel: k.0 as usize, end }
    };
    units.filter(|(_, n)| *n > 0).map(piece).collect()
}

fn slab_buffers(plan: &Plan, kernels: &[KernelId], slice: usize) -> Vec<SlabBuffer> {
    let used = kernels.iter().map(|k| &plan.kernel(*k).kernel).flat_map(|k| [k.reads(), k.writes()].concat());
    let mut used: Vec<BufferId> = used.collect();
    used.sort_unstable();
    used.dedup();
    let slab = |buffer: BufferId| {
        let b = plan.buffer(buffer);
        match b.place {
            Place::Slab { offset } => Some(SlabBuffer { buffer, offset, image_bytes: b.bytes() / slice }),
            _ => None,
        }
    };
    used.into_iter().filter_map(slab).collect()
}
