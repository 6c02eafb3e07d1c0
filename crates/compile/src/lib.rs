//! From graph to plan: simplify, fuse, lower, schedule, plan memory.
//!
//! In: a verified graph. Out: a [`Plan`](thalweg_device::Plan) whose bindings are the graph's states, inputs and
//! outputs, in that order, by name.

use thalweg_device::Plan;
use thalweg_graph::Graph;

/// What the compiler is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the plan, for people.
    pub name: String,
    /// Whether to keep a text of the program after every pass (`thalweg explain`).
    pub explain: bool,
}

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What a device loads.
    pub plan: Plan,
    /// (pass, the program after it), if asked for.
    pub passes: Vec<(&'static str, String)>,
}

/// Compiles a graph.
pub fn compile(graph: &Graph, options: &Options) -> Compiled {
    let _ = (graph, options);
    Compiled { plan: Plan::default(), passes: Vec::new() }
}
