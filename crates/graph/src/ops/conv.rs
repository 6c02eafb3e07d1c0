//! Convolution and its two gradients. The three are closed under differentiation.

use super::Grads;
use crate::cases::Case;
use crate::reference::Tensor;
use crate::{ConvDims, Graph, GraphError, NodeId, Op, Type, Window, ops};

/// Shapes of the two operands and the result, per operation.
fn shapes(op: &Op, d: &ConvDims) -> ([usize; 4], [usize; 4], [usize; 4]) {
    match op {
        Op::Conv(_) => (d.image(), d.filter(), d.output()),
        Op::ConvInputGrad(_) => (d.output(), d.filter(), d.image()),
        Op::ConvFilterGrad(_) => (d.image(), d.output(), d.filter()),
        other => unreachable!("{other:?} is not a convolution"),
    }
}

pub fn infer(op: &Op, d: &ConvDims, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: String| Err(GraphError::operands(ops::name(op), inputs, problem));
    let [a, b] = inputs else { return bad("takes two operands".into()) };
    if d.groups == 0 || !d.c.is_multiple_of(d.groups) || !d.k.is_multiple_of(d.groups) {
        return bad(format!("{} input and {} output channels in {} groups", d.c, d.k, d.groups));
    }
    if [d.rows, d.cols].iter().any(|w| w.size == 0 || w.stride == 0 || w.dilation == 0) {
        return bad("a window's size, stride and dilation are at least 1".into());
    }
    if d.rows.outputs(d.h) != Some(d.oh) || d.cols.outputs(d.w) != Some(d.ow) {
        return bad(format!(
            "window {} x {} on {} x {} does not give {} x {}",
            d.rows, d.cols, d.h, d.w, d.oh, d.ow
        ));
    }
    let (want_a, want_b, out) = shapes(op, d);
    if a.shape != want_a || b.shape != want_b || !a.dtype.is_float() || a.dtype != b.dtype {
        return bad(format!("needs floats of one type, {want_a:?} and {want_b:?}"));
    }
    Ok(Type::new(a.dtype, &out))
}

pub fn gradient(g: &mut Graph, op: &Op, d: &ConvDims, x: &[NodeId], dy: NodeId, needed: &[bool]) -> Grads {
    // out = conv(image, filter) is bilinear; each derivative is one of the three again.
    let (first, second) = match op {
        Op::Conv(_) => ((Op::ConvInputGrad(*d), dy, x[1]), (Op::ConvFilterGrad(*d), x[0], dy)),
        Op::ConvInputGrad(_) => ((Op::Conv(*d), dy, x[1]), (Op::ConvFilterGrad(*d), dy, x[0])),
        Op::ConvFilterGrad(_) => ((Op::ConvInputGrad(*d), x[1], dy), (Op::Conv(*d), x[0], dy)),
        other => unreachable!("{other:?} is not a convolution"),
    };
    [(first, needed[0]), (second, needed[1])]
        .into_iter()
        .map(|((op, a, b), need)| need.then(|| g.op(op, &[a, b])))
        .collect()
}

/// Calls `f(image index, filter index, output index)` for every multiplication.
fn each(d: &ConvDims, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for n in 0..d.n {
        for oy in 0..d.oh {
            for ox in 0..d.ow {
                for r in 0..d.rows.size {
                    let Some(y) = d.rows.source(oy, r, d.h) else { continue };
                    for s in 0..d.cols.size {
                        let Some(x) = d.cols.source(ox, s, d.w) else { continue };
                        for k in 0..d.k {
                            for c in 0..cg {
                                let image = ((n * d.h + y) * d.w + x) * d.c + k / kg * cg + c;
                                let filter = ((r * d.cols.size + s) * cg + c) * d.k + k;
                                f(image, filter, ((n * d.oh + oy) * d.ow + ox) * d.k + k);
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn reference(op: &Op, d: &ConvDims, args: &[&Tensor]) -> Tensor {
    let (a, b) = (&args[0].data, &args[1].data);
    let shape = shapes(op, d).2;
    let mut out = vec![0.0; shape.iter().product()];
    match op {
        Op::Conv(_) => each(d, |i, f, o| out[o] += a[i] * b[f]),
        Op::ConvInputGrad(_) => each(d, |i, f, o| out[i] += a[o] * b[f]),
        Op::ConvFilterGrad(_) => each(d, |i, f, o| out[f] += a[i] * b[o]),
        other => unreachable!("{other:?} is not a convolution"),
    }
    Tensor::new(&shape, out)
}

/// Geometries the sweep covers: odd extents, strides, dilation, groups, depthwise, uneven padding.
pub fn geometries() -> Vec<ConvDims> {
    let make = |n, (h, w), c, k, rows: Window, cols: Window, groups| ConvDims {
        n,
        h,
        w,
        c,
        k,
        oh: rows.outputs(h).unwrap_or(0),
        ow: cols.outputs(w).unwrap_or(0),
        rows,
        cols,
        groups,
    };
    let same = |h, w, size, stride, dilation| {
        (Window::same(h, size, stride, dilation), Window::same(w, size, stride, dilation))
    };
    let mut out = vec![
        make(2, (6, 7), 3, 5, Window::valid(3, 1, 1), Window::valid(3, 1, 1), 1),
        make(1, (5, 5), 4, 33, Window::valid(1, 1, 1), Window::valid(1, 1, 1), 1),
        make(2, (7, 9), 2, 4, Window::valid(2, 2, 1), Window::valid(3, 1, 1), 1),
    ];
    for (hw, c, k, size, stride, dilation, groups) in [
        ((5, 20), 3, 18, 3, 1, 1, 1),
        ((6, 6), 4, 6, 3, 2, 1, 2),
        ((7, 7), 5, 3, 5, 2, 1, 1),
        ((6, 8), 2, 3, 3, 1, 2, 1),
        ((5, 6), 6, 6, 3, 1, 1, 6),
        ((7, 5), 18, 18, 3, 2, 1, 18),
        ((5, 5), 3, 6, 3, 1, 1, 3),
        ((6, 5), 4, 4, 1, 2, 1, 1),
    ] {
        let (rows, cols) = same(hw.0, hw.1, size, stride, dilation);
        out.push(make(2, hw, c, k, rows, cols, groups));
    }
    out
}

pub fn cases() -> Vec<Case> {
    geometries()
        .into_iter()
        .flat_map(|d| [Op::Conv(d), Op::ConvInputGrad(d), Op::ConvFilterGrad(d)].map(|op| (op, d)))
        .map(|(op, d)| {
            let (a, b, _) = shapes(&op, &d);
            Case::new(op, &[&a, &b])
        })
        .collect()
}
