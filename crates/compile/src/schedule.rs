//! Schedule: kernels to stages. Kernels that do not depend on each other share a stage, so that workers meet
//! at few barriers.

use crate::program::Program;
use thalweg_device::plan::{KernelId, Stage};

/// Stages, over the program's kernel positions.
pub fn schedule(program: &Program) -> Vec<Stage> {
    let n = program.kernels.len();
    let mut level = vec![0usize; n];
    for k in 0..n {
        level[k] = program.kernels[k].after.iter().map(|&a| level[a] + 1).max().unwrap_or(0);
    }
    sink(program, &mut level);
    let last = level.iter().copied().max().map_or(0, |l| l + 1);
    let mut stages = vec![Vec::new(); last];
    for k in 0..n {
        stages[level[k]].push(KernelId(k as u32));
    }
    stages.into_iter().filter(|s| !s.is_empty()).map(Stage::Launch).collect()
}

/// Kernels that read only bindings wait until just before they are needed, so that their results do not
/// occupy memory from the start.
fn sink(program: &Program, level: &mut [usize]) {
    let n = program.kernels.len();
    for k in (0..n).rev() {
        let kernel = &program.kernels[k].entry.kernel;
        let only_bindings = kernel.reads().iter().all(|b| program.buffers[b.0 as usize].binding.is_some());
        let into_scratch = kernel.writes().iter().all(|b| program.buffers[b.0 as usize].binding.is_none());
        if !only_bindings || !into_scratch {
            continue;
        }
        let followers = (0..n).filter(|&f| program.kernels[f].after.contains(&k)).map(|f| level[f]).min();
        if let Some(first) = followers {
            level[k] = level[k].max(first.saturating_sub(1));
        }
    }
}
