//! `thalweg devices` and `thalweg doctor`: what this machine can compute on, and what stands in the way.

use crate::args::DoctorArgs;
use crate::environment::Environment;
use crate::error::Result;
use crate::show::{Console, counted, short_bytes};
use serde_json::json;
use std::path::Path;
use thalweg::data::{NAMES, dir_of};
use thalweg::device::{Host, auto, list, optional};

/// Devices that people ask for and this build has not: (name, what it would be).
const ABSENT: [(&str, &str); 2] = [
    ("cuda", "NVIDIA GPUs; the same GPU works through wgpu"),
    ("wgpu", "GPUs through Vulkan, Metal or Direct3D 12"),
];

/// Lists devices.
pub fn devices(console: &Console) -> Result<()> {
    for found in list() {
        let unusable = if found.usable { "" } else { " (cannot be used)" };
        console.say(format!("{:<7} {}{unusable}", found.name, found.description));
        console.event(&json!({
            "event": "device", "name": found.name, "usable": found.usable, "description": found.description,
        }));
    }
    console.say(format!("auto is cpu here: {}; more with `thalweg doctor`", auto()));
    Ok(())
}

/// Explains everything.
pub fn doctor(args: &DoctorArgs, environment: &Environment, console: &Console) -> Result<()> {
    console.say(console.bold(&format!(
        "thalweg {}, {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )));
    let host = Host::read();
    let memory = host.memory.map_or("unknown".into(), |m| short_bytes(m as u64));
    console.say(format!("machine: {}, {}, {memory} of memory", host.cpu, counted(host.cores, "core")));
    let caches: Vec<_> =
        host.caches.iter().map(|c| json!({ "level": c.level, "kind": c.kind, "bytes": c.bytes })).collect();
    console.event(&json!({
        "event": "host", "version": env!("CARGO_PKG_VERSION"), "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH, "cpu": host.cpu, "cores": host.cores, "caches": caches, "memory": host.memory,
    }));
    console.say("");
    console.say(console.bold("devices"));
    let all = list();
    for found in &all {
        let mark = if found.usable { "ok" } else { "--" };
        console.say(format!("  {mark}  {:<7} {}", found.name, found.description));
        console.event(&json!({
            "event": "device", "name": found.name, "usable": found.usable, "description": found.description,
        }));
    }
    for (name, what) in ABSENT.iter().filter(|(name, _)| !all.iter().any(|f| f.name.starts_with(name))) {
        let why = format!("this build has no {name} device yet ({what}), so nothing was looked for");
        console.say(format!("  --  {name:<7} {why}"));
        console.event(&json!({ "event": "device", "name": name, "usable": false, "description": why }));
    }
    libraries(console);
    console.say("");
    data(environment.data_root(args.data.as_deref()), console);
    Ok(())
}

/// Libraries that a device may use.
fn libraries(console: &Console) {
    let found = optional();
    if !found.is_empty() {
        console.say("");
        console.say(console.bold("optional"));
    }
    for library in found {
        let mark = if library.usable { "ok" } else { "--" };
        console.say(format!("  {mark}  {:<8} {}", library.name, library.description));
        console.event(&json!({
            "event": "library", "name": library.name, "usable": library.usable, "description": library.description,
        }));
    }
}

/// The data root, the sets in it, the room beside them.
fn data(root: &Path, console: &Console) {
    console.say(console.bold("data"));
    console.say(format!("  folder  {} (THALWEG_DATA or --data name another)", root.display()));
    let there: Vec<&str> = NAMES.into_iter().filter(|n| is_there(n, root)).collect();
    let sets = if there.is_empty() {
        "none; `thalweg data get cifar10` fetches one".into()
    } else {
        there.join(", ")
    };
    console.say(format!("  there   {sets}"));
    let free = free_bytes(root);
    console.say(format!("  free    {}", free.map_or("unknown".into(), short_bytes)));
    let runs = std::env::current_dir().ok().and_then(|d| free_bytes(&d));
    console.say(format!("  free for runs/ here  {}", runs.map_or("unknown".into(), short_bytes)));
    console.event(&json!({ "event": "data", "root": root, "there": there, "free_bytes": free, "free_bytes_here": runs }));
}

/// Whether a named data set lies under the root, or needs no place.
pub fn is_there(name: &str, root: &Path) -> bool {
    dir_of(name, root).map_or(name == "cifar10-sample", |dir| dir.is_dir())
}

/// Free bytes where a folder is, or would be.
fn free_bytes(folder: &Path) -> Option<u64> {
    folder.ancestors().filter(|p| p.is_dir()).find_map(|p| fs4::available_space(p).ok())
}
