//! A plan on the GPU: its launches, each with its pipeline, bindings and record.

use super::guarded;
use super::shaders::Shaders;
use crate::gpu::ir::Kernel;
use crate::gpu::launch::{Launch, Launches, Work};
use crate::gpu::wgsl;
use crate::plan::{Place, Plan};
use crate::{Allocation, DeviceError};
use ::wgpu::{BindGroup, Buffer, BufferUsages, ComputePipeline};
use std::sync::Arc;

/// Bytes between records: what uniform bindings are aligned to everywhere.
const RECORD: usize = 256;
/// Groups in a row of a dispatch, at most: WebGPU's own limit.
const ROW: u32 = 65_535;

/// A launch, ready.
struct Ready {
    pipeline: ComputePipeline,
    bindings: BindGroup,
    grid: [u32; 2],
    /// The plan's kernel.
    source: usize,
}

/// A loaded plan.
pub struct Loaded {
    pub plan: Arc<Plan>,
    pub launches: Launches,
    pub bound: Vec<Allocation>,
    records: Buffer,
    ready: Vec<Ready>,
}

/// A device's parts that a program is made of.
pub struct Parts<'a> {
    pub device: &'a wgpu::Device,
    pub queue: &'a wgpu::Queue,
    pub name: &'a str,
    pub shaders: &'a mut Shaders,
}

/// Where a parameter lies.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Arena,
    Binding(u32),
}

impl Loaded {
    /// Compiles the launches of a plan; [`Loaded::place`] has to follow.
    pub fn new(
        parts: &mut Parts<'_>,
        plan: Arc<Plan>,
        launches: Launches,
        bound: Vec<Allocation>,
    ) -> Result<Self, DeviceError> {
        let bytes = record_bytes(&launches);
        let records = guarded(parts.device, parts.name, (bytes, "records of launches"), || {
            parts.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("records"),
                size: bytes.max(RECORD) as u64,
                usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        for launch in launches.stages.iter().flatten() {
            let (slots, _) = memories(launch);
            parts.shaders.pipeline(parts.device, parts.name, kernel(&launches, launch).0, &slots)?;
        }
        Ok(Loaded { plan, launches, bound, records, ready: Vec::new() })
    }

    /// Binds everything to the arena and the storage of its bindings, by their number.
    pub fn place(
        &mut self,
        parts: &mut Parts<'_>,
        arena: &Buffer,
        storage: &[Buffer],
    ) -> Result<(), DeviceError> {
        let mut words = vec![0u8; record_bytes(&self.launches).max(RECORD)];
        let mut ready = Vec::new();
        for (i, launch) in self.launches.stages.iter().flatten().enumerate() {
            let (slots, order) = memories(launch);
            let (kernel, groups) = kernel(&self.launches, launch);
            let pipeline = parts.shaders.pipeline(parts.device, parts.name, kernel, &slots)?;
            let row = groups.min(ROW);
            let grid = [row, groups.div_ceil(row.max(1))];
            let first: Vec<u32> = launch.arguments.iter().map(|a| first_word(a.place)).collect();
            let record: Vec<u8> =
                wgsl::record(groups, row, &first).into_iter().flat_map(u32::to_le_bytes).collect();
            words[i * RECORD..][..record.len()].copy_from_slice(&record);
            let memory = |m: &Memory| match m {
                Memory::Arena => arena,
                Memory::Binding(n) => &storage[*n as usize],
            };
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.records,
                    offset: (i * RECORD) as u64,
                    size: std::num::NonZero::new(record.len() as u64),
                }),
            }];
            entries.extend(order.iter().enumerate().map(|(i, m)| wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: memory(m).as_entire_binding(),
            }));
            let layout = parts.shaders.layout(parts.device, order.len()).0.clone();
            let bindings = parts.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &entries,
            });
            ready.push(Ready { pipeline, bindings, grid, source: launch.source });
        }
        parts.queue.write_buffer(&self.records, 0, &words);
        self.ready = ready;
        Ok(())
    }

    /// Puts all launches into a pass, in order; the interface sees to it that each waits for what it needs.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        for r in &self.ready {
            r.encode(pass);
        }
    }

    /// Launches one by one, with the plan's kernel that each is part of.
    #[cfg_attr(
        target_family = "wasm",
        expect(dead_code, reason = "launches are timed one by one by a host that waits")
    )]
    pub fn each(&self) -> impl Iterator<Item = (usize, impl Fn(&mut wgpu::ComputePass<'_>))> {
        self.ready.iter().map(|r| (r.source, move |pass: &mut wgpu::ComputePass<'_>| r.encode(pass)))
    }
}

impl Ready {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

/// Bytes of the records of all launches.
pub fn record_bytes(launches: &Launches) -> usize {
    let each = launches.stages.iter().flatten().map(|l| {
        let words = wgsl::record_words(l.arguments.len());
        assert!(4 * words <= RECORD, "a launch of {} parameters", l.arguments.len());
        RECORD
    });
    each.sum()
}

/// Most different memories that a launch binds.
pub fn most_memories(launches: &Launches) -> usize {
    launches.stages.iter().flatten().map(|l| memories(l).1.len()).max().unwrap_or(0)
}

/// Per parameter its memory's number, and the memories in that order.
fn memories(launch: &Launch) -> (Vec<usize>, Vec<Memory>) {
    let mut order: Vec<Memory> = Vec::new();
    let slots = launch.arguments.iter().map(|a| {
        let memory = match a.place {
            Place::Arena { .. } => Memory::Arena,
            Place::Binding(n) => Memory::Binding(n),
            Place::Slab { .. } => unreachable!("plans for GPUs have no slabs"),
        };
        order.iter().position(|m| *m == memory).unwrap_or_else(|| {
            order.push(memory);
            order.len() - 1
        })
    });
    (slots.collect(), order)
}

/// What a launch starts, and in how many groups.
fn kernel<'l>(launches: &'l Launches, launch: &Launch) -> (&'l Kernel, u32) {
    match launch.work {
        Work::Kernel { kernel, groups } => (&launches.kernels[kernel], groups),
        Work::Call(_) => unreachable!("nothing is left to libraries on a device without"),
    }
}

fn first_word(place: Place) -> u32 {
    match place {
        Place::Arena { offset } => (offset / 4) as u32,
        Place::Binding(_) | Place::Slab { .. } => 0,
    }
}
