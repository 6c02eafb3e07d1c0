//! Fusion: which stored nodes one kernel computes.
//!
//! In: a graph and its partition. Out: [`Item`]s, each of which lowers to one kernel (or a few, for padding and
//! concatenation). Loops over the same space that share operands or feed each other index by index are joined;
//! a contraction takes the element-wise work behind it, and the max pooling behind that.

use crate::emit::{Emitter, Homes, Obstacle};
use crate::partition::{Partition, base};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_device::plan::{Body, ExprId, PoolEpilogue};
use thalweg_graph::{DType, Graph, NodeId, Op, PoolDims, PoolKind};

/// Results one loop may have, and expressions in its body: beyond, registers and caches no longer hold it.
const MAX_OUTS: usize = 8;
const MAX_EXPRS: usize = 96;

/// What becomes a kernel.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// Element-wise results and reductions over one space.
    Loop {
        /// Its stored nodes; a reduction's space is its operand's shape.
        members: Vec<NodeId>,
        /// The space.
        space: Vec<usize>,
        /// Axes reduced by its reductions, if it has any.
        axes: Option<Vec<usize>>,
    },
    /// A product; `result` is what it stores: itself, or the element-wise node behind it.
    Contraction {
        /// The dot or convolution.
        product: NodeId,
        /// The last node of the epilogue.
        result: NodeId,
        /// Pooling behind the result: (geometry, values, positions).
        pool: Option<(PoolDims, NodeId, Option<NodeId>)>,
    },
    /// A pooling on its own: of the operand, (values, positions).
    Pool {
        /// Combination.
        kind: PoolKind,
        /// Geometry.
        dims: PoolDims,
        /// Image.
        x: NodeId,
        /// Values.
        out: Option<NodeId>,
        /// Positions.
        arg: Option<NodeId>,
    },
    /// Any other node, one kernel kind each (or loops: padding, concatenation).
    Single(NodeId),
}

impl Item {
    /// Stored nodes it computes.
    pub fn outputs(&self) -> Vec<NodeId> {
        match self {
            Item::Loop { members, .. } => members.clone(),
            Item::Contraction { result, pool: None, .. } => vec![*result],
            Item::Contraction { pool: Some((_, out, arg)), .. } => {
                [Some(*out), *arg].into_iter().flatten().collect()
            }
            Item::Pool { out, arg, .. } => [*out, *arg].into_iter().flatten().collect(),
            Item::Single(id) => vec![*id],
        }
    }
}

/// The space and reduced axes of a stored node that a loop can compute.
fn loop_space(g: &Graph, id: NodeId) -> (Vec<usize>, Option<Vec<usize>>) {
    let node = g.node(id);
    let (shape, axes) = match &node.op {
        Op::Reduce(_, axes) => (g.shape(node.inputs[0]), Some(axes.clone())),
        _ => (&node.ty.shape[..], None),
    };
    (if shape.is_empty() { vec![1] } else { shape.to_vec() }, axes)
}

/// The body of a loop and the value of each member.
pub fn loop_body(
    g: &Graph,
    homes: &Homes,
    members: &[NodeId],
    space: &[usize],
) -> Result<(Body, Vec<ExprId>), Obstacle> {
    let mut emitter = Emitter::new(g, homes, space, members);
    let mut values = Vec::new();
    for &m in members {
        values.push(match g.node(m).op {
            Op::Reduce(..) => emitter.operand(g.node(m).inputs[0])?,
            _ => emitter.root(m)?,
        });
    }
    Ok((emitter.finish(), values))
}

/// The epilogue of a contraction: expressions from its accumulated value to `result`.
pub fn epilogue_body(
    g: &Graph,
    homes: &Homes,
    product: NodeId,
    result: NodeId,
) -> Result<(Body, ExprId), Obstacle> {
    let shape = g.shape(product);
    let space = match shape.len() {
        // A matrix product's epilogue runs over [batch, m, n].
        2 => vec![1, shape[0], shape[1]],
        3 | 4 => shape.to_vec(),
        _ => return Err(Obstacle::Conflict),
    };
    if matches!(g.node(product).op, Op::Dot { .. }) && space.len() == 4 {
        return Err(Obstacle::Conflict);
    }
    let mut emitter = Emitter::new(g, homes, &space, &[]).with_accumulated(product);
    let value = if result == product { emitter.operand(result)? } else { emitter.root(result)? };
    Ok((emitter.finish(), value))
}

/// Decides all items. `Err` names a node that must be stored first.
pub fn items(g: &Graph, p: &Partition, homes: &Homes) -> Result<Vec<Item>, NodeId> {
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    let mut items = Vec::new();
    for &id in &p.stored {
        if matches!(
            g.node(id).op,
            Op::Dot { .. } | Op::Conv(_) | Op::ConvInputGrad(_) | Op::ConvFilterGrad(_)
        ) {
            let item = contraction(g, p, homes, id, &taken);
            taken.extend(item.outputs());
            if let Item::Contraction { product, result, .. } = item {
                taken.extend([product, result]);
            }
            items.push(item);
        }
    }
    let mut loops = Vec::new();
    for &id in p.stored.iter().filter(|id| !taken.contains(id)) {
        let node = g.node(id);
        match &node.op {
            Op::Input(_) | Op::State(_) => {}
            Op::ArgMax(_) | Op::TopK(_) | Op::Gather(_) | Op::Suppress | Op::Unpool(_) => {
                items.push(Item::Single(id));
            }
            Op::Concat(_) | Op::Pad { .. } => {
                for &x in &node.inputs {
                    if let Err(Obstacle::Store(x)) = Emitter::new(g, homes, g.shape(x), &[]).operand(x) {
                        return Err(base(g, x));
                    }
                }
                items.push(Item::Single(id));
            }
            Op::Pool(kind, d) => {
                let twin = p.stored.iter().copied().find(|&o| {
                    *kind == PoolKind::Max
                        && g.node(o).op == Op::ArgPool(*d)
                        && g.node(o).inputs == node.inputs
                });
                items.push(Item::Pool { kind: *kind, dims: *d, x: node.inputs[0], out: Some(id), arg: twin });
            }
            Op::ArgPool(d) => {
                let pool = Op::Pool(PoolKind::Max, *d);
                let twin = p.stored.iter().any(|&o| g.node(o).op == pool && g.node(o).inputs == node.inputs);
                if !twin {
                    items.push(Item::Pool {
                        kind: PoolKind::Max,
                        dims: *d,
                        x: node.inputs[0],
                        out: None,
                        arg: Some(id),
                    });
                }
            }
            _ => {
                let (space, axes) = loop_space(g, id);
                if let Err(Obstacle::Store(x)) = loop_body(g, homes, &[id], &space) {
                    return Err(base(g, x));
                }
                loops.push((vec![id], space, axes));
            }
        }
    }
    items.extend(join(g, p, homes, &items, loops));
    Ok(items)
}

/// A product with what can be done behind it, unless another product has `taken` it: the sum of two products is
/// the epilogue of one of them.
fn contraction(g: &Graph, p: &Partition, homes: &Homes, id: NodeId, taken: &BTreeSet<NodeId>) -> Item {
    let only = |id: NodeId| -> Vec<NodeId> {
        if p.root[id.index()] { Vec::new() } else { p.users[id.index()].iter().copied().collect() }
    };
    let mut result = id;
    if let [next] = only(id)[..] {
        let elementwise = matches!(g.node(next).op, Op::Scalar(_) | Op::Cast(_));
        // An optimizer's work stays together in one loop, which can update its states in place.
        let update = g.updates.iter().any(|u| base(g, u.node) == next);
        let plain = !update && !matches!(g.node(id).op, Op::ConvFilterGrad(_));
        if elementwise
            && plain
            && !taken.contains(&next)
            && g.shape(next) == g.shape(id)
            && stores(g, p, id, next)
            && epilogue_body(g, homes, id, next).is_ok()
        {
            result = next;
        }
    }
    let mut pool = None;
    let readers = only(result);
    if let (Op::Conv(_), false) = (&g.node(id).op, readers.is_empty()) {
        let of =
            |op: &Op| readers.iter().copied().find(|&r| g.node(r).op == *op && g.node(r).inputs == [result]);
        let dims = readers.iter().find_map(|&r| match g.node(r).op {
            Op::Pool(PoolKind::Max, d) if PoolEpilogue::fits(&d) => Some(d),
            _ => None,
        });
        if let Some(d) = dims {
            let (out, arg) = (of(&Op::Pool(PoolKind::Max, d)), of(&Op::ArgPool(d)));
            if let (Some(out), true) = (out, readers.len() == 1 + usize::from(arg.is_some())) {
                pool = Some((d, out, arg));
            }
        }
    }
    Item::Contraction { product: id, result, pool }
}

/// Whether a product can store a result of that type: f32, or that of its 16-bit operands.
fn stores(g: &Graph, p: &Partition, product: NodeId, result: NodeId) -> bool {
    let dtype = g.ty(result).dtype;
    dtype == DType::F32 || p.halves.get(&product).is_some_and(|of| g.ty(of[0]).dtype == dtype)
}

type LoopParts = (Vec<NodeId>, Vec<usize>, Option<Vec<usize>>);

/// Joins loops over one space.
fn join(g: &Graph, p: &Partition, homes: &Homes, others: &[Item], loops: Vec<LoopParts>) -> Vec<Item> {
    let mut groups = Groups::new(g, p, others, &loops);
    let mut parts: Vec<Option<LoopParts>> = loops.into_iter().map(Some).collect();
    let mut by_space: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (i, l) in parts.iter().enumerate() {
        by_space.entry(l.iter().flat_map(|l| l.1.clone()).collect()).or_default().push(i);
    }
    for (space, peers) in by_space {
        for (n, &a) in peers.iter().enumerate() {
            for &b in &peers[n + 1..] {
                let (Some(la), Some(lb)) = (&parts[a], &parts[b]) else { continue };
                let axes = match (&la.2, &lb.2) {
                    (Some(x), Some(y)) if x != y => continue,
                    (x, y) => x.clone().or_else(|| y.clone()),
                };
                let related = space == [1] || groups.share(&la.0, &lb.0);
                if la.0.len() + lb.0.len() > MAX_OUTS || !related || groups.between(a, b) {
                    continue;
                }
                let mut members: Vec<NodeId> = la.0.iter().chain(&lb.0).copied().collect();
                members.sort_unstable();
                match loop_body(g, homes, &members, &space) {
                    Ok((body, _)) if body.len() <= MAX_EXPRS => {}
                    _ => continue,
                }
                groups.unite(a, b);
                parts[a] = Some((members, space.clone(), axes));
                parts[b] = None;
            }
        }
    }
    let item = |(members, space, axes)| Item::Loop { members: read_outside(g, p, members), space, axes };
    parts.into_iter().flatten().map(item).collect()
}

/// Members without the element-wise ones that only this loop reads: it computes them, and stores nothing.
fn read_outside(g: &Graph, p: &Partition, members: Vec<NodeId>) -> Vec<NodeId> {
    let needed = |m: &NodeId| {
        p.root[m.index()]
            || matches!(g.node(*m).op, Op::Reduce(..))
            || p.users[m.index()].iter().any(|u| !members.contains(u))
    };
    members.iter().copied().filter(needed).collect()
}

/// Which kernel computes each stored node, and what it reads. Loops have the first numbers.
struct Groups {
    /// Per node: its group.
    of: Vec<Option<usize>>,
    /// Per group: its stored nodes.
    members: Vec<Vec<NodeId>>,
    /// Per node, the stored nodes its computation reads.
    reads: Vec<Vec<NodeId>>,
}

impl Groups {
    fn new(g: &Graph, p: &Partition, others: &[Item], loops: &[LoopParts]) -> Groups {
        let mut reads = vec![Vec::new(); g.len()];
        for &x in &p.stored {
            for user in &p.users[x.index()] {
                reads[user.index()].push(x);
            }
        }
        let mut groups = Groups { of: vec![None; g.len()], members: Vec::new(), reads };
        for l in loops {
            groups.add(l.0.clone());
        }
        for item in others {
            let mut nodes = item.outputs();
            if let Item::Contraction { product, result, .. } = item {
                nodes.extend([*product, *result]);
            }
            groups.add(nodes);
        }
        groups
    }

    fn add(&mut self, nodes: Vec<NodeId>) {
        for n in &nodes {
            self.of[n.index()] = Some(self.members.len());
        }
        self.members.push(nodes);
    }

    fn unite(&mut self, a: usize, b: usize) {
        let moved = std::mem::take(&mut self.members[b]);
        for n in &moved {
            self.of[n.index()] = Some(a);
        }
        self.members[a].extend(moved);
    }

    /// Whether two loops read a common operand, or one reads the other.
    fn share(&self, a: &[NodeId], b: &[NodeId]) -> bool {
        let reads = |m: &[NodeId], x: NodeId| m.iter().any(|m| self.reads[m.index()].contains(&x));
        let common = |m: &NodeId| self.reads[m.index()].iter().any(|&x| reads(b, x));
        a.iter().any(common) || a.iter().any(|&x| reads(b, x)) || b.iter().any(|&x| reads(a, x))
    }

    /// Groups that a group reads, itself left out.
    fn sources(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        self.members[group]
            .iter()
            .flat_map(|m| &self.reads[m.index()])
            .filter_map(|r| self.of[r.index()])
            .filter(move |&s| s != group)
    }

    /// Whether a path leads from one group to the other through a third: joined, they would wait for themselves.
    fn between(&self, a: usize, b: usize) -> bool {
        let mut seen = vec![false; self.members.len()];
        for (from, to) in [(a, b), (b, a)] {
            seen.fill(false);
            seen[to] = true;
            let mut open: Vec<usize> = self.sources(to).filter(|&s| s != from).collect();
            while let Some(x) = open.pop() {
                if x == from {
                    return true;
                }
                if !std::mem::replace(&mut seen[x], true) {
                    open.extend(self.sources(x));
                }
            }
        }
        false
    }
}
