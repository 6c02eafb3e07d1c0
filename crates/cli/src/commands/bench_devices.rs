//! `thalweg bench --devices`: the same program on several devices, in one table.
//!
//! In: names of devices and what measures one. Out: a row a device, with how many times the CPU's speed it has. Invariant: a
//! device that fails is named with its reason and does not stop the others.

use super::bench::Measurement;
use crate::args::{BenchArgs, DeviceArgs};
use crate::error::{Failure, Result};
use crate::show::{Console, Table, grouped, megabytes, rounded};
use serde_json::json;
use thalweg::device::list;

/// Measures each and shows them side by side.
pub fn side_by_side(
    devices: &str,
    args: &BenchArgs,
    console: &Console,
    mut measure: impl FnMut(&DeviceArgs) -> Result<Measurement>,
) -> Result<()> {
    let mut rows: Vec<(String, Measurement)> = Vec::new();
    for name in names(devices)? {
        match measure(&DeviceArgs { device: name.clone(), threads: args.device.threads }) {
            Ok(measured) => rows.push((name, measured)),
            Err(why) => {
                console.say(format!("{name} left out: {why}"));
                console.event(&json!({ "event": "device", "name": name, "error": why.to_string() }));
            }
        }
    }
    let cpu = rows.iter().find(|(name, _)| name.starts_with("cpu")).map(|(_, m)| m.speed()[0]);
    let mut table =
        Table::new(1, &["device", "images/s", "least", "most", "one image, us", "planned MB", "x cpu"]);
    for (name, m) in &rows {
        let [median, least, most] = m.speed();
        let times = cpu.map(|cpu| median / cpu);
        let planned = megabytes(m.planned_bytes as u64);
        console.event(&json!({
            "event": "speed", "device": name, "planned_mb": planned, "times_cpu": times.map(|t| rounded(t, 3)),
            "images_per_second": { "median": rounded(median, 1), "min": rounded(least, 1), "max": rounded(most, 1) },
            "latency_us": m.latency_us.map(|l| rounded(l, 2)),
        }));
        table.row([
            name.clone(),
            grouped(median as u64),
            grouped(least as u64),
            grouped(most as u64),
            m.latency_us.map_or(String::new(), |l| format!("{l:.1}")),
            planned.to_string(),
            times.map_or(String::new(), |t| format!("{t:.2}")),
        ]);
    }
    console.say("");
    table.lines().iter().for_each(|line| console.say(line));
    Ok(())
}

/// The devices meant: `all` is every one that computes and can be used here.
fn names(list_of: &str) -> Result<Vec<String>> {
    if list_of == "all" {
        return Ok(list().into_iter().filter(|f| f.usable && f.name != "null").map(|f| f.name).collect());
    }
    let names: Vec<String> =
        list_of.split(',').map(str::trim).filter(|n| !n.is_empty()).map(String::from).collect();
    if names.is_empty() {
        return Err(Failure::Usage("--devices needs names, such as cpu,wgpu, or all".into()));
    }
    Ok(names)
}
