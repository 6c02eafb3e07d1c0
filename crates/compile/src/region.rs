//! Regions: runs of kernels that are parallel in the batch, to be run depth first, slice by slice.
//!
//! A kernel joins a region if what it shares with the region's kernels it shares image by image, and if no
//! kernel outside has to run between. What only a region uses then needs memory for one slice per worker,
//! and stays in that worker's caches. The rows of a large weight's gradient are such a batch too: a slice of them is
//! computed and its weights updated at once, so that the gradient as a whole is never stored.

use crate::cost;
use crate::program::Program;
use crate::recompute::recompute;
use std::collections::BTreeSet;
use thalweg_device::plan::{Access, BufferId, Contraction, Kernel, Product};

/// Images per slice and number of slices of a batch, unless a region's images are too large. The number is fixed
/// by the program alone, never by the workers, so that the order of sums is too. Those of large
/// batches are larger, as each has a part of the sums of its own, to be stored and added up.
pub fn slices(batch: usize) -> (usize, usize) {
    let slice = (batch / 16).clamp((batch / 8).clamp(1, 4), 8);
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
    /// Images run at a time.
    pub slice: usize,
    /// Whether its images are the rows of a weight's gradient. Nothing that works on examples is in it then, even if
    /// there happen to be as many.
    pub rows: bool,
}

/// Bytes that a kernel of a slice should touch at most, so that the next one finds its result in the second-level
/// cache: about half of one.
const CACHE: usize = 1 << 20;
/// Bytes of a filter that is still read again for every slice: a larger one is read once, for all images. ResNet-18's
/// last convolutions (9 MB) ran much slower by slices of 4.
const FILTER_BYTES: usize = 4 << 20;
/// Bytes of a slice of a weight's gradient, about: it stays in the first-level cache.
const GRADIENT_BYTES: usize = 32 << 10;
/// Rows of a slice, at least: those of a register tile.
const GRADIENT_ROWS: usize = 14;
/// Of the bytes of a region's images, the share that the parts of a filter's gradient may take as well.
const PARTS_SHARE: usize = 8;

/// Finds the regions of a program.
pub fn regions(program: &mut Program) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    let mut member: Vec<Option<usize>> = vec![None; program.kernels.len()];
    for k in 0..program.kernels.len() {
        let Some(batch) = batch_of(&program.kernels[k].entry.kernel) else { continue };
        let kernel = &program.kernels[k].entry.kernel;
        let rows = gradient_rows(kernel);
        let kind = |r: &Region| match kernel {
            // A sum over the rows has parts for slices of examples.
            Kernel::Loop(l) => !r.rows || l.parts == 1,
            _ => r.rows == rows.is_some(),
        };
        let fits = |r: &usize| {
            kind(&regions[*r]) && aligned(program, &regions[*r], k) && !detour(program, &member, *r, k)
        };
        let found = (0..regions.len()).rev().filter(|r| regions[*r].batch == batch).take(OPEN).find(fits);
        let r = found.unwrap_or_else(|| {
            let slice = rows.unwrap_or(slices(batch).0);
            regions.push(Region { kernels: Vec::new(), batch, slice, rows: rows.is_some() });
            regions.len() - 1
        });
        regions[r].kernels.push(k);
        member[k] = Some(r);
    }
    regions.retain(|r| {
        r.kernels.len() > 1 && r.kernels.iter().any(|&k| on_images(&program.kernels[k].entry.kernel))
    });
    recompute(program, &mut regions);
    for r in regions.iter_mut().filter(|r| !r.rows) {
        fit_cache(program, r);
    }
    regions
}

/// Rows of a slice, for the gradient of a large dense weight: a sum over the examples, whose rows are features.
fn gradient_rows(kernel: &Kernel) -> Option<usize> {
    let Kernel::Contraction(Contraction { product: Product::Dot(d), .. }) = kernel else { return None };
    let large = d.batch == 1 && d.ta && d.m * d.n * 4 >= 2 * GRADIENT_BYTES;
    large.then(|| (GRADIENT_BYTES / (4 * d.n)).max(GRADIENT_ROWS).min(d.m))
}

/// Makes a region's slices smaller where its images are large. Sums over the batch get more parts then, whose bytes
/// must stay small beside the images'.
fn fit_cache(program: &mut Program, region: &mut Region) {
    let bytes = |program: &Program, b: BufferId| {
        let b = &program.buffers[b.0 as usize];
        b.len * b.dtype.size()
    };
    let parts = |program: &Program, k: usize| match &program.kernels[k].entry.kernel {
        Kernel::Loop(l) => l.parts,
        Kernel::Contraction(c) => c.parts,
        _ => 1,
    };
    // Per kernel: bytes of an image, and of one part of its sums.
    let touched = region.kernels.iter().map(|&k| {
        let kernel = &program.kernels[k].entry.kernel;
        let mut all: Vec<BufferId> = kernel.reads();
        all.extend(kernel.writes());
        all.sort_unstable();
        all.dedup();
        let images = all.iter().filter(|b| {
            let len = program.buffers[b.0 as usize].len;
            image_wise(kernel, **b, len, region.batch)
        });
        let image = images.map(|&b| bytes(program, b)).sum::<usize>() / region.batch;
        let sums: usize = match parts(program, k) {
            1 => 0,
            n => kernel.writes().iter().map(|&b| bytes(program, b) / n).sum(),
        };
        (image, sums)
    });
    let (most, all, sums) = touched
        .fold((0, 0, 0), |(most, all, sums), (image, part)| (most.max(image), all + image, sums + part));
    let allowed = all * region.batch / PARTS_SHARE;
    let old = region.batch.div_ceil(region.slice);
    let even = |slice: &usize| region.batch.is_multiple_of(*slice) || *slice == region.slice;
    let fits = |slice: &usize| slice * most <= CACHE && region.batch.div_ceil(*slice) * sums <= allowed;
    let few = |slice: &usize| region.batch.div_ceil(*slice) * sums <= allowed.max(old * sums);
    let Some(slice) = (1..=region.slice)
        .rev()
        .filter(even)
        .find(fits)
        .or_else(|| (1..=region.slice).filter(even).find(few))
    else {
        return;
    };
    region.slice = slice;
    let new = region.batch.div_ceil(slice);
    for k in region.kernels.clone() {
        if parts(program, k) > 1 && new != old {
            cut(program, k, new);
        }
    }
}

/// Cuts a kernel's sums over the batch into so many parts.
fn cut(program: &mut Program, k: usize, parts: usize) {
    let kernel = &mut program.kernels[k].entry.kernel;
    let (before, sums): (usize, Vec<BufferId>) = match kernel {
        Kernel::Loop(l) => {
            let reduced = l.outs.iter().filter(|o| o.reduce.is_some()).map(|o| o.access.buffer);
            (std::mem::replace(&mut l.parts, parts), reduced.collect())
        }
        Kernel::Contraction(c) => (std::mem::replace(&mut c.parts, parts), vec![c.out]),
        _ => return,
    };
    let mut changed = vec![k];
    for b in sums {
        let buffer = &mut program.buffers[b.0 as usize];
        buffer.len = buffer.len / before * parts;
        for (at, node) in program.kernels.iter_mut().enumerate() {
            // What adds the parts up runs over them.
            if let (true, Kernel::Loop(l)) = (node.entry.kernel.reads().contains(&b), &mut node.entry.kernel)
            {
                l.space[0] = parts;
                changed.push(at);
            }
        }
    }
    for at in changed {
        let (flops, bytes) = cost::of(&program.kernels[at].entry.kernel, program);
        let entry = &mut program.kernels[at].entry;
        (entry.flops, entry.bytes) = (flops, bytes);
    }
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
            Product::Dot(_) => gradient_rows(kernel).is_some(),
            Product::Conv(d) | Product::ConvInputGrad(d) => {
                let expansion = c.expansion.as_ref().map_or(0, |x| x.channels * d.c);
                (d.filter().iter().product::<usize>() + expansion) * 4 <= FILTER_BYTES
            }
            Product::ConvFilterGrad(_) => c.parts == slices(n).1 && c.parts > 1,
        },
        Kernel::Pool(_) | Kernel::Unpool(_) => true,
        Kernel::ArgMax(_) | Kernel::TopK(_) | Kernel::Gather(_) | Kernel::Suppress(_) => false,
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
pub fn image_wise(kernel: &Kernel, b: BufferId, len: usize, batch: usize) -> bool {
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
                Product::Dot(_) => return c.out == b && c.epilogue.is_none(),
                Product::Conv(d) => d.output(),
                Product::ConvInputGrad(d) => d.image(),
                // The filter's gradient is a sum over images.
                Product::ConvFilterGrad(_) if c.out == b => return false,
                Product::ConvFilterGrad(d) => d.output(),
            };
            let filter = c.filters().any(|f| f == b) && !matches!(c.product, Product::ConvFilterGrad(_));
            let mut epilogue = c.epilogues().flat_map(|e| e.body.loads()).filter(|a| a.buffer == b);
            !filter && epilogue.all(|a| access(a, &space))
        }
        Kernel::Pool(_) | Kernel::Unpool(_) => true,
        Kernel::ArgMax(_) | Kernel::TopK(_) | Kernel::Gather(_) | Kernel::Suppress(_) => false,
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
