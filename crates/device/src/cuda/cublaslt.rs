//! cuBLASLt: products of matrices, where the library is there.
//!
//! In: a product's sizes and types. Out: a [`Product`] that can be put on the stream. The library's matrices are stored by
//! columns and ours by rows, so it is asked for the transposed product, B^T A^T, which is the same memory. Numbers and sizes
//! are those of cublasLt.h, the same in CUDA 12 and 13. Invariant: sums that an algorithm cuts are put together from the
//! workspace, in f32 and a fixed order, never in place, which would add in the output's type.

use super::driver::Gpu;
use super::find::{Names, function, load};
use super::places::Places;
use super::status::{self, Status, Words};
use crate::gpu::call::{Refusal, Types, Version, WORKSPACE};
use crate::plan::{ALIGN, DotDims};
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use thalweg_base::DType;

/// How its files are called.
const NAMES: Names = if cfg!(windows) {
    Names { start: "cublasLt64_", system: &["cublasLt64_13.dll", "cublasLt64_12.dll"] }
} else {
    Names { start: "libcublasLt.so", system: &["libcublasLt.so.13", "libcublasLt.so.12"] }
};

/// The versions whose numbers are those below.
const MAJORS: std::ops::RangeInclusive<u32> = 12..=13;

/// Another architecture is needed; not supported.
const NOT_SUPPORTED: [c_int; 2] = [8, 15];
const COMPUTE_32F: c_int = 68;
const COMPUTE_32F_FAST_TF32: c_int = 77;
const R_32F: c_int = 0;
const R_16F: c_int = 2;
const R_16BF: c_int = 14;
const OP_T: i32 = 1;
const DESC_TRANSA: c_int = 3;
const DESC_TRANSB: c_int = 4;
const LAYOUT_BATCH_COUNT: c_int = 5;
const LAYOUT_STRIDED_BATCH_OFFSET: c_int = 6;
const PREF_MAX_WORKSPACE_BYTES: c_int = 1;
const PREF_REDUCTION_SCHEME_MASK: c_int = 3;
/// Of A, B, C and D.
const PREF_MIN_ALIGNMENT_BYTES: [c_int; 4] = [5, 6, 7, 8];
/// Pieces of a sum are put together from the workspace, in f32.
const REDUCTION_SCHEME_COMPUTE_TYPE: u32 = 2;
/// Algorithms that are asked for.
const ASKED: usize = 8;

type Opaque = *mut c_void;
type Create = unsafe extern "C" fn(*mut Opaque) -> Status;
type Destroy = unsafe extern "C" fn(Opaque) -> Status;
type Set = unsafe extern "C" fn(Opaque, c_int, *const c_void, usize) -> Status;

/// An algorithm, as the library has it.
type Algorithm = [u64; 8];

/// An algorithm that it recommends.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Recommended {
    algorithm: Algorithm,
    workspace: usize,
    status: Status,
    waves: f32,
    reserved: [c_int; 4],
}

const _: () = assert!(size_of::<Recommended>() == 96 || size_of::<usize>() != 8);

/// The functions that we use. Those with a status return 0 when they succeed.
struct Functions {
    create: Create,
    destroy: Destroy,
    words: Words,
    create_desc: unsafe extern "C" fn(*mut Opaque, c_int, c_int) -> Status,
    set_desc: Set,
    destroy_desc: Destroy,
    create_layout: unsafe extern "C" fn(*mut Opaque, c_int, u64, u64, i64) -> Status,
    set_layout: Set,
    destroy_layout: Destroy,
    create_preference: Create,
    set_preference: Set,
    destroy_preference: Destroy,
    recommend: unsafe extern "C" fn(
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        c_int,
        *mut Recommended,
        *mut c_int,
    ) -> Status,
    multiply: unsafe extern "C" fn(
        Opaque,
        Opaque,
        *const f32,
        u64,
        Opaque,
        u64,
        Opaque,
        *const f32,
        u64,
        Opaque,
        u64,
        Opaque,
        *const Algorithm,
        u64,
        usize,
        *mut c_void,
    ) -> Status,
}

/// The library.
pub struct CublasLt {
    functions: Functions,
    /// Its version.
    pub version: Version,
    /// The file it was loaded from, or the name that the system knew.
    pub from: PathBuf,
}

impl CublasLt {
    /// The first one found whose major version is at most `most`, the driver's.
    pub fn find(places: &Places, most: u32) -> Result<CublasLt, String> {
        NAMES.find(places, |file| match CublasLt::open(file)? {
            found if !MAJORS.contains(&found.version.0) => {
                Err(format!("{} is version {}; 12 or 13 is needed", file.display(), found.version))
            }
            found if found.version.0 > most => {
                Err(format!("{} is for drivers of CUDA {}", file.display(), found.version.0))
            }
            found => Ok(found),
        })
    }

    fn open(file: &Path) -> Result<CublasLt, String> {
        let failed = |why: String| format!("{}: {why}", file.display());
        let library = load(file)?;
        // SAFETY: this is its type in cublasLt.h, as those in `Functions::of` are.
        let version = unsafe {
            let version: unsafe extern "C" fn() -> usize =
                function(library, "cublasLtGetVersion").map_err(failed)?;
            version()
        } as u32;
        let version = Version(version / 10_000, version / 100 % 100, version % 100);
        let functions = Functions::of(library).map_err(failed)?;
        Ok(CublasLt { functions, version, from: file.to_path_buf() })
    }

    /// A status as a result; `what` was called.
    fn check(&self, what: &str, status: Status) -> Result<(), Refusal> {
        let lasting = NOT_SUPPORTED.contains(&status);
        // SAFETY: these words are static, for any number, or null.
        unsafe {
            status::check(
                format_args!("cuBLASLt {}", self.version),
                what,
                status,
                self.functions.words,
                lasting,
            )
        }
    }
}

impl Functions {
    fn of(library: &'static libloading::Library) -> Result<Functions, String> {
        // SAFETY: the types are those of cublasLt.h; addresses of the GPU's are as wide as pointers, and a stream of the
        // driver's is one of the runtime's.
        unsafe {
            Ok(Functions {
                create: function(library, "cublasLtCreate")?,
                destroy: function(library, "cublasLtDestroy")?,
                words: function(library, "cublasLtGetStatusString")?,
                create_desc: function(library, "cublasLtMatmulDescCreate")?,
                set_desc: function(library, "cublasLtMatmulDescSetAttribute")?,
                destroy_desc: function(library, "cublasLtMatmulDescDestroy")?,
                create_layout: function(library, "cublasLtMatrixLayoutCreate")?,
                set_layout: function(library, "cublasLtMatrixLayoutSetAttribute")?,
                destroy_layout: function(library, "cublasLtMatrixLayoutDestroy")?,
                create_preference: function(library, "cublasLtMatmulPreferenceCreate")?,
                set_preference: function(library, "cublasLtMatmulPreferenceSetAttribute")?,
                destroy_preference: function(library, "cublasLtMatmulPreferenceDestroy")?,
                recommend: function(library, "cublasLtMatmulAlgoGetHeuristic")?,
                multiply: function(library, "cublasLtMatmul")?,
            })
        }
    }
}

/// The library on a GPU.
pub struct Handle {
    lt: Arc<CublasLt>,
    handle: Opaque,
    gpu: Arc<Gpu>,
}

// SAFETY: the library may be called from any thread; a device is used by one at a time, and its handle by nobody else.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes it.
    pub fn new(lt: &Arc<CublasLt>, gpu: &Arc<Gpu>) -> Result<Handle, Refusal> {
        gpu.enter().map_err(|e| e.to_string())?;
        let mut handle = ptr::null_mut();
        // SAFETY: a context is current; the pointer is ours.
        lt.check("cublasLtCreate", unsafe { (lt.functions.create)(&mut handle) })?;
        Ok(Handle { lt: Arc::clone(lt), handle, gpu: Arc::clone(gpu) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.gpu.wait().is_ok() {
            // SAFETY: made once, given back once; nothing that was started uses it any more.
            unsafe { (self.lt.functions.destroy)(self.handle) };
        }
    }
}

/// What the library made for us: a description, a layout or a preference; given back when dropped.
pub struct Made {
    lt: Arc<CublasLt>,
    it: Opaque,
    set: Set,
    destroy: Destroy,
}

// SAFETY: as of `Handle`.
unsafe impl Send for Made {}
// SAFETY: as of `Handle`.
unsafe impl Sync for Made {}

impl Made {
    /// `create` puts what it makes where it is told.
    fn new(
        lt: &Arc<CublasLt>,
        what: &str,
        (set, destroy): (Set, Destroy),
        create: impl FnOnce(*mut Opaque) -> Status,
    ) -> Result<Made, Refusal> {
        let mut it = ptr::null_mut();
        lt.check(what, create(&mut it))?;
        Ok(Made { lt: Arc::clone(lt), it, set, destroy })
    }

    /// Sets an attribute of that type.
    fn set<T: Copy>(&self, attribute: c_int, value: T) -> Result<(), Refusal> {
        // SAFETY: it is live; it reads so many bytes and keeps no pointer.
        let status = unsafe { (self.set)(self.it, attribute, ptr::from_ref(&value).cast(), size_of::<T>()) };
        self.lt.check(&format!("attribute {attribute}"), status)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: made once, given back once; a product that was started does not need it any more.
        unsafe { (self.destroy)(self.it) };
    }
}

/// What describes a product: the operation, then the layouts of its A, B and result, which are our B, A and result.
pub fn described(lt: &Arc<CublasLt>, d: &DotDims, types: &Types) -> Result<[Made; 4], Refusal> {
    let f = &lt.functions;
    let compute = if types.tf32 { COMPUTE_32F_FAST_TF32 } else { COMPUTE_32F };
    let operation = Made::new(lt, "cublasLtMatmulDescCreate", (f.set_desc, f.destroy_desc), |to| {
        // SAFETY: the pointer is good for the call.
        unsafe { (f.create_desc)(to, compute, R_32F) }
    })?;
    if d.tb {
        operation.set(DESC_TRANSA, OP_T)?;
    }
    if d.ta {
        operation.set(DESC_TRANSB, OP_T)?;
    }
    let layout = |dtype: DType, [rows, columns]: [usize; 2]| {
        let made = Made::new(lt, "cublasLtMatrixLayoutCreate", (f.set_layout, f.destroy_layout), |to| {
            // SAFETY: the pointer is good for the call.
            unsafe { (f.create_layout)(to, type_of(dtype), rows as u64, columns as u64, rows as i64) }
        })?;
        if d.batch > 1 {
            made.set(LAYOUT_BATCH_COUNT, d.batch as i32)?;
            made.set(LAYOUT_STRIDED_BATCH_OFFSET, (rows * columns) as i64)?;
        }
        Ok::<Made, Refusal>(made)
    };
    // Our rows are its columns.
    let b = layout(types.operands, if d.tb { [d.k, d.n] } else { [d.n, d.k] })?;
    let a = layout(types.operands, if d.ta { [d.m, d.k] } else { [d.k, d.m] })?;
    Ok([operation, b, a, layout(types.result, [d.n, d.m])?])
}

/// What is asked of an algorithm: how much workspace it may have, in which order it adds, how operands are aligned.
pub fn preference(lt: &Arc<CublasLt>) -> Result<Made, Refusal> {
    let f = &lt.functions;
    let preference = Made::new(
        lt,
        "cublasLtMatmulPreferenceCreate",
        (f.set_preference, f.destroy_preference),
        // SAFETY: the pointer is good for the call.
        |to| unsafe { (f.create_preference)(to) },
    )?;
    preference.set(PREF_MAX_WORKSPACE_BYTES, WORKSPACE as u64)?;
    preference.set(PREF_REDUCTION_SCHEME_MASK, REDUCTION_SCHEME_COMPUTE_TYPE)?;
    // The least that any buffer has, so that the algorithm does not depend on where one lies.
    PREF_MIN_ALIGNMENT_BYTES.into_iter().try_for_each(|a| preference.set(a, ALIGN as u32))?;
    Ok(preference)
}

fn type_of(dtype: DType) -> c_int {
    match dtype {
        DType::F32 => R_32F,
        DType::F16 => R_16F,
        DType::BF16 => R_16BF,
        DType::Bool | DType::U8 | DType::U32 | DType::I32 => unreachable!("products are of floats"),
    }
}

/// A product and its algorithm.
pub struct Product {
    /// See [`described`]; given back before the handle.
    described: [Made; 4],
    algorithm: Algorithm,
    handle: Arc<Handle>,
}

impl Product {
    /// With the `choice`-th of the algorithms that are recommended.
    pub fn new(handle: &Arc<Handle>, d: &DotDims, types: &Types, choice: usize) -> Result<Product, Refusal> {
        let lt = &handle.lt;
        let described = described(lt, d, types)?;
        let preference = preference(lt)?;
        let [operation, a, b, result] = &described;
        let (mut all, mut count) = ([Recommended::default(); ASKED], 0);
        // SAFETY: all are live, the list has as many places as are asked for, and the numbers are ours.
        let status = unsafe {
            (lt.functions.recommend)(
                handle.handle,
                operation.it,
                a.it,
                b.it,
                result.it,
                result.it,
                preference.it,
                ASKED as c_int,
                all.as_mut_ptr(),
                &mut count,
            )
        };
        lt.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        let there = all[..(count as usize).min(ASKED)].iter();
        let usable = |r: &&Recommended| r.status == 0 && r.workspace <= WORKSPACE;
        let few = || Refusal {
            why: format!("cuBLASLt {}: no algorithm of number {choice} for this product", lt.version),
            lasting: true,
        };
        let algorithm = there.filter(usable).nth(choice).ok_or_else(few)?.algorithm;
        Ok(Product { handle: Arc::clone(handle), described, algorithm })
    }

    /// Puts it on the stream: A, B, the result, the workspace.
    ///
    /// # Safety
    /// The addresses are those of memory as large as the product's operands and result, and of a workspace of [`WORKSPACE`]
    /// bytes, until the stream was waited for.
    pub unsafe fn start(&self, [a, b, result, workspace]: [u64; 4]) -> Result<(), Refusal> {
        let (lt, [operation, of_a, of_b, of_result]) = (&self.handle.lt, &self.described);
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: the caller vouches for the addresses; the rest is live and as large as cublasLt.h says.
        let status = unsafe {
            (lt.functions.multiply)(
                self.handle.handle,
                operation.it,
                &one,
                b,
                of_a.it,
                a,
                of_b.it,
                &zero,
                result,
                of_result.it,
                result,
                of_result.it,
                &self.algorithm,
                workspace,
                WORKSPACE,
                self.handle.gpu.stream().cast(),
            )
        };
        lt.check("cublasLtMatmul", status)
    }
}
