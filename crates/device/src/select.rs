//! Which devices there are, and opening one by name.

use crate::cpu::{CpuDevice, Isa, Target};
use crate::null::NullDevice;
use crate::{Device, DeviceError, Host};
use thalweg_base::{counted, suggest};

/// What was found of one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// As it is asked for.
    pub name: String,
    /// Whether it can be used now.
    pub usable: bool,
    /// What it is, or why it cannot be used.
    pub description: String,
}

/// Names that [`open`] takes.
const KNOWN: [&str; 5] = ["auto", "cpu", "cuda", "wgpu", "null"];

/// Opens a device: `auto` (the CPU, see [`auto`]), `cpu`, `cuda`, `wgpu` (the best adapter) or `wgpu:1`
/// (the second), `null`.
/// `threads`: for the CPU, instead of all cores.
///
/// `cuda:tf32` and `cuda:1:tf32` let tensor cores multiply f32, with 10 bits of mantissa (PyTorch's
/// `set_float32_matmul_precision("high")`).
///
/// `wgpu:coop` and `wgpu:1:coop` multiply f16, and f32 where the adapter can, by cooperative matrices, which are experimental in
/// the `wgpu` crate; an adapter without is refused.
///
/// Words behind `cpu:` hold the CPU to something: an instruction set (`cpu:avx2`; `avx512`, `avx2`, `neon`,
/// `portable`), or `exact`, which leaves out what rounds differently from the definition (`cpu:exact`).
pub fn open(name: &str, threads: Option<usize>) -> Result<Box<dyn Device>, DeviceError> {
    match name {
        "auto" => Ok(Box::new(CpuDevice::new(threads, None)?)),
        "null" => Ok(Box::new(NullDevice::new())),
        #[cfg(feature = "cuda")]
        _ if name == "cuda" || name.starts_with("cuda:") => {
            let (exact, tf32) = name.strip_suffix(":tf32").map_or((name, false), |exact| (exact, true));
            Ok(Box::new(crate::cuda::CudaDevice::new(index_of(exact)?, tf32)?))
        }
        #[cfg(feature = "wgpu")]
        _ if name == "wgpu" || name.starts_with("wgpu:") => {
            let (plain, coop) = name.strip_suffix(":coop").map_or((name, false), |plain| (plain, true));
            Ok(Box::new(crate::wgpu::WgpuDevice::new(index_of(plain)?, coop)?))
        }
        _ => Ok(Box::new(CpuDevice::new(threads, Some(cpu_target(name)?))?)),
    }
}

/// Why `auto` is the CPU on this machine. A GPU has to be asked for by name until its kernels have been proven and measured
/// on real ones.
pub fn auto() -> String {
    #[cfg(feature = "cuda")]
    let nvidias = crate::cuda::found();
    #[cfg(not(feature = "cuda"))]
    let nvidias: Vec<Found> = Vec::new();
    let usable = nvidias.iter().find(|f| f.usable).map(|f| f.name.clone());
    match usable.or_else(real_adapter) {
        Some(name) => format!("{name} is there, but has to be asked for: --device {name}"),
        // One that lacks something has a number all the same.
        None => nvidias.iter().find(|f| f.name.contains(':')).map_or("no GPU was found".into(), |f| {
            format!("{} is there, but something is missing: see `thalweg doctor`", f.name)
        }),
    }
}

/// The best adapter that is no program.
fn real_adapter() -> Option<String> {
    #[cfg(feature = "wgpu")]
    if may_have_gpu() {
        let real = |c: crate::wgpu::Class| {
            matches!(c, crate::wgpu::Class::Integrated | crate::wgpu::Class::Discrete)
        };
        return crate::wgpu::adapters().iter().position(|a| real(a.class)).map(|i| format!("wgpu:{i}"));
    }
    None
}

/// Whether to look for a GPU's adapter, which takes tens of milliseconds: on Linux a GPU has a file.
#[cfg(feature = "wgpu")]
fn may_have_gpu() -> bool {
    let files = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"];
    !cfg!(target_os = "linux") || files.iter().any(|f| std::path::Path::new(f).exists())
}

/// The number behind a colon; 0 without.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn index_of(name: &str) -> Result<usize, DeviceError> {
    let kind = name.split(':').next().unwrap_or(name);
    let unknown = || DeviceError::Unknown {
        asked: name.into(),
        known: format!("known: {kind}, {kind}:0, {kind}:1 ..."),
    };
    match name.split_once(':') {
        None => Ok(0),
        Some((_, index)) => index.parse().map_err(|_| unknown()),
    }
}

/// Refuses a name.
fn unknown(name: &str, known: &[&str]) -> DeviceError {
    DeviceError::Unknown { asked: suggest::plain(name), known: suggest::among(name, known) }
}

/// What kernels are made for on the CPU device of that name.
pub fn cpu_target(name: &str) -> Result<Target, DeviceError> {
    let mut target = Target::fast(Isa::detect());
    let mut words = name.split(':');
    if !matches!(words.next(), Some("auto" | "cpu")) {
        return Err(unknown(name, &KNOWN));
    }
    for word in words {
        match Isa::from_word(word) {
            _ if word == "exact" => target.exact = true,
            Some(isa) if isa.is_available() => target.isa = isa,
            _ => {
                let sets: Vec<String> = Isa::available().map(|i| format!("cpu:{}", i.word())).collect();
                let sets = sets.iter().map(String::as_str);
                let known: Vec<&str> = ["cpu"].into_iter().chain(sets).chain(["cpu:exact"]).collect();
                return Err(unknown(name, &known));
            }
        }
    }
    Ok(target)
}

/// All devices of this build, best first, for `doctor`.
pub fn list() -> Vec<Found> {
    let host = Host::read();
    let caches: Vec<String> = host
        .caches
        .iter()
        .filter(|c| c.kind != "Instruction")
        .map(|c| format!("L{} {} KiB", c.level, c.bytes / 1024))
        .collect();
    let sets: Vec<&str> = Isa::available().map(Isa::name).collect();
    let cpu = format!(
        "{}, {}, {} (of {}){}",
        host.cpu,
        counted(host.cores, "core"),
        Isa::detect(),
        sets.join(", "),
        if caches.is_empty() { String::new() } else { format!(", {}", caches.join(", ")) }
    );
    let mut found = gpus();
    found.push(Found { name: "cpu".into(), usable: true, description: cpu });
    found.push(Found {
        name: "null".into(),
        usable: true,
        description: "plans and counts everything but computes nothing".into(),
    });
    found
}

/// Libraries that a device may use and none needs: of each what it is, or what to do to have it.
pub fn optional() -> Vec<Found> {
    #[cfg(feature = "cuda")]
    return crate::cuda::optional();
    #[cfg(not(feature = "cuda"))]
    Vec::new()
}

/// GPUs, or a line of each kind that says why there is none.
fn gpus() -> Vec<Found> {
    let kinds: &[Vec<Found>] = &[
        #[cfg(feature = "cuda")]
        crate::cuda::found(),
        #[cfg(feature = "wgpu")]
        crate::wgpu::found(),
    ];
    kinds.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_told_what_there_is() {
        let error = open("tpu:0", None).err().unwrap().to_string();
        assert_eq!(error, "there is no device 'tpu:0'; known: auto, cpu, cuda, wgpu, null");
        let error = open("cdua", None).err().unwrap().to_string();
        assert!(error.starts_with("there is no device 'cdua'; did you mean 'cuda'? known: "), "{error}");
        for name in ["auto", "cpu", "null"] {
            assert!(!open(name, Some(2)).unwrap().info().description.is_empty());
        }
    }

    #[test]
    fn what_is_listed_opens_and_what_is_not_says_so() {
        for found in list() {
            let opened = open(&found.name, Some(1));
            assert_eq!(opened.is_ok(), found.usable, "{}: {:?}", found.name, opened.err());
        }
        let error = open("wgpu:99", None).err().unwrap().to_string();
        assert!(error.starts_with("wgpu:99: ") && error.contains("adapter"), "{error}");
        let error = open("wgpu:x", None).err().unwrap().to_string();
        assert!(error.contains("wgpu:1"), "{error}");
        let error = open("wgpu:99:coop", None).err().unwrap().to_string();
        assert!(error.starts_with("wgpu:99: ") && error.contains("adapter"), "{error}");
    }

    #[test]
    fn the_cpu_is_held_to_what_is_asked() {
        let about = |name: &str| open(name, Some(1)).unwrap().info().description;
        assert!(about("cpu:portable").ends_with("portable"));
        assert!(about("cpu:portable:exact").ends_with("portable, exact"));
        assert!(about("cpu:exact").ends_with(&format!("{}, exact", Isa::detect())));
        let error = open("cpu:mmx", None).err().unwrap().to_string();
        assert!(
            error.starts_with("there is no device 'cpu:mmx'") && error.ends_with("cpu:portable, cpu:exact"),
            "{error}"
        );
    }
}
