//! Launches that leave most of the GPU idle become one: a step has dozens of them (an optimizer's loop for every bias), and
//! starting one takes longer than it runs.
//!
//! In: launches that are independent of each other. Out: fewer; the groups of a merged launch are divided among the kernels
//! that it was made of. Invariant: each kernel sees its own groups, parameters and shared memory, so that results are the
//! same to the bit.

use crate::gpu::ir::{Cooperative, Kernel, Matrix, Op, Param, Shared, Stmt, Tensor, Value, Var};
use crate::gpu::launch::{Abilities, Argument};
use crate::plan::Place;
use std::collections::BTreeSet;
use thalweg_base::{DType, ScalarOp};

/// A launch whose kernel is still its own.
pub struct Single {
    /// The kernel.
    pub kernel: Kernel,
    /// Its groups.
    pub groups: u32,
    /// One per parameter.
    pub arguments: Vec<Argument>,
    /// The plan's kernel.
    pub source: usize,
}

/// Parameters of a merged kernel, at most: what fits a record (see `wgsl`), and what a compiler handles at ease.
const PARAMS: usize = 48;

/// Merges what is small, in order.
pub fn merge(launches: Vec<Single>, abilities: &Abilities) -> Vec<Single> {
    let mut out: Vec<Single> = Vec::new();
    for next in launches {
        let fits = |into: &&mut Single| {
            small(into, abilities) && small(&next, abilities) && together(into, &next, abilities)
        };
        match out.iter_mut().find(fits) {
            Some(into) => join(into, next),
            None => out.push(next),
        }
    }
    out
}

fn small(l: &Single, abilities: &Abilities) -> bool {
    (l.groups as usize) * (l.kernel.threads as usize) < abilities.parallel
}

fn together(a: &Single, b: &Single, abilities: &Abilities) -> bool {
    let memory = |x: &Argument| match x.place {
        Place::Arena { .. } | Place::Slab { .. } => None,
        Place::Binding(n) => Some(n),
    };
    let memories: BTreeSet<Option<u32>> = a.arguments.iter().chain(&b.arguments).map(memory).collect();
    a.kernel.threads == b.kernel.threads
        && a.arguments.len() + b.arguments.len() <= PARAMS
        && memories.len() <= abilities.memories
        && a.kernel.shared_bytes() + b.kernel.shared_bytes() <= abilities.shared_bytes
}

/// Puts a launch's groups behind another's.
fn join(into: &mut Single, next: Single) {
    let kernel = &mut into.kernel;
    let behind = Value::Const(DType::I32, into.groups);
    let mut define = |dtype: DType| {
        kernel.types.push(dtype);
        Var(kernel.types.len() as u32 - 1)
    };
    let (group, first, own) = (define(DType::I32), define(DType::Bool), define(DType::I32));
    let renaming = Renaming {
        vars: kernel.types.len() as u32,
        params: kernel.params.len() as u32,
        shared: kernel.shared.len() as u32,
        matrices: kernel.matrices.len() as u32,
        group: own,
    };
    kernel.types.extend(&next.kernel.types);
    kernel.params.extend(&next.kernel.params);
    kernel.shared.extend(&next.kernel.shared);
    kernel.matrices.extend(&next.kernel.matrices);
    // All that have any have the same.
    kernel.subgroup = kernel.subgroup.max(next.kernel.subgroup);
    let other = next.kernel.body.iter().map(|s| renaming.statement(s)).collect();
    let body = std::mem::take(&mut kernel.body);
    let back = Value::Const(DType::I32, (into.groups as i32).wrapping_neg() as u32);
    let shifted = Op::Scalar(ScalarOp::Add, vec![Value::Var(group), back]);
    kernel.body = vec![
        Stmt::Let(group, Op::Group),
        Stmt::Let(first, Op::Scalar(ScalarOp::Lt, vec![Value::Var(group), behind])),
        Stmt::Let(own, shifted),
        Stmt::If(Value::Var(first), body, other),
    ];
    kernel.name = "several".into();
    // What is merged does not fill the GPU: one group a unit may have all registers.
    kernel.resident = 1;
    into.groups += next.groups;
    into.arguments.extend(next.arguments);
}

/// Where the registers, parameters, shared arrays and matrices of a kernel go in a larger one, and what is its group's number
/// there.
struct Renaming {
    vars: u32,
    params: u32,
    shared: u32,
    matrices: u32,
    group: Var,
}

impl Renaming {
    fn var(&self, v: Var) -> Var {
        Var(v.0 + self.vars)
    }

    fn param(&self, p: Param) -> Param {
        Param(p.0 + self.params)
    }

    fn shared(&self, s: Shared) -> Shared {
        Shared(s.0 + self.shared)
    }

    fn matrix(&self, m: Matrix) -> Matrix {
        Matrix(m.0 + self.matrices)
    }

    fn value(&self, v: Value) -> Value {
        match v {
            Value::Var(v) => Value::Var(self.var(v)),
            Value::Const(..) => v,
        }
    }

    fn op(&self, op: &Op) -> Op {
        let v = |x: &Value| self.value(*x);
        match op {
            Op::Scalar(op, args) => Op::Scalar(*op, args.iter().map(v).collect()),
            Op::Int(op, a, b) => Op::Int(*op, v(a), v(b)),
            Op::Fma(a, b, c) => Op::Fma(v(a), v(b), v(c)),
            Op::Cast(a) => Op::Cast(v(a)),
            Op::Bits(a) => Op::Bits(v(a)),
            Op::Load(p, i) => Op::Load(self.param(*p), v(i)),
            Op::LoadShared(s, i) => Op::LoadShared(self.shared(*s), v(i)),
            Op::Random { seed, stream, element, step } => {
                Op::Random { seed: *seed, stream: *stream, element: v(element), step: v(step) }
            }
            Op::Thread => Op::Thread,
            // The same bits: a copy under its own name.
            Op::Group => Op::Bits(Value::Var(self.group)),
            Op::Subgroup => Op::Subgroup,
            Op::Mutable(a) => Op::Mutable(v(a)),
        }
    }

    fn block(&self, body: &[Stmt]) -> Vec<Stmt> {
        body.iter().map(|s| self.statement(s)).collect()
    }

    fn statement(&self, s: &Stmt) -> Stmt {
        let v = |x: &Value| self.value(*x);
        match s {
            Stmt::Let(x, op) => Stmt::Let(self.var(*x), self.op(op)),
            Stmt::Load4(xs, p, i) => Stmt::Load4(xs.map(|x| self.var(x)), self.param(*p), v(i)),
            Stmt::Set(x, a) => Stmt::Set(self.var(*x), v(a)),
            Stmt::Store(p, i, a) => Stmt::Store(self.param(*p), v(i), v(a)),
            Stmt::Store4(p, i, a) => Stmt::Store4(self.param(*p), v(i), a.map(|a| self.value(a))),
            Stmt::StoreShared(s, i, a) => Stmt::StoreShared(self.shared(*s), v(i), v(a)),
            Stmt::LoadShared4(xs, s, i) => Stmt::LoadShared4(xs.map(|x| self.var(x)), self.shared(*s), v(i)),
            Stmt::StoreShared4(s, i, a) => {
                Stmt::StoreShared4(self.shared(*s), v(i), a.map(|a| self.value(a)))
            }
            Stmt::LoadWords(xs, p, i) => Stmt::LoadWords(xs.map(|x| self.var(x)), self.param(*p), v(i)),
            Stmt::StoreSharedWords(s, i, a) => {
                Stmt::StoreSharedWords(self.shared(*s), v(i), a.map(|a| self.value(a)))
            }
            Stmt::For { var, from, to, step, unroll, body } => Stmt::For {
                var: self.var(*var),
                from: v(from),
                to: v(to),
                step: *step,
                unroll: *unroll,
                body: self.block(body),
            },
            Stmt::If(c, then, other) => Stmt::If(v(c), self.block(then), self.block(other)),
            Stmt::Barrier => Stmt::Barrier,
            Stmt::Tensor(t) => Stmt::Tensor(match t {
                Tensor::Mma { ty, d, a, b } => Tensor::Mma {
                    ty: *ty,
                    d: d.map(|x| self.var(x)),
                    a: a.map(|x| self.value(x)),
                    b: b.map(|x| self.value(x)),
                },
                Tensor::CopyAsync { to, from, valid } => Tensor::CopyAsync {
                    to: (self.shared(to.0), v(&to.1)),
                    from: (self.param(from.0), v(&from.1)),
                    valid: v(valid),
                },
                Tensor::LoadMatrix { to, from, transposed } => Tensor::LoadMatrix {
                    to: to.map(|x| self.var(x)),
                    from: (self.shared(from.0), v(&from.1)),
                    transposed: *transposed,
                },
                Tensor::Tf32(x, a) => Tensor::Tf32(self.var(*x), v(a)),
                Tensor::Commit => Tensor::Commit,
                Tensor::Wait(n) => Tensor::Wait(*n),
            }),
            Stmt::Cooperative(c) => Stmt::Cooperative(match c {
                Cooperative::Clear(x) => Cooperative::Clear(self.matrix(*x)),
                Cooperative::Load { to, from, stride, rows } => Cooperative::Load {
                    to: self.matrix(*to),
                    from: (self.shared(from.0), v(&from.1)),
                    stride: *stride,
                    rows: *rows,
                },
                Cooperative::MultiplyAdd { d, a, b } => {
                    let [d, a, b] = [d, a, b].map(|x| self.matrix(*x));
                    Cooperative::MultiplyAdd { d, a, b }
                }
                Cooperative::Store { from, to, stride } => Cooperative::Store {
                    from: self.matrix(*from),
                    to: (self.shared(to.0), v(&to.1)),
                    stride: *stride,
                },
            }),
        }
    }
}
