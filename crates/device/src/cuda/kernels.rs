//! Kernels on the GPU, each compiled and loaded once.

use super::cache::Cache;
use super::driver::{Gpu, words};
use super::nvrtc::{Nvrtc, OPTIONS};
use crate::DeviceError;
use crate::gpu::cuda::render;
use crate::gpu::ir::Kernel;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

/// A kernel that can be launched.
#[derive(Clone, Copy)]
pub struct Function {
    /// The driver's handle.
    pub handle: sys::CUfunction,
    /// Bytes of shared memory to launch it with.
    pub dynamic_shared: u32,
}

/// All kernels of a device.
pub struct Kernels {
    gpu: Arc<Gpu>,
    nvrtc: Nvrtc,
    cache: Cache,
    architecture: String,
    known: HashMap<(Kernel, bool), Function>,
    modules: Vec<sys::CUmodule>,
}

// SAFETY: handles of modules and functions belong to the context, which any thread may enter.
unsafe impl Send for Kernels {}

impl Kernels {
    /// None yet.
    pub fn new(gpu: Arc<Gpu>, nvrtc: Nvrtc, cache: Cache, architecture: String) -> Kernels {
        Kernels { gpu, nvrtc, cache, architecture, known: HashMap::new(), modules: Vec::new() }
    }

    /// The function of a kernel. `apart`: what it stores overlaps nothing else that it is given.
    pub fn function(&mut self, kernel: &Kernel, apart: bool) -> Result<Function, DeviceError> {
        let key = (kernel.clone(), apart);
        if let Some(found) = self.known.get(&key) {
            return Ok(*found);
        }
        let source = render(kernel, apart);
        let failed = |reason: String| DeviceError::Gpu {
            device: self.gpu.name.clone(),
            reason: format!("kernel {}: {reason}", kernel.name),
        };
        let (major, minor) = self.nvrtc.version;
        let compiler = format!("nvrtc {major}.{minor} {}", OPTIONS.join(" "));
        let key_of_code = [source.text.as_str(), self.architecture.as_str(), compiler.as_str()];
        let make = || self.nvrtc.compile(&source.text, &self.architecture, &[]).map(|c| c.cubin);
        let code = self.cache.get(&key_of_code, make).map_err(failed)?;
        self.gpu.enter()?;
        // SAFETY: the code is a cubin: the compiler made it, or its hash says that it did.
        let module =
            unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(|e| failed(words(e)))?;
        self.modules.push(module);
        let entry = CString::new(source.entry).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the module was just loaded.
        let handle = unsafe { result::module::get_function(module, entry) }.map_err(|e| failed(words(e)))?;
        if source.dynamic_shared > 0 {
            let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = source.dynamic_shared as i32;
            // SAFETY: the function was just found.
            let r = unsafe { result::function::set_function_attribute(handle, attribute, bytes) };
            r.map_err(|e| failed(words(e)))?;
        }
        let function = Function { handle, dynamic_shared: source.dynamic_shared as u32 };
        self.known.insert(key, function);
        Ok(function)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.gpu.wait().is_ok() {
            for &module in &self.modules {
                // SAFETY: loaded once, unloaded once; nothing of it runs any more.
                let _ = unsafe { result::module::unload(module) };
            }
        }
    }
}
