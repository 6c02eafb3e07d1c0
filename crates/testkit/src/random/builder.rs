//! The growing graph with the values of its nodes, and random choices from it.

use thalweg_base::{DType, philox::Sequence};
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{Graph, NodeId, Op, Type, ops};

/// Elements a tensor may have.
pub const MOST: usize = 2000;
/// Largest magnitude of a value that is built upon.
const LARGEST: f64 = 4.0;

/// A graph, its feeds, and every node's value.
pub struct Builder {
    pub graph: Graph,
    pub feeds: Feeds,
    values: Vec<Tensor>,
    random: Sequence,
    step: Option<NodeId>,
}

impl Builder {
    pub fn new(random: Sequence) -> Self {
        Builder { graph: Graph::new(), feeds: Feeds::default(), values: Vec::new(), random, step: None }
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u32) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.random.below(items.len() as u32) as usize]
    }

    /// In `low..high`, exact in f32.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        f64::from((low + (high - low) * f64::from(self.random.next_unit())) as f32)
    }

    /// A small extent; now and then one past a vector register.
    pub fn extent(&mut self) -> usize {
        match self.below(8) {
            0 => 1,
            1 => 16 + self.below(4),
            _ => 2 + self.below(6),
        }
    }

    /// The first leaves: an image, bytes of an image, a matrix or a vector, and perhaps labels.
    pub fn start(&mut self) {
        let n = 1 + self.below(3);
        match self.below(6) {
            0..=1 => {
                let shape = [n, 4 + self.below(6), 4 + self.below(6), 1 + self.below(4)];
                self.fresh(&shape, 1.0);
            }
            2 => {
                let shape = [n, 4 + self.below(4), 4 + self.below(4), 3];
                let x = self.declare(Type::new(DType::U8, &shape), |b| b.below(256) as f64);
                let x = self.graph.cast(x, DType::F32);
                self.graph.scale(x, 1.0 / 255.0);
            }
            3..=4 => {
                let shape = [self.extent(), self.extent()];
                self.fresh(&shape, 1.0);
            }
            _ => {
                let shape = [self.extent()];
                self.fresh(&shape, 1.0);
            }
        }
        if self.once_in(3) {
            self.declare(Type::new(DType::I32, &[n]), |b| b.below(7) as f64 - 1.0);
        }
        self.evaluate();
    }

    /// A new input or state of that type.
    fn declare(&mut self, ty: Type, value: impl FnMut(&mut Self) -> f64) -> NodeId {
        let state = self.once_in(2);
        self.declare_as(state, ty, value)
    }

    /// A new input or state (as told) of that type.
    fn declare_as(&mut self, state: bool, ty: Type, mut value: impl FnMut(&mut Self) -> f64) -> NodeId {
        let data = (0..ty.len()).map(|_| value(self)).collect();
        let tensor = Tensor::new(&ty.shape, data);
        let id = if state {
            self.feeds.states.push(tensor);
            self.graph.state(&format!("part/s{}", self.graph.states.len()), ty)
        } else {
            self.feeds.inputs.push(tensor);
            self.graph.input(&format!("x{}", self.graph.inputs.len()), ty)
        };
        self.evaluate();
        id
    }

    /// A new f32 input or state with values in `-size..size`: in half of all cases multiples of 1/64, so that
    /// there are ties and exact sums.
    pub fn fresh(&mut self, shape: &[usize], size: f64) -> NodeId {
        let coarse = self.once_in(2);
        self.declare(Type::f32(shape), |b| Self::value(b, size, coarse))
    }

    /// The same, certainly a state.
    pub fn fresh_state(&mut self, shape: &[usize], size: f64) -> NodeId {
        self.declare_as(true, Type::f32(shape), |b| Self::value(b, size, false))
    }

    fn value(&mut self, size: f64, coarse: bool) -> f64 {
        let v = self.uniform(-size, size);
        if coarse { (v * 64.0).round() / 64.0 } else { v }
    }

    /// The step counter: an i32 scalar state that is counted up.
    pub fn step(&mut self) -> NodeId {
        if let Some(step) = self.step {
            return step;
        }
        let step = self.declare_as(true, Type::new(DType::I32, &[]), |b| b.below(1000) as f64);
        let one = self.graph.constant_of(DType::I32, 1.0);
        let next = self.graph.add(step, one);
        self.graph.update(step, next);
        self.step = Some(step);
        step
    }

    /// Computes the values of new nodes.
    pub fn evaluate(&mut self) {
        for i in self.values.len()..self.graph.len() {
            let node = self.graph.node(NodeId(i as u32));
            let value = match &node.op {
                Op::Input(i) => self.feeds.inputs[i.0 as usize].clone(),
                Op::State(s) => self.feeds.states[s.0 as usize].clone(),
                op => {
                    let args: Vec<&Tensor> = node.inputs.iter().map(|x| &self.values[x.index()]).collect();
                    ops::reference(op, &node.ty, &args)
                }
            };
            self.values.push(value);
        }
    }

    /// Largest magnitude in a node's value.
    pub fn magnitude(&self, id: NodeId) -> f64 {
        let largest = |m: f64, v: &f64| if v.is_nan() { f64::INFINITY } else { m.max(v.abs()) };
        self.values[id.index()].data.iter().fold(0.0, largest)
    }

    /// A random f32 node of moderate values for which `fits` holds, later ones more often.
    pub fn pick(&mut self, fits: impl Fn(&Graph, NodeId) -> bool) -> Option<NodeId> {
        self.pick_typed(|g, id| g.ty(id).dtype == DType::F32 && fits(g, id))
    }

    /// A random node of any type for which `fits` holds, if its values are moderate (an integer's always are).
    pub fn pick_typed(&mut self, fits: impl Fn(&Graph, NodeId) -> bool) -> Option<NodeId> {
        let all: Vec<NodeId> = self
            .graph
            .ids()
            .filter(|&id| id.index() < self.values.len() && fits(&self.graph, id))
            .filter(|&id| self.graph.ty(id).dtype != DType::F32 || self.magnitude(id) <= LARGEST)
            .collect();
        if all.is_empty() {
            return None;
        }
        let at = self.below(all.len()).max(self.below(all.len()));
        Some(all[at])
    }

    /// Any f32 node.
    pub fn any(&mut self) -> NodeId {
        match self.pick(|_, _| true) {
            Some(id) => id,
            None => self.fresh(&[3, 5], 1.0),
        }
    }

    /// An f32 image: of rank 4, wide enough for a window.
    pub fn image(&mut self) -> NodeId {
        let fits = |g: &Graph, id: NodeId| {
            let s = g.shape(id);
            s.len() == 4 && s[1] >= 3 && s[2] >= 3 && s[1] <= 12 && s[2] <= 12 && s[3] <= 20
        };
        match self.pick(fits) {
            Some(id) => id,
            None => {
                let shape = [1 + self.below(2), 3 + self.below(6), 3 + self.below(6), 1 + self.below(4)];
                self.fresh(&shape, 1.0)
            }
        }
    }
}
