//! A host that may wait for its GPU: how it finds adapters, submits, reads back and hears of errors.
//!
//! Invariant: at most [`UNDER_WAY`] runs are ahead of the host, and what was refused is said by the call that asked.
//! A browser's page may not wait; `browser.rs` has the same for it.

use super::adapters::{Adapter, search};
use super::device::{Storage, WgpuDevice};
use super::faults::one_line;
use crate::gpu::tune::{Shelf, tuned};
use crate::{Allocation, DeviceError, Found, caches};
use ::wgpu::{BufferUsages, ErrorFilter, PollType};
use std::collections::VecDeque;
use std::sync::OnceLock;
use thalweg_base::counted;

/// Runs that may be under way before the host waits for the oldest.
const UNDER_WAY: usize = 4;

/// What the host waits for, and where it reads.
#[derive(Default)]
pub struct Pace {
    staging: Option<Storage>,
    under_way: VecDeque<wgpu::SubmissionIndex>,
}

/// All adapters, best first; those of one class in the system's order. Looked for once: it takes tens of milliseconds, and some
/// drivers print a line each time.
pub fn adapters() -> &'static [Adapter] {
    static FOUND: OnceLock<Vec<Adapter>> = OnceLock::new();
    FOUND.get_or_init(|| pollster::block_on(search()))
}

/// All adapters as `devices` lists them, or one line that says why there is none.
pub fn found() -> Vec<Found> {
    let all = adapters();
    if all.is_empty() {
        return vec![Found { name: "wgpu".into(), usable: false, description: super::NONE.into() }];
    }
    let one = |(i, a): (usize, &Adapter)| {
        let (name, extras) = (format!("wgpu:{i}"), a.extras.to_string());
        let coop = a.extras.matrices.map_or(String::new(), |_| format!(" (with {name}:coop)"));
        let behind = if extras.is_empty() { extras } else { format!("; {extras}{coop}") };
        let tuned = tuned(shelf(a));
        Found { name, usable: true, description: format!("{}{behind}{tuned}", a.description) }
    };
    all.iter().enumerate().map(one).collect()
}

/// Where an adapter's tuned products are kept: by its name, interface and driver.
pub fn shelf(adapter: &Adapter) -> Option<Shelf> {
    Some(Shelf::new(&caches::folder()?.join("tuned"), &adapter.description))
}

/// Does something that may need memory that is not there, or be refused.
pub fn guarded<T>(
    device: &wgpu::Device,
    name: &str,
    (bytes, what): (usize, &str),
    f: impl FnOnce() -> T,
) -> Result<T, DeviceError> {
    let memory = device.push_error_scope(ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(ErrorFilter::Validation);
    let value = f();
    let refused = pollster::block_on(validation.pop());
    if pollster::block_on(memory.pop()).is_some() {
        return Err(DeviceError::OutOfMemory { device: name.into(), needed: bytes, what: what.into() });
    }
    match refused {
        None => Ok(value),
        Some(e) => {
            let reason = format!("{what}: {}", one_line(&e.to_string()));
            Err(DeviceError::Gpu { device: name.into(), reason })
        }
    }
}

impl WgpuDevice {
    /// The `index`-th adapter, best first. `coop`: whether products are multiplied by its cooperative matrices, without which
    /// it is refused then.
    pub fn new(index: usize, coop: bool) -> Result<Self, DeviceError> {
        let name = format!("wgpu:{index}");
        let all = adapters();
        let Some(adapter) = all.get(index) else {
            let reason = match all.len() {
                0 => super::NONE.into(),
                n => format!(
                    "there {} {}, counted from 0; see `thalweg devices`",
                    if n == 1 { "is" } else { "are" },
                    counted(n, "adapter")
                ),
            };
            return Err(DeviceError::Gpu { device: name, reason });
        };
        pollster::block_on(Self::open(name, adapter.clone(), coop))
    }

    pub(super) fn submit(&mut self, encoder: wgpu::CommandEncoder) -> Result<(), DeviceError> {
        self.pace.under_way.push_back(self.queue.submit([encoder.finish()]));
        if self.pace.under_way.len() > UNDER_WAY
            && let Some(oldest) = self.pace.under_way.pop_front()
        {
            self.poll(Some(oldest))?;
        }
        self.faults.check(&self.name)
    }

    /// Waits for everything started.
    pub(super) fn settle(&mut self) -> Result<(), DeviceError> {
        self.pace.under_way.clear();
        self.poll(None)
    }

    pub(super) fn poll(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), DeviceError> {
        let failed =
            |e: wgpu::PollError| DeviceError::Gpu { device: self.name.clone(), reason: e.to_string() };
        self.device.poll(PollType::Wait { submission_index, timeout: None }).map_err(failed)?;
        self.faults.check(&self.name)
    }

    /// Copies whole words to the host.
    pub(super) fn fetch(
        &mut self,
        from: Allocation,
        offset: usize,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        if self.pace.staging.as_ref().is_none_or(|s| s.bytes < bytes.len()) {
            let size = bytes.len().next_power_of_two().max(4096);
            let buffer = guarded(&self.device, &self.name, (size, "results"), || {
                self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("staging"),
                    size: size as u64,
                    usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })?;
            self.pace.staging = Some(Storage { buffer, bytes: size });
        }
        let Some(staging) = &self.pace.staging else { return Ok(()) };
        let n = bytes.len() as u64;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let source = &self.storage(from).buffer;
        encoder.copy_buffer_to_buffer(source, offset as u64, &staging.buffer, 0, Some(n));
        self.queue.submit([encoder.finish()]);
        let slice = staging.buffer.slice(..n);
        slice.map_async(wgpu::MapMode::Read, |_| ());
        self.poll(None)?;
        let failed =
            |e: wgpu::MapRangeError| DeviceError::Gpu { device: self.name.clone(), reason: e.to_string() };
        bytes.copy_from_slice(&slice.get_mapped_range().map_err(failed)?);
        staging.buffer.unmap();
        Ok(())
    }
}
