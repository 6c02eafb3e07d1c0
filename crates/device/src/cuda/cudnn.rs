//! cuDNN: convolutions and their gradients, where the library is there.
//!
//! In: a convolution's geometry, its type, one of the library's algorithms. Out: a [`Convolution`] that can be put on the stream.
//! Images are NHWC and filters KRSC. The calls are those of version 9 that take one convolution, for which NVIDIA advises its
//! graphs of operations by now: these say in numbers all that is asked, and an epilogue is ours anyway. Numbers are those of
//! cudnn.h. Invariant: what needs more than the workspace is refused before it is started.

use super::driver::Gpu;
use super::find::{Names, function, load, parts};
use super::places::Places;
use super::status::{self, Status, Words};
use crate::gpu::call::{Refusal, Types, Version, WORKSPACE, Which};
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use thalweg_base::{ConvDims, DType};

/// How its file is called, which opens others beside it: see [`parts`].
const NAMES: Names = if cfg!(windows) {
    Names { start: "cudnn64_9", system: &["cudnn64_9.dll"] }
} else {
    Names { start: "libcudnn.so.9", system: &["libcudnn.so.9"] }
};

/// Its parts that convolutions need, in the order of what they need of each other.
const LOADED: [&str; 3] = ["graph", "ops", "cnn"];
/// Those that it opens itself when it looks for a kernel.
const OPENED: [&str; 2] = ["engines_precompiled", "heuristic"];

/// The version whose functions and numbers are those below.
const MAJOR: u32 = 9;

/// With what another architecture or version may do.
const NOT_SUPPORTED: std::ops::Range<c_int> = 3000..4000;
const TENSOR_NHWC: c_int = 1;
const DATA_FLOAT: c_int = 0;
const DATA_HALF: c_int = 2;
const DATA_BFLOAT16: c_int = 9;
const CROSS_CORRELATION: c_int = 1;
const TENSOR_OP_MATH: c_int = 1;
const FMA_MATH: c_int = 3;

type Opaque = *mut c_void;
type Create = unsafe extern "C" fn(*mut Opaque) -> Status;
type Destroy = unsafe extern "C" fn(Opaque) -> Status;
/// Descriptions of both operands and the result in the library's order, with the convolution's in its place.
type Need = unsafe extern "C" fn(Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut usize) -> Status;
type Run = unsafe extern "C" fn(
    Opaque,
    *const f32,
    Opaque,
    u64,
    Opaque,
    u64,
    Opaque,
    c_int,
    u64,
    usize,
    *const f32,
    Opaque,
    u64,
) -> Status;

/// The functions that we use. Those with a status return 0 when they succeed.
struct Functions {
    create: Create,
    destroy: Destroy,
    set_stream: unsafe extern "C" fn(Opaque, *mut c_void) -> Status,
    words: Words,
    create_tensor: Create,
    set_tensor: unsafe extern "C" fn(Opaque, c_int, c_int, c_int, c_int, c_int, c_int) -> Status,
    destroy_tensor: Destroy,
    create_filter: Create,
    set_filter: unsafe extern "C" fn(Opaque, c_int, c_int, c_int, c_int, c_int, c_int) -> Status,
    destroy_filter: Destroy,
    create_convolution: Create,
    set_convolution:
        unsafe extern "C" fn(Opaque, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> Status,
    set_groups: unsafe extern "C" fn(Opaque, c_int) -> Status,
    set_math: unsafe extern "C" fn(Opaque, c_int) -> Status,
    destroy_convolution: Destroy,
    /// Of the convolution, its input's gradient, its filter's: they take operands in the same order as [`Run`] does.
    need: [Need; 3],
    run: [Run; 3],
}

/// The library.
pub struct Cudnn {
    functions: Functions,
    /// Its version.
    pub version: Version,
    /// The file it was loaded from, or the name that the system knew.
    pub from: PathBuf,
}

impl Cudnn {
    /// The first one found of version 9 whose CUDA is at most `most`, the driver's.
    pub fn find(places: &Places, most: u32) -> Result<Cudnn, String> {
        NAMES.find(places, |file| {
            let (found, cuda) = Cudnn::open(file)?;
            if cuda > most {
                return Err(format!("{} is for drivers of CUDA {cuda}", file.display()));
            }
            Ok(found)
        })
    }

    /// The library and the CUDA it was made for.
    fn open(file: &Path) -> Result<(Cudnn, u32), String> {
        let failed = |why: String| format!("{}: {why}", file.display());
        let library = load(file)?;
        parts(file, &LOADED.map(part), &OPENED.map(part)).map_err(failed)?;
        // SAFETY: these are their types in cudnn.h, as those in `Functions::of` are.
        let [version, cuda] = unsafe {
            let ask = |name| function::<unsafe extern "C" fn() -> usize>(library, name).map_err(failed);
            [ask("cudnnGetVersion")?(), ask("cudnnGetCudartVersion")?()]
        };
        let number = version as u32;
        let version = Version(number / 10_000, number / 100 % 100, number % 100);
        if version.0 != MAJOR {
            // Until 8 the first number was a tenth of what it is now.
            let major = if number < 10_000 { number / 1000 } else { version.0 };
            return Err(failed(format!("version {major}; {MAJOR} is needed")));
        }
        let functions = Functions::of(library).map_err(failed)?;
        Ok((Cudnn { functions, version, from: file.to_path_buf() }, cuda as u32 / 1000))
    }

    /// A status as a result; `what` was called.
    fn check(&self, what: &str, status: Status) -> Result<(), Refusal> {
        let lasting = NOT_SUPPORTED.contains(&status);
        // SAFETY: these words are static, for any number, or null.
        unsafe {
            status::check(format_args!("cuDNN {}", self.version), what, status, self.functions.words, lasting)
        }
    }
}

impl Functions {
    fn of(library: &'static libloading::Library) -> Result<Functions, String> {
        // SAFETY: the types are those of cudnn.h; addresses of the GPU's are as wide as pointers, and a stream of the driver's is
        // one of the runtime's.
        unsafe {
            Ok(Functions {
                create: function(library, "cudnnCreate")?,
                destroy: function(library, "cudnnDestroy")?,
                set_stream: function(library, "cudnnSetStream")?,
                words: function(library, "cudnnGetErrorString")?,
                create_tensor: function(library, "cudnnCreateTensorDescriptor")?,
                set_tensor: function(library, "cudnnSetTensor4dDescriptor")?,
                destroy_tensor: function(library, "cudnnDestroyTensorDescriptor")?,
                create_filter: function(library, "cudnnCreateFilterDescriptor")?,
                set_filter: function(library, "cudnnSetFilter4dDescriptor")?,
                destroy_filter: function(library, "cudnnDestroyFilterDescriptor")?,
                create_convolution: function(library, "cudnnCreateConvolutionDescriptor")?,
                set_convolution: function(library, "cudnnSetConvolution2dDescriptor")?,
                set_groups: function(library, "cudnnSetConvolutionGroupCount")?,
                set_math: function(library, "cudnnSetConvolutionMathType")?,
                destroy_convolution: function(library, "cudnnDestroyConvolutionDescriptor")?,
                need: [
                    function(library, "cudnnGetConvolutionForwardWorkspaceSize")?,
                    function(library, "cudnnGetConvolutionBackwardDataWorkspaceSize")?,
                    function(library, "cudnnGetConvolutionBackwardFilterWorkspaceSize")?,
                ],
                run: [
                    function(library, "cudnnConvolutionForward")?,
                    function(library, "cudnnConvolutionBackwardData")?,
                    function(library, "cudnnConvolutionBackwardFilter")?,
                ],
            })
        }
    }
}

/// How a part of it is called.
fn part(name: &str) -> String {
    if cfg!(windows) { format!("cudnn_{name}64_9.dll") } else { format!("libcudnn_{name}.so.9") }
}

/// The library on a GPU's stream.
pub struct Handle {
    dnn: Arc<Cudnn>,
    handle: Opaque,
    gpu: Arc<Gpu>,
}

// SAFETY: the library may be called from any thread; a device is used by one at a time, and its handle by nobody else.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes it.
    pub fn new(dnn: &Arc<Cudnn>, gpu: &Arc<Gpu>) -> Result<Handle, Refusal> {
        gpu.enter().map_err(|e| e.to_string())?;
        let mut handle = ptr::null_mut();
        // SAFETY: a context is current; the pointer is ours.
        dnn.check("cudnnCreate", unsafe { (dnn.functions.create)(&mut handle) })?;
        let made = Handle { dnn: Arc::clone(dnn), handle, gpu: Arc::clone(gpu) };
        // SAFETY: both are live, and the stream outlives the handle.
        let status = unsafe { (dnn.functions.set_stream)(handle, gpu.stream().cast()) };
        dnn.check("cudnnSetStream", status)?;
        Ok(made)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.gpu.wait().is_ok() {
            // SAFETY: made once, given back once; nothing that was started uses it any more.
            unsafe { (self.dnn.functions.destroy)(self.handle) };
        }
    }
}

/// A descriptor of the library's; given back when dropped.
struct Made {
    it: Opaque,
    destroy: Destroy,
}

// SAFETY: as of `Handle`.
unsafe impl Send for Made {}
// SAFETY: as of `Handle`.
unsafe impl Sync for Made {}

impl Made {
    fn new(dnn: &Cudnn, what: &str, create: Create, destroy: Destroy) -> Result<Made, Refusal> {
        let mut it = ptr::null_mut();
        // SAFETY: the pointer is ours.
        dnn.check(what, unsafe { create(&mut it) })?;
        Ok(Made { it, destroy })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: made once, given back once.
        unsafe { (self.destroy)(self.it) };
    }
}

/// What describes a convolution: image, filter, output, and how they meet.
pub struct Described {
    image: Made,
    filter: Made,
    output: Made,
    convolution: Made,
}

impl Described {
    /// Of a geometry; padding is what the windows have before the first element.
    pub fn new(dnn: &Cudnn, d: &ConvDims, types: &Types) -> Result<Described, Refusal> {
        let f = &dnn.functions;
        let int =
            |n: usize| c_int::try_from(n).map_err(|_| format!("cuDNN {}: {n} is too large", dnn.version));
        let dtype = type_of(types.operands);
        let tensor = |[n, h, w, c]: [usize; 4]| {
            let made = Made::new(dnn, "cudnnCreateTensorDescriptor", f.create_tensor, f.destroy_tensor)?;
            let (n, c, h, w) = (int(n)?, int(c)?, int(h)?, int(w)?);
            // SAFETY: it is live.
            let status = unsafe { (f.set_tensor)(made.it, TENSOR_NHWC, dtype, n, c, h, w) };
            dnn.check("cudnnSetTensor4dDescriptor", status)?;
            Ok::<Made, Refusal>(made)
        };
        let filter = Made::new(dnn, "cudnnCreateFilterDescriptor", f.create_filter, f.destroy_filter)?;
        let [h, w, c, k] = d.filter().map(int);
        // SAFETY: it is live.
        let status = unsafe { (f.set_filter)(filter.it, dtype, TENSOR_NHWC, k?, c?, h?, w?) };
        dnn.check("cudnnSetFilter4dDescriptor", status)?;
        let (create, destroy) = (f.create_convolution, f.destroy_convolution);
        let convolution = Made::new(dnn, "cudnnCreateConvolutionDescriptor", create, destroy)?;
        let [pad, stride, dilation] =
            [[d.rows.lo, d.cols.lo], [d.rows.stride, d.cols.stride], [d.rows.dilation, d.cols.dilation]]
                .map(|[rows, cols]| [int(rows), int(cols)]);
        let ([ph, pw], [u, v], [dh, dw]) = (pad, stride, dilation);
        // SAFETY: it is live. Sums are f32.
        let status = unsafe {
            let it = convolution.it;
            (f.set_convolution)(it, ph?, pw?, u?, v?, dh?, dw?, CROSS_CORRELATION, DATA_FLOAT)
        };
        dnn.check("cudnnSetConvolution2dDescriptor", status)?;
        // SAFETY: as above.
        let status = unsafe { (f.set_groups)(convolution.it, int(d.groups)?) };
        dnn.check("cudnnSetConvolutionGroupCount", status)?;
        let exact = types.operands == DType::F32 && !types.tf32;
        // SAFETY: as above.
        let status = unsafe { (f.set_math)(convolution.it, if exact { FMA_MATH } else { TENSOR_OP_MATH }) };
        dnn.check("cudnnSetConvolutionMathType", status)?;
        Ok(Described { image: tensor(d.image())?, filter, output: tensor(d.output())?, convolution })
    }
}

fn type_of(dtype: DType) -> c_int {
    match dtype {
        DType::F32 => DATA_FLOAT,
        DType::F16 => DATA_HALF,
        DType::BF16 => DATA_BFLOAT16,
        DType::Bool | DType::U8 | DType::U32 | DType::I32 => unreachable!("convolutions are of floats"),
    }
}

impl Which {
    /// The library's function.
    fn function(self) -> &'static str {
        match self {
            Which::Forward => "cudnnConvolutionForward",
            Which::Input => "cudnnConvolutionBackwardData",
            Which::Filter => "cudnnConvolutionBackwardFilter",
        }
    }
}

/// A convolution or one of its gradients, and the algorithm for it.
pub struct Convolution {
    /// Given back before the handle.
    described: Described,
    which: Which,
    algorithm: c_int,
    /// Bytes of the workspace that it needs.
    need: usize,
    handle: Arc<Handle>,
}

impl Convolution {
    /// By the algorithm of that number, if it has it for these and needs no more than the workspace.
    pub fn new(
        handle: &Arc<Handle>,
        which: Which,
        d: &ConvDims,
        types: &Types,
        algorithm: u32,
    ) -> Result<Convolution, Refusal> {
        let dnn = &handle.dnn;
        let (described, algorithm) = (Described::new(dnn, d, types)?, algorithm as c_int);
        let mut made = Convolution { handle: Arc::clone(handle), described, which, algorithm, need: 0 };
        let ([a, b, result], convolution) = (made.operands(), made.described.convolution.it);
        // SAFETY: all are live, and the number is ours. Behind the operands' descriptions comes the convolution's.
        let status = unsafe {
            let ask = dnn.functions.need[which as usize];
            ask(handle.handle, a, b, convolution, result, algorithm, &mut made.need)
        };
        dnn.check(&format!("{}, workspace", which.function()), status)?;
        if made.need > WORKSPACE {
            let why = format!("cuDNN {}: it needs {} bytes of workspace", dnn.version, made.need);
            return Err(Refusal { why, lasting: true });
        }
        Ok(made)
    }

    /// Descriptions of both operands and the result, in the library's order: the filter first in an input's gradient.
    fn operands(&self) -> [Opaque; 3] {
        let d = &self.described;
        match self.which {
            Which::Forward => [d.image.it, d.filter.it, d.output.it],
            Which::Input => [d.filter.it, d.output.it, d.image.it],
            Which::Filter => [d.image.it, d.output.it, d.filter.it],
        }
    }

    /// Puts it on the stream: the left operand, the right one, the result, the workspace.
    ///
    /// # Safety
    /// The addresses are those of memory as large as the call's operands and result, and of a workspace of [`WORKSPACE`]
    /// bytes, until the stream was waited for.
    pub unsafe fn start(&self, [a, b, result, workspace]: [u64; 4]) -> Result<(), Refusal> {
        let dnn = &self.handle.dnn;
        let (first, second) = if self.which == Which::Input { (b, a) } else { (a, b) };
        let [of_first, of_second, of_result] = self.operands();
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: the caller vouches for the addresses; the rest is live.
        let status = unsafe {
            (dnn.functions.run[self.which as usize])(
                self.handle.handle,
                &one,
                of_first,
                first,
                of_second,
                second,
                self.described.convolution.it,
                self.algorithm,
                workspace,
                self.need,
                &zero,
                of_result,
                result,
            )
        };
        dnn.check(self.which.function(), status)
    }
}
