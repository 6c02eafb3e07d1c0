//! From a body's expressions to the steps of a tape.
//!
//! Every operand has a shape class, so that what does not change along an axis of the block is computed once
//! along it: a learning rate once a block, a channel's scale once a column. Registers ("slots") are given out by
//! liveness. Invariant: a step never writes the slot of one of its own arguments, so the loops over lanes have no
//! overlap.

use super::code::{Class, Code, Compiled, Index, Load, MAX_DIRECT, NO_OUT, Step};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::native;
use crate::cpu::Isa;
use crate::plan::{Body, Expr, ExprId};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_base::{DType, ScalarOp};

/// An operand while compiling.
#[derive(Clone, Copy)]
struct Operand {
    id: u16,
    class: Class,
    /// Whether it may point into a buffer, where reading past the end is not allowed.
    direct: bool,
    /// Whether it is the same in every row.
    steady: bool,
}

struct Compiler<'a> {
    body: &'a Body,
    space: &'a [usize],
    out: Compiled,
    /// Operands so far, constants included.
    operands: u16,
    made: BTreeMap<u32, Operand>,
    dense: BTreeMap<u16, Operand>,
    uses: Vec<u32>,
    values: &'a [ExprId],
}

/// How steps are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// One by one.
    Stepwise,
    /// Chains of them as machine code, where there is such.
    Chained,
    /// The same; and results are added up, of rows of so many columns.
    AddedUp(usize),
}

impl How {
    /// As fast as the instruction set allows; with columns if results are added up.
    pub fn fast(isa: Isa, added_up: Option<usize>) -> How {
        match added_up {
            _ if !How::chains(isa) => How::Stepwise,
            None => How::Chained,
            Some(columns) => How::AddedUp(columns),
        }
    }

    fn chains(isa: Isa) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        return native::Set::of(isa).is_some();
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        {
            let _ = isa;
            false
        }
    }
}

/// Compiles what `values` need.
pub fn compile(body: &Body, values: &[ExprId], space: &[usize], isa: Isa, how: How) -> Compiled {
    let mut uses = vec![0; body.len()];
    let mut needed = vec![false; body.len()];
    for v in values {
        needed[v.0 as usize] = true;
        uses[v.0 as usize] += 2; // A result is never folded away.
    }
    for (id, expr, _) in body.iter().rev() {
        if needed[id.0 as usize] {
            for a in arguments(expr) {
                needed[a.0 as usize] = true;
                uses[a.0 as usize] += 1;
            }
        }
    }
    // Constants come first in the operand table.
    let mut c = Compiler {
        body,
        space,
        out: Compiled::default(),
        operands: 0,
        made: BTreeMap::new(),
        dense: BTreeMap::new(),
        uses,
        values,
    };
    for (id, expr, _) in body.iter().filter(|(id, ..)| needed[id.0 as usize]) {
        if let Expr::Const(s) = expr {
            let operand = Operand { id: c.operands, class: Class::Uniform, direct: true, steady: true };
            c.operands += 1;
            c.out.consts.push(s.bits());
            c.made.insert(id.0, operand);
        }
    }
    for (id, expr, dtype) in body.iter().filter(|(id, ..)| needed[id.0 as usize]) {
        if !matches!(expr, Expr::Const(_)) && !c.folded(id, expr) {
            let operand = c.expr(id, expr, dtype);
            c.made.insert(id.0, operand);
        }
    }
    c.out.results = values
        .iter()
        .map(|v| {
            let operand = c.made[&v.0];
            c.spread(operand).id
        })
        .collect();
    c.out.operands = c.operands.into();
    c.mark_results();
    c.out.steps.sort_by_key(|s| !s.steady);
    c.out.steady = c.out.steps.iter().take_while(|s| s.steady).count();
    c.assign_slots();
    c.out.width = c.out.slots;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(set) = native::Set::of(isa).filter(|_| how != How::Stepwise) {
        match how {
            How::AddedUp(columns) if native::sums(&mut c.out, columns, set) => {}
            _ => native::chain(&mut c.out, set),
        }
        c.assign_slots();
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let _ = (isa, how);
    c.out
}

fn arguments(expr: &Expr) -> Vec<ExprId> {
    match expr {
        Expr::Const(_) | Expr::Load(_) | Expr::Acc | Expr::Index { .. } => Vec::new(),
        Expr::Random { element, step, .. } => vec![*element, *step],
        Expr::Op(_, args) => args.clone(),
        Expr::Cast(x) => vec![*x],
    }
}

impl Compiler<'_> {
    /// Whether a product goes into the one sum that uses it.
    fn folded(&self, id: ExprId, expr: &Expr) -> bool {
        self.uses[id.0 as usize] == 1
            && self.body.dtype(id) == DType::F32
            && matches!(expr, Expr::Op(ScalarOp::Mul, _))
            && self.body.iter().any(|(sum, e, _)| self.product_of(sum, e) == Some(id))
    }

    /// The product that a sum takes in, if any: its first argument that is one and is used once.
    fn product_of(&self, sum: ExprId, expr: &Expr) -> Option<ExprId> {
        let Expr::Op(ScalarOp::Add, args) = expr else { return None };
        if self.body.dtype(sum) != DType::F32 || self.uses[sum.0 as usize] == 0 {
            return None;
        }
        let product = |a: &&ExprId| {
            self.uses[a.0 as usize] == 1 && matches!(self.body.expr(**a), Expr::Op(ScalarOp::Mul, _))
        };
        args.iter().find(product).copied()
    }

    fn expr(&mut self, id: ExprId, expr: &Expr, dtype: DType) -> Operand {
        match expr {
            Expr::Const(_) => unreachable!("constants are operands already"),
            Expr::Load(a) => {
                let (outer, row, col) = self.split(&a.strides, 0);
                let narrow = dtype.size() < 4;
                let class = Class::of(row != 0, col != 0, self.one_row());
                let load = Load { buffer: a.buffer, offset: a.offset, outer, row, col, dtype, copied: false };
                self.out.loads.push(load);
                let code = Code::Load((self.out.loads.len() - 1) as u16);
                Operand { direct: !narrow, ..self.leaf(code, class, row == 0) }
            }
            Expr::Acc => Operand { direct: true, ..self.leaf(Code::Acc, Class::Dense, false) },
            Expr::Index { offset, strides } => {
                let (outer, row, col) = self.split(strides, 0);
                let class = Class::of(row != 0, col != 0, self.one_row());
                self.out.indices.push(Index { offset: *offset, outer, row, col });
                self.leaf(Code::Index((self.out.indices.len() - 1) as u16), class, row == 0)
            }
            Expr::Random { seed, stream, element, step } => {
                let args = [self.made[&element.0], self.made[&step.0]];
                self.joined(Code::Random { seed: *seed, stream: *stream }, &args)
            }
            Expr::Cast(x) => {
                let (arg, from) = (self.made[&x.0], self.body.dtype(*x));
                let lane = if dtype.is_half() { DType::F32 } else { dtype };
                let arg = match cast(from, lane) {
                    Some(code) => self.joined(code, &[arg]),
                    None => arg,
                };
                // Of a value that is only stored, the store rounds.
                let stored = self.uses[id.0 as usize] == 2 && self.values.contains(&id);
                if dtype.is_half() && from != dtype && !stored {
                    self.joined(Code::Round(dtype), &[arg])
                } else {
                    arg
                }
            }
            Expr::Op(op, args) => self.op(id, expr, *op, args),
        }
    }

    fn op(&mut self, id: ExprId, expr: &Expr, op: ScalarOp, args: &[ExprId]) -> Operand {
        if let Some(product) = self.product_of(id, expr) {
            let Expr::Op(_, factors) = self.body.expr(product) else { unreachable!("a product") };
            let at = args.iter().position(|a| *a == product).unwrap_or(0);
            let operands = [factors[0], factors[1], args[1 - at]].map(|a| self.made[&a.0]);
            return self.joined(Code::MulAdd, &operands);
        }
        let dtype = self.body.dtype(*args.last().unwrap_or(&ExprId(0)));
        let code = code(op, dtype);
        let operands: Vec<Operand> = args.iter().map(|a| self.made[&a.0]).collect();
        self.joined(code, &operands)
    }

    /// A step whose class is the join of its arguments', which are spread where theirs is another.
    fn joined(&mut self, code: Code, args: &[Operand]) -> Operand {
        let class = args.iter().fold(Class::Uniform, |c, a| c.join(a.class));
        // One condition or element for all lanes is rare; the loops want it per lane.
        let per_lane = |i: usize| i == 0 && matches!(code, Code::Select | Code::Random { .. });
        let args: Vec<Operand> = args
            .iter()
            .enumerate()
            .map(|(i, &a)| match () {
                () if a.class == class => a,
                () if a.class == Class::Uniform && !per_lane(i) => a,
                () if a.class == Class::Uniform && class != Class::Dense => self.spread_to(a, class),
                () => self.spread(a),
            })
            .collect();
        self.step(code, class, &args)
    }

    fn spread(&mut self, a: Operand) -> Operand {
        if a.class == Class::Dense {
            return a;
        }
        if let Some(&d) = self.dense.get(&a.id) {
            return d;
        }
        let d = self.spread_to(a, Class::Dense);
        self.dense.insert(a.id, d);
        d
    }

    fn spread_to(&mut self, a: Operand, class: Class) -> Operand {
        // With one row or column the spread value is the argument itself, which may lie in a buffer.
        Operand { direct: a.direct, ..self.step(Code::Spread(a.class), class, &[a]) }
    }

    /// A step without arguments.
    fn leaf(&mut self, code: Code, class: Class, steady: bool) -> Operand {
        let operand = self.step(code, class, &[]);
        if let Some(step) = self.out.steps.last_mut() {
            step.steady = steady;
        }
        Operand { steady, ..operand }
    }

    fn step(&mut self, code: Code, class: Class, args: &[Operand]) -> Operand {
        let steady = args.iter().all(|a| a.steady);
        let dst = self.operands;
        self.operands += 1;
        let mut step = Step {
            code,
            class,
            dst,
            slot: 0,
            args: [0; 3],
            uniform: [true; 3],
            padded: class != Class::Uniform,
            steady,
            out: NO_OUT,
        };
        for (i, a) in args.iter().enumerate() {
            step.args[i] = a.id;
            step.uniform[i] = a.class == Class::Uniform;
            step.padded &= a.class == Class::Uniform || !a.direct;
        }
        self.out.steps.push(step);
        Operand { id: dst, class, direct: false, steady }
    }

    fn one_row(&self) -> bool {
        let rank = self.space.len();
        rank < 2 || self.space[rank - 2] == 1
    }

    /// Strides as (outer, row, col), `zero` where an axis has one step.
    fn split<T: Copy>(&self, strides: &[T], zero: T) -> (Vec<T>, T, T) {
        let rank = self.space.len();
        let of = |axis: usize| if self.space[axis] == 1 { zero } else { strides[axis] };
        let outer = (0..rank.saturating_sub(2)).map(of).collect();
        (outer, if rank >= 2 { of(rank - 2) } else { zero }, of(rank - 1))
    }

    /// Results that a computation makes for every lane may be made where they are stored.
    fn mark_results(&mut self) {
        for (value, id) in self.out.results.iter().enumerate().take(MAX_DIRECT) {
            let step = self.out.steps.iter_mut().find(|s| s.dst == *id);
            if let Some(s) = step.filter(|s| !s.steady && !s.code.moves() && s.out == NO_OUT) {
                s.out = value as u8;
            }
        }
        // Made in place, it may end where its buffer does.
        let placed: Vec<u16> = self.out.steps.iter().filter(|s| s.out != NO_OUT).map(|s| s.dst).collect();
        for s in &mut self.out.steps {
            s.padded &= !s.args.iter().any(|a| placed.contains(a));
        }
    }

    /// Gives every step a slot that is free from its making to its last use.
    fn assign_slots(&mut self) {
        let mut last = vec![0_usize; self.operands as usize];
        for at in 0..self.out.steps.len() {
            for a in self.out.reads(at).into_iter().chain(self.out.makes(at)) {
                last[a as usize] = last[a as usize].max(at);
            }
        }
        for r in &self.out.results {
            last[*r as usize] = usize::MAX;
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        for r in self.out.sum.iter().flat_map(|sum| &sum.reads) {
            last[*r as usize] = usize::MAX;
        }
        // What steady steps make for the others serves all blocks.
        let others: BTreeSet<u16> =
            (self.out.steady..self.out.steps.len()).flat_map(|at| self.out.reads(at)).collect();
        for made in (0..self.out.steady).flat_map(|at| self.out.makes(at)) {
            if others.contains(&made) {
                last[made as usize] = usize::MAX;
            }
        }
        // A spread value may be its argument: that one lives as long.
        for step in self.out.steps.iter().rev() {
            if matches!(step.code, Code::Spread(_)) {
                let a = step.args[0] as usize;
                last[a] = last[a].max(last[step.dst as usize]);
            }
        }
        let mut busy_until: Vec<usize> = Vec::new();
        for at in 0..self.out.steps.len() {
            for made in self.out.makes(at) {
                let free = busy_until.iter().position(|&until| until < at);
                let slot = free.unwrap_or_else(|| {
                    busy_until.push(0);
                    busy_until.len() - 1
                });
                // At least until this step ends: another of its results must not take it.
                busy_until[slot] = last[made as usize].max(at);
                self.out.place(at, made, slot as u16);
            }
        }
        self.out.slots = busy_until.len();
    }
}

/// The step of an operation on that type of argument (the last one's).
fn code(op: ScalarOp, dtype: DType) -> Code {
    use ScalarOp as S;
    let by = |f: Code, i: Code, u: Code| match dtype {
        DType::F16 | DType::BF16 | DType::F32 => f,
        DType::I32 => i,
        DType::U32 | DType::U8 | DType::Bool => u,
    };
    match op {
        S::Neg => by(Code::F1(op), Code::NegI, Code::NegI),
        S::Abs => by(Code::F1(op), Code::AbsI, Code::AbsI),
        S::Exp | S::Log | S::Sqrt | S::Floor | S::Cos | S::Tanh | S::Sigmoid | S::Erf => Code::F1(op),
        S::Add => by(Code::F2(op), Code::AddI, Code::AddI),
        S::Sub => by(Code::F2(op), Code::SubI, Code::SubI),
        S::Mul => by(Code::F2(op), Code::MulI, Code::MulI),
        S::Max => by(Code::F2(op), Code::MaxI, Code::MaxU),
        S::Min => by(Code::F2(op), Code::MinI, Code::MinU),
        S::Div | S::Pow => Code::F2(op),
        S::Lt => by(Code::LtF, Code::LtI, Code::LtU),
        S::Eq => by(Code::EqF, Code::EqI, Code::EqI),
        S::And => Code::And,
        S::Select => Code::Select,
    }
}

/// The step of a conversion to another kind of lane; `None` where the lane stays as it is, as a float of 16 bits does.
fn cast(from: DType, to: DType) -> Option<Code> {
    use DType::{BF16, Bool, F16, F32, I32, U8, U32};
    match (from, to) {
        (F16 | BF16, _) => cast(F32, to),
        (_, F16 | BF16) => cast(from, F32),
        (F32, F32) | (I32, I32) | (U32 | U8 | Bool, U32) | (U8 | Bool, I32) => None,
        (U8 | Bool, U8) | (Bool, Bool) => None,
        (F32, I32) => Some(Code::FToI),
        (F32, U32) => Some(Code::FToU),
        (F32, U8) => Some(Code::FToU8),
        (F32, Bool) => Some(Code::FToBool),
        (I32, F32) => Some(Code::IToF),
        (I32, U32) => Some(Code::IToU),
        (I32, U8) => Some(Code::IToU8),
        (U32 | U8 | Bool, F32) => Some(Code::UToF),
        (U32, I32) => Some(Code::UToI),
        (U32, U8) => Some(Code::UToU8),
        (I32 | U32 | U8, Bool) => Some(Code::ToBool),
    }
}
