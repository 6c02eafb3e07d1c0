//! How long each kernel of a program takes.

use super::WgpuDevice;
use crate::{DeviceError, Program};
use ::wgpu::{BufferUsages, Features};
use std::time::Instant;

/// Time stamps in a set, at most: WebGPU's own limit.
const MOST_STAMPS: usize = 4096;

impl WgpuDevice {
    /// Seconds per kernel of the plan.
    pub(super) fn seconds(&mut self, program: Program) -> Result<Vec<f64>, DeviceError> {
        match self.device.features().contains(Features::TIMESTAMP_QUERY) {
            true => self.timestamps(program),
            false => self.stopwatch(program),
        }
    }

    /// By time stamps of the GPU; programs of too many launches by the host's clock.
    fn timestamps(&mut self, program: Program) -> Result<Vec<f64>, DeviceError> {
        let sources: Vec<usize> = self.loaded(program).each().map(|(source, _)| source).collect();
        let stamps = 2 * sources.len();
        if stamps > MOST_STAMPS || stamps == 0 {
            return self.stopwatch(program);
        }
        let set = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: stamps as u32,
        });
        let buffer = |usage| {
            let size = 8 * stamps as u64;
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC);
        let host = buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for (i, (_, encode)) in self.loaded(program).each().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                }),
            });
            encode(&mut pass);
        }
        encoder.resolve_query_set(&set, 0..stamps as u32, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &host, 0, None);
        self.queue.submit([encoder.finish()]);
        host.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        self.poll(None)?;
        let failed =
            |e: wgpu::MapRangeError| DeviceError::Gpu { device: self.name.clone(), reason: e.to_string() };
        let bytes = host.slice(..).get_mapped_range().map_err(failed)?;
        let tick = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        let stamp = |i: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[8 * i..8 * i + 8]);
            u64::from_le_bytes(eight)
        };
        let mut seconds = vec![0.0; self.loaded(program).plan.kernels.len()];
        for (i, source) in sources.iter().enumerate() {
            seconds[*source] += stamp(2 * i + 1).saturating_sub(stamp(2 * i)) as f64 * tick;
        }
        Ok(seconds)
    }

    /// By the host's clock, each launch waited for.
    fn stopwatch(&mut self, program: Program) -> Result<Vec<f64>, DeviceError> {
        let mut seconds = vec![0.0; self.loaded(program).plan.kernels.len()];
        for (source, encode) in self.loaded(program).each() {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encode(&mut encoder.begin_compute_pass(&Default::default()));
            let start = Instant::now();
            self.queue.submit([encoder.finish()]);
            self.poll(None)?;
            seconds[source] += start.elapsed().as_secs_f64();
        }
        Ok(seconds)
    }
}
