//! What a network consists of and costs, per example: the rows of Keras' `summary()`, with FLOPs and bytes.

use super::{ForwardArgs, Network};
use crate::Shape;
use std::collections::HashMap;
use thalweg_graph::{DType, Graph, NodeId, Op, Type};

/// One layer.
#[derive(Clone, PartialEq, Debug)]
pub struct SummaryRow {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class_name: &'static str,
    /// Per-example shape of its (first) output.
    pub output_shape: Shape,
    /// Number of its weights' elements.
    pub params: usize,
    /// Those that learn.
    pub trainable_params: usize,
    /// Floating-point operations of prediction, of all its calls (a multiply-add is two).
    pub flops: u64,
    /// Bytes of its outputs.
    pub activation_bytes: usize,
    /// Names of what it takes.
    pub connected_to: Vec<String>,
}

/// All layers and their sums.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// One row per layer.
    pub rows: Vec<SummaryRow>,
    /// All weights' elements.
    pub params: usize,
    /// Those that learn.
    pub trainable_params: usize,
    /// FLOPs of predicting one example.
    pub flops: u64,
    /// Bytes of all outputs of one example.
    pub activation_bytes: usize,
}

impl Network {
    /// Layers, parameters and costs.
    pub fn summary(&self) -> Summary {
        let rows = self.summary_rows();
        Summary {
            name: self.config.name.clone(),
            params: rows.iter().map(|r| r.params).sum(),
            trainable_params: rows.iter().map(|r| r.trainable_params).sum(),
            flops: rows.iter().map(|r| r.flops).sum(),
            activation_bytes: rows.iter().map(|r| r.activation_bytes).sum(),
            rows,
        }
    }

    /// One row per layer, in the configuration's order.
    pub fn summary_rows(&self) -> Vec<SummaryRow> {
        let flops = self.flops_by_layer();
        let row = |(index, named): (usize, &super::NamedLayer)| {
            let numbered = self.calls.iter().enumerate().filter(|(_, c)| c.layer == index);
            let activation_bytes =
                numbered.map(|(i, c)| c.shape.iter().product::<usize>() * self.result_dtype(i).size()).sum();
            let calls: Vec<_> = self.calls.iter().filter(|c| c.layer == index).collect();
            let weights = &self.weights[named.weights.clone()];
            let count = |w: &super::Weight| w.shape.iter().product::<usize>();
            SummaryRow {
                name: named.name.clone(),
                class_name: named.layer.get().class_name(),
                output_shape: calls.first().map(|c| c.shape.clone()).unwrap_or_default(),
                params: weights.iter().map(count).sum(),
                trainable_params: weights.iter().filter(|w| w.trainable).map(count).sum(),
                flops: flops.get(&named.name).copied().unwrap_or(0),
                activation_bytes,
                connected_to: calls
                    .iter()
                    .flat_map(|c| c.inputs.iter().map(|&i| self.tensor_name(i)))
                    .collect(),
            }
        };
        self.layers.iter().enumerate().map(row).collect()
    }

    /// Counts a graph for one example, by scope.
    fn flops_by_layer(&self) -> HashMap<String, u64> {
        let mut g = Graph::new();
        let state =
            |g: &mut Graph, name: &str, dtype, shape: &[usize]| g.state(name, Type::new(dtype, shape));
        let weights: Vec<NodeId> =
            self.weights.iter().map(|w| state(&mut g, &w.path, DType::F32, &w.shape)).collect();
        let step = state(&mut g, "step", DType::I32, &[]);
        let inputs: Vec<NodeId> = self
            .inputs()
            .iter()
            .map(|i| g.input(&i.name, Type::new(i.dtype, &[&[1], i.shape.as_slice()].concat())))
            .collect();
        let args = ForwardArgs { weights: &weights, inputs: &inputs, training: false, step, seed: 0 };
        let forward = self.forward(&mut g, &args);
        for (i, &node) in forward.outputs.iter().enumerate() {
            g.output(&format!("y{i}"), node);
        }
        // What depends on the batch only counts: constants and weights alone are computed once.
        let mut varies = vec![false; g.len()];
        let live = g.live();
        let mut sums: HashMap<String, u64> = HashMap::new();
        for id in g.ids() {
            let node = g.node(id);
            varies[id.index()] =
                matches!(node.op, Op::Input(_)) || node.inputs.iter().any(|i| varies[i.index()]);
            if live[id.index()] && varies[id.index()] {
                *sums.entry(g.scope_of(id).to_string()).or_default() += flops(&g, id);
            }
        }
        sums
    }
}

/// Floating-point operations of one node.
fn flops(g: &Graph, id: NodeId) -> u64 {
    let node = g.node(id);
    let len = |id: NodeId| g.ty(id).len() as u64;
    match &node.op {
        Op::Scalar(s) => s.flops() * len(id),
        Op::Reduce(..) => len(node.inputs[0]),
        Op::Conv(d) | Op::ConvInputGrad(d) | Op::ConvFilterGrad(d) => d.flops(),
        Op::Pool(_, d) => (d.output().iter().product::<usize>() * d.rows.size * d.cols.size) as u64,
        Op::Dot { ta, .. } => {
            let shape = g.shape(node.inputs[0]);
            let k = if *ta { shape[shape.len() - 2] } else { shape[shape.len() - 1] };
            2 * len(id) * k as u64
        }
        _ => 0,
    }
}
