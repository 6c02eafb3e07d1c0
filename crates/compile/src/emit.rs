//! From nodes to expressions: the body of one loop or epilogue.

use crate::index::{self, Map};
use crate::partition::base;
use std::collections::HashMap;
use thalweg_device::plan::{Access, Body, BufferId, Expr, ExprId};
use thalweg_graph::{DType, Graph, NodeId, Op, ScalarOp};

/// Where the values of stored nodes are.
pub type Homes = HashMap<NodeId, BufferId>;

/// Why a node cannot be computed inside this body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// This node must be stored first.
    Store(NodeId),
    /// Two results of one loop are needed at different indices of each other.
    Conflict,
}

/// Emits expressions for nodes over one space.
pub struct Emitter<'a> {
    graph: &'a Graph,
    homes: &'a Homes,
    space: &'a [usize],
    /// Stored nodes that this same loop computes: element-wise ones may be used at the same index.
    members: &'a [NodeId],
    /// In an epilogue: the contraction whose accumulated value is at hand.
    accumulated: Option<NodeId>,
    body: Body,
    known: HashMap<(NodeId, Map), ExprId>,
}

impl<'a> Emitter<'a> {
    /// An emitter of a loop over `space` that computes `members`.
    pub fn new(graph: &'a Graph, homes: &'a Homes, space: &'a [usize], members: &'a [NodeId]) -> Self {
        Emitter { graph, homes, space, members, accumulated: None, body: Body::new(), known: HashMap::new() }
    }

    /// With a contraction's value as a leaf.
    pub fn with_accumulated(mut self, node: NodeId) -> Self {
        self.accumulated = Some(node);
        self
    }

    /// The body so far.
    pub fn finish(self) -> Body {
        self.body
    }

    /// The value of a node whose type has the loop's shape, at the loop's index.
    pub fn root(&mut self, node: NodeId) -> Result<ExprId, Obstacle> {
        let map = self.own_map(node);
        self.compute(node, &map)
    }

    /// The operand of a reduction, at the loop's index.
    pub fn operand(&mut self, node: NodeId) -> Result<ExprId, Obstacle> {
        let map = self.own_map(node);
        self.value(node, &map)
    }

    /// The map of a node that has the loop's shape: a scalar in a loop over [1], a matrix in one over [1, m, n].
    fn own_map(&self, node: NodeId) -> Map {
        let mut map = index::identity(self.space);
        map.drain(..self.space.len().saturating_sub(self.graph.shape(node).len()));
        map
    }

    /// The value of a node at mapped indices, from memory if it is stored.
    fn value(&mut self, node: NodeId, map: &Map) -> Result<ExprId, Obstacle> {
        if self.accumulated == Some(node) {
            return if *map == self.own_map(node) {
                Ok(self.body.push(Expr::Acc, DType::F32))
            } else {
                Err(Obstacle::Conflict)
            };
        }
        if self.members.contains(&node) {
            let same = *map == self.own_map(node);
            let elementwise = !matches!(self.graph.node(node).op, Op::Reduce(..));
            return if same && elementwise { self.compute(node, map) } else { Err(Obstacle::Conflict) };
        }
        match self.homes.get(&node) {
            Some(&buffer) => Ok(self.load(buffer, node, map)),
            None => self.compute(node, map),
        }
    }

    fn load(&mut self, buffer: BufferId, node: NodeId, map: &Map) -> ExprId {
        let ty = self.graph.ty(node);
        let at = index::linear(map, &ty.shape, self.space.len());
        let access = Access { buffer, offset: at.offset, strides: at.strides };
        self.body.push(Expr::Load(access), ty.dtype)
    }

    /// An operation; of 16-bit floats it is computed in f32 and rounded, where there is something to round.
    fn scalar(&mut self, op: ScalarOp, args: Vec<ExprId>, dtype: DType) -> ExprId {
        if !(dtype.is_half() && op.rounds()) {
            return self.body.push(Expr::Op(op, args), dtype);
        }
        let wide = args.into_iter().map(|a| self.body.push(Expr::Cast(a), DType::F32)).collect();
        let exact = self.body.push(Expr::Op(op, wide), DType::F32);
        self.body.push(Expr::Cast(exact), dtype)
    }

    /// A reshape that is no index map: its operand is read as the dense buffer it is, or must become one.
    fn reshaped(&mut self, node: NodeId, map: &Map) -> Result<ExprId, Obstacle> {
        let under = base(self.graph, node);
        match self.homes.get(&under) {
            Some(_) if self.members.contains(&under) || self.accumulated == Some(under) => {
                Err(Obstacle::Conflict)
            }
            Some(&buffer) => Ok(self.load(buffer, node, map)),
            None => Err(Obstacle::Store(under)),
        }
    }

    /// The value of a node, computed here.
    fn compute(&mut self, node: NodeId, map: &Map) -> Result<ExprId, Obstacle> {
        let key = (node, map.clone());
        if let Some(&e) = self.known.get(&key) {
            return Ok(e);
        }
        let n = self.graph.node(node);
        let dtype = n.ty.dtype;
        let e = match &n.op {
            Op::Const(c) => self.body.push(Expr::Const(*c), dtype),
            Op::Iota { axis, .. } => {
                let a = &map[*axis];
                let strides = a.strides.iter().map(|&s| s as i32).collect();
                self.body.push(Expr::Index { offset: a.offset as i32, strides }, dtype)
            }
            Op::Random { seed, stream, shape } => {
                let at = index::linear(map, shape, self.space.len());
                let strides = at.strides.iter().map(|&s| s as i32).collect();
                let element = self.body.push(Expr::Index { offset: at.offset as i32, strides }, DType::I32);
                let step = self.value(n.inputs[0], &Map::new())?;
                self.body.push(Expr::Random { seed: *seed, stream: *stream, element, step }, dtype)
            }
            Op::Scalar(op) => {
                let args = n.inputs.iter().map(|&i| self.value(i, map)).collect::<Result<Vec<_>, _>>()?;
                self.scalar(*op, args, dtype)
            }
            Op::Cast(_) => {
                let x = self.value(n.inputs[0], map)?;
                self.body.push(Expr::Cast(x), dtype)
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Flip(_) => {
                let x = n.inputs[0];
                let from = self.graph.shape(x);
                match index::through(&n.op, map, from, &n.ty.shape, self.space) {
                    Some(inner) => self.value(x, &inner)?,
                    None => self.reshaped(node, map)?,
                }
            }
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
            | Op::Unpool(_) => return Err(Obstacle::Store(node)),
        };
        self.known.insert(key, e);
        Ok(e)
    }
}
