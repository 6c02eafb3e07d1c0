//! What a step gives: outputs and new states, by name; from the reference, or from anything to compare.

use crate::{Tolerance, compare};
use std::collections::HashMap;
use thalweg_base::DType;
use thalweg_graph::reference::{Feeds, Tensor, step};
use thalweg_graph::{Graph, NodeId, Op, ops};

/// Outputs and all states after one step, in the graph's order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Results {
    /// Name and value.
    pub outputs: Vec<(String, Tensor)>,
    /// Name and value after the updates.
    pub states: Vec<(String, Tensor)>,
}

impl Results {
    fn of(graph: &Graph, outputs: Vec<Tensor>, states: Vec<Tensor>) -> Self {
        Results {
            outputs: graph.outputs.iter().map(|o| o.name.clone()).zip(outputs).collect(),
            states: graph.states.iter().map(|s| s.name.clone()).zip(states).collect(),
        }
    }
}

/// One step in f64.
pub fn run_reference(graph: &Graph, feeds: &Feeds) -> Results {
    let (outputs, states) = step(graph, feeds);
    Results::of(graph, outputs, states)
}

/// One step in which every value is rounded to f32: about the error any device may have.
pub fn run_rounded(graph: &Graph, feeds: &Feeds) -> Results {
    let live = graph.live();
    let mut values: HashMap<NodeId, Tensor> = HashMap::new();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let mut value = match &node.op {
            Op::Input(i) => feeds.inputs[i.0 as usize].clone(),
            Op::State(s) => feeds.states[s.0 as usize].clone(),
            op => {
                let args: Vec<&Tensor> = node.inputs.iter().map(|i| &values[i]).collect();
                ops::reference(op, &node.ty, &args)
            }
        };
        if node.ty.dtype == DType::F32 {
            value.data.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        values.insert(id, value);
    }
    let mut states = feeds.states.clone();
    for u in &graph.updates {
        states[u.state.0 as usize] = values[&u.node].clone();
    }
    Results::of(graph, graph.outputs.iter().map(|o| values[&o.node].clone()).collect(), states)
}

/// Compares outputs and states; the error names the first that differs.
pub fn compare_results(expected: &Results, found: &Results, tolerance: Tolerance) -> Result<(), String> {
    for (kind, expected, found) in
        [("output", &expected.outputs, &found.outputs), ("state", &expected.states, &found.states)]
    {
        if expected.len() != found.len() {
            return Err(format!("expected {} {kind}s, found {}", expected.len(), found.len()));
        }
        for ((name, e), (found_name, f)) in expected.iter().zip(found) {
            if name != found_name {
                return Err(format!("expected {kind} '{name}', found '{found_name}'"));
            }
            compare(&format!("{kind} '{name}'"), e, f, tolerance)?;
        }
    }
    Ok(())
}
