//! Making a failing graph small: fewer roots, then roots nearer to the leaves, then leaves nearer to the roots.

use std::collections::{HashMap, HashSet};
use thalweg_base::DType;
use thalweg_graph::reference::{Feeds, Tensor, evaluate};
use thalweg_graph::{Graph, NodeId, Op};

/// A small graph that still fails, with its values. `fails` must say true of the given graph.
///
/// First every output and update that is not needed for the failure goes; then the failing root is replaced
/// by the earliest node that fails as an output; then nodes become inputs with their reference values.
pub fn shrink(graph: &Graph, feeds: &Feeds, mut fails: impl FnMut(&Graph, &Feeds) -> bool) -> (Graph, Feeds) {
    let mut best = (graph.clone(), feeds.clone());
    drop_roots(&mut best, &mut fails);
    re_root(&mut best, &mut fails);
    cut(&mut best, &mut fails);
    drop_roots(&mut best, &mut fails);
    best
}

type Small = (Graph, Feeds);

fn drop_roots(best: &mut Small, fails: &mut impl FnMut(&Graph, &Feeds) -> bool) {
    let mut at = 0;
    while at < best.0.outputs.len() + best.0.updates.len() {
        let mut trial = best.0.clone();
        if at < trial.outputs.len() {
            trial.outputs.remove(at);
        } else {
            trial.updates.remove(at - best.0.outputs.len());
        }
        if trial.roots().next().is_some() && keep(best, rebuild(&trial, &best.1, &HashMap::new()), fails) {
            continue;
        }
        at += 1;
    }
}

fn re_root(best: &mut Small, fails: &mut impl FnMut(&Graph, &Feeds) -> bool) {
    let live = best.0.live();
    for id in best.0.ids().filter(|id| live[id.index()]) {
        let mut trial = best.0.clone();
        trial.outputs.clear();
        trial.updates.clear();
        trial.output("y", id);
        if keep(best, rebuild(&trial, &best.1, &HashMap::new()), fails) {
            return;
        }
    }
}

fn cut(best: &mut Small, fails: &mut impl FnMut(&Graph, &Feeds) -> bool) {
    // From the roots down: a cut near the root removes most.
    let mut at = best.0.len();
    while at > 0 {
        at -= 1;
        if at >= best.0.len() {
            continue;
        }
        let id = NodeId(at as u32);
        if best.0.node(id).inputs.is_empty() {
            continue;
        }
        let mut value = evaluate(&best.0, &best.1, &[id]).remove(&id).unwrap_or_else(|| Tensor::scalar(0.0));
        if best.0.ty(id).dtype == DType::F32 {
            value.data.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        let cuts = HashMap::from([(id, value)]);
        keep(best, rebuild(&best.0, &best.1, &cuts), fails);
    }
}

fn keep(best: &mut Small, trial: Small, fails: &mut impl FnMut(&Graph, &Feeds) -> bool) -> bool {
    let better = fails(&trial.0, &trial.1);
    if better {
        *best = trial;
    }
    better
}

/// The same graph without dead nodes, and without inputs and states that nothing reads or updates; the nodes of
/// `cuts` become inputs with the given values.
pub fn rebuild(graph: &Graph, feeds: &Feeds, cuts: &HashMap<NodeId, Tensor>) -> (Graph, Feeds) {
    let live = live_above(graph, cuts);
    let updated: HashSet<usize> = graph.updates.iter().map(|u| u.state.0 as usize).collect();
    let mut out = (Graph::new(), Feeds::default());
    let mut map: HashMap<NodeId, NodeId> = HashMap::new();
    let mut states: HashMap<usize, NodeId> = HashMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        out.0.set_scope(graph.scope_of(id));
        let new = match &node.op {
            _ if live[id.index()] && cuts.contains_key(&id) => {
                out.1.inputs.push(cuts[&id].clone());
                out.0.input(&format!("cut{}_{}", id.0, out.0.inputs.len()), node.ty.clone())
            }
            Op::State(s) if live[id.index()] || updated.contains(&(s.0 as usize)) => {
                out.1.states.push(feeds.states[s.0 as usize].clone());
                let new = out.0.state(&graph.states[s.0 as usize].name, node.ty.clone());
                states.insert(s.0 as usize, new);
                new
            }
            _ if !live[id.index()] => continue,
            Op::Input(i) => {
                out.1.inputs.push(feeds.inputs[i.0 as usize].clone());
                out.0.input(&graph.inputs[i.0 as usize].name, node.ty.clone())
            }
            op => {
                let inputs: Vec<NodeId> = node.inputs.iter().map(|i| map[i]).collect();
                out.0.op(op.clone(), &inputs)
            }
        };
        map.insert(id, new);
    }
    out.0.set_scope("");
    for o in &graph.outputs {
        out.0.output(&o.name, map[&o.node]);
    }
    for u in &graph.updates {
        let at = u.state.0 as usize;
        let state = *states.entry(at).or_insert_with(|| {
            // Updated, but never read: it has no node.
            out.1.states.push(feeds.states[at].clone());
            out.0.state(&graph.states[at].name, graph.states[at].ty.clone())
        });
        out.0.update(state, map[&u.node]);
    }
    out
}

/// Which nodes the roots need when the nodes of `cuts` need nothing.
fn live_above(graph: &Graph, cuts: &HashMap<NodeId, Tensor>) -> Vec<bool> {
    let mut live = vec![false; graph.len()];
    graph.roots().for_each(|r| live[r.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] && !cuts.contains_key(&id) {
            graph.node(id).inputs.iter().for_each(|i| live[i.index()] = true);
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{random_graph, run_reference};
    use thalweg_graph::{ScalarOp, verify::verify};

    #[test]
    fn what_remains_is_the_culprit() {
        let has = |g: &Graph| {
            let live = g.live();
            g.ids().any(|id| live[id.index()] && g.node(id).op == Op::Scalar(ScalarOp::Tanh))
        };
        let mut tried = 0;
        for seed in 0..200 {
            let (g, feeds) = random_graph(seed);
            if !has(&g) || tried == 10 {
                continue;
            }
            tried += 1;
            let (small, feeds) = shrink(&g, &feeds, |g, _| has(g));
            verify(&small, "shrink");
            run_reference(&small, &feeds);
            assert!(small.len() == 2 && small.outputs.len() == 1, "seed {seed}:\n{small}");
        }
        assert_eq!(tried, 10);
    }

    #[test]
    fn rebuilding_changes_nothing() {
        for seed in 0..30 {
            let (g, feeds) = random_graph(seed);
            let (h, kept) = rebuild(&g, &feeds, &HashMap::new());
            let (want, found) = (run_reference(&g, &feeds), run_reference(&h, &kept));
            assert_eq!(want.outputs, found.outputs, "seed {seed}");
            assert!(found.states.iter().all(|s| want.states.contains(s)), "seed {seed}");
        }
    }
}
