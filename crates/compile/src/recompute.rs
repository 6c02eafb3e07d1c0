//! Element-wise results that a later region computes again instead of loading them.
//!
//! A normalised and activated tensor is written in the forward pass, to be read by its filter's gradient and as the
//! activation's mask long after it has left every cache. The region that needs it then reads what it was made of,
//! too (for the normalisation's own gradient): making it again costs a few operations and saves the memory, a store
//! and a load of it. In: a program and its regions. Out: both, with copies of such kernels at the head of the regions.

use crate::program::Program;
use crate::region::{Region, image_wise};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_device::plan::{BufferId, Expr, Kernel};

/// Operations per element that cost less than loading it.
const MAX_FLOPS: u64 = 8;
/// Elements from which on it matters.
const MIN_LEN: usize = 1 << 12;

/// Copies kernels where that pays.
pub fn recompute(program: &mut Program, regions: &mut [Region]) {
    let mut member: BTreeMap<usize, usize> = BTreeMap::new();
    for (r, region) in regions.iter().enumerate() {
        member.extend(region.kernels.iter().map(|&k| (k, r)));
    }
    for home in (0..regions.len()).filter(|&r| !regions[r].rows).collect::<Vec<_>>() {
        for k in regions[home].kernels.clone() {
            let Some(result) = cheap(program, k) else { continue };
            let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let mut everywhere = true;
            for (at, node) in program.kernels.iter().enumerate() {
                if node.entry.kernel.reads().contains(&result) {
                    match member.get(&at) {
                        Some(&r) => readers.entry(r).or_default().push(at),
                        None => everywhere = false,
                    }
                }
            }
            readers.remove(&home);
            let pays = everywhere
                && readers
                    .iter()
                    .all(|(&r, users)| at_hand(program, regions, &member, [k, r], result, users));
            for (r, users) in readers.into_iter().filter(|_| pays) {
                let copy = repeat(program, k, result, &users);
                regions[r].kernels.insert(0, copy);
                member.insert(copy, r);
            }
        }
    }
}

/// The result of a kernel that may be worth repeating: one large element-wise result, made with little work.
fn cheap(program: &Program, k: usize) -> Option<BufferId> {
    let Kernel::Loop(l) = &program.kernels[k].entry.kernel else { return None };
    let [out] = &l.outs[..] else { return None };
    let b = out.access.buffer;
    let v = &program.buffers[b.0 as usize];
    let random = l.body.iter().any(|(_, e, _)| matches!(e, Expr::Random { .. }));
    let writers = program.kernels.iter().filter(|n| n.entry.kernel.writes().contains(&b)).count();
    let fine = out.reduce.is_none() && v.binding.is_none() && writers == 1 && !random;
    (fine && l.body.flops() <= MAX_FLOPS && v.len >= MIN_LEN && !l.body.loads().any(|a| a.buffer == b))
        .then_some(b)
}

/// Whether a region reads all images that kernel `k` reads, and can run it: image by image, before any state that
/// it reads changes.
fn at_hand(
    program: &Program,
    regions: &[Region],
    member: &BTreeMap<usize, usize>,
    [k, r]: [usize; 2],
    result: BufferId,
    users: &[usize],
) -> bool {
    let kernel = &program.kernels[k].entry.kernel;
    let Kernel::Loop(l) = kernel else { return false };
    let region = &regions[r];
    let len = |b: BufferId| program.buffers[b.0 as usize].len;
    let read: BTreeSet<BufferId> =
        region.kernels.iter().flat_map(|&k| program.kernels[k].entry.kernel.reads()).collect();
    let written: BTreeSet<BufferId> =
        region.kernels.iter().flat_map(|&k| program.kernels[k].entry.kernel.writes()).collect();
    let images = l.body.loads().filter(|a| a.strides[0] != 0).map(|a| a.buffer);
    let aligned = |k: usize| image_wise(&program.kernels[k].entry.kernel, result, len(result), region.batch);
    !region.rows
        && kernel.extent() == region.batch
        && images.into_iter().all(|b| read.contains(&b))
        && !l.body.loads().any(|a| written.contains(&a.buffer))
        && users.iter().chain([&k]).all(|&k| aligned(k))
        && rewriters(program, kernel).iter().all(|&w| !waits(program, regions, member, r, w))
}

/// Kernels that store over something that this one reads.
fn rewriters(program: &Program, kernel: &Kernel) -> Vec<usize> {
    let reads: Vec<BufferId> =
        kernel.reads().into_iter().filter(|b| program.buffers[b.0 as usize].binding.is_some()).collect();
    let writes = |n: &crate::program::Node| n.entry.kernel.writes().iter().any(|b| reads.contains(b));
    (0..program.kernels.len()).filter(|&w| writes(&program.kernels[w])).collect()
}

/// Whether region `r` waits for kernel `w`, which counts as all of its region.
fn waits(program: &Program, regions: &[Region], member: &BTreeMap<usize, usize>, r: usize, w: usize) -> bool {
    let mut seen: BTreeSet<usize> = regions[r].kernels.iter().copied().collect();
    let mut open = regions[r].kernels.clone();
    while let Some(x) = open.pop() {
        if x == w {
            return true;
        }
        let peers = member.get(&x).map_or(&[][..], |&r| &regions[r].kernels);
        open.extend(program.kernels[x].after.iter().chain(peers).filter(|&&a| seen.insert(a)));
    }
    false
}

/// A copy of kernel `k` with a result of its own, for `users`.
fn repeat(program: &mut Program, k: usize, result: BufferId, users: &[usize]) -> usize {
    let mut node = program.kernels[k].clone();
    let v = program.buffers[result.0 as usize].clone();
    let own = program.buffer(format!("{} again", v.name), v.dtype, v.len);
    let renamed = |b: &mut BufferId| {
        if *b == result {
            *b = own;
        }
    };
    node.entry.kernel.map_buffers(renamed);
    node.entry.label += " again";
    let copy = program.kernels.len();
    for w in rewriters(program, &node.entry.kernel) {
        program.kernels[w].after.push(copy);
    }
    program.kernels.push(node);
    for &u in users {
        program.kernels[u].entry.kernel.map_buffers(renamed);
        program.kernels[u].after.push(copy);
    }
    copy
}
