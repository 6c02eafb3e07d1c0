//! Regions: runs of kernels that are parallel in the batch, to be run depth first, slice by slice.
//!
//! A kernel joins a region if what it shares with the region's kernels it shares image by image, and if no
//! kernel outside has to run between. What only a region uses then needs memory for one slice per worker,
//! and stays in that worker's caches.

use crate::program::Program;
use std::collections::BTreeSet;
use thalweg_device::plan::{Access, BufferId, Kernel, Product};

/// Images per slice and number of slices of a batch. The number is fixed by the batch alone, never by the
/// workers, so that the order of sums is too.
pub fn slices(batch: usize) -> (usize, usize) {
    let slice = (batch / 8).clamp(1, 4);
    (slice, batch.div_ceil(slice))
}

/// Regions that a kernel may still join: what lies further back is rarely free of detours.
const OPEN: usize = 4;

/// A region: kernels by position, ascending, and their batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Region {
    /// Positions in the program.
    pub kernels: Vec<usize>,
    /// Images.
    pub batch: usize,
}

/// Finds the regions of a program.
pub fn regions(program: &Program) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    let mut member: Vec<Option<usize>> = vec![None; program.kernels.len()];
    for k in 0..program.kernels.len() {
        let Some(batch) = batch_of(&program.kernels[k].entry.kernel) else { continue };
        let fits = |r: &usize| {
            regions[*r].batch == batch
                && aligned(program, &regions[*r], k)
                && !detour(program, &member, *r, k)
        };
        let found = (0..regions.len()).rev().take(OPEN).find(fits);
        let r = found.unwrap_or_else(|| {
            regions.push(Region { kernels: Vec::new(), batch });
            regions.len() - 1
        });
        regions[r].kernels.push(k);
        member[k] = Some(r);
    }
    regions.retain(|r| {
        r.kernels.len() > 1 && r.kernels.iter().any(|&k| on_images(&program.kernels[k].entry.kernel))
    });
    regions
}

fn on_images(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::Contraction(_) | Kernel::Pool(_) | Kernel::Unpool(_))
}

/// The batch a kernel can be cut along, at any image or (if it reduces) into as many parts as there are slices.
fn batch_of(kernel: &Kernel) -> Option<usize> {
    let n = kernel.extent();
    let cut = match kernel {
        Kernel::Loop(l) => {
            !l.reduced[0] || l.outs.iter().all(|o| o.reduce.is_none()) || l.parts == slices(n).1
        }
        Kernel::Contraction(c) => match c.product {
            Product::Dot(_) => false,
            Product::Conv(_) | Product::ConvInputGrad(_) => true,
            Product::ConvFilterGrad(_) => c.parts == slices(n).1 && c.parts > 1,
        },
        Kernel::Pool(_) | Kernel::Unpool(_) => true,
        Kernel::ArgMax(_) => false,
    };
    (cut && n > 1).then_some(n)
}

/// Whether kernel `k` reads and writes every buffer that it shares with the region (where one of them writes it)
/// image by image, and the region's kernels do so too.
fn aligned(program: &Program, region: &Region, k: usize) -> bool {
    let mine = &program.kernels[k].entry.kernel;
    region.kernels.iter().all(|&r| {
        let theirs = &program.kernels[r].entry.kernel;
        shared(mine, theirs).into_iter().all(|b| {
            let len = program.buffers[b.0 as usize].len;
            image_wise(mine, b, len, region.batch) && image_wise(theirs, b, len, region.batch)
        })
    })
}

/// Buffers that one of two kernels writes and the other uses.
fn shared(a: &Kernel, b: &Kernel) -> BTreeSet<BufferId> {
    let all = |k: &Kernel| k.reads().into_iter().chain(k.writes()).collect::<BTreeSet<_>>();
    let (of_a, of_b) = (all(a), all(b));
    a.writes()
        .into_iter()
        .filter(|x| of_b.contains(x))
        .chain(b.writes().into_iter().filter(|x| of_a.contains(x)))
        .collect()
}

/// Whether image `i` of the kernel's work touches only the `i`-th of `batch` equal pieces of the buffer.
fn image_wise(kernel: &Kernel, b: BufferId, len: usize, batch: usize) -> bool {
    let piece = len / batch;
    if !len.is_multiple_of(batch) {
        return false;
    }
    let access = |a: &Access, space: &[usize]| {
        let low: isize =
            a.strides[1..].iter().zip(&space[1..]).map(|(&s, &n)| s.min(0) * (n as isize - 1)).sum();
        let high: isize =
            a.strides[1..].iter().zip(&space[1..]).map(|(&s, &n)| s.max(0) * (n as isize - 1)).sum();
        a.strides[0] == piece as isize && a.offset + low >= 0 && a.offset + high < piece as isize
    };
    match kernel {
        Kernel::Loop(l) => {
            let reads = l.body.loads().filter(|a| a.buffer == b).all(|a| access(a, &l.space));
            let writes = l.outs.iter().filter(|o| o.access.buffer == b);
            let reduced_over_batch = |o: &thalweg_device::plan::LoopOut| o.reduce.is_some() && l.reduced[0];
            reads && writes.clone().all(|o| access(&o.access, &l.space) && !reduced_over_batch(o))
        }
        Kernel::Contraction(c) => {
            let space = match c.product {
                Product::Dot(_) => return false,
                Product::Conv(d) => d.output(),
                Product::ConvInputGrad(d) => d.image(),
                // The filter's gradient is a sum over images.
                Product::ConvFilterGrad(_) if c.out == b => return false,
                Product::ConvFilterGrad(d) => d.output(),
            };
            let filter = c.b == b && !matches!(c.product, Product::ConvFilterGrad(_));
            let mut epilogue = c.epilogue.iter().flat_map(|e| e.body.loads()).filter(|a| a.buffer == b);
            !filter && epilogue.all(|a| access(a, &space))
        }
        Kernel::Pool(_) | Kernel::Unpool(_) => true,
        Kernel::ArgMax(_) => false,
    }
}

/// Whether kernel `k` depends on the region through something outside it (another region counts as one).
fn detour(program: &Program, member: &[Option<usize>], region: usize, k: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> =
        program.kernels[k].after.iter().copied().filter(|&a| member[a] != Some(region)).collect();
    while let Some(x) = open.pop() {
        if member[x] == Some(region) {
            return true;
        }
        if !seen.insert(x) {
            continue;
        }
        open.extend(&program.kernels[x].after);
        if let Some(r) = member[x] {
            // Whole regions run at once: whatever any of its kernels waits for.
            let peers = (0..member.len()).filter(|&p| member[p] == Some(r));
            open.extend(peers.filter(|p| !seen.contains(p)));
        }
    }
    false
}
