//! Lowering: a simplified graph to kernels over virtual buffers.

use crate::emit::Homes;
use crate::fuse::{self, Item};
use crate::partition::{Partition, base};
use crate::program::{Node, Program};
use crate::region::slices;
use crate::{Options, cost};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_device::plan::{
    self, Access, ArgMax, Binding, Body, BufferId, Contraction, DotDims, Entry, Epilogue, Expr, Gather,
    Kernel, Loop, LoopOut, PoolEpilogue, Product, Reduce, Role, Suppress, TopK, Unpool, Unpooled,
};
use thalweg_graph::{DType, Graph, NodeId, Op, PoolKind, ReduceKind, Type};

/// A reduction over axis 0 of at least this many elements is cut into parts, so that workers share it.
const SPLIT_ELEMENTS: usize = 32 * 1024;
/// Bytes that all partial filter gradients of one kernel may take; beyond, workers share output tiles instead.
const PARTIAL_BYTES: usize = 4 << 20;

/// Lowers a graph.
pub fn lower(g: &Graph, options: &Options) -> Program {
    let mut forced = BTreeSet::new();
    loop {
        match Lowering::try_new(g, options, &forced) {
            Ok(l) => return l.run(),
            Err(node) => assert!(forced.insert(node), "lowering asks twice to store %{}", node.0),
        }
    }
}

struct Lowering<'a> {
    g: &'a Graph,
    program: Program,
    homes: Homes,
    items: Vec<Item>,
    /// Products that read 16-bit floats: where they are.
    halves: BTreeMap<NodeId, [NodeId; 2]>,
    /// Kernels that write each buffer.
    writers: BTreeMap<BufferId, Vec<usize>>,
}

impl<'a> Lowering<'a> {
    fn try_new(g: &'a Graph, options: &Options, forced: &BTreeSet<NodeId>) -> Result<Self, NodeId> {
        let partition = Partition::new(g, forced, options.half_products);
        let mut program = Program { name: options.name.clone(), ..Program::default() };
        bind(g, &mut program);
        let mut homes = Homes::new();
        for &id in &partition.stored {
            let home = match g.node(id).op {
                Op::State(s) => BufferId(s.0),
                Op::Input(i) => BufferId(g.states.len() as u32 + i.0),
                _ => program.buffer(node_name(g, id), g.ty(id).dtype, g.ty(id).len()),
            };
            homes.insert(id, home);
        }
        let items = fuse::items(g, &partition, &homes)?;
        // What no kernel writes is computed where it is used.
        let written: BTreeSet<NodeId> = items.iter().flat_map(Item::outputs).collect();
        let leaf = |id: &NodeId| matches!(g.node(*id).op, Op::State(_) | Op::Input(_));
        homes.retain(|id, _| leaf(id) || written.contains(id));
        Ok(Lowering { g, program, homes, items, halves: partition.halves, writers: BTreeMap::new() })
    }

    fn run(mut self) -> Program {
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Loop { members, space, axes } => self.looped(&members, space, axes),
                Item::Contraction { product, result, pool } => self.contraction(product, result, pool),
                Item::Pool { kind, dims, x, out, arg } => {
                    let kind = match kind {
                        PoolKind::Max => plan::PoolKind::Max,
                        PoolKind::Sum => plan::PoolKind::Sum,
                    };
                    let (x, id) = (self.home(x), out.or(arg).expect("a pooling has a result"));
                    let (out, arg) = (out.map(|o| self.homes[&o]), arg.map(|a| self.homes[&a]));
                    self.push(id, Kernel::Pool(plan::Pool { kind, dims, x, out, arg }));
                }
                Item::Single(id) => self.single(id),
            }
        }
        self.depend();
        self.roots();
        self.program
    }

    /// The buffer of a stored node, or of the stored node it is a reshape of.
    fn home(&self, id: NodeId) -> BufferId {
        self.homes[&base(self.g, id)]
    }

    fn push(&mut self, id: NodeId, kernel: Kernel) -> usize {
        let scope = self.g.scope_of(id);
        let label =
            format!("{}{}{}", scope, if scope.is_empty() { "" } else { ": " }, kind(&kernel, self.g, id));
        self.push_labelled(label, kernel)
    }

    fn push_labelled(&mut self, label: String, kernel: Kernel) -> usize {
        let (flops, bytes) = cost::of(&kernel, &self.program);
        let at = self.program.kernels.len();
        for b in kernel.writes() {
            self.writers.entry(b).or_default().push(at);
        }
        self.program.kernels.push(Node { entry: Entry { label, kernel, flops, bytes }, after: Vec::new() });
        at
    }

    fn looped(&mut self, members: &[NodeId], space: Vec<usize>, axes: Option<Vec<usize>>) {
        let (body, values) =
            fuse::loop_body(self.g, &self.homes, members, &space).expect("fusion has tried it");
        let mut reduced = vec![false; space.len()];
        axes.iter().flatten().for_each(|&a| reduced[a] = true);
        let big = space.iter().product::<usize>() >= SPLIT_ELEMENTS;
        let parts = if reduced[0] && big { slices(space[0]).1 } else { 1 };
        let mut outs = Vec::new();
        let mut finals = Vec::new();
        for (&m, &value) in members.iter().zip(&values) {
            let node = self.g.node(m);
            let dense = |keep: &dyn Fn(usize) -> bool| {
                let mut strides = vec![0isize; space.len()];
                let mut step = 1isize;
                for d in (0..space.len()).rev().filter(|&d| keep(d)) {
                    strides[d] = if space[d] == 1 { 0 } else { step };
                    step *= space[d] as isize;
                }
                strides
            };
            let (reduce, strides) = match node.op {
                Op::Reduce(kind, _) => (Some(reduction(kind)), dense(&|d| !reduced[d])),
                _ => (None, dense(&|_| true)),
            };
            let mut buffer = self.homes[&m];
            let len = node.ty.len();
            if let (Some(how), true) = (reduce, parts > 1) {
                let partial =
                    self.program.buffer(format!("{} parts", node_name(self.g, m)), DType::F32, len * parts);
                finals.push((m, partial, how));
                buffer = partial;
            }
            let access = Access { buffer, offset: 0, strides };
            outs.push(LoopOut { value, reduce, access, part_stride: len as isize });
        }
        self.push(members[0], Kernel::Loop(Loop { space, reduced, parts, body, outs }));
        for (m, partial, how) in finals {
            self.combine(m, partial, parts, how);
        }
    }

    /// Adds up the `parts` partial results of a node in order.
    fn combine(&mut self, id: NodeId, partial: BufferId, parts: usize, how: Reduce) {
        let (out, len) = (self.homes[&id], self.g.ty(id).len());
        let mut body = Body::new();
        let load = Access { buffer: partial, offset: 0, strides: vec![len as isize, isize::from(len != 1)] };
        let value = body.push(Expr::Load(load), DType::F32);
        let access = Access { buffer: out, offset: 0, strides: vec![0, isize::from(len != 1)] };
        let outs = vec![LoopOut { value, reduce: Some(how), access, part_stride: 0 }];
        let kernel = Loop { space: vec![parts, len], reduced: vec![true, false], parts: 1, body, outs };
        let scope = self.g.scope_of(id);
        let label = format!("{}{}combine parts", scope, if scope.is_empty() { "" } else { ": " });
        self.push_labelled(label, Kernel::Loop(kernel));
    }

    fn contraction(
        &mut self,
        product: NodeId,
        result: NodeId,
        pool: Option<(thalweg_graph::PoolDims, NodeId, Option<NodeId>)>,
    ) {
        let node = self.g.node(product);
        let mut unpooled = None;
        let halves = self.halves.get(&product);
        let mut operand = |i: usize| {
            let x = node.inputs[i];
            let as_is = |x: NodeId| self.home(halves.map_or(x, |sources| sources[i]));
            let Op::Unpool(dims) = self.g.node(x).op else { return as_is(x) };
            if self.homes.contains_key(&x) {
                return as_is(x);
            }
            let (arg, dy) = (self.g.node(x).inputs[0], self.g.node(x).inputs[1]);
            unpooled = Some(Unpooled { dims, arg: self.home(arg) });
            as_is(dy)
        };
        let (a, b) = (operand(0), operand(1));
        let which = match &node.op {
            Op::Dot { ta, tb } => {
                let (x, r) = (self.g.shape(node.inputs[0]), node.ty.rank());
                let (m, n) = (node.ty.shape[r - 2], node.ty.shape[r - 1]);
                let k = if *ta { x[r - 2] } else { x[r - 1] };
                let batch = node.ty.shape[..r - 2].iter().product();
                Product::Dot(DotDims { batch, m, n, k, ta: *ta, tb: *tb })
            }
            Op::Conv(d) => Product::Conv(*d),
            Op::ConvInputGrad(d) => Product::ConvInputGrad(*d),
            Op::ConvFilterGrad(d) => Product::ConvFilterGrad(*d),
            other => unreachable!("{other:?} is not a contraction"),
        };
        let out = self.homes[&pool.map_or(result, |p| p.1)];
        let len = node.ty.len();
        let parts = match which {
            Product::ConvFilterGrad(d) if len * 4 * slices(d.n).1 <= PARTIAL_BYTES => slices(d.n).1,
            _ => 1,
        };
        let epilogue = (result != product || pool.is_some()).then(|| {
            let (body, value) =
                fuse::epilogue_body(self.g, &self.homes, product, result).expect("fusion has tried it");
            let pool = pool.map(|(dims, _, arg)| PoolEpilogue { dims, arg: arg.map(|a| self.homes[&a]) });
            Epilogue { body, value, pool }
        });
        let contraction = |out| {
            let plain = Contraction::new(which, [a, b, out]);
            Kernel::Contraction(Contraction { parts, unpooled, epilogue, ..plain })
        };
        if parts > 1 {
            let partial =
                self.program.buffer(format!("{} parts", node_name(self.g, product)), DType::F32, len * parts);
            self.push(product, contraction(partial));
            self.combine(product, partial, parts, Reduce::Sum);
        } else {
            self.push(product, contraction(out));
        }
    }

    fn single(&mut self, id: NodeId) {
        let node = self.g.node(id);
        let out = self.homes[&id];
        match &node.op {
            Op::ArgMax(axis) => {
                let shape = self.g.shape(node.inputs[0]);
                let kernel = ArgMax {
                    outer: shape[..*axis].iter().product(),
                    n: shape[*axis],
                    inner: shape[axis + 1..].iter().product(),
                    x: self.home(node.inputs[0]),
                    out,
                };
                self.push(id, Kernel::ArgMax(kernel));
            }
            Op::TopK(k) => {
                let shape = self.g.shape(node.inputs[0]);
                let (n, outer) = (shape[shape.len() - 1], node.ty.len() / k);
                let kernel = TopK { outer, n, k: *k, x: self.home(node.inputs[0]), out };
                self.push(id, Kernel::TopK(kernel));
            }
            Op::Gather(axis) => {
                let shape = self.g.shape(node.inputs[0]);
                let kernel = Gather {
                    outer: shape[..*axis].iter().product(),
                    n: shape[*axis],
                    count: node.ty.shape[*axis],
                    inner: shape[axis + 1..].iter().product(),
                    dtype: node.ty.dtype,
                    x: self.home(node.inputs[0]),
                    at: self.home(node.inputs[1]),
                    out,
                };
                self.push(id, Kernel::Gather(kernel));
            }
            Op::Suppress => {
                let n = node.ty.shape[node.ty.rank() - 1];
                let outer = node.ty.len() / n;
                let kernel = Suppress { outer, n, conflict: self.home(node.inputs[0]), out };
                self.push(id, Kernel::Suppress(kernel));
            }
            Op::Unpool(d) => {
                let (arg, dy) = (self.home(node.inputs[0]), self.home(node.inputs[1]));
                self.push(id, Kernel::Unpool(Unpool { dims: *d, arg, dy, out }));
            }
            Op::Concat(axis) => {
                let strides = signed_strides(&node.ty);
                let mut at = 0;
                let mut before = None;
                for &x in &node.inputs {
                    let piece = self.place(id, x, out, at * strides[*axis], strides.clone());
                    // One after another: kernels of one launch write buffers of their own.
                    self.program.kernels[piece].after.extend(before.replace(piece));
                    at += self.g.shape(x)[*axis] as isize;
                }
            }
            Op::Pad { axes, value } => {
                let mut body = Body::new();
                let v = body.push(Expr::Const(*value), value.dtype());
                let access = Access { buffer: out, offset: 0, strides: vec![1] };
                let outs = vec![LoopOut { value: v, reduce: None, access, part_stride: 0 }];
                let fill = Loop { space: vec![node.ty.len()], reduced: vec![false], parts: 1, body, outs };
                let fill = self.push(id, Kernel::Loop(fill));
                let strides = signed_strides(&node.ty);
                let offset = axes.iter().zip(&strides).map(|(a, s)| a.0 as isize * s).sum();
                let steps = axes.iter().zip(&strides).map(|(a, s)| (a.2 as isize + 1) * s).collect();
                let inner = self.place(id, node.inputs[0], out, offset, steps);
                self.program.kernels[inner].after.push(fill);
            }
            other => unreachable!("{other:?} is not lowered on its own"),
        }
    }

    /// A loop that computes `x` into a strided part of `out`.
    fn place(&mut self, id: NodeId, x: NodeId, out: BufferId, offset: isize, strides: Vec<isize>) -> usize {
        let space = self.g.shape(x).to_vec();
        let mut emitter = crate::emit::Emitter::new(self.g, &self.homes, &space, &[]);
        let value = emitter.operand(x).expect("operands of placements are stored or computable in place");
        let body = emitter.finish();
        let strides = strides.iter().zip(&space).map(|(&s, &n)| if n == 1 { 0 } else { s }).collect();
        let outs = vec![LoopOut {
            value,
            reduce: None,
            access: Access { buffer: out, offset, strides },
            part_stride: 0,
        }];
        let reduced = vec![false; space.len()];
        self.push(id, Kernel::Loop(Loop { space, reduced, parts: 1, body, outs }))
    }

    /// Every kernel runs after the writers of what it reads.
    fn depend(&mut self) {
        for (at, k) in self.program.kernels.iter_mut().enumerate() {
            for b in k.entry.kernel.reads() {
                let writers = self.writers.get(&b).into_iter().flatten();
                k.after.extend(writers.copied().filter(|&w| w != at));
            }
        }
    }

    /// Copies of outputs and updates to their bindings. `inplace` removes most.
    fn roots(&mut self) {
        let (states, inputs) = (self.g.states.len(), self.g.inputs.len());
        let mut targets: Vec<(NodeId, BufferId)> = Vec::new();
        for u in &self.g.updates {
            targets.push((u.node, BufferId(u.state.0)));
        }
        for (i, o) in self.g.outputs.iter().enumerate() {
            targets.push((o.node, BufferId((states + inputs + i) as u32)));
        }
        for (node, target) in targets {
            let ty = self.g.ty(node);
            let mut from = self.home(node);
            if from == target {
                continue;
            }
            // Another state's old value: take it before that state changes.
            if (from.0 as usize) < states {
                let kept = self.program.buffer("old value", ty.dtype, ty.len());
                self.push_labelled("keep old value".into(), copy(from, kept, ty.dtype, ty.len()));
                from = kept;
            }
            let label = format!("store {}", self.program.buffers[target.0 as usize].name);
            let after = self.writers.get(&from).cloned().unwrap_or_default();
            let at = self.push_labelled(label, copy(from, target, ty.dtype, ty.len()));
            self.program.kernels[at].after = after;
        }
    }
}

/// Declares bindings: states, inputs, outputs; buffer ids equal binding numbers.
fn bind(g: &Graph, program: &mut Program) {
    let states = g.states.iter().map(|s| (Role::State, &s.name, &s.ty));
    let inputs = g.inputs.iter().map(|i| (Role::Input, &i.name, &i.ty));
    let outputs = g.outputs.iter().map(|o| (Role::Output, &o.name, g.ty(o.node)));
    for (role, name, ty) in states.chain(inputs).chain(outputs) {
        let number = program.bindings.len() as u32;
        program.bindings.push(Binding { name: name.clone(), role, dtype: ty.dtype, shape: ty.shape.clone() });
        let id = program.buffer(name.clone(), ty.dtype, ty.len());
        program.buffers[id.0 as usize].binding = Some(number);
    }
}

/// A loop that copies a dense buffer.
pub fn copy(from: BufferId, to: BufferId, dtype: DType, len: usize) -> Kernel {
    let access = |buffer| Access { buffer, offset: 0, strides: vec![isize::from(len != 1)] };
    let mut body = Body::new();
    let value = body.push(Expr::Load(access(from)), dtype);
    let outs = vec![LoopOut { value, reduce: None, access: access(to), part_stride: 0 }];
    Kernel::Loop(Loop { space: vec![len], reduced: vec![false], parts: 1, body, outs })
}

fn signed_strides(ty: &Type) -> Vec<isize> {
    let mut out = vec![1isize; ty.rank()];
    for i in (1..ty.rank()).rev() {
        out[i - 1] = out[i] * ty.shape[i] as isize;
    }
    out
}

fn reduction(kind: ReduceKind) -> Reduce {
    match kind {
        ReduceKind::Sum => Reduce::Sum,
        ReduceKind::Max => Reduce::Max,
    }
}

/// What a kernel is, for people.
fn kind(kernel: &Kernel, g: &Graph, id: NodeId) -> String {
    match kernel {
        Kernel::Loop(l) if l.outs.iter().any(|o| o.reduce.is_some()) => "reduce".into(),
        Kernel::Loop(l) if l.outs.len() > 1 => format!("elementwise x{}", l.outs.len()),
        Kernel::Loop(_) => match g.node(id).op {
            Op::Pad { .. } | Op::Concat(_) => thalweg_graph::ops::name(&g.node(id).op).into(),
            _ => "elementwise".into(),
        },
        Kernel::Contraction(c) => {
            let pooled = c.epilogue.as_ref().is_some_and(|e| e.pool.is_some());
            let fused = c.epilogue.as_ref().is_some_and(|e| e.body.len() > 1);
            let name = thalweg_graph::ops::name(&g.node(id).op);
            format!(
                "{name}{}{}",
                if fused { " + elementwise" } else { "" },
                if pooled { " + pool" } else { "" }
            )
        }
        Kernel::Pool(_)
        | Kernel::Unpool(_)
        | Kernel::ArgMax(_)
        | Kernel::TopK(_)
        | Kernel::Gather(_)
        | Kernel::Suppress(_) => thalweg_graph::ops::name(&g.node(id).op).into(),
    }
}

/// A buffer's name: its layer and operation.
fn node_name(g: &Graph, id: NodeId) -> String {
    let (scope, op) = (g.scope_of(id), thalweg_graph::ops::name(&g.node(id).op));
    if scope.is_empty() { format!("{op} %{}", id.0) } else { format!("{scope}/{op} %{}", id.0) }
}
