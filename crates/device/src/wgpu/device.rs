//! [`WgpuDevice`]: storage, programs, runs.
//!
//! Every allocation is a buffer of its own; the arena is one buffer for all programs, as large as the largest needs, since
//! one runs at a time. Invariants: after the first error every call returns it; [`Device::memory`] counts what the plan
//! and the host asked for, which is what is held but for rounding to words.

use super::adapters::Adapter;
use super::extras::Extras;
use super::faults::Faults;
use super::loaded::{Loaded, Parts, most_memories, record_bytes};
use super::shaders::Shaders;
use super::{guarded, shelf};
use crate::gpu::launch::{Abilities, Launches};
use crate::gpu::tune::Tuning;
use crate::plan::check;
use crate::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};
use ::wgpu::{Buffer, BufferUsages, Features};
use std::sync::Arc;

/// Threads that a GPU runs at a time, about: adapters do not say.
const PARALLEL: usize = 1 << 15;
/// The same for an adapter that is a program on the processor.
const PARALLEL_SOFTWARE: usize = 1 << 10;
/// Memories that a kernel may use, at most, where an adapter has no limit to speak of.
const MEMORIES: usize = 32;

/// Bytes of a write that is sent at once: until it is, they are held a second time.
const LARGE: usize = 1 << 20;

pub(super) struct Storage {
    pub(super) buffer: Buffer,
    pub(super) bytes: usize,
}

/// A GPU.
pub struct WgpuDevice {
    pub(super) name: String,
    description: String,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Faults,
    tuning: Tuning,
    shaders: Shaders,
    allocations: Vec<Option<Storage>>,
    programs: Vec<Option<Loaded>>,
    arena: Option<Storage>,
    #[cfg(not(target_family = "wasm"))]
    pub(super) pace: super::waiting::Pace,
}

impl WgpuDevice {
    pub(super) async fn open(name: String, adapter: Adapter, coop: bool) -> Result<Self, DeviceError> {
        let limits = adapter.inner.limits();
        let matrices = match (coop, adapter.extras.matrices) {
            (false, _) => None,
            (true, Some(matrices)) => Some(matrices),
            (true, None) => {
                let reason = "this adapter has no cooperative matrices that kernels are made for (see `thalweg devices`); \
                              ask for it without :coop";
                return Err(DeviceError::Gpu { device: name, reason: reason.into() });
            }
        };
        let experimental_features = match matrices {
            None => wgpu::ExperimentalFeatures::disabled(),
            // SAFETY: whoever writes `:coop` takes upon himself that wgpu calls them experimental; our kernels keep the
            // rules of VK_KHR_cooperative_matrix (whole subgroups, alignment), to which the interpreter holds them.
            Some(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
        };
        let wanted = Features::TIMESTAMP_QUERY & adapter.inner.features()
            | matrices.as_ref().map_or(Features::empty(), Extras::needed);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("thalweg"),
            required_features: wanted,
            required_limits: limits.clone(),
            experimental_features,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let refused =
            |e: wgpu::RequestDeviceError| DeviceError::Gpu { device: name.clone(), reason: e.to_string() };
        let (device, queue) = adapter.inner.request_device(&descriptor).await.map_err(refused)?;
        let software = adapter.class == super::Class::Software;
        let abilities = Abilities {
            shared_bytes: limits.max_compute_workgroup_storage_size as usize,
            memories: (limits.max_storage_buffers_per_shader_stage as usize).min(MEMORIES),
            parallel: if software { PARALLEL_SOFTWARE } else { PARALLEL },
            matrices,
            ..Abilities::LEAST
        };
        let faults = Faults::listen(&device);
        Ok(WgpuDevice {
            name,
            tuning: Tuning::new(abilities, shelf(&adapter)),
            description: adapter.description + if coop { ", coop" } else { "" },
            device,
            queue,
            faults,
            shaders: Shaders::default(),
            allocations: Vec::new(),
            programs: Vec::new(),
            arena: None,
            #[cfg(not(target_family = "wasm"))]
            pace: Default::default(),
        })
    }

    pub(super) fn storage(&self, a: Allocation) -> &Storage {
        match self.allocations.get(a.0 as usize) {
            Some(Some(storage)) => storage,
            _ => panic!("allocation {} is not live", a.0),
        }
    }

    pub(super) fn loaded(&self, p: Program) -> &Loaded {
        match self.programs.get(p.0 as usize) {
            Some(Some(loaded)) => loaded,
            _ => panic!("program {} is not loaded", p.0),
        }
    }

    fn buffer(&self, bytes: usize, what: &str) -> Result<Storage, DeviceError> {
        let most = self.device.limits().max_storage_buffer_binding_size as usize;
        if bytes > most {
            let what = format!("{what}; this adapter binds at most {most} at once");
            return Err(DeviceError::OutOfMemory { device: self.name.clone(), needed: bytes, what });
        }
        let buffer = guarded(&self.device, &self.name, (bytes, what), || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(what),
                size: bytes.next_multiple_of(4).max(4) as u64,
                usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        Ok(Storage { buffer, bytes })
    }

    fn lowered(&self, plan: &Plan) -> Result<Launches, DeviceError> {
        let launches = self.tuning.lower(plan)?;
        let (needs, has) =
            (most_memories(&launches), self.device.limits().max_storage_buffers_per_shader_stage);
        if needs > has as usize {
            let reason =
                format!("a kernel of {} uses {needs} buffers, and this adapter binds {has}", plan.name);
            return Err(DeviceError::Gpu { device: self.name.clone(), reason });
        }
        Ok(launches)
    }

    /// Bytes of arena that the loaded programs need.
    fn needed(&self) -> usize {
        self.programs.iter().flatten().map(|l| l.launches.arena).max().unwrap_or(0)
    }

    /// Makes the arena as large as needed and tells every program; `fresh`: this one has no place yet.
    fn share(&mut self, fresh: Option<usize>) -> Result<(), DeviceError> {
        let needed = self.needed();
        let moved = self.arena.as_ref().is_none_or(|a| a.bytes != needed);
        if moved {
            self.arena = Some(self.buffer(needed, "activations")?);
        }
        let Some(arena) = &self.arena else { return Ok(()) };
        let mut parts =
            Parts { device: &self.device, queue: &self.queue, name: &self.name, shaders: &mut self.shaders };
        for (i, loaded) in self.programs.iter_mut().enumerate() {
            let Some(loaded) = loaded.as_mut().filter(|_| moved || fresh == Some(i)) else { continue };
            let bound = loaded.bound.iter().filter_map(|a| self.allocations[a.0 as usize].as_ref());
            let storage: Vec<Buffer> = bound.map(|s| s.buffer.clone()).collect();
            loaded.place(&mut parts, &arena.buffer, &storage)?;
        }
        Ok(())
    }

    pub(super) fn fits(
        &self,
        what: &str,
        a: Allocation,
        offset: usize,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        let (have, end) = (self.storage(a).bytes, offset.saturating_add(bytes));
        match end <= have {
            true => Ok(()),
            false => Err(DeviceError::Size { what: what.into(), expected: have, found: end }),
        }
    }
}

impl Device for WgpuDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: self.name.clone(),
            description: self.description.clone(),
            workers: 1,
            regions: false,
            half_products: true,
            keeps_data: true,
        }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        self.faults.check(&self.name)?;
        let storage = self.buffer(bytes, "storage")?;
        let at = self.allocations.iter().position(Option::is_none).unwrap_or_else(|| {
            self.allocations.push(None);
            self.allocations.len() - 1
        });
        self.allocations[at] = Some(storage);
        Ok(Allocation(at as u32))
    }

    fn free(&mut self, allocation: Allocation) {
        let bound = self.programs.iter().flatten().any(|p| p.bound.contains(&allocation));
        assert!(!bound, "allocation {} is bound to a loaded program", allocation.0);
        self.allocations[allocation.0 as usize] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.fits("write", to, offset, bytes.len())?;
        // The queue writes whole words; what lies beside them in the first and last is written as it is.
        let (first, end) = (offset / 4 * 4, (offset + bytes.len()).next_multiple_of(4));
        if (first, end) == (offset, offset + bytes.len()) {
            self.queue.write_buffer(&self.storage(to).buffer, offset as u64, bytes);
        } else {
            let mut words = vec![0; end - first];
            if (offset, offset + bytes.len()) != (0, self.storage(to).bytes) {
                self.fetch(to, first, &mut words)?;
            }
            words[offset - first..][..bytes.len()].copy_from_slice(bytes);
            self.queue.write_buffer(&self.storage(to).buffer, first as u64, &words);
        }
        if bytes.len() >= LARGE {
            let nothing = self.device.create_command_encoder(&Default::default());
            return self.submit(nothing);
        }
        self.faults.check(&self.name)
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.fits("read", from, offset, bytes.len())?;
        if bytes.is_empty() {
            return self.wait();
        }
        let (first, end) = (offset / 4 * 4, (offset + bytes.len()).next_multiple_of(4));
        if (first, end) == (offset, offset + bytes.len()) {
            return self.fetch(from, offset, bytes);
        }
        let mut words = vec![0; end - first];
        self.fetch(from, first, &mut words)?;
        bytes.copy_from_slice(&words[offset - first..][..bytes.len()]);
        Ok(())
    }

    #[cfg(target_family = "wasm")]
    fn read_later(
        &mut self,
        from: Allocation,
        offset: usize,
        bytes: usize,
    ) -> Result<crate::Later, DeviceError> {
        self.copy_out(from, offset, bytes)
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        // A plan that cannot be lowered is refused when it is loaded, with the reason.
        let lowered: Vec<Launches> = plans.iter().filter_map(|p| self.tuning.lower(p).ok()).collect();
        MemoryUse {
            allocated: 0,
            arena: lowered.iter().map(|l| l.arena).max().unwrap_or(0),
            workspace: lowered.iter().map(record_bytes).sum(),
        }
    }

    fn room(&self) -> Option<usize> {
        // Adapters do not say what is free, but what they bind at once.
        Some(self.device.limits().max_storage_buffer_binding_size as usize)
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        self.faults.check(&self.name)?;
        let sizes: Vec<usize> = bindings.iter().map(|a| self.storage(*a).bytes).collect();
        crate::bound(&plan, bindings, &sizes)?;
        check(&plan).map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        let launches = self.lowered(&plan)?;
        let mut parts =
            Parts { device: &self.device, queue: &self.queue, name: &self.name, shaders: &mut self.shaders };
        let loaded = Loaded::new(&mut parts, plan, launches, bindings.to_vec())?;
        let at = self.programs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.programs.push(None);
            self.programs.len() - 1
        });
        self.programs[at] = Some(loaded);
        if let Err(e) = self.share(Some(at)) {
            self.programs[at] = None;
            return Err(e);
        }
        self.faults.check(&self.name)?;
        Ok(Program(at as u32))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
        // Less is needed now. If that should be refused, the larger arena stays.
        let _ = self.share(None);
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        self.run_many(program, 1)
    }

    fn run_many(&mut self, program: Program, times: usize) -> Result<(), DeviceError> {
        let most = self.loaded(program).launches.copies();
        let mut left = times;
        while left > 0 {
            let copies = left.min(most);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..copies).for_each(|_| self.loaded(program).encode(&mut pass));
            }
            self.submit(encoder)?;
            left -= copies;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        self.settle()
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            allocated: self.allocations.iter().flatten().map(|s| s.bytes).sum(),
            arena: self.arena.as_ref().map_or(0, |a| a.bytes),
            workspace: self.programs.iter().flatten().map(|l| record_bytes(&l.launches)).sum(),
        }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.wait()?;
        let seconds = self.seconds(program)?;
        let entries = &self.loaded(program).plan.kernels;
        let time = |(e, seconds): (&crate::plan::Entry, f64)| StageTime {
            label: e.label.clone(),
            seconds,
            flops: e.flops,
        };
        Ok(entries.iter().zip(seconds).map(time).collect())
    }

    fn tuning(&mut self) -> Option<&mut Tuning> {
        Some(&mut self.tuning)
    }
}
