//! Every primitive against its cases: type rule, gradient against finite differences in f64, text form; no
//! primitive without a case, and at most 48 of them.

use std::collections::BTreeSet;
use thalweg_base::{DType, PoolDims, ScalarOp, Window, philox::Sequence};
use thalweg_graph::cases::Case;
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{Graph, NodeId, Op, PoolKind, ReduceKind, Type, gradients, ops, text, verify};
use thalweg_testkit::operands;

/// Most primitives there may be: each is multiplied by every hand-written consumer. Detection asked for the last
/// three: sorting, indexing and greedy suppression cannot be composed of the others without squaring their work.
const MOST_PRIMITIVES: usize = 48;
/// Step of the central differences: truncation about 1e-10, rounding about 1e-11.
const H: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;
/// Coordinates tried per operand, beside directions in which all change.
const COORDINATES: usize = 16;
const DIRECTIONS: usize = 3;

/// Names of all primitives. The match has no wildcard: a new operation does not compile until it is here, and
/// does not pass until it has a case.
fn primitives() -> BTreeSet<&'static str> {
    fn names(op: &Op) -> Vec<&'static str> {
        match op {
            Op::Input(_) => vec!["input"],
            Op::State(_) => vec!["state"],
            Op::Const(_) => vec!["const"],
            Op::Iota { .. } => vec!["iota"],
            Op::Random { .. } => vec!["random"],
            Op::Scalar(_) => ScalarOp::ALL.iter().map(|op| op.name()).collect(),
            Op::Cast(_) => vec!["cast"],
            Op::Reshape(_) => vec!["reshape"],
            Op::Transpose(_) => vec!["transpose"],
            Op::Broadcast(_) => vec!["broadcast"],
            Op::Slice(_) => vec!["slice"],
            Op::Pad { .. } => vec!["pad"],
            Op::Concat(_) => vec!["concat"],
            Op::Flip(_) => vec!["flip"],
            Op::Reduce(ReduceKind::Sum | ReduceKind::Max, _) => vec!["reduce_sum", "reduce_max"],
            Op::ArgMax(_) => vec!["argmax"],
            Op::TopK(_) => vec!["top_k"],
            Op::Gather(_) => vec!["gather"],
            Op::Suppress => vec!["suppress"],
            Op::Dot { .. } => vec!["dot"],
            Op::Conv(_) => vec!["conv"],
            Op::ConvInputGrad(_) => vec!["conv_input_grad"],
            Op::ConvFilterGrad(_) => vec!["conv_filter_grad"],
            Op::Pool(PoolKind::Max | PoolKind::Sum, _) => vec!["pool_max", "pool_sum"],
            Op::ArgPool(_) => vec!["argpool"],
            Op::Unpool(_) => vec!["unpool"],
        }
    }
    let all = "input state const iota random cast reshape transpose broadcast slice pad concat flip reduce_sum \
               reduce_max argmax top_k gather suppress dot conv conv_input_grad conv_filter_grad pool_max pool_sum argpool unpool";
    let mut out: BTreeSet<&str> = all.split(' ').collect();
    out.extend(ScalarOp::ALL.iter().map(|op| op.name()));
    for case in ops::cases() {
        for name in names(&case.op) {
            assert!(out.contains(name), "'{name}' is missing in the list above");
        }
    }
    out
}

#[test]
fn every_primitive_has_a_case() {
    let mut tested: BTreeSet<&str> = ops::cases().iter().map(|c| ops::name(&c.op)).collect();
    // Leaves that a graph declares; every case's graph has inputs, and `states_are_leaves` has a state.
    tested.extend(["input", "state"]);
    assert_eq!(primitives(), tested);
}

#[test]
fn primitives_are_few() {
    let count = primitives().len();
    println!("{count} primitives");
    assert!(count <= MOST_PRIMITIVES, "{count} primitives, at most {MOST_PRIMITIVES}");
}

#[test]
fn types_and_values_agree() {
    for (i, case) in ops::cases().iter().enumerate() {
        let (g, _, y) = case.graph();
        verify::verify(&g, "case");
        let inputs: Vec<&Type> = case.inputs.iter().collect();
        assert_eq!(ops::infer(&case.op, &inputs).as_ref(), Ok(g.ty(y)), "{case:?}");
        let value = evaluate(&g, &operands(case, i as u64), &[]).remove(&y).expect("the output");
        let dtype = g.ty(y).dtype;
        assert_eq!(value.shape, g.ty(y).shape);
        for &v in &value.data {
            assert!(v.is_finite() && v == dtype.round(v), "{case:?} gives {v}, not a value of {dtype}");
        }
    }
}

#[test]
fn text_round_trips() {
    for case in ops::cases() {
        let (g, inputs, y) = case.graph();
        let printed = g.to_string();
        let back = text::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert_eq!(back.to_string(), printed);
        assert_eq!((&back.node(y).op, &back.node(y).inputs), (&case.op, &inputs));
    }
}

#[test]
fn wrong_operand_counts_are_errors() {
    for case in ops::cases() {
        let mut inputs: Vec<&Type> = case.inputs.iter().collect();
        let matrix = Type::f32(&[2, 3]);
        inputs.extend([&matrix; 4]);
        if !matches!(case.op, Op::Concat(_)) {
            assert!(ops::infer(&case.op, &inputs).is_err(), "{case:?} takes four more operands");
        }
        if !case.inputs.is_empty() {
            assert!(ops::infer(&case.op, &[]).is_err(), "{case:?} takes no operands");
        }
    }
}

#[test]
fn states_are_leaves() {
    let mut g = Graph::new();
    let s = g.state("s", Type::f32(&[2]));
    let y = g.scale(s, 3.0);
    g.update(s, y);
    let d = gradients(&mut g, y, &[s]).expect("differentiable")[0];
    let feeds = Feeds { inputs: Vec::new(), states: vec![Tensor::new(&[2], vec![5.0, 7.0])] };
    let values = evaluate(&g, &feeds, &[d]);
    assert_eq!(values[&d].data, [3.0, 3.0]);
    assert_eq!(values[&y].data, [15.0, 21.0]);
}

#[test]
fn gradients_are_finite_differences() {
    let mut problems = Vec::new();
    for (i, case) in ops::cases().iter().enumerate().filter(|(_, c)| c.differentiable) {
        if let Err(problem) = check_gradient(case, i as u64) {
            problems.push(format!("case {i}, {} of {:?}: {problem}", ops::name(&case.op), case.inputs));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn integers_wrap() {
    for (op, dtype, a, b, want) in [
        (ScalarOp::Add, DType::I32, f64::from(i32::MAX), 1.0, f64::from(i32::MIN)),
        (ScalarOp::Sub, DType::U32, 3.0, 5.0, f64::from(u32::MAX - 1)),
        (ScalarOp::Mul, DType::I32, 65_537.0, 65_537.0, 131_073.0),
        (ScalarOp::Neg, DType::I32, f64::from(i32::MIN), 0.0, f64::from(i32::MIN)),
    ] {
        let ty = Type::new(dtype, &[]);
        let value = ops::reference(&Op::Scalar(op), &ty, &[&Tensor::scalar(a), &Tensor::scalar(b)]);
        assert_eq!(value.data, [want], "{}", op.name());
    }
}

/// `stop_gradient` is a value to the reference and a constant to differentiation.
#[test]
fn a_stopped_gradient_stops() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32(&[2]));
    let fixed = g.stop_gradient(x);
    let y = g.mul(x, fixed);
    let d = gradients(&mut g, y, &[x]).expect("differentiable")[0];
    let feeds = Feeds { inputs: vec![Tensor::new(&[2], vec![3.0, 2.0])], states: Vec::new() };
    assert_eq!(evaluate(&g, &feeds, &[d])[&d].data, [3.0, 2.0], "x * stop(x) has the gradient x, not 2x");
}

/// What finite differences cannot see: gradients at ties.
#[test]
fn ties_are_decided() {
    let gradient = |values: &[f64], f: &dyn Fn(&mut Graph, NodeId) -> NodeId| {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32(&[values.len()]));
        let y = f(&mut g, x);
        let d = gradients(&mut g, y, &[x]).expect("differentiable")[0];
        let feeds = Feeds { inputs: vec![Tensor::new(&[values.len()], values.to_vec())], states: Vec::new() };
        evaluate(&g, &feeds, &[d])[&d].data.clone()
    };
    // A reduction shares among equals, a window's first takes all, ReLU and |x| are flat at 0.
    let shared = gradient(&[1.0, 2.0, 2.0, -1.0], &|g, x| g.reduce(ReduceKind::Max, x, &[0]));
    assert_eq!(shared, [0.0, 0.5, 0.5, 0.0]);
    assert_eq!(gradient(&[-1.0, 0.0, 2.0], &|g, x| g.relu(x)), [0.0, 0.0, 1.0]);
    assert_eq!(gradient(&[-1.0, 0.0, 2.0], &|g, x| g.abs(x)), [-1.0, 0.0, 1.0]);
    let first = gradient(&[3.0, 3.0, 3.0, 3.0], &|g, x| {
        let x = g.reshape(x, &[1, 2, 2, 1]);
        let window = Window::valid(2, 2, 1);
        let d = PoolDims { n: 1, h: 2, w: 2, c: 1, oh: 1, ow: 1, rows: window, cols: window };
        g.op(Op::Pool(PoolKind::Max, d), &[x])
    });
    assert_eq!(first, [1.0, 0.0, 0.0, 0.0]);
}

/// A window that cannot be is an error, not a division by zero.
#[test]
fn empty_windows_are_errors() {
    for case in ops::cases() {
        let op = match case.op.clone() {
            Op::Conv(mut d) => {
                d.rows.stride = 0;
                Op::Conv(d)
            }
            Op::Pool(kind, mut d) => {
                d.cols.size = 0;
                Op::Pool(kind, d)
            }
            _ => continue,
        };
        assert!(ops::infer(&op, &case.inputs.iter().collect::<Vec<_>>()).is_err());
    }
}

/// What is not differentiable must say so, or let no gradient through; it must not panic.
#[test]
fn gradients_of_discrete_cases() {
    for case in ops::cases().into_iter().filter(|c| !c.differentiable) {
        let (mut g, inputs, y) = case.graph();
        let y = g.cast(y, DType::F32);
        let floats: Vec<NodeId> = inputs.into_iter().filter(|&x| g.ty(x).dtype.is_float()).collect();
        if let Ok(grads) = gradients(&mut g, y, &floats) {
            for (x, d) in floats.iter().zip(grads) {
                assert_eq!(g.ty(*x), g.ty(d), "{case:?}");
            }
            verify::verify(&g, "gradients");
        }
    }
}

/// sum(y * w) for fixed random w, and its gradients, against central differences.
struct Check {
    graph: Graph,
    feeds: Feeds,
    loss: NodeId,
}

impl Check {
    fn loss(&self, feeds: &Feeds) -> f64 {
        evaluate(&self.graph, feeds, &[self.loss])[&self.loss].data[0]
    }

    /// The derivative in a direction of one operand.
    fn difference(&self, operand: usize, direction: &[f64]) -> f64 {
        let at = |h: f64| {
            let mut feeds = self.feeds.clone();
            for (v, d) in feeds.inputs[operand].data.iter_mut().zip(direction) {
                *v += h * d;
            }
            self.loss(&feeds)
        };
        (at(H) - at(-H)) / (2.0 * H)
    }
}

fn check_gradient(case: &Case, seed: u64) -> Result<(), String> {
    let mut random = Sequence::new(seed, 0xd1ff, 0);
    let (mut graph, inputs, y) = case.graph();
    graph.outputs.clear();
    let ty = graph.ty(y).clone();
    let w = graph.input("w", ty.clone());
    let weighted = graph.mul(y, w);
    let loss = graph.sum_all(weighted);
    let mut feeds = operands(case, seed);
    let weights = (0..ty.len()).map(|_| f64::from(random.next_unit()) * 2.0 - 1.0).collect();
    feeds.inputs.push(Tensor::new(&ty.shape, weights));
    let check = Check { graph: graph.clone(), feeds, loss };

    let floats: Vec<usize> = (0..inputs.len()).filter(|&i| case.inputs[i].dtype.is_float()).collect();
    let wrt: Vec<NodeId> = floats.iter().map(|&i| inputs[i]).collect();
    let grads = gradients(&mut graph, loss, &wrt).map_err(|e| e.to_string())?;
    verify::verify(&graph, "gradients");
    let values = evaluate(&graph, &check.feeds, &grads);
    for (&operand, grad) in floats.iter().zip(&grads) {
        let gradient = &values[grad];
        if gradient.shape != case.inputs[operand].shape {
            return Err(format!("gradient {operand} has shape {:?}", gradient.shape));
        }
        let n = gradient.data.len();
        for trial in 0..DIRECTIONS + COORDINATES {
            let mut direction = vec![0.0; n];
            if trial < DIRECTIONS {
                direction.iter_mut().for_each(|d| *d = if random.below(2) == 0 { -1.0 } else { 1.0 });
            } else {
                direction[random.below(n as u32) as usize] = 1.0;
            }
            let want = check.difference(operand, &direction);
            let found: f64 = gradient.data.iter().zip(&direction).map(|(g, d)| g * d).sum();
            if (want - found).abs() > TOLERANCE * want.abs().max(1.0) {
                return Err(format!("operand {operand}: gradient {found}, finite difference {want}"));
            }
        }
    }
    Ok(())
}
