//! Which devices there are, and opening one by name.

use crate::cpu::{CpuDevice, Isa};
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
pub fn open(name: &str, threads: Option<usize>) -> Result<Box<dyn Device>, DeviceError> {
    match name {
        "auto" | "cpu" => Ok(Box::new(CpuDevice::new(threads, None)?)),
        "null" => Ok(Box::new(NullDevice::new())),
        _ => Err(DeviceError::Unknown { asked: name.into(), known: KNOWN.join(", ") }),
    }
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
}
