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

/// What an error means, what it is called, and what to do about it.
pub fn words(e: DriverError) -> String {
    let text = e.error_string().map_or_else(|_| "unknown error".into(), |s| s.to_string_lossy());
    let name = e.error_name().map_or_else(|_| "?".into(), |s| s.to_string_lossy());
    match advice(e.0) {
        Some(advice) => format!("{text} ({name}); {advice}"),
        None => format!("{text} ({name})"),
    }
}

/// What to do about an error that users can meet. After a kernel's error the driver refuses every call of this process.
fn advice(code: CUresult) -> Option<&'static str> {
    use CUresult as E;
    Some(match code {
        E::CUDA_ERROR_NO_DEVICE => "see what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides it",
        E::CUDA_ERROR_STUB_LIBRARY => "libcuda is the CUDA toolkit's stand-in here; install the driver",
        E::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | E::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            "libcuda and the loaded driver are of different versions; restart the machine or the container"
        }
        E::CUDA_ERROR_OUT_OF_MEMORY => "use a smaller batch size, or end what else uses the GPU",
        E::CUDA_ERROR_ILLEGAL_ADDRESS
        | E::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | E::CUDA_ERROR_MISALIGNED_ADDRESS
        | E::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | E::CUDA_ERROR_INVALID_PC
        | E::CUDA_ERROR_HARDWARE_STACK_ERROR
        | E::CUDA_ERROR_LAUNCH_FAILED => {
            "a kernel is wrong: please report it, and start again, or with --device wgpu or cpu"
        }
        E::CUDA_ERROR_LAUNCH_TIMEOUT => {
            "a screen's GPU stops what runs for seconds; use a smaller batch size"
        }
        E::CUDA_ERROR_ECC_UNCORRECTABLE
        | E::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | E::CUDA_ERROR_DEVICE_UNAVAILABLE
        | E::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | E::CUDA_ERROR_DEINITIALIZED => "the GPU was lost; start again, and see nvidia-smi if it stays so",
        E::CUDA_ERROR_NO_BINARY_FOR_GPU
        | E::CUDA_ERROR_INVALID_IMAGE
        | E::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "the driver does not take what NVRTC compiles; install a newer driver or an older NVRTC"
        }
        _ => return None,
    })
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
        r.map_err(|e| DeviceError::Gpu { device: self.name.clone(), reason: words(e) })
    }

    /// Bytes of memory that are free, if the driver says.
    pub fn free(&self) -> Option<usize> {
        self.enter().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free)
    }

    /// Seconds between two events that were recorded and waited for. Asks for the function that every driver has:
    /// `cudarc` knows only that of CUDA 12.8 and panics where it is missing.
    pub fn elapsed(&self, from: sys::CUevent, to: sys::CUevent) -> Result<f64, DeviceError> {
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> CUresult;
        let missing =
            |e: libloading::Error| DeviceError::Gpu { device: self.name.clone(), reason: e.to_string() };
        let mut ms = 0.0;
        // SAFETY: the driver is loaded; the type is that of cuda.h; events are live and the number is ours.
        let r = unsafe {
            let f = sys::culib().get::<Elapsed>(b"cuEventElapsedTime").map_err(missing)?;
            f(&mut ms, from, to)
        };
        self.check(r.result())?;
        Ok(f64::from(ms) * 1e-3)
    }

    /// What `start` puts on our stream, which is idle, as a graph; whoever gets it destroys it. `calls`: whether libraries are
    /// among what starts, which may do more meanwhile, as loading their code when they are first used.
    pub fn capture(
        &self,
        calls: bool,
        start: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<sys::CUgraph, DeviceError> {
        let mode = match calls {
            true => sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED,
            false => sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
        };
        // SAFETY: the stream is ours and idle.
        self.check(unsafe { result::stream::begin_capture(self.stream, mode) })?;
        let started = start();
        // SAFETY: the capture began above; it has to end even if a launch failed.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        match (started, self.check(graph)) {
            (Ok(()), graph) => graph,
            (Err(e), Ok(graph)) => {
                // SAFETY: it was just made.
                let _ = unsafe { result::graph::destroy(graph) };
                Err(e)
            }
            (Err(e), Err(_)) => Err(e),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_what_to_do() {
        let kernel = advice(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(kernel.is_some_and(|a| a.contains("report")), "{kernel:?}");
        assert_eq!(advice(CUresult::CUDA_ERROR_INVALID_VALUE), None);
    }

    #[test]
    fn a_missing_driver_is_one_line() {
        match version() {
            Ok(version) => assert!(version >= OLDEST),
            Err(why) => assert!(why.contains("install") && !why.contains('\n'), "{why}"),
        }
    }
}
