//! [`Libraries`]: cuBLASLt and cuDNN on a device, if they are there, and what was prepared with them.
//!
//! In: calls of lowered plans. Out: each [`Prepared`] once, or one line that says why not. Nobody needs these libraries: they are
//! looked for when a choice names one or somebody is about to choose. What a library keeps for itself on the GPU is in no count of
//! memory, as it tells nobody. Invariant: what is prepared has run once, on memory of its own, and has been captured, so that a
//! library that refuses, or loads code late, does so when a program is loaded; what there is no memory for is not prepared.

use super::cublaslt::{self, CublasLt};
use super::cudnn::{self, Cudnn};
use super::driver::{Gpu, Memory};
use super::places::Places;
use crate::gpu::call::{self, Call, Refusal, Version, WORKSPACE};
use crate::{DeviceError, Found};
use cudarc::driver::result;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A call that can be put on the stream.
pub enum Prepared {
    Matrices(cublaslt::Product),
    Convolution(cudnn::Convolution),
}

impl Prepared {
    /// Puts it on the stream: left operand, right operand, result, workspace.
    ///
    /// # Safety
    /// The addresses are those of memory as large as [`Call::bytes`] and [`WORKSPACE`] say, until the stream was waited for.
    unsafe fn put(&self, pointers: [u64; 4]) -> Result<(), Refusal> {
        // SAFETY: the caller vouches for it.
        unsafe {
            match self {
                Prepared::Matrices(product) => product.start(pointers),
                Prepared::Convolution(convolution) => convolution.start(pointers),
            }
        }
    }

    /// Puts it on the stream.
    ///
    /// # Safety
    /// As of a launch of a kernel: the addresses are those of a launch's arguments, in memory that outlives it.
    pub unsafe fn start(&self, gpu: &Gpu, pointers: &[u64]) -> Result<(), DeviceError> {
        let failed = |reason: String| DeviceError::Gpu { device: gpu.name.clone(), reason };
        let pointers = pointers.try_into().map_err(|_| failed("a call has four arguments".into()))?;
        // SAFETY: the caller vouches for it.
        unsafe { self.put(pointers) }.map_err(|refusal| failed(refusal.why))
    }
}

/// The libraries of a device.
pub struct Libraries {
    gpu: Arc<Gpu>,
    looked: bool,
    /// Or why it is not there.
    cublaslt: Result<Arc<CublasLt>, String>,
    cudnn: Result<Arc<Cudnn>, String>,
    /// Made when first needed.
    blas_handle: Option<Arc<cublaslt::Handle>>,
    dnn_handle: Option<Arc<cudnn::Handle>>,
    known: HashMap<Call, Arc<Prepared>>,
}

impl Libraries {
    /// None was looked for yet.
    pub fn new(gpu: Arc<Gpu>) -> Libraries {
        Libraries {
            gpu,
            looked: false,
            cublaslt: Err("it was not looked for".into()),
            cudnn: Err("it was not looked for".into()),
            blas_handle: None,
            dnn_handle: None,
            known: HashMap::new(),
        }
    }

    /// Looks for them, once. `driver`: the CUDA that it is for.
    pub fn look(&mut self, driver: u32) {
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let places = Places::read().of_libraries().ok_or_else(off);
        self.cublaslt = places.clone().and_then(|p| CublasLt::find(&p, driver)).map(Arc::new);
        self.cudnn = places.and_then(|p| Cudnn::find(&p, driver)).map(Arc::new);
    }

    /// Which there are.
    pub fn there(&self) -> call::Libraries {
        let (blas, dnn) = (self.cublaslt.as_ref().ok(), self.cudnn.as_ref().ok());
        let [cublaslt, cudnn] = [blas.map(|l| l.version), dnn.map(|l| l.version)];
        call::Libraries { cublaslt, cudnn, workspace: WORKSPACE }
    }

    /// Why one that a way names as text is not there.
    pub fn missing(&self, way: &str) -> String {
        let (blas, dnn) = (self.cublaslt.as_ref(), self.cudnn.as_ref());
        let found =
            if way.starts_with("cublaslt") { blas.map(|l| l.version) } else { dnn.map(|l| l.version) };
        found.map_or_else(Clone::clone, |version| format!("it is {version} now"))
    }

    /// Prepares a call, once. The inner error is what its library said, the outer one may be that memory lacks.
    pub fn prepare(&mut self, call: &Call) -> Result<Result<(), Refusal>, DeviceError> {
        if self.known.contains_key(call) {
            return Ok(Ok(()));
        }
        self.gpu.enter()?;
        let prepared = match self.make(call) {
            Ok(prepared) => prepared,
            Err(why) => return Ok(Err(why)),
        };
        if let Err(why) = self.tried(call, &prepared)? {
            return Ok(Err(why));
        }
        self.known.insert(*call, Arc::new(prepared));
        Ok(Ok(()))
    }

    fn make(&mut self, call: &Call) -> Result<Prepared, Refusal> {
        let missing = |why: &String| Refusal::from(format!("{}: {why}", call.library()));
        match call {
            Call::Matrices { dims, types, choice } => {
                let library = self.cublaslt.as_ref().map_err(missing)?;
                let handle = match &self.blas_handle {
                    Some(handle) => Arc::clone(handle),
                    None => Arc::new(cublaslt::Handle::new(library, &self.gpu)?),
                };
                self.blas_handle = Some(Arc::clone(&handle));
                cublaslt::Product::new(&handle, dims, types, *choice).map(Prepared::Matrices)
            }
            Call::Convolution { which, dims, types, algorithm } => {
                let library = self.cudnn.as_ref().map_err(missing)?;
                let handle = match &self.dnn_handle {
                    Some(handle) => Arc::clone(handle),
                    None => Arc::new(cudnn::Handle::new(library, &self.gpu)?),
                };
                self.dnn_handle = Some(Arc::clone(&handle));
                let made = cudnn::Convolution::new(&handle, *which, dims, types, *algorithm);
                made.map(Prepared::Convolution)
            }
        }
    }

    /// Runs it once and captures it once, on memory of its own.
    fn tried(&self, call: &Call, prepared: &Prepared) -> Result<Result<(), Refusal>, DeviceError> {
        let gpu = &self.gpu;
        let mut memory = Vec::new();
        for bytes in call.bytes().into_iter().chain([WORKSPACE]) {
            memory.push(Memory::zeroed(gpu, bytes, "a library's first run")?);
        }
        let [a, b, result, workspace] = [0, 1, 2, 3].map(|i: usize| memory[i].start);
        // SAFETY: memory of these sizes, which waits for the stream before it is given back.
        let put = || unsafe { prepared.put([a, b, result, workspace]) };
        if let Err(why) = put() {
            return Ok(Err(why));
        }
        gpu.wait()?;
        let mut said = Ok(());
        let graph = gpu.capture(true, || {
            said = put();
            Ok(())
        });
        Ok(match (said, graph) {
            (Err(why), graph) => {
                graph.into_iter().for_each(destroy);
                Err(why)
            }
            (Ok(()), Err(e)) => Err(format!("{} cannot be captured: {e}", call.library()).into()),
            (Ok(()), Ok(graph)) => {
                destroy(graph);
                Ok(())
            }
        })
    }

    /// A call that was prepared.
    pub fn prepared(&self, call: &Call) -> Arc<Prepared> {
        Arc::clone(self.known.get(call).expect("a call that was prepared"))
    }
}

fn off() -> String {
    "not looked for, as THALWEG_CUDA_LIBRARIES is none".into()
}

fn destroy(graph: cudarc::driver::sys::CUgraph) {
    // SAFETY: it was just made, and nothing was made of it.
    let _ = unsafe { result::graph::destroy(graph) };
}

/// What there is of the libraries that nobody needs, for people: of each its version and file, or what to install.
pub fn optional() -> Vec<Found> {
    let driver = super::driver::version().ok().map(|v| v as u32 / 1000);
    let most = driver.unwrap_or(u32::MAX);
    let (places, wanted) = (Places::read(), Places::read().of_libraries());
    let packages = match most {
        ..13 => ["nvidia-cublas-cu12", "nvidia-cudnn-cu12"],
        13.. => ["nvidia-cublas", "nvidia-cudnn-cu13"],
    };
    let found = |name: &str, of: &str, found: Result<(Version, PathBuf), String>, package: &str| {
        let usable = found.is_ok();
        let mut description = match found {
            Ok((version, from)) => format!("{version}, {}", from.display()),
            Err(why) => why,
        };
        // Nothing is advised that would be of no use here.
        description += &match (driver, usable) {
            (None, _) => "; of use with an NVIDIA GPU alone".into(),
            (Some(_), true) => format!("; `thalweg tune` may choose it for {of}"),
            (Some(_), false) if places.names_libraries() => "; nothing needs it".into(),
            (Some(_), false) => {
                format!("; nothing needs it, {of} may gain: pip install {package} in an active environment")
            }
        };
        Found { name: name.into(), usable, description }
    };
    let blas = wanted.as_ref().ok_or_else(off).and_then(|p| CublasLt::find(p, most));
    let dnn = wanted.as_ref().ok_or_else(off).and_then(|p| Cudnn::find(p, most));
    vec![
        found("cuBLASLt", "matrix products", blas.map(|l| (l.version, l.from)), packages[0]),
        found("cuDNN", "convolutions", dnn.map(|l| (l.version, l.from)), packages[1]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::call::Types;
    use crate::plan::DotDims;
    use thalweg_base::{ConvDims, DType, Window};

    /// What was found, if that is there or asked for.
    fn there<T>(found: Result<T, String>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(why) if std::env::var_os("THALWEG_NEED_CUDA_LIBRARIES").is_none() => {
                println!("skipped: {why}");
                None
            }
            Err(why) => panic!("{why}"),
        }
    }

    fn types(dtype: DType) -> Types {
        Types { operands: dtype, result: dtype, tf32: dtype == DType::F32 }
    }

    /// The real libraries, without a GPU: they take every description that we make, so numbers and sizes are theirs.
    #[test]
    fn real_libraries_take_our_descriptions() {
        let Some(places) = Places::read().of_libraries() else { return println!("skipped: none is wanted") };
        if let Some(lt) = there(CublasLt::find(&places, u32::MAX)).map(Arc::new) {
            println!("cuBLASLt {}, {}", lt.version, lt.from.display());
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                    let dims = DotDims { batch: 3, m: 8, n: 16, k: 24, ta, tb };
                    cublaslt::described(&lt, &dims, &types(dtype)).unwrap();
                }
            }
            cublaslt::preference(&lt).unwrap();
        }
        if let Some(dnn) = there(Cudnn::find(&places, u32::MAX)) {
            println!("cuDNN {}, {}", dnn.version, dnn.from.display());
            let window = Window { size: 3, stride: 2, dilation: 2, lo: 1, hi: 1 };
            let d = ConvDims {
                n: 2,
                h: 9,
                w: 9,
                c: 4,
                k: 8,
                oh: 4,
                ow: 4,
                rows: window,
                cols: window,
                groups: 2,
            };
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                cudnn::Described::new(&dnn, &d, &types(dtype)).unwrap();
            }
        }
    }
}
