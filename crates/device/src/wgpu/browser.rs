//! A browser's page, which may not wait for its GPU: it is told later, by futures.
//!
//! Invariant: nothing here waits. An error of the GPU is heard of on the side ([`super::faults`]) and said by the next
//! call or by what is read next, whichever comes first.

use super::adapters::{Adapter, search};
use super::device::WgpuDevice;
use crate::gpu::tune::Shelf;
use crate::{Allocation, DeviceError, Later, Program};
use ::wgpu::{BufferAsyncError, BufferUsages};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// As the device is called.
const NAME: &str = "webgpu";
/// What is said where there is no adapter.
const NONE: &str = "this page has no GPU: use a browser with WebGPU, with graphics acceleration switched on, and open the \
                    page by https or from localhost";

/// A page keeps no tuned products.
pub fn shelf(_: &Adapter) -> Option<Shelf> {
    None
}

/// Does something that may be refused, of which [`super::faults::Faults`] hears.
pub fn guarded<T>(
    _: &wgpu::Device,
    _: &str,
    _: (usize, &str),
    f: impl FnOnce() -> T,
) -> Result<T, DeviceError> {
    Ok(f())
}

/// What came of mapping a buffer, and who is to be told.
#[derive(Default)]
struct Mapping {
    outcome: Option<Result<(), BufferAsyncError>>,
    waker: Option<Waker>,
}

fn gpu(reason: impl Into<String>) -> DeviceError {
    DeviceError::Gpu { device: NAME.into(), reason: reason.into() }
}

impl WgpuDevice {
    /// The GPU that the browser offers.
    pub async fn request() -> Result<Self, DeviceError> {
        let adapter = search().await.into_iter().next().ok_or_else(|| gpu(NONE))?;
        Self::open(NAME.into(), adapter, false).await
    }

    pub(super) fn submit(&mut self, encoder: wgpu::CommandEncoder) -> Result<(), DeviceError> {
        self.queue.submit([encoder.finish()]);
        self.faults.check(NAME)
    }

    pub(super) fn settle(&mut self) -> Result<(), DeviceError> {
        Err(gpu("a page may not wait for its GPU; read with read_later"))
    }

    pub(super) fn fetch(&mut self, _: Allocation, _: usize, _: &mut [u8]) -> Result<(), DeviceError> {
        self.settle()
    }

    pub(super) fn seconds(&mut self, _: Program) -> Result<Vec<f64>, DeviceError> {
        self.settle().map(|()| Vec::new())
    }

    /// Orders a copy to the host, into a buffer of its own: several may be on their way.
    pub(super) fn copy_out(
        &mut self,
        from: Allocation,
        offset: usize,
        bytes: usize,
    ) -> Result<Later, DeviceError> {
        self.fits("read", from, offset, bytes)?;
        let (first, end) = (offset / 4 * 4, (offset + bytes).next_multiple_of(4).max(4));
        let words = (end - first) as u64;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("results"),
            size: words,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.storage(from).buffer, first as u64, &buffer, 0, Some(words));
        self.submit(encoder)?;
        let mapping = Arc::new(Mutex::new(Mapping::default()));
        let told = mapping.clone();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |outcome| {
            let waker = {
                let mut mapping = told.lock().unwrap_or_else(PoisonError::into_inner);
                mapping.outcome = Some(outcome);
                mapping.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        let faults = self.faults.clone();
        Ok(Box::pin(async move {
            let outcome = poll_fn(|context| {
                let mut mapping = mapping.lock().unwrap_or_else(PoisonError::into_inner);
                match mapping.outcome.take() {
                    Some(outcome) => Poll::Ready(outcome),
                    None => {
                        mapping.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            });
            let mapped = outcome.await;
            // What it is a consequence of, first.
            faults.check(NAME)?;
            mapped.map_err(|_| gpu("what was computed cannot be read back"))?;
            let range = buffer.slice(..).get_mapped_range().map_err(|e| gpu(e.to_string()))?;
            let read = range[offset - first..][..bytes].to_vec();
            drop(range);
            buffer.unmap();
            Ok(read)
        }))
    }
}
