//! Expansion: a convolution of 1 x 1 becomes part of the depthwise convolution that alone reads it.
//!
//! In: a program whose kernels are ordered. Out: the same with such pairs as one kernel, which makes the image between
//! them piece by piece: it is the largest of a network of inverted residuals, and no memory holds it any more. In training
//! the backward pass reads it, too, and pairs stay apart.

use crate::cost;
use crate::program::Program;
use std::collections::BTreeSet;
use thalweg_base::ConvDims;
use thalweg_device::plan::{BufferId, Contraction, Expansion, Kernel, Product};
use thalweg_graph::DType;

/// Joins all pairs.
pub fn expand(program: &mut Program) {
    let mut dead = BTreeSet::new();
    for k in 0..program.kernels.len() {
        let Some(first) = image_maker(program, k) else { continue };
        let maker = program.kernels[first].clone();
        let (Kernel::Contraction(from), Kernel::Contraction(c)) =
            (maker.entry.kernel, &mut program.kernels[k].entry.kernel)
        else {
            continue;
        };
        let Product::Conv(d) = from.product else { continue };
        c.a = from.a;
        c.expansion = Some(Box::new(Expansion { channels: d.c, b: from.b, epilogue: from.epilogue }));
        let cost = cost::of(&program.kernels[k].entry.kernel, program);
        let node = &mut program.kernels[k];
        (node.entry.flops, node.entry.bytes) = cost;
        node.entry.label = format!("{} + {}", maker.entry.label, node.entry.label);
        node.after.retain(|&a| a != first);
        node.after.extend(maker.after);
        dead.insert(first);
    }
    program.remove(&dead);
    program.sort();
}

/// The convolution that makes the image of kernel `k`, if both can be one.
fn image_maker(program: &Program, k: usize) -> Option<usize> {
    let (reader, image_of) = convolution(program, k)?;
    let (image, kernel) = (reader.a, &program.kernels[k].entry.kernel);
    let once = kernel.reads().iter().filter(|b| **b == image).count() == 1;
    if !image_of.is_depthwise() || !once {
        return None;
    }
    let users = |of: fn(&Kernel) -> Vec<BufferId>| -> Vec<usize> {
        let uses = |k: &usize| of(&program.kernels[*k].entry.kernel).contains(&image);
        (0..program.kernels.len()).filter(uses).collect()
    };
    let ([first], [_]) = (&users(Kernel::writes)[..], &users(Kernel::reads)[..]) else { return None };
    let (maker, d) = convolution(program, *first)?;
    let point = [d.rows, d.cols].iter().all(|w| [w.size, w.stride] == [1, 1] && w.lo + w.hi == 0);
    let plain = d.groups == 1 && point && d.output() == image_of.image();
    let stored = program.buffers[image.0 as usize].binding.is_some();
    let loads = maker.epilogue.iter().flat_map(|e| e.body.loads());
    let every_pixel = loads.into_iter().all(|a| a.strides[..3].iter().all(|&stride| stride == 0));
    // The result may not take the place of what the image is made of.
    let apart = program.kernels[*first].entry.kernel.reads().iter().all(|b| !kernel.writes().contains(b));
    // Nothing but its reader waits for it.
    let waits = (0..program.kernels.len()).filter(|&n| program.kernels[n].after.contains(first)).count();
    (plain && !stored && every_pixel && apart && waits == 1).then_some(*first)
}

/// A convolution of f32 that neither pools nor makes its image, and its geometry.
fn convolution(program: &Program, k: usize) -> Option<(&Contraction, ConvDims)> {
    match &program.kernels[k].entry.kernel {
        Kernel::Contraction(c) => match c.product {
            Product::Conv(d) => {
                let f32s =
                    [c.a, c.b, c.out].iter().all(|b| program.buffers[b.0 as usize].dtype == DType::F32);
                let pools = c.epilogue.iter().any(|e| e.pool.is_some());
                (f32s && !pools && c.expansion.is_none()).then_some((c, d))
            }
            _ => None,
        },
        _ => None,
    }
}
