//! Schedule: kernels to stages. Kernels that do not depend on each other share a launch, so that workers meet
//! at few barriers; a region is a stage of its own.

use crate::program::Program;
use crate::region::Region;
use std::collections::BTreeSet;
use thalweg_device::plan::{KernelId, Stage};

/// A region or a single kernel, with what it must follow.
struct Unit {
    kernels: Vec<usize>,
    region: Option<usize>,
    after: BTreeSet<usize>,
}

/// Stages, over the program's kernel positions.
pub fn schedule(program: &Program, regions: &[Region]) -> Vec<Stage> {
    let units = units(program, regions);
    let mut level = levels(&units);
    sink(program, &units, &mut level);
    let last = level.iter().copied().max().map_or(0, |l| l + 1);
    let mut stages = Vec::new();
    for l in 0..last {
        let here = || units.iter().zip(&level).filter(|(_, at)| **at == l).map(|(u, _)| u);
        let launch: Vec<KernelId> = here()
            .filter(|u| u.region.is_none())
            .flat_map(|u| &u.kernels)
            .map(|&k| KernelId(k as u32))
            .collect();
        if !launch.is_empty() {
            stages.push(Stage::Launch(launch));
        }
        for u in here() {
            if let Some(r) = u.region {
                let kernels = u.kernels.iter().map(|&k| KernelId(k as u32)).collect();
                let Region { batch, slice, .. } = regions[r];
                stages.push(Stage::Region { kernels, batch, slice });
            }
        }
    }
    stages
}

fn units(program: &Program, regions: &[Region]) -> Vec<Unit> {
    let mut of = vec![usize::MAX; program.kernels.len()];
    let mut units = Vec::new();
    for (r, region) in regions.iter().enumerate() {
        for &k in &region.kernels {
            of[k] = units.len();
        }
        units.push(Unit { kernels: region.kernels.clone(), region: Some(r), after: BTreeSet::new() });
    }
    for (k, unit) in of.iter_mut().enumerate() {
        if *unit == usize::MAX {
            *unit = units.len();
            units.push(Unit { kernels: vec![k], region: None, after: BTreeSet::new() });
        }
    }
    for (k, node) in program.kernels.iter().enumerate() {
        let after = node.after.iter().map(|&a| of[a]).filter(|&u| u != of[k]);
        units[of[k]].after.extend(after);
    }
    units
}

/// The earliest level of each unit.
fn levels(units: &[Unit]) -> Vec<usize> {
    let mut level: Vec<Option<usize>> = vec![None; units.len()];
    let mut left = units.len();
    while left > 0 {
        let before = left;
        for u in 0..units.len() {
            let ready = level[u].is_none() && units[u].after.iter().all(|&a| level[a].is_some());
            if ready {
                level[u] =
                    Some(units[u].after.iter().filter_map(|&a| level[a]).map(|l| l + 1).max().unwrap_or(0));
                left -= 1;
            }
        }
        assert!(left < before, "regions depend on each other in a circle");
    }
    level.into_iter().flatten().collect()
}

/// Kernels that read only bindings wait until just before they are needed, so that their results do not
/// occupy memory from the start.
fn sink(program: &Program, units: &[Unit], level: &mut [usize]) {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|&u| std::cmp::Reverse(level[u]));
    for u in order {
        let [k] = units[u].kernels[..] else { continue };
        let kernel = &program.kernels[k].entry.kernel;
        let only_bindings = kernel.reads().iter().all(|b| program.buffers[b.0 as usize].binding.is_some());
        let into_scratch = kernel.writes().iter().all(|b| program.buffers[b.0 as usize].binding.is_none());
        let followers = (0..units.len()).filter(|&f| units[f].after.contains(&u)).map(|f| level[f]).min();
        if let (true, Some(first)) = (only_bindings && into_scratch, followers) {
            level[u] = level[u].max(first.saturating_sub(1));
        }
    }
}
