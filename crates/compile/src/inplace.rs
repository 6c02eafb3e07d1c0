//! States updated where they lie, outputs written where they are read.
//!
//! Lowering stores every update and output by a copy. Where the kernel that computes the value can write the
//! binding itself, the copy goes: for a state, every other reader of its old value must be able to run first.

use crate::program::Program;
use std::collections::BTreeSet;
use thalweg_device::plan::{BufferId, Expr, Kernel, Role};

/// Removes copies to bindings where possible, and orders what remains. Leaves kernels in a valid order.
pub fn inplace(program: &mut Program) {
    let mut dead = BTreeSet::new();
    let old_readers: Vec<Vec<usize>> =
        (0..program.bindings.len()).map(|b| readers(program, BufferId(b as u32))).collect();
    for k in 0..program.kernels.len() {
        let Some((from, target)) = binding_copy(program, k) else { continue };
        let readers: Vec<usize> =
            old_readers[target.0 as usize].iter().copied().filter(|&r| r != k).collect();
        if try_rename(program, from, target, &readers) {
            dead.insert(k);
        } else {
            program.kernels[k].after.extend(readers);
        }
    }
    program.remove(&dead);
    program.sort();
}

fn readers(program: &Program, buffer: BufferId) -> Vec<usize> {
    (0..program.kernels.len())
        .filter(|&k| program.kernels[k].entry.kernel.reads().contains(&buffer))
        .collect()
}

fn writers(program: &Program, buffer: BufferId) -> Vec<usize> {
    (0..program.kernels.len())
        .filter(|&k| program.kernels[k].entry.kernel.writes().contains(&buffer))
        .collect()
}

/// (source, binding) if the kernel is a whole copy to a state or an output.
fn binding_copy(program: &Program, k: usize) -> Option<(BufferId, BufferId)> {
    let Kernel::Loop(l) = &program.kernels[k].entry.kernel else { return None };
    let ([out], 1) = (&l.outs[..], l.body.len()) else { return None };
    let Expr::Load(load) = l.body.expr(out.value) else { return None };
    let target = out.access.buffer;
    let binding = program.buffers[target.0 as usize].binding?;
    let writable = program.bindings[binding as usize].role != Role::Input;
    (writable
        && load.buffer != target
        && load.strides == out.access.strides
        && load.offset == 0
        && l.space.len() == 1)
        .then_some((load.buffer, target))
}

/// Lets the kernels that write `from` write `target` instead.
fn try_rename(program: &mut Program, from: BufferId, target: BufferId, old_readers: &[usize]) -> bool {
    let source = &program.buffers[from.0 as usize];
    if source.binding.is_some() || source.len != program.buffers[target.0 as usize].len {
        return false;
    }
    let writers = writers(program, from);
    for &w in &writers {
        for &r in old_readers {
            let fine = if r == w { elementwise_on(program, w, from, target) } else { !program.reaches(w, r) };
            if !fine {
                return false;
            }
        }
    }
    // Edges for all writers must not close a circle together: with one writer each test above is enough.
    if writers.len() > 1 && !old_readers.is_empty() {
        return false;
    }
    for &w in &writers {
        program.kernels[w].after.extend(old_readers.iter().copied().filter(|&r| r != w));
    }
    for k in &mut program.kernels {
        k.entry.kernel.map_buffers(|b| {
            if *b == from {
                *b = target;
            }
        });
    }
    true
}

/// Whether a kernel reads `target` only at the very element where it then stores `from`.
fn elementwise_on(program: &Program, k: usize, from: BufferId, target: BufferId) -> bool {
    // Only loops: a contraction may use its result's memory for sums before its epilogue runs.
    let Kernel::Loop(l) = &program.kernels[k].entry.kernel else { return false };
    let Some(out) = l.outs.iter().find(|o| o.access.buffer == from) else { return false };
    let same = l
        .body
        .loads()
        .filter(|a| a.buffer == target)
        .all(|a| a.offset == out.access.offset && a.strides == out.access.strides);
    // A result that is the old value itself might be stored after it was overwritten.
    let passed_on =
        l.outs.iter().any(|o| matches!(l.body.expr(o.value), Expr::Load(a) if a.buffer == target));
    same && !passed_on && out.reduce.is_none()
}
