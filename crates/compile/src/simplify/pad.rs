//! Zero padding around an image is the convolution's own padding.

use thalweg_graph::{ConvDims, Graph, NodeId, Op, Span};

/// Elements before and after.
type Sides = (usize, usize);

/// (image, rows before/after, columns before/after) if the node pads only an image's rows and columns with 0.
fn padded_image(g: &Graph, x: NodeId) -> Option<(NodeId, Sides, Sides)> {
    let node = g.node(x);
    let Op::Pad { axes, value } = &node.op else { return None };
    let plain = value.value() == 0.0 && axes.iter().all(|a| a.2 == 0) && axes.len() == 4;
    (plain && axes[0] == (0, 0, 0) && axes[3] == (0, 0, 0))
        .then(|| (node.inputs[0], (axes[1].0, axes[1].1), (axes[2].0, axes[2].1)))
}

/// The same geometry on the image without its padding.
fn absorb(d: &ConvDims, rows: Sides, cols: Sides) -> ConvDims {
    let mut d = *d;
    (d.h, d.w) = (d.h - rows.0 - rows.1, d.w - cols.0 - cols.1);
    (d.rows.lo, d.rows.hi) = (d.rows.lo + rows.0, d.rows.hi + rows.1);
    (d.cols.lo, d.cols.hi) = (d.cols.lo + cols.0, d.cols.hi + cols.1);
    d
}

/// Convolution of a padded image.
pub fn into_conv(g: &mut Graph, d: &ConvDims, inputs: &[NodeId]) -> Option<NodeId> {
    let (image, rows, cols) = padded_image(g, inputs[0])?;
    Some(g.op(Op::Conv(absorb(d, rows, cols)), &[image, inputs[1]]))
}

/// Filter gradient with a padded image.
pub fn into_filter_grad(g: &mut Graph, d: &ConvDims, inputs: &[NodeId]) -> Option<NodeId> {
    let (image, rows, cols) = padded_image(g, inputs[0])?;
    Some(g.op(Op::ConvFilterGrad(absorb(d, rows, cols)), &[image, inputs[1]]))
}

/// The inner part of an image gradient (what the gradient of a padding takes) is the gradient of the image
/// without the padding.
pub fn crop_of_input_grad(g: &mut Graph, spans: &[Span], x: NodeId) -> Option<NodeId> {
    let node = g.node(x).clone();
    let Op::ConvInputGrad(d) = node.op else { return None };
    let whole = |s: &Span, n| s.start == 0 && s.stop == n && s.step == 1;
    if !whole(&spans[0], d.n) || !whole(&spans[3], d.c) || spans[1].step != 1 || spans[2].step != 1 {
        return None;
    }
    let rows = (spans[1].start, d.h - spans[1].stop);
    let cols = (spans[2].start, d.w - spans[2].stop);
    Some(g.op(Op::ConvInputGrad(absorb(&d, rows, cols)), &node.inputs))
}
