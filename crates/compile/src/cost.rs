//! What a kernel costs: floating-point operations, and bytes with each buffer counted once.

use crate::program::Program;
use std::collections::BTreeSet;
use thalweg_device::plan::{BufferId, Kernel, Product};

/// (FLOPs, bytes) of one run.
pub fn of(kernel: &Kernel, program: &Program) -> (u64, u64) {
    let buffers: BTreeSet<BufferId> = kernel.reads().into_iter().chain(kernel.writes()).collect();
    let whole = |b: &BufferId| {
        let b = &program.buffers[b.0 as usize];
        (b.len * b.dtype.size()) as u64
    };
    let bytes = match kernel {
        // Of what it gathers from, no more than it takes.
        Kernel::Gather(g) => whole(&g.at) + 2 * whole(&g.out),
        _ => buffers.iter().map(whole).sum(),
    };
    let flops = match kernel {
        Kernel::Loop(l) => {
            let reductions = l.outs.iter().filter(|o| o.reduce.is_some()).count() as u64;
            l.space.iter().product::<usize>() as u64 * (l.body.flops() + reductions)
        }
        Kernel::Contraction(c) => {
            let (product, results) = match c.product {
                Product::Dot(d) => (2 * (d.batch * d.m * d.n * d.k) as u64, d.batch * d.m * d.n),
                Product::Conv(d) => (d.flops(), d.output().iter().product()),
                Product::ConvInputGrad(d) => (d.flops(), d.image().iter().product()),
                Product::ConvFilterGrad(d) => (d.flops(), d.filter().iter().product()),
            };
            // Of an unpooled operand only what was pooled is multiplied.
            let product = c.unpooled.map_or(product, |u| {
                let share = |of: [usize; 4]| of.iter().product::<usize>() as u64;
                product * share(u.dims.output()) / share(u.dims.image()).max(1)
            });
            let expansion = match (c.product, &c.expansion) {
                (Product::Conv(d), Some(x)) => x.flops(&d),
                _ => 0,
            };
            product + expansion + c.epilogue.as_ref().map_or(0, |e| e.body.flops() * results as u64)
        }
        Kernel::Pool(p) => {
            (p.dims.output().iter().product::<usize>() * p.dims.rows.size * p.dims.cols.size) as u64
        }
        Kernel::Unpool(u) => u.dims.output().iter().product::<usize>() as u64,
        Kernel::ArgMax(a) => (a.outer * a.n * a.inner) as u64,
        // Comparisons; what a winner moves is not counted.
        Kernel::TopK(t) => (t.outer * t.n) as u64,
        Kernel::Gather(_) => 0,
        Kernel::Suppress(s) => (s.outer * s.n * s.n / 2) as u64,
    };
    (flops, bytes)
}
