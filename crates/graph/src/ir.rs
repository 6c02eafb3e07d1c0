//! The arena: operations, nodes, and what a graph reads and writes.

use crate::{GraphError, Type, ops};
use std::collections::HashMap;
use thalweg_base::{ConvDims, DType, PoolDims, Scalar, ScalarOp};

/// Index of a node in its graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Index of an input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InputId(pub u32);

/// Index of a state: what lives on the device between steps (weights, optimizer slots, counters).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct StateId(pub u32);

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a reduction combines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Maximum.
    Max,
}

/// How a pooling combines. Elements in the padding do not take part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PoolKind {
    /// Maximum.
    Max,
    /// Sum; averages divide by a count afterwards.
    Sum,
}

/// `start..stop` by `step` along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    /// First index.
    pub start: usize,
    /// One past the last index that may be taken.
    pub stop: usize,
    /// Step, at least 1.
    pub step: usize,
}

impl Span {
    /// Number of elements taken.
    pub fn count(&self) -> usize {
        (self.stop - self.start).div_ceil(self.step)
    }
}

/// A primitive operation. Everything else is composed of these.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A value given at every step.
    Input(InputId),
    /// The value of a state before the step.
    State(StateId),
    /// A scalar constant.
    Const(Scalar),
    /// i32 tensor of `shape` that holds the index along `axis`.
    Iota {
        /// The counted axis.
        axis: usize,
        /// Shape of the result.
        shape: Vec<usize>,
    },
    /// Uniform f32 in [0, 1); the operand is the step (i32 scalar), the element its linear index.
    Random {
        /// Key.
        seed: u64,
        /// Which of the model's random sources.
        stream: u32,
        /// Shape of the result.
        shape: Vec<usize>,
    },
    /// An element-wise operation; operands have one shape.
    Scalar(ScalarOp),
    /// Conversion to another element type.
    Cast(DType),
    /// Same elements in the same order, other shape.
    Reshape(Vec<usize>),
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose(Vec<usize>),
    /// Repeats axes of extent 1 to the given shape; the rank stays.
    Broadcast(Vec<usize>),
    /// A strided part, one span per axis.
    Slice(Vec<Span>),
    /// The operand in a larger tensor of `value`: per axis (before, after, between).
    Pad {
        /// Elements before, after, and between neighbours, per axis.
        axes: Vec<(usize, usize, usize)>,
        /// What fills the rest.
        value: Scalar,
    },
    /// The operands one after another along an axis.
    Concat(usize),
    /// The order of these axes reversed.
    Flip(Vec<usize>),
    /// Reduction over these axes, which disappear. Ascending.
    Reduce(ReduceKind, Vec<usize>),
    /// i32 index of the first largest element along an axis, which disappears.
    ArgMax(usize),
    /// i32 indices of the so many largest elements along the last axis, best first; ties by index, NaN last.
    TopK(usize),
    /// Elements along an axis, at the i32 indices of the second operand `[axes before.., j]`; zero where there is none.
    Gather(usize),
    /// Of bool `[.., n, n]`: which elements of a sorted list no earlier kept one conflicts with.
    Suppress,
    /// Matrix product [..b, m, k] x [..b, k, n]; `ta`, `tb`: the operand's last two axes are swapped.
    Dot {
        /// Left operand is [..b, k, m].
        ta: bool,
        /// Right operand is [..b, n, k].
        tb: bool,
    },
    /// Convolution of (image, filter).
    Conv(ConvDims),
    /// Gradient of the image, of (output gradient, filter).
    ConvInputGrad(ConvDims),
    /// Gradient of the filter, of (image, output gradient).
    ConvFilterGrad(ConvDims),
    /// Pooling of an image.
    Pool(PoolKind, PoolDims),
    /// u8 position in the window (row-major) of the first largest element, per window.
    ArgPool(PoolDims),
    /// Puts each element of the second operand at its window's position that the first (an `ArgPool`) gives;
    /// adds up where windows overlap, zero elsewhere.
    Unpool(PoolDims),
}

/// A node: an operation on earlier nodes, with its type.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Operands; all earlier in the arena.
    pub inputs: Vec<NodeId>,
    /// Type of the value.
    pub ty: Type,
    /// Index of its scope, the layer it belongs to: [`Graph::scope_of`] gives the name.
    pub scope: u32,
}

/// A declared input.
#[derive(Clone, PartialEq, Debug)]
pub struct InputDecl {
    /// Unique name.
    pub name: String,
    /// Type.
    pub ty: Type,
}

/// A declared state.
#[derive(Clone, PartialEq, Debug)]
pub struct StateDecl {
    /// Unique name.
    pub name: String,
    /// Type.
    pub ty: Type,
}

/// A value the host can read after the step.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Unique name.
    pub name: String,
    /// Its node.
    pub node: NodeId,
}

/// A state's new value. All updates take effect together, after every read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Update {
    /// The state.
    pub state: StateId,
    /// Its value after the step.
    pub node: NodeId,
}

/// A graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    known: HashMap<(Op, Vec<NodeId>), NodeId>,
    /// Inputs in order.
    pub inputs: Vec<InputDecl>,
    /// States in order.
    pub states: Vec<StateDecl>,
    /// Outputs in order.
    pub outputs: Vec<Output>,
    /// New values of states, at most one each.
    pub updates: Vec<Update>,
    scopes: Vec<String>,
    scope: u32,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Graph { scopes: vec![String::new()], ..Default::default() }
    }

    /// Names the part of the model that following nodes belong to (a layer's path); shown in explanations.
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = match self.scopes.iter().position(|s| s == scope) {
            Some(i) => i as u32,
            None => {
                self.scopes.push(scope.to_string());
                self.scopes.len() as u32 - 1
            }
        };
    }

    /// The scope of a node.
    pub fn scope_of(&self, id: NodeId) -> &str {
        &self.scopes[self.node(id).scope as usize]
    }

    /// Declares an input and returns its node.
    pub fn input(&mut self, name: &str, ty: Type) -> NodeId {
        assert!(self.inputs.iter().all(|i| i.name != name), "input '{name}' is declared twice");
        let id = InputId(self.inputs.len() as u32);
        self.inputs.push(InputDecl { name: name.to_string(), ty: ty.clone() });
        self.insert(Op::Input(id), Vec::new(), ty)
    }

    /// Declares a state and returns the node of its value before the step.
    pub fn state(&mut self, name: &str, ty: Type) -> NodeId {
        assert!(self.states.iter().all(|s| s.name != name), "state '{name}' is declared twice");
        let id = StateId(self.states.len() as u32);
        self.states.push(StateDecl { name: name.to_string(), ty: ty.clone() });
        self.insert(Op::State(id), Vec::new(), ty)
    }

    /// Sets the value of `state` (a node made by [`Graph::state`]) after the step. The last call counts.
    pub fn update(&mut self, state: NodeId, value: NodeId) {
        let Op::State(id) = self.node(state).op else { panic!("update of a node that is not a state") };
        assert_eq!(self.ty(state), self.ty(value), "update of state '{}'", self.states[id.0 as usize].name);
        self.updates.retain(|u| u.state != id);
        self.updates.push(Update { state: id, node: value });
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, node: NodeId) {
        assert!(self.outputs.iter().all(|o| o.name != name), "output '{name}' is declared twice");
        self.outputs.push(Output { name: name.to_string(), node });
    }

    /// Adds an operation, or finds the equal one that is there. Errors say what does not fit.
    pub fn try_op(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let key = (op, inputs.to_vec());
        if let Some(&id) = self.known.get(&key) {
            return Ok(id);
        }
        let types: Vec<&Type> = inputs.iter().map(|&i| self.ty(i)).collect();
        let ty = ops::infer(&key.0, &types)?;
        Ok(self.insert(key.0, key.1, ty))
    }

    /// Adds an operation whose operands the caller has checked.
    #[track_caller]
    pub fn op(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        match self.try_op(op, inputs) {
            Ok(id) => id,
            Err(e) => panic!("{e}"),
        }
    }

    fn insert(&mut self, op: Op, inputs: Vec<NodeId>, ty: Type) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.known.insert((op.clone(), inputs.clone()), id);
        self.nodes.push(Node { op, inputs, ty, scope: self.scope });
        id
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.nodes[id.index()].ty
    }

    /// The shape of a node.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id.index()].ty.shape
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes, in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Nodes that the step needs: outputs and updates.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().map(|o| o.node).chain(self.updates.iter().map(|u| u.node))
    }

    /// For each node, whether a root depends on it.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        for r in self.roots() {
            live[r.index()] = true;
        }
        for id in self.ids().rev() {
            if live[id.index()] {
                for i in &self.node(id).inputs {
                    live[i.index()] = true;
                }
            }
        }
        live
    }

    /// An empty graph with the same inputs and states declared (and their nodes at the same indices order),
    /// for a pass that rebuilds. Returns the graph and, per old node, nothing yet.
    pub fn like(&self) -> Graph {
        Graph {
            inputs: self.inputs.clone(),
            states: self.states.clone(),
            scopes: self.scopes.clone(),
            ..Default::default()
        }
    }

    /// Adds the node of an already declared input or state (for passes that rebuild, and the parser).
    pub(crate) fn leaf(&mut self, op: Op) -> NodeId {
        if let Some(&id) = self.known.get(&(op.clone(), Vec::new())) {
            return id;
        }
        let ty = match &op {
            Op::Input(i) => self.inputs[i.0 as usize].ty.clone(),
            Op::State(s) => self.states[s.0 as usize].ty.clone(),
            other => panic!("{other:?} is not an input or a state"),
        };
        self.insert(op, Vec::new(), ty)
    }

    /// Copies node `id` of `from` with operands already in this graph, keeping its scope.
    pub fn copy(&mut self, from: &Graph, id: NodeId, inputs: &[NodeId]) -> NodeId {
        let node = from.node(id);
        self.scope = node.scope;
        match node.op {
            Op::Input(_) | Op::State(_) => self.leaf(node.op.clone()),
            _ => self.op(node.op.clone(), inputs),
        }
    }
}
