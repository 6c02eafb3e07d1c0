//! What no device does in 16 bits, done in f32: sums, products, poolings, choices.
//!
//! In: a simplified graph. Out: an equal one in which every reduction and every kernel that reads whole buffers (but those
//! that only move elements) reads and writes f32; its result is rounded once, as the operation means it. f32 holds every
//! 16-bit number, so where a result needs no rounding (a maximum, what only moves) the next such operation reads it as
//! it is. Without 16-bit nodes the graph stays what it is.
//!
//! Where a device multiplies 16-bit floats as they are, operands of products are casts of them, which lowering leaves out.

use crate::partition::takes_unpooled;
use std::collections::HashMap;
use thalweg_graph::{DType, Graph, NodeId, Op, PoolKind, ReduceKind, Update};

/// Rewrites; `None` where there is nothing to rewrite. `half_products`: whether products read 16-bit floats as they are.
pub fn widen(graph: &Graph, half_products: bool) -> Option<Graph> {
    let half = |id: NodeId| graph.ty(id).dtype.is_half();
    if !graph.ids().any(half) {
        return None;
    }
    let live = graph.live();
    let mut w = Widening { out: graph.like(), wide: HashMap::new(), half_products };
    let mut map: Vec<Option<NodeId>> = vec![None; graph.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let inputs: Vec<NodeId> =
            node.inputs.iter().map(|i| map[i.index()].expect("operands come first")).collect();
        w.out.set_scope(graph.scope_of(id));
        map[id.index()] = Some(match w.rewrite(&node.op, &inputs, node.ty.dtype) {
            Some(new) => new,
            None => w.out.copy(graph, id, &inputs),
        });
    }
    let new = |id: NodeId| map[id.index()].expect("roots are live");
    for o in &graph.outputs {
        w.out.output(&o.name, new(o.node));
    }
    w.out.updates = graph.updates.iter().map(|u| Update { state: u.state, node: new(u.node) }).collect();
    Some(w.out)
}

struct Widening {
    out: Graph,
    /// f32 nodes that are known to equal a 16-bit one.
    wide: HashMap<NodeId, NodeId>,
    half_products: bool,
}

impl Widening {
    /// The operation in f32, rounded to `dtype`; `None` where it stays.
    fn rewrite(&mut self, op: &Op, x: &[NodeId], dtype: DType) -> Option<NodeId> {
        if !x.iter().any(|&x| self.out.ty(x).dtype.is_half()) {
            return None;
        }
        let exact = match op {
            Op::Reduce(kind, _) => *kind == ReduceKind::Max,
            Op::Pool(kind, _) => *kind == PoolKind::Max,
            // Where windows are apart nothing is added.
            Op::Unpool(d) => d.disjoint(),
            Op::Dot { .. } | Op::Conv(_) | Op::ConvInputGrad(_) | Op::ConvFilterGrad(_) => false,
            Op::ArgMax(_) | Op::TopK(_) | Op::ArgPool(_) => false,
            _ => return None,
        };
        let product =
            matches!(op, Op::Dot { .. } | Op::Conv(_) | Op::ConvInputGrad(_) | Op::ConvFilterGrad(_));
        let operands = self.half_products && (product || matches!(op, Op::Unpool(_)));
        let of = |(i, &x): (usize, &NodeId)| match operands {
            true => self.operand(op, i, x),
            false => self.widened(x),
        };
        let inputs: Vec<NodeId> = x.iter().enumerate().map(of).collect();
        let result = self.out.op(op.clone(), &inputs);
        if !dtype.is_half() {
            return Some(result);
        }
        let rounded = self.out.cast(result, dtype);
        if exact {
            self.wide.insert(rounded, result);
        }
        Some(rounded)
    }

    /// An operand of what reads 16 bits: a cast of them, but where the product takes what was unpooled.
    fn operand(&mut self, user: &Op, i: usize, x: NodeId) -> NodeId {
        let known = self.wide.get(&x).copied();
        match known.filter(|&w| takes_unpooled(&self.out, user, i, w)) {
            Some(unpooled) => unpooled,
            None if self.out.ty(x).dtype.is_half() => self.out.cast(x, DType::F32),
            None => x,
        }
    }

    /// An f32 node that equals this one; itself if it is no 16-bit float.
    fn widened(&mut self, x: NodeId) -> NodeId {
        if !self.out.ty(x).dtype.is_half() {
            return x;
        }
        if let Some(&known) = self.wide.get(&x) {
            return known;
        }
        let node = self.out.node(x).clone();
        let wide = match node.op {
            Op::Reshape(shape) => {
                let inner = self.widened(node.inputs[0]);
                self.out.reshape(inner, &shape)
            }
            _ => self.out.cast(x, DType::F32),
        };
        self.wide.insert(x, wide);
        wide
    }
}
