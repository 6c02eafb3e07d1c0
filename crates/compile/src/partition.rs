//! Which nodes are stored, and which are computed where they are used.
//!
//! Stored: results of kernels that are not loops, their operands, outputs and updates; and what would be
//! computed twice at a cost. Everything else is computed inside the loops that use it.

use std::collections::{BTreeMap, BTreeSet};
use thalweg_device::plan::{BufferId, Unpooled};
use thalweg_graph::{ConvDims, Graph, NodeId, Op, ScalarOp};

/// Work that may be repeated rather than stored and loaded again, in simple operations.
const REPEAT_LIMIT: u64 = 4;

/// For one graph.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Nodes that have a buffer.
    pub stored: BTreeSet<NodeId>,
    /// Per node, the stored or opaque nodes that use it, directly or through nodes computed on the way; and
    /// whether it is itself a root.
    pub users: Vec<BTreeSet<NodeId>>,
    /// Per node, whether an output or an update is exactly it (through reshapes).
    pub root: Vec<bool>,
    /// Products that read 16-bit floats as they are: their operands' stored nodes.
    pub halves: BTreeMap<NodeId, [NodeId; 2]>,
}

/// Whether the node is the result of a kernel of its own kind, not of a loop body.
pub fn opaque(op: &Op) -> bool {
    match op {
        Op::Input(_)
        | Op::State(_)
        | Op::Pad { .. }
        | Op::Concat(_)
        | Op::Reduce(..)
        | Op::ArgMax(_)
        | Op::TopK(_)
        | Op::Gather(_)
        | Op::Suppress
        | Op::Dot { .. }
        | Op::Conv(_)
        | Op::ConvInputGrad(_)
        | Op::ConvFilterGrad(_)
        | Op::Pool(..)
        | Op::ArgPool(_)
        | Op::Unpool(_) => true,
        Op::Const(_)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::Scalar(_)
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Slice(_)
        | Op::Flip(_) => false,
    }
}

/// Whether the kernel reads its operands as dense buffers (loops read anything).
fn needs_buffers(op: &Op) -> bool {
    opaque(op) && !matches!(op, Op::Reduce(..) | Op::Concat(_) | Op::Pad { .. })
}

/// The stored nodes of a product's operands, if both are casts from one type of 16-bit floats; of an unpooling that it takes
/// in, of what was unpooled.
fn halves(g: &Graph, product: NodeId, absorbed: &BTreeSet<NodeId>) -> Option<[NodeId; 2]> {
    let node = g.node(product);
    if !matches!(node.op, Op::Dot { .. } | Op::Conv(_) | Op::ConvInputGrad(_) | Op::ConvFilterGrad(_)) {
        return None;
    }
    let source = |x: NodeId| {
        let x = if absorbed.contains(&x) { g.node(x).inputs[1] } else { x };
        let wide = g.node(base(g, x));
        let from = *wide.inputs.first()?;
        (matches!(wide.op, Op::Cast(_)) && g.ty(from).dtype.is_half()).then(|| base(g, from))
    };
    let both = [source(node.inputs[0])?, source(node.inputs[1])?];
    (g.ty(both[0]).dtype == g.ty(both[1]).dtype).then_some(both)
}

/// The operand number of a convolution gradient's output gradient.
pub fn gradient_operand(op: &Op) -> Option<(usize, &ConvDims)> {
    match op {
        Op::ConvInputGrad(d) => Some((0, d)),
        Op::ConvFilterGrad(d) => Some((1, d)),
        _ => None,
    }
}

/// Whether a convolution's gradient takes what was unpooled, and the positions, instead of its `i`-th operand `x`. Devices need
/// not look for positions that no maximum has.
pub fn takes_unpooled(g: &Graph, user: &Op, i: usize, x: NodeId) -> bool {
    let Op::Unpool(dims) = g.node(x).op else { return false };
    let unpooled = Unpooled { dims, arg: BufferId(0) };
    let fits = gradient_operand(user).is_some_and(|(at, d)| at == i && unpooled.fits(d));
    fits && g.node(g.node(x).inputs[0]).op == Op::ArgPool(dims)
}

/// Unpoolings that only such gradients read: they are not stored.
fn absorbed(g: &Graph, alive: &[NodeId], root: &[bool]) -> BTreeSet<NodeId> {
    let unpools = alive.iter().copied().filter(|&id| matches!(g.node(id).op, Op::Unpool(_)));
    let mut found: BTreeSet<NodeId> = unpools.filter(|id| !root[id.index()]).collect();
    for &user in alive {
        let node = g.node(user);
        for (i, &x) in node.inputs.iter().enumerate() {
            if !takes_unpooled(g, &node.op, i, x) {
                found.remove(&x);
            }
        }
    }
    found
}

/// The node under reshapes: it has the same dense elements.
pub fn base(g: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Reshape(_) = g.node(id).op {
        id = g.node(id).inputs[0];
    }
    id
}

/// Cost of computing a node's element once, without its operands.
fn own_cost(op: &Op) -> u64 {
    match op {
        Op::Scalar(
            ScalarOp::Exp
            | ScalarOp::Log
            | ScalarOp::Tanh
            | ScalarOp::Sigmoid
            | ScalarOp::Erf
            | ScalarOp::Cos,
        ) => 8,
        Op::Scalar(ScalarOp::Pow) => 16,
        Op::Scalar(ScalarOp::Div | ScalarOp::Sqrt) => 3,
        Op::Scalar(_) => 1,
        Op::Random { .. } => 30,
        _ => 0,
    }
}

/// Casts to 16 bits of products that several kernels use: the product stores the cast, not the sum it is of. Not of filter
/// gradients, whose sums may be in parts.
fn rounded<'a>(
    g: &Graph,
    alive: &[NodeId],
    products: impl Iterator<Item = &'a NodeId>,
    users: &[BTreeSet<NodeId>],
    root: &[bool],
) -> Vec<NodeId> {
    let only_user = |id: NodeId| {
        let mut direct = alive.iter().copied().filter(|&u| g.node(u).inputs.contains(&id));
        let first = direct.next()?;
        direct.next().is_none().then_some(first)
    };
    products
        .filter(|p| users[p.index()].len() > 1 && !root[p.index()])
        .filter(|p| !matches!(g.node(**p).op, Op::ConvFilterGrad(_)))
        .filter_map(|&p| only_user(p).filter(|&c| matches!(g.node(c).op, Op::Cast(d) if d.is_half())))
        .collect()
}

impl Partition {
    /// Decides for a graph. `forced` are nodes that an earlier attempt found impossible to inline; `half_products`: whether
    /// products read 16-bit floats.
    pub fn new(g: &Graph, forced: &BTreeSet<NodeId>, half_products: bool) -> Self {
        let live = g.live();
        let mut root = vec![false; g.len()];
        let mut stored = forced.clone();
        for id in g.roots() {
            root[base(g, id).index()] = true;
            stored.insert(base(g, id));
        }
        let alive: Vec<NodeId> = g.ids().filter(|id| live[id.index()]).collect();
        let absorbed = absorbed(g, &alive, &root);
        let of_halves = |&id: &NodeId| Some((id, halves(g, id, &absorbed).filter(|_| half_products)?));
        let halves: BTreeMap<NodeId, [NodeId; 2]> = alive.iter().filter_map(of_halves).collect();
        for &id in &alive {
            let node = g.node(id);
            if opaque(&node.op) && !absorbed.contains(&id) {
                stored.insert(id);
            }
            match halves.get(&id) {
                Some(sources) => stored.extend(sources),
                None if absorbed.contains(&id) => {
                    stored.insert(base(g, node.inputs[0]));
                }
                None if needs_buffers(&node.op) => {
                    let of =
                        |&i: &NodeId| base(g, if absorbed.contains(&i) { g.node(i).inputs[1] } else { i });
                    stored.extend(node.inputs.iter().map(of));
                }
                None => {}
            }
        }
        let cost = Self::costs(g, &alive, &stored);
        // What a repeating axis would compute again and again.
        for &id in &alive {
            if let Op::Broadcast(_) = g.node(id).op {
                let mut x = g.node(id).inputs[0];
                while matches!(g.node(x).op, Op::Reshape(_) | Op::Broadcast(_) | Op::Transpose(_)) {
                    x = g.node(x).inputs[0];
                }
                let grows = g.ty(id).len() > 4 * g.ty(x).len();
                if cost[x.index()] > 0 && grows {
                    stored.insert(x);
                }
            }
        }
        let cost = Self::costs(g, &alive, &stored);
        let needed = stored.clone();
        Self::share(g, (&alive, &halves), &cost, &mut stored);
        // From the results back, the last value of a chain is found first. Where what it is made of is stored, too,
        // it may cost little to make it again.
        let mut cost = vec![0u64; g.len()];
        for &id in &alive {
            let from = Self::cost_of(g, id, &stored, &cost);
            if !needed.contains(&id) && from < REPEAT_LIMIT {
                stored.remove(&id);
            }
            cost[id.index()] = from;
        }
        let mut users = Self::share(g, (&alive, &halves), &cost, &mut stored);
        let rounded = rounded(g, &alive, halves.keys(), &users, &root);
        if !rounded.is_empty() {
            stored.extend(rounded);
            users = Self::share(g, (&alive, &halves), &cost, &mut stored);
        }
        Partition { stored, users, root, halves }
    }

    /// Stores what several need and is dear; returns the users of each node.
    fn share(
        g: &Graph,
        (alive, halves): (&[NodeId], &BTreeMap<NodeId, [NodeId; 2]>),
        cost: &[u64],
        stored: &mut BTreeSet<NodeId>,
    ) -> Vec<BTreeSet<NodeId>> {
        let mut users: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); g.len()];
        for &id in alive.iter().rev() {
            if users[id.index()].len() >= 2 && cost[id.index()] >= REPEAT_LIMIT {
                stored.insert(id);
            }
            let through: BTreeSet<NodeId> =
                if stored.contains(&id) { BTreeSet::from([id]) } else { users[id.index()].clone() };
            for i in g.node(id).inputs.clone() {
                users[i.index()].extend(&through);
            }
            // Also where the cast between is stored for others: the product reads what it is of.
            for source in halves.get(&id).into_iter().flatten() {
                users[source.index()].insert(id);
            }
        }
        users
    }

    /// Cost of one element of each node, operands included that are not stored.
    fn costs(g: &Graph, alive: &[NodeId], stored: &BTreeSet<NodeId>) -> Vec<u64> {
        let mut cost = vec![0u64; g.len()];
        for &id in alive {
            cost[id.index()] = Self::cost_of(g, id, stored, &cost);
        }
        cost
    }

    /// Cost of a node's element, given its operands'.
    fn cost_of(g: &Graph, id: NodeId, stored: &BTreeSet<NodeId>, cost: &[u64]) -> u64 {
        let node = g.node(id);
        let operands =
            node.inputs.iter().filter(|i| !stored.contains(i)).map(|i| cost[i.index()]).sum::<u64>();
        if opaque(&node.op) { 0 } else { own_cost(&node.op).saturating_add(operands) }
    }
}
