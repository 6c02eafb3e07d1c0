//! What the host machine is, as far as the system says.
//!
//! Invariant: reading it never fails; what is not known is empty.

use std::fs;
use std::path::Path;

/// A cache of core 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// `Data`, `Instruction`, `Unified`.
    pub kind: String,
    /// Bytes.
    pub bytes: usize,
}

/// The machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// The processor's model.
    pub cpu: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Of core 0.
    pub caches: Vec<Cache>,
    /// Bytes of memory.
    pub memory: Option<usize>,
}

impl Host {
    /// Asks the system.
    pub fn read() -> Host {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|l| l.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemTotal").and_then(|m| m.split(' ').next()?.parse::<usize>().ok());
        Host {
            cpu: field(&info, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            memory: kib.map(|k| k * 1024),
        }
    }

    /// Bytes of memory that programs could still have, where the system says.
    pub fn available() -> Option<usize> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib * 1024)
    }
}

fn caches(folder: &Path) -> Vec<Cache> {
    let one = |i: usize| {
        let read = |name: &str| fs::read_to_string(folder.join(format!("index{i}")).join(name)).ok();
        Some(Cache {
            level: read("level")?.trim().parse().ok()?,
            kind: read("type")?.trim().to_string(),
            bytes: size(read("size")?.trim())?,
        })
    };
    (0..8).map_while(one).collect()
}

/// `32K`, `1M`, `512`.
fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1024,
        "M" => 1024 * 1024,
        "G" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("32K"), Some(32768));
        assert_eq!(size("2M"), Some(2 << 20));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("x"), None);
    }

    #[test]
    fn there_is_a_processor() {
        let host = Host::read();
        assert!(host.cores >= 1 && !host.cpu.is_empty());
    }
}
