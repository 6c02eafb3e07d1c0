//! The verifier: run on a graph after it was built and after every pass. A failure is a bug of the pass, so it
//! panics and names it.

use crate::{Graph, Op, Type, ops};

/// Checks every node, output and update; panics naming `pass`.
pub fn verify(graph: &Graph, pass: &str) {
    for id in graph.ids() {
        let node = graph.node(id);
        for i in &node.inputs {
            assert!(i < &id, "after {pass}: %{} reads the later node %{}", id.0, i.0);
        }
        let ty = match &node.op {
            Op::Input(i) => graph.inputs[i.0 as usize].ty.clone(),
            Op::State(s) => graph.states[s.0 as usize].ty.clone(),
            op => {
                let types: Vec<&Type> = node.inputs.iter().map(|&i| graph.ty(i)).collect();
                match ops::infer(op, &types) {
                    Ok(ty) => ty,
                    Err(e) => panic!("after {pass}: %{}: {e}", id.0),
                }
            }
        };
        assert_eq!(ty, node.ty, "after {pass}: type of %{}", id.0);
    }
    for o in &graph.outputs {
        assert!(o.node.index() < graph.len(), "after {pass}: output '{}' does not exist", o.name);
    }
    let mut seen = vec![false; graph.states.len()];
    for u in &graph.updates {
        let s = u.state.0 as usize;
        assert!(
            !std::mem::replace(&mut seen[s], true),
            "after {pass}: two updates of '{}'",
            graph.states[s].name
        );
        assert_eq!(
            &graph.states[s].ty,
            graph.ty(u.node),
            "after {pass}: update of '{}'",
            graph.states[s].name
        );
    }
}
