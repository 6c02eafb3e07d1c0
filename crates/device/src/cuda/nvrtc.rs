//! NVIDIA's run-time compiler, loaded when it is there.
//!
//! In: CUDA C and an architecture. Out: machine code for just that (a cubin), or the compiler's words. Loaded by our own
//! few lines instead of by `cudarc`, which looks in the system's library path alone, panics where it finds nothing, and
//! leaves it to the system to find the second library that NVRTC opens. Invariant: libraries once loaded stay.

use super::find::{Names, function, load, starting_with};
use super::places::Places;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

/// How files of NVRTC are called, and how those begin that it opens when it first compiles.
const NAMES: Names = if cfg!(windows) {
    Names { start: "nvrtc64_", system: &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"] }
} else {
    Names { start: "libnvrtc.so", system: &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"] }
};
const BUILTINS: &str = if cfg!(windows) { "nvrtc-builtins64_" } else { "libnvrtc-builtins.so" };

/// What every kernel is compiled with, beside the architecture. Denormals count as zero, as on the CPU; division and
/// square root round to nearest; a product and a sum may round once.
pub const OPTIONS: [&str; 6] =
    ["--std=c++17", "--ftz=true", "--prec-div=true", "--prec-sqrt=true", "--fmad=true", "--disable-warnings"];

type Handle = *mut c_void;
type Text = *const c_char;

/// The functions of the library that we use. All return 0 when they succeed.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    create: unsafe extern "C" fn(*mut Handle, Text, Text, c_int, *const Text, *const Text) -> c_int,
    compile: unsafe extern "C" fn(Handle, c_int, *const Text) -> c_int,
    cubin_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    log_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    error: unsafe extern "C" fn(c_int) -> Text,
    count_architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
}

/// The compiler.
pub struct Nvrtc {
    functions: Functions,
    /// (13, 0).
    pub version: (u32, u32),
    /// What it compiles for: 90 is `sm_90` and `sm_90a`.
    architectures: Vec<c_int>,
    /// The file it was loaded from, or the name that the system knew.
    pub from: PathBuf,
}

/// A compiled kernel.
pub struct Compiled {
    /// Machine code.
    pub cubin: Vec<u8>,
    /// What the compiler had to say.
    pub log: String,
}

impl Nvrtc {
    /// The first one found whose major version is at most `most`: the driver's, as an older driver refuses newer code.
    pub fn find(places: &Places, most: u32) -> Result<Nvrtc, String> {
        Nvrtc::search(places, |found| match found.version.0 <= most {
            true => Ok(()),
            false => Err(format!("is for drivers of CUDA {}", found.version.0)),
        })
    }

    /// The first of these that also compiles for an architecture.
    pub fn find_for(places: &Places, most: u32, architecture: &str) -> Result<Nvrtc, String> {
        Nvrtc::search(places, |found| match (found.version, found.knows(architecture)) {
            ((major, _), _) if major > most => Err(format!("is for drivers of CUDA {major}")),
            ((major, minor), false) => {
                Err(format!("is of CUDA {major}.{minor}, which has no {architecture}"))
            }
            (_, true) => Ok(()),
        })
    }

    fn search(places: &Places, fits: impl Fn(&Nvrtc) -> Result<(), String>) -> Result<Nvrtc, String> {
        NAMES.find(places, |file| {
            let found = Nvrtc::open(file)?;
            fits(&found).map_err(|why| format!("{} {why}", file.display()))?;
            Ok(found)
        })
    }

    /// Whether it compiles for an architecture (`sm_90a`).
    pub fn knows(&self, architecture: &str) -> bool {
        let digits: String = architecture.chars().filter(char::is_ascii_digit).collect();
        digits.parse().is_ok_and(|number| self.architectures.contains(&number))
    }

    /// Loads that file, or what the system finds by that name.
    pub fn open(file: &Path) -> Result<Nvrtc, String> {
        for beside in builtins(file) {
            // If it cannot be loaded here, the system may still find another when NVRTC asks.
            let _ = load(&beside);
        }
        let functions = Functions::of(load(file)?).map_err(|e| format!("{}: {e}", file.display()))?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both point to integers.
        let status = unsafe { (functions.version)(&mut major, &mut minor) };
        if status != 0 {
            return Err(format!("{}: it does not say its version ({status})", file.display()));
        }
        let mut count = 0;
        // SAFETY: it points to an integer.
        let status = unsafe { (functions.count_architectures)(&mut count) };
        let mut architectures = vec![0; if status == 0 { count as usize } else { 0 }];
        if !architectures.is_empty() {
            // SAFETY: as many integers as it said.
            unsafe { (functions.architectures)(architectures.as_mut_ptr()) };
        }
        let (version, from) = ((major as u32, minor as u32), file.to_path_buf());
        Ok(Nvrtc { functions, version, architectures, from })
    }

    /// Compiles a source for an architecture (`sm_90a`); `more`: options beside `OPTIONS`.
    pub fn compile(&self, source: &str, architecture: &str, more: &[&str]) -> Result<Compiled, String> {
        let text = CString::new(source).map_err(|e| e.to_string())?;
        let options = OPTIONS.iter().chain(more).map(|o| CString::new(*o));
        let mut options: Vec<CString> = options.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        options.push(CString::new(format!("--gpu-architecture={architecture}")).map_err(|e| e.to_string())?);
        let program = Program::new(&self.functions, &text)?;
        let status = program.compile(&options);
        let log = program.log();
        match status {
            0 => Ok(Compiled { cubin: program.cubin()?, log }),
            _ => Err(format!("{}: {log}", self.functions.name(status))),
        }
    }
}

impl Functions {
    fn of(library: &'static Library) -> Result<Functions, String> {
        fn get<T: Copy>(library: &'static Library, name: &str) -> Result<T, String> {
            // SAFETY: `T` is the function's type in nvrtc.h, the same in every version of it.
            unsafe { function(library, name) }
        }
        Ok(Functions {
            version: get(library, "nvrtcVersion")?,
            create: get(library, "nvrtcCreateProgram")?,
            compile: get(library, "nvrtcCompileProgram")?,
            cubin_size: get(library, "nvrtcGetCUBINSize")?,
            cubin: get(library, "nvrtcGetCUBIN")?,
            log_size: get(library, "nvrtcGetProgramLogSize")?,
            log: get(library, "nvrtcGetProgramLog")?,
            destroy: get(library, "nvrtcDestroyProgram")?,
            error: get(library, "nvrtcGetErrorString")?,
            count_architectures: get(library, "nvrtcGetNumSupportedArchs")?,
            architectures: get(library, "nvrtcGetSupportedArchs")?,
        })
    }

    /// Name of a status.
    fn name(&self, status: c_int) -> String {
        // SAFETY: it returns a static string for any number.
        let text = unsafe { (self.error)(status) };
        if text.is_null() {
            return status.to_string();
        }
        // SAFETY: not null, and static, so it ends with a zero.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// A program of NVRTC's; destroyed when dropped.
struct Program<'f> {
    functions: &'f Functions,
    handle: Handle,
}

impl<'f> Program<'f> {
    fn new(functions: &'f Functions, source: &CStr) -> Result<Self, String> {
        let mut handle = ptr::null_mut();
        // SAFETY: source and name end with zeros and are copied; there are no headers, so both their lists may be null.
        let status = unsafe {
            (functions.create)(
                &mut handle,
                source.as_ptr(),
                c"kernel.cu".as_ptr(),
                0,
                ptr::null(),
                ptr::null(),
            )
        };
        if status == 0 { Ok(Program { functions, handle }) } else { Err(functions.name(status)) }
    }

    fn compile(&self, options: &[CString]) -> c_int {
        let options: Vec<Text> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: the program is live; as many strings as said, each of which ends with a zero.
        unsafe { (self.functions.compile)(self.handle, options.len() as c_int, options.as_ptr()) }
    }

    /// Its log; empty where it cannot be had.
    fn log(&self) -> String {
        let bytes = self.bytes(self.functions.log_size, self.functions.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, String> {
        self.bytes(self.functions.cubin_size, self.functions.cubin)
    }

    fn bytes(
        &self,
        size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
        copy: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, String> {
        let mut n = 0;
        // SAFETY: the program is live.
        let status = unsafe { size(self.handle, &mut n) };
        let mut bytes = vec![0_u8; n];
        let status = match status {
            // SAFETY: the buffer has the size that was just asked for.
            0 => unsafe { copy(self.handle, bytes.as_mut_ptr().cast()) },
            failed => failed,
        };
        if status == 0 { Ok(bytes) } else { Err(self.functions.name(status)) }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { (self.functions.destroy)(&mut self.handle) };
    }
}

/// What NVRTC of that file opens later, if it lies beside it.
fn builtins(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().filter(|p| *p != Path::new(""));
    folder.map_or(Vec::new(), |folder| starting_with(folder, BUILTINS))
}
