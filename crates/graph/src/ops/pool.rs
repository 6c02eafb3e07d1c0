//! Pooling: maximum, sum, the maximum's position, and its inverse.

use crate::cases::Case;
use crate::reference::Tensor;
use crate::{DType, Graph, GraphError, NodeId, Op, PoolDims, PoolKind, Span, Type, Window, ops};
use thalweg_base::Scalar;

pub fn infer(op: &Op, d: &PoolDims, inputs: &[&Type]) -> Result<Type, GraphError> {
    let bad = |problem: String| Err(GraphError::operands(ops::name(op), inputs, problem));
    if [d.rows, d.cols].iter().any(|w| w.size == 0 || w.stride == 0 || w.dilation == 0) {
        return bad("a window's size, stride and dilation are at least 1".into());
    }
    if d.rows.outputs(d.h) != Some(d.oh) || d.cols.outputs(d.w) != Some(d.ow) {
        return bad(format!(
            "window {} x {} on {} x {} does not give {} x {}",
            d.rows, d.cols, d.h, d.w, d.oh, d.ow
        ));
    }
    if d.rows.size * d.cols.size > 255 && !matches!(op, Op::Pool(..)) {
        return bad(format!("a window of {} x {} has more than 255 positions", d.rows.size, d.cols.size));
    }
    // The last operand is what is pooled, or what was.
    let float = inputs.last().map(|t| t.dtype).filter(|d| d.is_float()).unwrap_or(DType::F32);
    let image = Type::new(float, &d.image());
    let output = Type::new(float, &d.output());
    let position = Type::new(DType::U8, &d.output());
    let (want, out) = match op {
        Op::Pool(..) => (vec![&image], &output),
        Op::ArgPool(_) => (vec![&image], &position),
        Op::Unpool(_) => (vec![&position, &output], &image),
        other => unreachable!("{other:?} is not a pooling"),
    };
    if inputs != want {
        let want = want.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return bad(format!("needs {want}"));
    }
    Ok(out.clone())
}

pub fn gradient(g: &mut Graph, kind: PoolKind, d: &PoolDims, x: NodeId, dy: NodeId) -> NodeId {
    match kind {
        PoolKind::Max => {
            let position = g.op(Op::ArgPool(*d), &[x]);
            g.op(Op::Unpool(*d), &[position, dy])
        }
        PoolKind::Sum => sum_gradient(g, d, dy),
    }
}

/// dx[i] = sum of dy over the windows that hold i: spread dy by the stride, pad it so that every window of
/// the (dilated) size around i exists, and sum-pool with stride 1.
fn sum_gradient(g: &mut Graph, d: &PoolDims, dy: NodeId) -> NodeId {
    // Before the first output, span-1-lo elements are missing (or lo-(span-1) too many, cut afterwards).
    let axis = |w: &Window, input: usize, output: usize| {
        let spread = (output - 1) * w.stride + 1;
        let before = w.span() - 1;
        let need = input + w.lo; // windows over the padded axis that start at 0..need
        let after = (need + w.span() - 1).saturating_sub(before + spread);
        (before, after, w.stride - 1)
    };
    let (r, c) = (axis(&d.rows, d.h, d.oh), axis(&d.cols, d.w, d.ow));
    let axes = vec![(0, 0, 0), r, c, (0, 0, 0)];
    let padded = g.op(Op::Pad { axes, value: Scalar::new(g.ty(dy).dtype, 0.0) }, &[dy]);
    let (h, w) = (g.shape(padded)[1], g.shape(padded)[2]);
    let window = |w: &Window| Window { size: w.size, stride: 1, dilation: w.dilation, lo: 0, hi: 0 };
    let (rows, cols) = (window(&d.rows), window(&d.cols));
    let (oh, ow) = (h - rows.span() + 1, w - cols.span() + 1);
    let summed =
        g.op(Op::Pool(PoolKind::Sum, PoolDims { n: d.n, h, w, c: d.c, oh, ow, rows, cols }), &[padded]);
    let spans = vec![
        Span { start: 0, stop: d.n, step: 1 },
        Span { start: d.rows.lo, stop: d.rows.lo + d.h, step: 1 },
        Span { start: d.cols.lo, stop: d.cols.lo + d.w, step: 1 },
        Span { start: 0, stop: d.c, step: 1 },
    ];
    if (oh, ow) == (d.h, d.w) { summed } else { g.op(Op::Slice(spans), &[summed]) }
}

/// Calls `f(image index, output index, position in the window)` for every element of every window.
fn each(d: &PoolDims, mut f: impl FnMut(usize, usize, usize)) {
    for n in 0..d.n {
        for oy in 0..d.oh {
            for ox in 0..d.ow {
                for r in 0..d.rows.size {
                    let Some(y) = d.rows.source(oy, r, d.h) else { continue };
                    for s in 0..d.cols.size {
                        let Some(x) = d.cols.source(ox, s, d.w) else { continue };
                        for c in 0..d.c {
                            let image = ((n * d.h + y) * d.w + x) * d.c + c;
                            let output = ((n * d.oh + oy) * d.ow + ox) * d.c + c;
                            f(image, output, r * d.cols.size + s);
                        }
                    }
                }
            }
        }
    }
}

pub fn reference(op: &Op, d: &PoolDims, args: &[&Tensor]) -> Tensor {
    let (image, output) = (d.image(), d.output());
    let count = output.iter().product();
    match op {
        Op::Pool(PoolKind::Sum, _) => {
            let mut out = vec![0.0; count];
            each(d, |i, o, _| out[o] += args[0].data[i]);
            Tensor::new(&output, out)
        }
        Op::Pool(PoolKind::Max, _) | Op::ArgPool(_) => {
            let mut best = vec![f64::NEG_INFINITY; count];
            let mut position = vec![0.0; count];
            each(d, |i, o, p| {
                let v = args[0].data[i];
                if v > best[o] || v.is_nan() && !best[o].is_nan() {
                    best[o] = v;
                    position[o] = p as f64;
                }
            });
            Tensor::new(&output, if matches!(op, Op::ArgPool(_)) { position } else { best })
        }
        Op::Unpool(_) => {
            let mut out = vec![0.0; image.iter().product()];
            each(d, |i, o, p| {
                if args[0].data[o] == p as f64 {
                    out[i] += args[1].data[o];
                }
            });
            Tensor::new(&image, out)
        }
        other => unreachable!("{other:?} is not a pooling"),
    }
}

pub fn cases() -> Vec<Case> {
    let make = |n, h, w, c, rows: Window, cols: Window| PoolDims {
        n,
        h,
        w,
        c,
        oh: rows.outputs(h).unwrap_or(0),
        ow: cols.outputs(w).unwrap_or(0),
        rows,
        cols,
    };
    let geometries = [
        make(2, 6, 8, 3, Window::valid(2, 2, 1), Window::valid(2, 2, 1)),
        make(2, 7, 7, 20, Window::valid(2, 2, 1), Window::valid(2, 2, 1)),
        make(1, 7, 6, 5, Window::same(7, 3, 2, 1), Window::same(6, 3, 2, 1)),
        make(1, 5, 5, 2, Window::same(5, 3, 1, 1), Window::same(5, 2, 1, 1)),
        make(2, 8, 7, 17, Window::valid(3, 2, 1), Window::valid(1, 3, 1)),
    ];
    let mut cases = Vec::new();
    for d in geometries {
        cases.push(Case::new(Op::Pool(PoolKind::Max, d), &[&d.image()]));
        cases.push(Case::new(Op::Pool(PoolKind::Sum, d), &[&d.image()]));
        cases.push(Case::new(Op::ArgPool(d), &[&d.image()]).discrete());
        let types = vec![Type::new(DType::U8, &d.output()), Type::f32(&d.output())];
        cases.push(Case::new(Op::Unpool(d), &[]).types(types).range(0.0, 4.0).discrete());
    }
    cases
}
