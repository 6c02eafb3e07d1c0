//! The driver: GPUs, memory, errors. What is unsafe about them is settled here, as far as it can be.
//!
//! Invariant: a [`Gpu`] outlives what was made on it, since all of that holds a reference.

use crate::DeviceError;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use std::sync::Arc;

/// Oldest driver that kernels are made for: CUDA 12.
const OLDEST: i32 = 12_000;

/// An opened GPU: its primary context and our stream.
pub struct Gpu {
    /// `cuda:0`.
    pub name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
}

// SAFETY: context and stream may be used from any thread, once the context was made that thread's (`Gpu::enter`).
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver locks what is shared.
unsafe impl Sync for Gpu {}

/// Whether there is a driver that we can use: its version, or what is wrong and what to do.
pub fn version() -> Result<i32, String> {
    // SAFETY: it only tries to load the library.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver was found (libcuda); install it, or use --device wgpu or cpu".into());
    }
    result::init().map_err(|e| format!("the NVIDIA driver does not start: {}", words(e)))?;
    let mut version = 0;
    // SAFETY: it points to an integer; the driver is initialised.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(words)?;
    if version < OLDEST {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(format!("the driver is for CUDA {major}.{minor}; install one for 12.0 or later"));
    }
    Ok(version)
}

/// Number of GPUs.
pub fn count() -> Result<usize, String> {
    version()?;
    let n = result::device::get_count().map_err(words)?;
    if n == 0 { Err("the NVIDIA driver is there, but no GPU".into()) } else { Ok(n as usize) }
}

/// What a GPU is.
pub struct About {
    /// Its name.
    pub name: String,
    /// (major, minor) of its architecture.
    pub architecture: [i32; 2],
    /// Multiprocessors.
    pub units: usize,
    /// Bytes of memory.
    pub memory: usize,
}

/// What a GPU is, without opening it.
pub fn about(index: usize) -> Result<About, String> {
    let device = result::device::get(index as i32).map_err(words)?;
    // SAFETY: the device exists.
    let ask = |a: Attribute| unsafe { result::device::get_attribute(device, a) }.map_err(words);
    Ok(About {
        name: result::device::get_name(device).map_err(words)?,
        architecture: [
            ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ],
        units: ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.map_err(words)?,
    })
}

/// What an error is called, and what it means.
pub fn words(e: DriverError) -> String {
    let text = e.error_string().map(|s| s.to_string_lossy().into_owned());
    let name = e.error_name().map(|s| s.to_string_lossy().into_owned());
    format!("{} ({})", text.unwrap_or_else(|_| "unknown".into()), name.unwrap_or_else(|_| "?".into()))
}

impl Gpu {
    /// Opens one.
    pub fn open(index: usize) -> Result<Arc<Gpu>, DeviceError> {
        let name = format!("cuda:{index}");
        let failed = |reason: String| DeviceError::Gpu { device: name.clone(), reason };
        let n = count().map_err(failed)?;
        if index >= n {
            return Err(failed(format!("there are {n} NVIDIA GPUs, counted from 0; see `thalweg devices`")));
        }
        let made = |e: DriverError| failed(words(e));
        let device = result::device::get(index as i32).map_err(made)?;
        // SAFETY: the device exists.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(made)?;
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(made)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(made)?;
        Ok(Arc::new(Gpu { name, device, context, stream }))
    }

    /// Makes this GPU the one that this thread talks to; before every other call.
    pub fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until this is dropped.
        self.check(unsafe { result::ctx::set_current(self.context) })
    }

    /// Our stream.
    pub fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// A driver's result as ours.
    pub fn check<T>(&self, r: Result<T, DriverError>) -> Result<T, DeviceError> {
        r.map_err(|e| match e.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::OutOfMemory {
                device: self.name.clone(),
                needed: 0,
                what: "refused by the driver".into(),
            },
            _ => DeviceError::Gpu { device: self.name.clone(), reason: words(e) },
        })
    }

    /// Bytes of memory that are free, if the driver says.
    pub fn free(&self) -> Option<usize> {
        self.enter().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free)
    }

    /// Waits for everything started.
    pub fn wait(&self) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the stream lives as long as this.
        self.check(unsafe { result::stream::synchronize(self.stream) })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Errors have nowhere to go here, and nothing is used afterwards.
        // SAFETY: the context is retained; stream and context are given back once.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// Memory of a GPU; given back when dropped.
pub struct Memory {
    gpu: Arc<Gpu>,
    /// Its first byte; 0 if it is empty.
    pub start: sys::CUdeviceptr,
    /// Bytes.
    pub bytes: usize,
}

impl Memory {
    /// Zeroed memory. What is not there is told before it is asked for.
    pub fn zeroed(gpu: &Arc<Gpu>, bytes: usize, what: &str) -> Result<Memory, DeviceError> {
        gpu.enter()?;
        let mut memory = Memory { gpu: Arc::clone(gpu), start: 0, bytes };
        if bytes == 0 {
            return Ok(memory);
        }
        let (free, _) = gpu.check(result::mem_get_info())?;
        let refused = || DeviceError::OutOfMemory {
            device: gpu.name.clone(),
            needed: bytes,
            what: format!("{what}; {free} are free"),
        };
        if bytes > free {
            return Err(refused());
        }
        // SAFETY: a context is current.
        memory.start = unsafe { result::malloc_sync(bytes) }.map_err(|_| refused())?;
        // SAFETY: so many bytes were just allocated.
        gpu.check(unsafe { result::memset_d8_async(memory.start, 0, bytes, gpu.stream) })?;
        Ok(memory)
    }

    /// Writes from the host, behind everything started before.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        assert!(offset + bytes.len() <= self.bytes, "a write beyond the end");
        if bytes.is_empty() {
            return Ok(());
        }
        self.gpu.enter()?;
        // SAFETY: inside the memory; the driver has taken the bytes of ordinary host memory when it returns.
        let r = unsafe { result::memcpy_htod_async(self.start + offset as u64, bytes, self.gpu.stream) };
        self.gpu.check(r)
    }

    /// Reads to the host, when everything started before is done.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        assert!(offset + bytes.len() <= self.bytes, "a read beyond the end");
        self.gpu.enter()?;
        if !bytes.is_empty() {
            // SAFETY: inside the memory; the bytes are borrowed until the stream was waited for.
            let r = unsafe { result::memcpy_dtoh_async(bytes, self.start + offset as u64, self.gpu.stream) };
            self.gpu.check(r)?;
        }
        self.gpu.wait()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.start != 0 && self.gpu.wait().is_ok() {
            // SAFETY: allocated once, freed once, and nothing that was started uses it any more.
            let _ = unsafe { result::free_sync(self.start) };
        }
    }
}
