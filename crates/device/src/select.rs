//! Which devices there are, and opening one by name.

use crate::cpu::{CpuDevice, Isa, Target};
use crate::null::NullDevice;
use crate::{Device, DeviceError, Host};

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
const KNOWN: [&str; 3] = ["auto", "cpu", "null"];

/// Opens a device: `auto` (the best there is), `cpu`, `null`. `threads`: for the CPU, instead of all cores.
///
/// Words behind colons hold the CPU to something: an instruction set (`cpu:avx2`; `avx512`, `avx2`, `neon`,
/// `portable`), or `exact`, which leaves out what rounds differently from the definition (`cpu:exact`).
pub fn open(name: &str, threads: Option<usize>) -> Result<Box<dyn Device>, DeviceError> {
    match name {
        "auto" => Ok(Box::new(CpuDevice::new(threads, None)?)),
        "null" => Ok(Box::new(NullDevice::new())),
        _ => Ok(Box::new(CpuDevice::new(threads, Some(cpu_target(name)?))?)),
    }
}

/// What kernels are made for on the CPU device of that name.
pub fn cpu_target(name: &str) -> Result<Target, DeviceError> {
    let mut target = Target::fast(Isa::detect());
    let mut words = name.split(':');
    if !matches!(words.next(), Some("auto" | "cpu")) {
        return Err(DeviceError::Unknown { asked: name.into(), known: KNOWN.join(", ") });
    }
    for word in words {
        match Isa::from_word(word) {
            _ if word == "exact" => target.exact = true,
            Some(isa) if isa.is_available() => target.isa = isa,
            _ => {
                let sets: Vec<String> = Isa::available().map(|i| format!("cpu:{}", i.word())).collect();
                let known = format!("cpu, {}, cpu:exact", sets.join(", "));
                return Err(DeviceError::Unknown { asked: name.into(), known });
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
        "{}, {} cores, {} (of {}){}",
        host.cpu,
        host.cores,
        Isa::detect(),
        sets.join(", "),
        if caches.is_empty() { String::new() } else { format!(", {}", caches.join(", ")) }
    );
    vec![
        Found { name: "cpu".into(), usable: true, description: cpu },
        Found {
            name: "null".into(),
            usable: true,
            description: "plans and counts everything but computes nothing".into(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_told_what_there_is() {
        let error = open("cuda:0", None).err().unwrap().to_string();
        assert_eq!(error, "device 'cuda:0' is not in this build; known: auto, cpu, null");
        for name in KNOWN {
            assert!(!open(name, Some(2)).unwrap().info().description.is_empty());
        }
        assert!(list().iter().all(|f| f.usable));
    }

    #[test]
    fn the_cpu_is_held_to_what_is_asked() {
        let about = |name: &str| open(name, Some(1)).unwrap().info().description;
        assert!(about("cpu:portable").ends_with("portable"));
        assert!(about("cpu:portable:exact").ends_with("portable, exact"));
        assert!(about("cpu:exact").ends_with(&format!("{}, exact", Isa::detect())));
        let error = open("cpu:mmx", None).err().unwrap().to_string();
        assert!(
            error.starts_with("device 'cpu:mmx'") && error.ends_with("cpu:portable, cpu:exact"),
            "{error}"
        );
    }
}
