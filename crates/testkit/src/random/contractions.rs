//! Random dense layers and convolutions, with the epilogues that a fuser looks for.

use super::builder::{Builder, MOST};
use super::windows;
use thalweg_base::{ConvDims, Window};
use thalweg_graph::{NodeId, Op};

/// A matrix product, perhaps batched or transposed, perhaps with bias and activation.
pub fn dense(b: &mut Builder) {
    let Some(x) = b.pick(|g, id| g.shape(id).len() >= 2) else { return };
    let x = if b.graph.shape(x).len() > 3 || b.once_in(3) {
        let (n, rest) = (b.graph.shape(x)[0], b.graph.ty(x).len() / b.graph.shape(x)[0]);
        b.graph.reshape(x, &[n, rest])
    } else {
        x
    };
    let shape = b.graph.shape(x).to_vec();
    let r = shape.len();
    let (ta, tb) = (b.once_in(3), b.once_in(3));
    let (m, k) = if ta { (shape[r - 1], shape[r - 2]) } else { (shape[r - 2], shape[r - 1]) };
    let n = b.extent();
    let mut other = shape[..r - 2].to_vec();
    other.extend(if tb { [n, k] } else { [k, n] });
    if other.iter().product::<usize>() > MOST || m * n * shape[..r - 2].iter().product::<usize>() > MOST {
        return;
    }
    let w = b.fresh(&other, 1.5 / (k as f64).sqrt());
    let (x, w, ta, tb) = if b.once_in(4) { (w, x, !tb, !ta) } else { (x, w, ta, tb) };
    let y = b.graph.dot(x, w, ta, tb);
    epilogue(b, y);
}

/// Bias and activation, each perhaps.
fn epilogue(b: &mut Builder, mut y: NodeId) -> NodeId {
    let n = b.graph.shape(y).last().copied().unwrap_or(1);
    if b.once_in(2) {
        let bias = b.fresh(&[n], 0.5);
        y = b.graph.add(y, bias);
    }
    match b.below(4) {
        0 => y,
        1 => b.graph.tanh(y),
        _ => b.graph.relu(y),
    }
}

fn window(b: &mut Builder, extent: usize) -> Window {
    let (size, stride) = (1 + b.below(3), 1 + b.below(2));
    let dilation = if b.once_in(4) && 2 * (size - 1) < extent { 2 } else { 1 };
    if b.once_in(2) {
        Window::same(extent, size, stride, dilation)
    } else {
        Window::valid(size, stride, dilation)
    }
}

/// A geometry for an image of that shape.
pub fn geometry(b: &mut Builder, shape: &[usize]) -> Option<ConvDims> {
    let (n, h, w, c) = (shape[0], shape[1], shape[2], shape[3]);
    let (rows, cols) = (window(b, h), window(b, w));
    let groups = match b.below(4) {
        0 => c,
        1 if c % 2 == 0 => 2,
        _ => 1,
    };
    let per_group = if groups > 1 { 1 + b.below(2) } else { b.extent() };
    let d = ConvDims {
        n,
        h,
        w,
        c,
        k: groups * per_group,
        oh: rows.outputs(h)?,
        ow: cols.outputs(w)?,
        rows,
        cols,
        groups,
    };
    (d.output().iter().product::<usize>() <= MOST).then_some(d)
}

fn filter(b: &mut Builder, d: &ConvDims) -> NodeId {
    let fan_in = d.filter()[..3].iter().product::<usize>();
    b.fresh(&d.filter(), 1.5 / (fan_in as f64).sqrt())
}

/// A convolution, perhaps with bias, activation and pooling.
pub fn conv(b: &mut Builder) {
    let x = b.image();
    let shape = b.graph.shape(x).to_vec();
    let Some(d) = geometry(b, &shape) else { return };
    let w = filter(b, &d);
    let y = b.graph.op(Op::Conv(d), &[x, w]);
    let y = epilogue(b, y);
    if b.once_in(2) {
        windows::pool_of(b, y);
    }
}

/// One of the two gradients, on its own.
pub fn conv_gradient(b: &mut Builder) {
    let x = b.image();
    let shape = b.graph.shape(x).to_vec();
    let Some(d) = geometry(b, &shape) else { return };
    let dy = b.fresh(&d.output(), 1.0);
    if b.once_in(2) {
        let w = filter(b, &d);
        b.graph.op(Op::ConvInputGrad(d), &[dy, w]);
    } else {
        let dw = b.graph.op(Op::ConvFilterGrad(d), &[x, dy]);
        b.graph.scale(dw, 1.0 / (d.n * d.oh * d.ow) as f64);
    }
}
