//! Simplification: graph to smaller equal graph, by local rules applied bottom-up until nothing changes.
//!
//! Dead nodes disappear (only what a root needs is copied). A rule must keep the value bit for bit on finite
//! numbers, or say why not.

mod arithmetic;
mod factors;
mod movement;
mod pad;
mod pooling;

use thalweg_graph::{Graph, NodeId, Op, Scalar};

/// Rounds after which a graph that still changes is taken as it is; real graphs need two or three.
const MAX_ROUNDS: usize = 8;

/// Simplifies a graph.
pub fn simplify(graph: &Graph) -> Graph {
    let mut current = round(graph);
    for _ in 1..MAX_ROUNDS {
        let next = round(&current);
        let same = next.len() == current.len()
            && next.ids().all(|i| {
                next.node(i).op == current.node(i).op && next.node(i).inputs == current.node(i).inputs
            });
        current = next;
        if same {
            break;
        }
    }
    current
}

fn round(graph: &Graph) -> Graph {
    let live = graph.live();
    let mut out = graph.like();
    let mut map: Vec<Option<NodeId>> = vec![None; graph.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let inputs: Vec<NodeId> =
            node.inputs.iter().map(|i| map[i.index()].expect("operands come first")).collect();
        out.set_scope(graph.scope_of(id));
        let new = match rewrite(&mut out, &node.op, &inputs) {
            Some(new) => new,
            None => out.copy(graph, id, &inputs),
        };
        debug_assert_eq!(out.ty(new), &node.ty, "simplify changed the type of %{} ({:?})", id.0, node.op);
        map[id.index()] = Some(new);
    }
    let new = |id: NodeId| map[id.index()].expect("roots are live");
    for o in &graph.outputs {
        out.output(&o.name, new(o.node));
    }
    out.updates =
        graph.updates.iter().map(|u| thalweg_graph::Update { state: u.state, node: new(u.node) }).collect();
    out
}

/// A simpler equal of `op(inputs)`, whose operands are already simple.
fn rewrite(g: &mut Graph, op: &Op, inputs: &[NodeId]) -> Option<NodeId> {
    match op {
        Op::Scalar(s) => arithmetic::fold(g, *s, inputs)
            .or_else(|| arithmetic::identity(g, *s, inputs))
            .or_else(|| factors::twice(g, *s, inputs))
            .or_else(|| factors::mask_of_clip(g, *s, inputs))
            .or_else(|| pooling::mask_before_unpool(g, *s, inputs)),
        Op::Cast(dtype) => arithmetic::cast(g, *dtype, inputs[0]),
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Flip(_) => {
            movement::rewrite(g, op, inputs[0])
        }
        Op::Slice(spans) => {
            movement::slice(g, spans, inputs[0]).or_else(|| pad::crop_of_input_grad(g, spans, inputs[0]))
        }
        Op::Reduce(kind, axes) => arithmetic::reduce(g, *kind, axes, inputs[0])
            .or_else(|| pooling::sum_of_unpool(g, *kind, axes, inputs[0]))
            .or_else(|| factors::out_of_sum(g, *kind, axes, inputs[0])),
        Op::Conv(d) => pad::into_conv(g, d, inputs),
        Op::ConvFilterGrad(d) => pad::into_filter_grad(g, d, inputs),
        Op::Pad { axes, .. } if axes.iter().all(|&a| a == (0, 0, 0)) => Some(inputs[0]),
        Op::Concat(_) if inputs.len() == 1 => Some(inputs[0]),
        Op::Dot { ta, tb } => movement::dot(g, *ta, *tb, inputs),
        Op::Input(_)
        | Op::State(_)
        | Op::Const(_)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::Pad { .. }
        | Op::Concat(_)
        | Op::ArgMax(_)
        | Op::TopK(_)
        | Op::Gather(_)
        | Op::Suppress
        | Op::ConvInputGrad(_)
        | Op::Pool(..)
        | Op::ArgPool(_)
        | Op::Unpool(_) => None,
    }
}

/// The constant that every element of the node is, if there is one.
pub fn splat(g: &Graph, id: NodeId) -> Option<Scalar> {
    let node = g.node(id);
    match &node.op {
        Op::Const(c) => Some(*c),
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Flip(_) | Op::Slice(_) => {
            splat(g, node.inputs[0])
        }
        _ => None,
    }
}
