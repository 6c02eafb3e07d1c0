//! The end of a random graph: outputs, perhaps gradients with an optimizer's step, updates and swaps.

use super::builder::Builder;
use thalweg_base::DType;
use thalweg_graph::{Graph, NodeId, Op, gradients};

/// Declares outputs and updates.
pub fn finish(b: &mut Builder) {
    let sinks = unread(&b.graph);
    if b.once_in(2) {
        train(b, &sinks);
    }
    b.evaluate();
    other_updates(b);
    b.evaluate();
    let sinks = unread(&b.graph);
    outputs(b, &sinks);
}

/// Nodes that nothing reads.
fn unread(g: &Graph) -> Vec<NodeId> {
    let mut read = vec![false; g.len()];
    for id in g.ids() {
        g.node(id).inputs.iter().for_each(|i| read[i.index()] = true);
    }
    g.updates.iter().for_each(|u| read[u.node.index()] = true);
    g.ids().filter(|id| !read[id.index()]).collect()
}

fn states(g: &Graph) -> Vec<NodeId> {
    g.ids().filter(|&id| matches!(g.node(id).op, Op::State(_))).collect()
}

/// A loss from the float sinks, and a step of SGD, momentum or Adam on some states.
fn train(b: &mut Builder, sinks: &[NodeId]) {
    let mut states = states(&b.graph);
    states.retain(|&id| b.graph.ty(id).dtype == DType::F32 && !b.once_in(4));
    let mut trial = b.graph.clone();
    trial.set_scope("loss");
    let mut loss = None;
    for &s in sinks.iter().filter(|&&s| b.graph.ty(s).dtype == DType::F32 && b.magnitude(s) <= 4.0) {
        let count = trial.ty(s).len();
        let bounded = trial.tanh(s);
        let sum = trial.sum_all(bounded);
        let mean = trial.scale(sum, 1.0 / count as f64);
        loss = Some(loss.map_or(mean, |l| trial.add(l, mean)));
    }
    let Some(loss) = loss else { return };
    // A maximum pooling has no second gradient: such a graph stays as it is.
    let Ok(grads) = gradients(&mut trial, loss, &states) else { return };
    b.graph = trial;
    b.graph.output("loss", loss);
    b.evaluate();
    b.graph.set_scope("optimizer");
    let kind = b.below(3);
    for (&state, &grad) in states.iter().zip(&grads) {
        if b.graph.ty(state).len() > 1 || b.once_in(2) {
            optimize(b, kind, state, grad);
        }
    }
    b.graph.set_scope("");
}

fn optimize(b: &mut Builder, kind: usize, state: NodeId, grad: NodeId) {
    let shape = b.graph.shape(state).to_vec();
    let change = match kind {
        0 => grad,
        _ => {
            let m = b.fresh_state(&shape, 0.5);
            let decayed = b.graph.scale(m, 0.75);
            let part = b.graph.scale(grad, 0.25);
            let m_new = b.graph.add(decayed, part);
            b.graph.update(m, m_new);
            if kind == 1 { m_new } else { adam(b, &shape, grad, m_new) }
        }
    };
    let change = b.graph.scale(change, -0.5);
    let new = b.graph.add(state, change);
    b.graph.update(state, new);
}

/// m / (sqrt(v) + 1/4), v the running mean of the squared gradient.
fn adam(b: &mut Builder, shape: &[usize], grad: NodeId, m: NodeId) -> NodeId {
    let v = b.fresh_state(shape, 0.5);
    // The state starts anywhere; its square is what a sum of squares could be.
    let vv = b.graph.mul(v, v);
    let gg = b.graph.mul(grad, grad);
    let v_new = b.graph.add(vv, gg);
    b.graph.update(v, v_new);
    let safe = b.graph.offset(v_new, 0.0625);
    let root = b.graph.sqrt(safe);
    b.graph.div(m, root)
}

/// For states without an update: swaps, copies, running averages, nothing.
fn other_updates(b: &mut Builder) {
    let free = states(&b.graph).into_iter().find(|&s| !has_update(&b.graph, s));
    if let Some(first) = free.filter(|&s| b.graph.ty(s).dtype == DType::F32)
        && b.once_in(2)
    {
        // A twin, so that there is something to swap with; read after the swap, too.
        let shape = b.graph.shape(first).to_vec();
        let twin = b.fresh_state(&shape, 1.0);
        if b.once_in(2) {
            b.graph.sub(first, twin);
        }
    }
    let all = states(&b.graph);
    for &state in &all {
        if has_update(&b.graph, state) {
            continue;
        }
        let ty = b.graph.ty(state).clone();
        let twin = all.iter().copied().find(|&t| t != state && *b.graph.ty(t) == ty);
        match (b.below(5), twin) {
            (0..=2, Some(twin)) => {
                // Both take the other's old value; or one copies, if the other has an update of its own.
                b.graph.update(state, twin);
                if !has_update(&b.graph, twin) {
                    b.graph.update(twin, state);
                }
            }
            (0..=1, None) => {
                if let Some(value) = b.pick_typed(|g, id| *g.ty(id) == ty && id != state) {
                    b.graph.update(state, value);
                }
            }
            (2, _) if ty.dtype == DType::F32 => {
                let average = b.graph.scale(state, 0.9375);
                b.graph.update(state, average);
            }
            (3, _) if ty.dtype == DType::F32 && !ty.shape.is_empty() => {
                // Not in place: every element comes from another one.
                let flipped = b.graph.op(Op::Flip((0..ty.rank()).collect()), &[state]);
                b.graph.update(state, flipped);
            }
            _ => {}
        }
    }
}

fn has_update(g: &Graph, state: NodeId) -> bool {
    g.updates.iter().any(|u| g.node(state).op == Op::State(u.state))
}

/// Most sinks, and now and then an inner node, a leaf, or the same node twice.
fn outputs(b: &mut Builder, sinks: &[NodeId]) {
    let mut nodes: Vec<NodeId> = sinks.iter().copied().filter(|_| !b.once_in(4)).collect();
    if b.once_in(3)
        && let Some(inner) = b.pick_typed(|_, _| true)
    {
        nodes.push(inner);
    }
    if b.once_in(6)
        && let Some(&first) = nodes.first()
    {
        nodes.push(first);
    }
    if b.once_in(6)
        && let Some(new) = b.graph.updates.first().map(|u| u.node)
    {
        nodes.push(new);
    }
    for (i, id) in nodes.into_iter().enumerate() {
        if b.magnitude(id) < 1000.0 {
            b.graph.output(&format!("y{i}"), id);
        }
    }
}
