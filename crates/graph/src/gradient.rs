//! Reverse-mode differentiation, as more graph.

use crate::{Graph, GraphError, NodeId, ops};

/// Gradients of the sum of `y` with respect to each of `wrt`, in order; zeros where `y` does not depend on it.
///
/// Only nodes between `wrt` and `y` are differentiated, so a frozen layer costs nothing.
pub fn gradients(graph: &mut Graph, y: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>, GraphError> {
    let count = y.index() + 1;
    // A node matters if it leads from some `wrt` to `y`.
    let mut depends = vec![false; graph.len()];
    for &w in wrt {
        depends[w.index()] = true;
    }
    for i in 0..count {
        let inputs = &graph.node(NodeId(i as u32)).inputs;
        depends[i] |= inputs.iter().any(|x| depends[x.index()]);
    }
    let mut grads: Vec<Option<NodeId>> = vec![None; graph.len()];
    if depends[y.index()] {
        let ty = graph.ty(y).clone();
        grads[y.index()] = Some(graph.full(&ty, 1.0));
    }
    for i in (0..count).rev() {
        let id = NodeId(i as u32);
        let Some(dy) = grads[i] else { continue };
        if !depends[i] || wrt.contains(&id) && graph.node(id).inputs.is_empty() {
            continue;
        }
        let inputs = graph.node(id).inputs.clone();
        let needed: Vec<bool> =
            inputs.iter().map(|x| depends[x.index()] && graph.ty(*x).dtype.is_float()).collect();
        if !needed.contains(&true) {
            continue;
        }
        let scope = graph.scope_of(id).to_string();
        graph.set_scope(&scope);
        let contributions = ops::gradient(graph, id, dy, &needed)?;
        for ((&x, &need), dx) in inputs.iter().zip(&needed).zip(contributions) {
            let (true, Some(dx)) = (need, dx) else { continue };
            debug_assert_eq!(graph.ty(x), graph.ty(dx), "gradient type of an operand of %{i}");
            grads[x.index()] = Some(match grads[x.index()] {
                None => dx,
                Some(sum) => graph.add(sum, dx),
            });
        }
    }
    graph.set_scope("");
    Ok(wrt
        .iter()
        .map(|&w| match grads.get(w.index()).copied().flatten() {
            Some(g) => g,
            None => {
                let ty = graph.ty(w).clone();
                graph.full(&ty, 0.0)
            }
        })
        .collect())
}
