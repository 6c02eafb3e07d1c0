//! Random pooling steps.

use super::builder::{Builder, MOST};
use thalweg_base::{DType, PoolDims, Window};
use thalweg_graph::{NodeId, Op, PoolKind};

fn window(b: &mut Builder, extent: usize) -> Window {
    match b.below(4) {
        0..=1 => Window::valid(2, 2, 1),
        2 => Window::valid(1 + b.below(3), 1 + b.below(3), 1),
        _ => Window::same(extent, 2 + b.below(2), 1 + b.below(2), 1),
    }
}

/// A geometry for an image of that shape.
pub fn geometry(b: &mut Builder, shape: &[usize]) -> Option<PoolDims> {
    let (n, h, w, c) = (shape[0], shape[1], shape[2], shape[3]);
    let (rows, cols) = (window(b, h), window(b, w));
    Some(PoolDims { n, h, w, c, oh: rows.outputs(h)?, ow: cols.outputs(w)?, rows, cols })
}

/// A pooling of some image.
pub fn pool(b: &mut Builder) {
    let x = b.image();
    pool_of(b, x);
}

/// A maximum or average pooling, perhaps with positions.
pub fn pool_of(b: &mut Builder, x: NodeId) {
    let shape = b.graph.shape(x).to_vec();
    let Some(d) = geometry(b, &shape) else { return };
    if b.once_in(3) {
        let sum = b.graph.op(Op::Pool(PoolKind::Sum, d), &[x]);
        b.graph.scale(sum, 1.0 / (d.rows.size * d.cols.size) as f64);
        return;
    }
    b.graph.op(Op::Pool(PoolKind::Max, d), &[x]);
    if b.once_in(3) {
        let at = b.graph.op(Op::ArgPool(d), &[x]);
        b.graph.cast(at, DType::F32);
    }
}

/// Values put back at the positions of an image's maxima.
pub fn unpool(b: &mut Builder) {
    let x = b.image();
    let shape = b.graph.shape(x).to_vec();
    let Some(d) = geometry(b, &shape) else { return };
    if d.output().iter().product::<usize>() > MOST {
        return;
    }
    let dy = b.fresh(&d.output(), 1.0);
    let at = b.graph.op(Op::ArgPool(d), &[x]);
    b.graph.op(Op::Unpool(d), &[at, dy]);
}
