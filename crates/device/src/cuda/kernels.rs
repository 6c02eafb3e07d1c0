//! Kernels on the GPU, each compiled and loaded once.

use super::cache::Cache;
use super::driver::{Gpu, words};
use super::nvrtc::{Nvrtc, OPTIONS};
use crate::DeviceError;
use crate::gpu::cuda::{Source, render};
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

/// Makes code of sources, or finds it on disk.
pub struct Compiler {
    /// NVIDIA's compiler.
    pub nvrtc: Nvrtc,
    /// Where code is kept.
    pub cache: Cache,
    /// What for (`sm_90a`).
    pub architecture: String,
    /// The driver's version.
    pub driver: i32,
}

/// All kernels of a device.
pub struct Kernels {
    gpu: Arc<Gpu>,
    compiler: Compiler,
    /// By what a kernel does and whether what it stores is apart from all else that it is given.
    known: HashMap<(Kernel, bool), Function>,
    modules: Vec<sys::CUmodule>,
}

// SAFETY: handles of modules and functions belong to the context, which any thread may enter.
unsafe impl Send for Kernels {}

impl Compiler {
    fn code(&self, source: &Source) -> Result<Vec<u8>, String> {
        let ((major, minor), driver) = (self.nvrtc.version, self.driver);
        let compiler = format!("nvrtc {major}.{minor} {} driver {driver}", OPTIONS.join(" "));
        let key = [source.text.as_str(), self.architecture.as_str(), compiler.as_str()];
        let make = || self.nvrtc.compile(&source.text, &self.architecture, &[]).map(|c| c.cubin);
        self.cache.get(&key, make)
    }

    /// Code of each source, in order; made on all cores.
    fn codes(&self, sources: &[Source]) -> Vec<Result<Vec<u8>, String>> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(sources.len());
        let mut parts: Vec<_> = std::thread::scope(|s| {
            let part = |t| move || sources.iter().skip(t).step_by(threads).map(|x| self.code(x)).collect();
            let workers: Vec<_> = (0..threads).map(|t| s.spawn(part(t))).collect();
            let ended = |r: std::thread::Result<Vec<_>>| r.unwrap_or_else(|e| std::panic::resume_unwind(e));
            workers.into_iter().map(|w| ended(w.join()).into_iter()).collect()
        });
        (0..sources.len()).filter_map(|i| parts[i % threads].next()).collect()
    }
}

impl Kernels {
    /// None yet.
    pub fn new(gpu: Arc<Gpu>, compiler: Compiler) -> Kernels {
        Kernels { gpu, compiler, known: HashMap::new(), modules: Vec::new() }
    }

    /// Compiles and loads those of these kernels that are not known; `true`: what it stores is apart from all else that it
    /// is given.
    pub fn prepare<'k>(
        &mut self,
        wanted: impl Iterator<Item = (&'k Kernel, bool)>,
    ) -> Result<(), DeviceError> {
        let mut new: Vec<(Kernel, bool)> = Vec::new();
        for (kernel, apart) in wanted {
            let key = (kernel.clone(), apart);
            if !self.known.contains_key(&key) && !new.contains(&key) {
                new.push(key);
            }
        }
        let sources: Vec<Source> = new.iter().map(|(k, apart)| render(k, *apart)).collect();
        let codes = self.compiler.codes(&sources);
        for ((key, source), code) in new.into_iter().zip(sources).zip(codes) {
            let name = key.0.name.clone();
            let loaded = code.and_then(|code| self.load(source, &code));
            let function = loaded.map_err(|why| DeviceError::Gpu {
                device: self.gpu.name.clone(),
                reason: format!("kernel {name}: {why}"),
            })?;
            self.known.insert(key, function);
        }
        Ok(())
    }

    fn load(&mut self, source: Source, code: &[u8]) -> Result<Function, String> {
        self.gpu.enter().map_err(|e| e.to_string())?;
        // SAFETY: the code is a cubin: the compiler made it, or its hash says that it did.
        let module = unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(words)?;
        self.modules.push(module);
        let entry = CString::new(source.entry).map_err(|e| e.to_string())?;
        // SAFETY: the module was just loaded.
        let handle = unsafe { result::module::get_function(module, entry) }.map_err(words)?;
        if source.dynamic_shared > 0 {
            let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = source.dynamic_shared as i32;
            // SAFETY: the function was just found.
            unsafe { result::function::set_function_attribute(handle, attribute, bytes) }.map_err(words)?;
        }
        Ok(Function { handle, dynamic_shared: source.dynamic_shared as u32 })
    }

    /// The function of a kernel that was prepared.
    pub fn function(&self, kernel: &Kernel, apart: bool) -> Function {
        *self.known.get(&(kernel.clone(), apart)).expect("a kernel that was prepared")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Places;
    use crate::gpu::build::Builder;
    use crate::gpu::ir::Value;
    use thalweg_base::DType;

    #[test]
    fn codes_come_in_the_order_of_their_sources() {
        let nvrtc = match Nvrtc::find(&Places::read(), u32::MAX) {
            Ok(nvrtc) => nvrtc,
            Err(why) => {
                assert!(std::env::var_os("THALWEG_NEED_NVRTC").is_none(), "NVRTC {why}");
                return println!("skipped: NVRTC {why}");
            }
        };
        let (cache, architecture) = (Cache::new(None), "sm_80".to_owned());
        let compiler = Compiler { nvrtc, cache, architecture, driver: 13_000 };
        let kernel = |i: usize| {
            let mut b = Builder::new(format!("number_{i}"), 32);
            let to = b.param(DType::I32, true);
            b.store(to, Value::index(0), Value::index(i));
            b.finish()
        };
        let mut sources: Vec<Source> = (0..5).map(|i| render(&kernel(i), true)).collect();
        sources[3].text = "not C".into();
        for (i, code) in compiler.codes(&sources).into_iter().enumerate() {
            let named = |c: Vec<u8>| c.windows(16).any(|w| w == format!("thalweg_number_{i}").as_bytes());
            assert_eq!(code.map(named).is_ok_and(|n| n), i != 3, "source {i}");
        }
        assert!(compiler.codes(&[]).is_empty());
    }
}
