//! Adds a network's computation to a graph.

use super::Network;
use crate::Precision;
use crate::activations::Logits;
use crate::layers::Call;
use thalweg_graph::{DType, Graph, NodeId};

/// What a network is computed with.
#[derive(Clone, Copy, Debug)]
pub struct ForwardArgs<'a> {
    /// One node per [`Network::weights`].
    pub weights: &'a [NodeId],
    /// One node per [`Network::inputs`]: `[n, ..shape]` of the input's dtype (f32 is taken too).
    pub inputs: &'a [NodeId],
    /// Whether dropout drops and batch statistics are used and updated.
    pub training: bool,
    /// The training step, an i32 scalar: the counter of random numbers.
    pub step: NodeId,
    /// Key of random numbers.
    pub seed: u64,
}

/// What a network computed.
#[derive(Clone, PartialEq, Debug)]
pub struct Forward {
    /// One node per [`Network::outputs`].
    pub outputs: Vec<NodeId>,
    /// Per output, what its last step was applied to where that was a softmax or a sigmoid: for stable losses.
    pub logits: Vec<Option<(Logits, NodeId)>>,
    /// New values of weights (moving statistics), by index into [`Network::weights`].
    pub updates: Vec<(usize, NodeId)>,
    /// The output of every call, by tensor name (`name`, `name:1`), in the order of computation.
    pub layer_outputs: Vec<(String, NodeId)>,
}

/// A float as one of that type; whole numbers stay.
fn in_float(graph: &mut Graph, x: NodeId, dtype: DType) -> NodeId {
    if graph.ty(x).dtype.is_float() { graph.cast(x, dtype) } else { x }
}

impl Network {
    /// Builds the network's outputs. Panics where `args` are not what the network asks for: that is a bug of
    /// the caller. Nodes of a layer get its name as their scope.
    pub fn forward(&self, graph: &mut Graph, args: &ForwardArgs) -> Forward {
        self.check(graph, args);
        let mut nodes: Vec<NodeId> = Vec::with_capacity(self.calls.len());
        let mut logits: Vec<Option<(Logits, NodeId)>> = Vec::new();
        let mut updates: Vec<(usize, NodeId)> = Vec::new();
        let policy = self.dtype_policy().compute_dtype();
        // Shared layers see their statistics as their earlier calls left them.
        let mut weights = args.weights.to_vec();
        for (index, site) in self.calls.iter().enumerate() {
            let named = &self.layers[site.layer];
            graph.set_scope(&named.name);
            let inputs: Vec<NodeId> = match self.inputs.iter().position(|&i| i == index) {
                Some(nth) => vec![args.inputs[nth]],
                None => site.inputs.iter().map(|&i| nodes[i]).collect(),
            };
            let layer = named.layer.get();
            let (precision, output) = (layer.precision(), self.outputs.contains(&index));
            let dtype = if precision == Precision::Policy { policy } else { DType::F32 };
            let inputs: Vec<NodeId> = inputs.into_iter().map(|x| in_float(graph, x, dtype)).collect();
            let own =
                weights[named.weights.clone()].iter().map(|&w| graph.cast(w, dtype)).collect::<Vec<_>>();
            let mut cx = Call {
                graph: &mut *graph,
                weights: &own,
                training: args.training,
                step: args.step,
                stream: index as u32,
                seed: args.seed,
                output,
                updates: Vec::new(),
                logits: None,
            };
            let y = layer.call(&mut cx, &inputs);
            let (found, new) = (cx.logits, cx.updates);
            let y = match precision {
                _ if output => in_float(graph, y, DType::F32),
                Precision::Statistics => in_float(graph, y, policy),
                Precision::Policy | Precision::Full => y,
            };
            debug_assert_eq!(graph.shape(y)[1..], site.shape, "shape of layer '{}'", named.name);
            for (i, node) in new {
                let weight = named.weights.start + i;
                weights[weight] = node;
                updates.retain(|u| u.0 != weight);
                updates.push((weight, node));
            }
            nodes.push(y);
            logits.push(found);
        }
        graph.set_scope("");
        Forward {
            outputs: self.outputs.iter().map(|&o| nodes[o]).collect(),
            logits: self.outputs.iter().map(|&o| logits[o]).collect(),
            updates,
            layer_outputs: nodes.iter().enumerate().map(|(i, &n)| (self.tensor_name(i), n)).collect(),
        }
    }

    /// The type in which a call's result is kept.
    pub(super) fn result_dtype(&self, index: usize) -> DType {
        match self.layers[self.calls[index].layer].layer.get().precision() {
            _ if self.outputs.contains(&index) || self.inputs.contains(&index) => DType::F32,
            Precision::Full => DType::F32,
            Precision::Policy | Precision::Statistics => self.dtype_policy().compute_dtype(),
        }
    }

    fn check(&self, graph: &Graph, args: &ForwardArgs) {
        assert_eq!(args.weights.len(), self.weights.len(), "one node per weight");
        assert_eq!(args.inputs.len(), self.inputs.len(), "one node per input");
        for (&node, weight) in args.weights.iter().zip(&self.weights) {
            assert_eq!(graph.shape(node), weight.shape, "shape of weight '{}'", weight.path);
        }
        for (&node, &call) in args.inputs.iter().zip(&self.inputs) {
            let want = &self.calls[call].shape;
            assert_eq!(
                &graph.shape(node)[1..],
                want.as_slice(),
                "shape of input '{}'",
                self.tensor_name(call)
            );
        }
    }
}
