//! Whether no decision in a graph (comparison, maximum, rounding to whole numbers) hangs on an f32 rounding.

use thalweg_base::{DType, PoolDims, ScalarOp};
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{Graph, Node, NodeId, Op, PoolKind, ReduceKind, Type, ops};

/// Relative distance that a decision's two sides must have: hundreds of f32 roundings.
const GAP: f64 = 1e-4;
/// Relative distance that a value rounded to 16 bits must have from where its rounding turns: a few f32 roundings.
const TURN: f64 = 1e-6;

/// Whether every decision is safe: its sides are equal (by construction: the same computation), or apart, or
/// both exact in f32.
pub fn is_robust(graph: &Graph, feeds: &Feeds) -> bool {
    let values = evaluate(graph, feeds, &[]);
    let live = graph.live();
    let exact = exact(graph);
    graph.ids().filter(|id| live[id.index()]).all(|id| {
        let node = graph.node(id);
        let args: Vec<&Tensor> = node.inputs.iter().map(|i| &values[i]).collect();
        let float = node.inputs.first().is_some_and(|i| graph.ty(*i).dtype.is_float());
        values[&id].data.iter().all(|v| v.is_finite())
            && rounds_safely(node, &args)
            && (!float || node.inputs.iter().all(|i| exact[i.index()]) || decides_safely(&node.op, &args))
    })
}

/// Whether a value that is rounded to 16 bits is far from where the rounding turns, or so short that it is exact in f32
/// whoever computes it.
fn rounds_safely(node: &Node, args: &[&Tensor]) -> bool {
    let dtype = node.ty.dtype;
    let moves = match &node.op {
        Op::Scalar(op) => !op.rounds(),
        Op::Cast(_) | Op::Dot { .. } | Op::Conv(_) | Op::ConvInputGrad(_) | Op::ConvFilterGrad(_) => false,
        Op::Reduce(kind, _) => *kind == ReduceKind::Max,
        Op::Pool(kind, _) => *kind == PoolKind::Max,
        Op::Unpool(_) => false,
        _ => true,
    };
    if !dtype.is_half() || moves {
        return true;
    }
    let exact = ops::reference(&node.op, &Type::f32(&node.ty.shape), args);
    let exact = match node.op {
        Op::Cast(_) => args[0],
        _ => &exact,
    };
    exact.data.iter().all(|&v| {
        let near = [1.0 - TURN, 1.0 + TURN].map(|f| dtype.round(v * f));
        // Twenty bits: sums of a few such numbers have no rounding in f32.
        let short = (v.to_bits() << 19) & ((1 << 52) - 1) == 0;
        near[0] == near[1] || short
    })
}

fn apart(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() >= GAP * a.abs().max(b.abs()).max(1.0)
}

/// Away from whole numbers, but for zero.
fn not_whole(v: f64) -> bool {
    v == 0.0 || (v - v.round()).abs() >= GAP * v.abs().max(1.0)
}

fn decides_safely(op: &Op, args: &[&Tensor]) -> bool {
    match op {
        Op::Scalar(ScalarOp::Lt | ScalarOp::Eq | ScalarOp::Max | ScalarOp::Min) => {
            args[0].data.iter().zip(&args[1].data).all(|(&a, &b)| apart(a, b))
        }
        Op::Scalar(ScalarOp::Floor) => args[0].data.iter().all(|&v| not_whole(v)),
        Op::Scalar(ScalarOp::Abs) => args[0].data.iter().all(|&v| apart(v, 0.0)),
        Op::Cast(DType::Bool) => args[0].data.iter().all(|&v| apart(v, 0.0)),
        Op::Cast(DType::U8 | DType::U32 | DType::I32) => args[0].data.iter().all(|&v| not_whole(v)),
        Op::TopK(_) => groups(args[0], &[args[0].shape.len() - 1])
            .iter()
            .all(|g| g.iter().all(|&a| g.iter().all(|&b| apart(a, b)))),
        Op::ArgMax(axis) => groups(args[0], &[*axis]).iter().all(|g| clear_winner(g)),
        Op::Reduce(ReduceKind::Max, axes) => groups(args[0], axes).iter().all(|g| clear_winner(g)),
        Op::Pool(PoolKind::Max, d) | Op::ArgPool(d) => windows(args[0], d).iter().all(|g| clear_winner(g)),
        _ => true,
    }
}

/// The largest is apart from all that are not equal to it.
fn clear_winner(values: &[f64]) -> bool {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().all(|&v| apart(v, top))
}

/// Values by the index along the axes that are not in `axes`.
fn groups(x: &Tensor, axes: &[usize]) -> Vec<Vec<f64>> {
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(a, &n)| if axes.contains(&a) { 1 } else { n }).collect();
    let target = Tensor::new(&kept, vec![0.0; kept.iter().product()]);
    let mut out = vec![Vec::new(); target.data.len()];
    Tensor::generate(&x.shape, |index| {
        let at: Vec<usize> =
            index.iter().enumerate().map(|(a, &i)| if axes.contains(&a) { 0 } else { i }).collect();
        out[target.linear(&at)].push(x.at(index));
        0.0
    });
    out
}

fn windows(x: &Tensor, d: &PoolDims) -> Vec<Vec<f64>> {
    let mut out = Vec::new();
    Tensor::generate(&d.output(), |i| {
        let mut window = Vec::new();
        for r in 0..d.rows.size {
            for s in 0..d.cols.size {
                if let (Some(y), Some(z)) = (d.rows.source(i[1], r, d.h), d.cols.source(i[2], s, d.w)) {
                    window.push(x.at(&[i[0], y, z, i[3]]));
                }
            }
        }
        out.push(window);
        0.0
    });
    out
}

/// Per node, whether f32 holds its value exactly, whoever computes it.
fn exact(graph: &Graph) -> Vec<bool> {
    let mut exact = vec![false; graph.len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let all = |exact: &[bool]| node.inputs.iter().all(|i: &NodeId| exact[i.index()]);
        exact[id.index()] = match &node.op {
            Op::Input(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => true,
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Pad { .. } => {
                all(&exact)
            }
            Op::Concat(_) | Op::Flip(_) | Op::Gather(_) => all(&exact),
            Op::Cast(DType::F32) => all(&exact),
            // `rounds_safely` sees to it.
            _ if node.ty.dtype.is_half() => true,
            Op::Reduce(ReduceKind::Max, _) | Op::Pool(PoolKind::Max, _) => all(&exact),
            Op::Scalar(
                ScalarOp::Neg
                | ScalarOp::Abs
                | ScalarOp::Floor
                | ScalarOp::Max
                | ScalarOp::Min
                | ScalarOp::Select,
            ) => all(&exact),
            // Whole numbers follow from decisions, which are checked where they are made.
            _ => node.ty.dtype != DType::F32,
        };
    }
    exact
}
