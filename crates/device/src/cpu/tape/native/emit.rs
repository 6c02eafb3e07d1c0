//! A chain of steps as one function: registers instead of slots.
//!
//! In: steps that compute, in order. Out: code that loads what they need, 16 lanes at a time, does all of them and stores
//! what is needed later, or adds it up over rows; the last lanes are masked. Every lane gets the very bits that the steps one by one would give it:
//! the operations, their order and how NaN goes through are the same. `None` where registers do not suffice.

use super::super::code::{Code, Step};
use super::assembler::{Assembler, Compare, Gpr, Mask, Op, Place, R8, R9, RAX, RCX, RDI, RDX, RSI, Zmm};
use super::{Chain, arity};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_base::ScalarOp;

/// Registers for addresses; the first ones need not be saved. The numbers and lengths of rows take the first two.
const ADDRESSES: [Gpr; 10] = [R8, R9, Gpr(10), Gpr(11), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
const UNSAVED: usize = 4;
const FOR_ROWS: usize = 2;
/// Registers for sums, and those of a result, at most.
const SUMS: usize = 12;
const MOST_SUMS: usize = 6;
/// The mask of the last lanes.
const LAST: Mask = Mask(1);
const SIGN: u32 = 1 << 31;

/// Whether a step can be part of a chain.
pub fn knows(code: Code) -> bool {
    use ScalarOp as S;
    match code {
        Code::F1(op) => matches!(op, S::Neg | S::Abs | S::Sqrt | S::Floor),
        Code::F2(op) => matches!(op, S::Add | S::Sub | S::Mul | S::Div | S::Max | S::Min),
        Code::MulAdd | Code::Select | Code::LtF | Code::EqF | Code::And => true,
        Code::IToF | Code::UToF | Code::FToBool | Code::ToBool => true,
        _ => false,
    }
}

/// Constants that a step needs beside its arguments.
fn constants(code: Code) -> &'static [u32] {
    match code {
        Code::F1(ScalarOp::Neg) => &[SIGN],
        Code::F1(ScalarOp::Abs) => &[!SIGN],
        // What is true, as a lane.
        Code::LtF | Code::EqF | Code::ToBool | Code::And => &[1],
        Code::FToBool => &[0, 1],
        _ => &[],
    }
}

struct Emitter<'a> {
    code: Assembler,
    chain: &'a Chain<'a>,
    /// Registers that hold the same in all lanes and all turns: by bits, by operand.
    constants: BTreeMap<u32, Zmm>,
    uniform: BTreeMap<u16, Zmm>,
    addresses: BTreeMap<u16, Gpr>,
    results: Vec<Gpr>,
    saved: Vec<Gpr>,
    /// Of one turn.
    lanes: BTreeMap<u16, Zmm>,
    truths: BTreeMap<u16, Mask>,
    /// Operands that were made as masks.
    decided: BTreeSet<u16>,
    uses: BTreeMap<u16, usize>,
    free: Vec<Zmm>,
    free_masks: Vec<Mask>,
}

/// The function of a chain that stores what it makes: of addresses of operands and results, bytes of whole vectors, and a
/// bit for each lane that is left.
pub fn emit(chain: &Chain<'_>) -> Option<Vec<u8>> {
    let mut e = Emitter::new(chain);
    e.enter(&ADDRESSES)?;
    let free = e.free.clone();
    let skip = e.code.ahead_unless_below(RAX, RDX);
    let top = e.code.here();
    e.stored(Place { index: RAX, vectors: 0, last: None })?;
    e.code.next(RAX, 1);
    e.code.back_while_below(top, RAX, RDX);
    e.code.land(skip);
    let done = e.code.ahead_if_zero(RCX);
    e.code.mask(LAST, RCX);
    e.free = free;
    e.stored(Place { index: RAX, vectors: 0, last: Some(LAST) })?;
    e.code.land(done);
    Some(e.leave())
}

/// The function of a chain that adds what it makes up, and then to sums of `columns` columns: of addresses of operands and sums, nothing,
/// a bit for each column that fills no vector, rows (at least one), and bytes of a row.
pub fn emit_sums(chain: &Chain<'_>, columns: usize) -> Option<Vec<u8>> {
    let mut e = Emitter::new(chain);
    e.enter(&ADDRESSES[FOR_ROWS..])?;
    e.code.mask(LAST, RCX);
    let side_by_side = (SUMS / chain.made.len()).clamp(1, MOST_SUMS);
    let mut left = columns / 16;
    while left > 0 {
        let vectors = side_by_side.min(left);
        e.summed(vectors, None)?;
        e.code.next(RAX, vectors);
        left -= vectors;
    }
    if !columns.is_multiple_of(16) {
        e.summed(1, Some(LAST))?;
    }
    Some(e.leave())
}

impl<'a> Emitter<'a> {
    fn new(chain: &'a Chain<'a>) -> Emitter<'a> {
        Emitter {
            code: Assembler::default(),
            chain,
            constants: BTreeMap::new(),
            uniform: BTreeMap::new(),
            addresses: BTreeMap::new(),
            results: Vec::new(),
            saved: Vec::new(),
            lanes: BTreeMap::new(),
            truths: BTreeMap::new(),
            decided: BTreeSet::new(),
            uses: BTreeMap::new(),
            free: (0..32).rev().map(Zmm).collect(),
            free_masks: Vec::new(),
        }
    }

    /// Restores registers and ends the function.
    fn leave(mut self) -> Vec<u8> {
        for r in self.saved.iter().rev() {
            self.code.pop(*r);
        }
        self.code.leave();
        self.code.finish()
    }

    /// Saves registers, and loads what stays the same; RAX is 0 then.
    fn enter(&mut self, addresses: &[Gpr]) -> Option<()> {
        let chain = self.chain;
        let used = chain.dense.len() + chain.made.len();
        let addresses = addresses.get(..used)?;
        let at = ADDRESSES[UNSAVED - 1];
        self.saved = addresses.iter().filter(|r| ADDRESSES[UNSAVED..].contains(r)).copied().collect();
        for r in &self.saved {
            self.code.push(*r);
        }
        let known = chain.uniform.iter().filter_map(|u| chain.constant(*u));
        let needed = chain.steps.iter().flat_map(|s| constants(s.code)).copied();
        for bits in known.chain(needed).collect::<Vec<_>>() {
            if !self.constants.contains_key(&bits) {
                let to = self.free.pop()?;
                self.code.number(RAX, bits);
                self.code.spread(to, RAX);
                self.constants.insert(bits, to);
            }
        }
        self.code.number(RAX, 0);
        for &operand in &chain.uniform {
            let register = match chain.constant(operand) {
                Some(bits) => *self.constants.get(&bits)?,
                None => {
                    let to = self.free.pop()?;
                    self.code.pointer(at, RDI, operand.into());
                    self.code.broadcast(to, at, RAX);
                    to
                }
            };
            self.uniform.insert(operand, register);
        }
        let (of_dense, of_made) = addresses.split_at(chain.dense.len());
        for (&operand, &to) in chain.dense.iter().zip(of_dense) {
            self.code.pointer(to, RDI, operand.into());
            self.addresses.insert(operand, to);
        }
        for (i, &to) in of_made.iter().enumerate() {
            self.code.pointer(to, RSI, i);
            self.results.push(to);
        }
        Some(())
    }

    /// All steps over some lanes, and stores what they make.
    fn stored(&mut self, at: Place) -> Option<()> {
        self.turn(at)?;
        // After everything is loaded: results may be where operands are.
        for (i, &operand) in self.chain.made.iter().enumerate() {
            let from = self.lanes(operand, at)?;
            self.code.store(from, self.results[i], at);
        }
        Some(())
    }

    /// All steps over some columns of all rows, added up in registers.
    fn summed(&mut self, vectors: usize, last: Option<Mask>) -> Option<()> {
        let place = |index, v: usize| Place { index, vectors: v as u8, last };
        let free = self.free.clone();
        let mut sums = Vec::new();
        for _ in 0..vectors * self.results.len() {
            let sum = self.free.pop()?;
            self.code.op(Op::Xor, sum, sum, sum);
            sums.push(sum);
        }
        self.code.copy_register(RDI, RAX);
        self.code.copy_register(RSI, R8);
        let row = self.code.here();
        for (v, sums) in sums.chunks(self.results.len()).enumerate() {
            let temporary = self.free.clone();
            self.turn(place(RDI, v))?;
            for (i, &sum) in sums.iter().enumerate() {
                let value = self.lanes(self.chain.made[i], place(RDI, v))?;
                self.code.op(Op::Add, sum, sum, value);
            }
            self.free = temporary;
        }
        self.code.add_register(RDI, R9);
        self.code.back_until_zero(row, RSI);
        for (v, sums) in sums.chunks(self.results.len()).enumerate() {
            for (i, &sum) in sums.iter().enumerate() {
                let before = self.free.last().copied()?;
                self.code.load(before, self.results[i], place(RAX, v));
                self.code.op(Op::Add, sum, before, sum);
                self.code.store(sum, self.results[i], place(RAX, v));
            }
        }
        self.free = free;
        Some(())
    }

    /// All steps over some lanes.
    fn turn(&mut self, at: Place) -> Option<()> {
        self.lanes.clear();
        self.truths.clear();
        self.decided.clear();
        self.free_masks = (2..8).rev().map(Mask).collect();
        self.uses.clear();
        let chain = self.chain;
        let arguments = chain.steps.iter().flat_map(|s| &s.args[..arity(s.code)]);
        for operand in arguments.chain(&chain.made) {
            *self.uses.entry(*operand).or_default() += 1;
        }
        for s in chain.steps {
            self.step(s, at)?;
            for operand in &s.args[..arity(s.code)] {
                self.used(*operand);
            }
        }
        Some(())
    }

    /// One use less.
    fn used(&mut self, operand: u16) {
        let left = self.uses.get_mut(&operand).map_or(0, |n| {
            *n -= 1;
            *n
        });
        if left == 0 {
            self.free.extend(self.lanes.remove(&operand));
            self.free_masks.extend(self.truths.remove(&operand));
        }
    }

    /// The register of an operand's lanes.
    fn lanes(&mut self, operand: u16, at: Place) -> Option<Zmm> {
        if let Some(z) = self.uniform.get(&operand).or_else(|| self.lanes.get(&operand)) {
            return Some(*z);
        }
        let to = self.free.pop()?;
        match self.truths.get(&operand) {
            Some(&truth) => self.code.copy_some(to, *self.constants.get(&1)?, truth, true),
            None => self.code.load(to, self.addresses[&operand], at),
        }
        self.lanes.insert(operand, to);
        Some(to)
    }

    /// The mask of an operand that is true or false.
    fn truth(&mut self, operand: u16, at: Place) -> Option<Mask> {
        if let Some(k) = self.truths.get(&operand) {
            return Some(*k);
        }
        let of = self.lanes(operand, at)?;
        let to = self.free_masks.pop()?;
        self.code.test(to, of);
        self.truths.insert(operand, to);
        Some(to)
    }

    fn step(&mut self, s: &Step, at: Place) -> Option<()> {
        match s.code {
            Code::LtF | Code::EqF => {
                let how = if s.code == Code::LtF { Compare::Less } else { Compare::Equal };
                let (a, b) = (self.lanes(s.args[0], at)?, self.lanes(s.args[1], at)?);
                self.compare(s, a, b, how)
            }
            Code::FToBool => {
                let a = self.lanes(s.args[0], at)?;
                self.compare(s, a, *self.constants.get(&0)?, Compare::NotEqual)
            }
            Code::ToBool => {
                let a = self.lanes(s.args[0], at)?;
                let to = self.decide(s)?;
                self.code.test(to, a);
                Some(())
            }
            // Of lanes that were loaded the bits count.
            Code::And if s.args[..2].iter().all(|a| self.decided.contains(a)) => {
                let [a, b] = [self.truths[&s.args[0]], self.truths[&s.args[1]]];
                let to = self.decide(s)?;
                self.code.both(to, a, b);
                Some(())
            }
            _ => self.arithmetic(s, at),
        }
    }

    fn compare(&mut self, s: &Step, a: Zmm, b: Zmm, how: Compare) -> Option<()> {
        let to = self.decide(s)?;
        self.code.compare(to, a, b, how);
        Some(())
    }

    /// A mask for what a step makes.
    fn decide(&mut self, s: &Step) -> Option<Mask> {
        let to = self.free_masks.pop()?;
        self.truths.insert(s.dst, to);
        self.decided.insert(s.dst);
        Some(to)
    }

    /// A step that makes lanes.
    fn arithmetic(&mut self, s: &Step, at: Place) -> Option<()> {
        use ScalarOp as S;
        let condition = if s.code == Code::Select { Some(self.truth(s.args[0], at)?) } else { None };
        let mut args = [Zmm(0); 3];
        let values = usize::from(condition.is_some())..arity(s.code);
        for (to, &operand) in args[values.clone()].iter_mut().zip(&s.args[values]) {
            *to = self.lanes(operand, at)?;
        }
        let [a, b, c] = args;
        let to = self.free.pop()?;
        let code = &mut self.code;
        match s.code {
            Code::F1(S::Neg) => code.op(Op::Xor, to, a, *self.constants.get(&SIGN)?),
            Code::F1(S::Abs) => code.op(Op::And, to, a, *self.constants.get(&!SIGN)?),
            Code::F1(S::Sqrt) => code.sqrt(to, a),
            Code::F1(S::Floor) => code.floor(to, a),
            Code::F2(S::Add) => code.op(Op::Add, to, a, b),
            Code::F2(S::Sub) => code.op(Op::Sub, to, a, b),
            Code::F2(S::Mul) => code.op(Op::Mul, to, a, b),
            Code::F2(S::Div) => code.op(Op::Div, to, a, b),
            Code::F2(S::Max) => self.extreme(Op::Max, s, [to, a, b])?,
            Code::F2(S::Min) => self.extreme(Op::Min, s, [to, a, b])?,
            Code::And => code.op(Op::And, to, a, b),
            Code::MulAdd => {
                code.copy(to, c);
                code.add_product(to, a, b);
            }
            Code::Select => code.select(to, condition?, b, c),
            Code::IToF => code.of_signed(to, a),
            Code::UToF => code.of_unsigned(to, a),
            _ => return None,
        }
        self.lanes.insert(s.dst, to);
        Some(())
    }

    /// As `math::max` and `math::min`: the first operand if it is NaN, else the second if that is.
    fn extreme(&mut self, op: Op, s: &Step, [to, a, b]: [Zmm; 3]) -> Option<()> {
        self.code.op(op, to, a, b);
        let number = self.chain.constant(s.args[0]).is_some_and(|bits| !f32::from_bits(bits).is_nan());
        if !number {
            let nan = self.free_masks.pop()?;
            self.code.compare(nan, a, a, Compare::Unordered);
            self.code.copy_some(to, a, nan, false);
            self.free_masks.push(nan);
        }
        Some(())
    }
}
