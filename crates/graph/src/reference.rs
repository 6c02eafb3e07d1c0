//! The meaning of a graph: a slow, plain evaluation in f64. Every device is tested against it.

use crate::{Graph, NodeId, Op, ops};
use std::collections::HashMap;
use thalweg_base::DType;

/// A tensor of f64; integers and booleans are exact in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor; panics where lengths disagree.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Tensor { shape: shape.to_vec(), data }
    }

    /// One value.
    pub fn scalar(value: f64) -> Self {
        Tensor::new(&[], vec![value])
    }

    /// `f` of every multi-index of `shape`.
    pub fn generate(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let mut index = vec![0; shape.len()];
        let data = (0..shape.iter().product())
            .map(|_| {
                let v = f(&index);
                advance(&mut index, shape);
                v
            })
            .collect();
        Tensor { shape: shape.to_vec(), data }
    }

    /// The element at a multi-index.
    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.linear(index)]
    }

    /// The row-major position of a multi-index.
    pub fn linear(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.shape).fold(0, |l, (&i, &n)| l * n + i)
    }
}

/// Next multi-index in row-major order.
pub fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < n {
            return;
        }
        *i = 0;
    }
}

/// Values of inputs and states, by index.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// Per input.
    pub inputs: Vec<Tensor>,
    /// Per state.
    pub states: Vec<Tensor>,
}

/// Evaluates every node that a root or one of `also` needs.
pub fn evaluate(graph: &Graph, feeds: &Feeds, also: &[NodeId]) -> HashMap<NodeId, Tensor> {
    let mut live = graph.live();
    for id in also {
        live[id.index()] = true;
    }
    for id in graph.ids().rev() {
        if live[id.index()] {
            for i in &graph.node(id).inputs {
                live[i.index()] = true;
            }
        }
    }
    let mut values: HashMap<NodeId, Tensor> = HashMap::new();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let value = match &node.op {
            Op::Input(i) => feeds.inputs[i.0 as usize].clone(),
            Op::State(s) => feeds.states[s.0 as usize].clone(),
            op => {
                let args: Vec<&Tensor> = node.inputs.iter().map(|i| &values[i]).collect();
                ops::reference(op, &node.ty, &args)
            }
        };
        assert_eq!(value.shape, node.ty.shape, "value of %{}", id.0);
        values.insert(id, value);
    }
    values
}

/// One step: outputs in order, and states after the updates.
pub fn step(graph: &Graph, feeds: &Feeds) -> (Vec<Tensor>, Vec<Tensor>) {
    let values = evaluate(graph, feeds, &[]);
    let mut states = feeds.states.clone();
    for u in &graph.updates {
        states[u.state.0 as usize] = values[&u.node].clone();
    }
    (graph.outputs.iter().map(|o| values[&o.node].clone()).collect(), states)
}

/// Rounds as storing would: integers, floats of 16 bits.
pub fn round_all(dtype: DType, mut t: Tensor) -> Tensor {
    for v in &mut t.data {
        *v = dtype.round(*v);
    }
    t
}
