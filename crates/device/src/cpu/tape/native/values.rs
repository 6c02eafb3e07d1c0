//! Where the values of a chain are: which registers hold them, and which are given up.
//!
//! What is the same in all lanes has a register of its own, as long as there are enough; else it is kept below the stack,
//! where nobody else writes until the function ends, and is spread each turn. A turn that still runs out gives up what it
//! can load again. Invariant: what is made stays in its register until its last use.

use super::assembler::{Gpr, Mask, Place, RAX, RDI, Vector};
use super::emit::Emitter;
use super::set::Set;
use super::steps::constants;
use super::{Chain, arity};
use crate::cpu::tape::code::Step;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Bytes below the stack that a function may use, and no more (System V's "red zone").
const BELOW: u8 = 128;

/// Something that a register holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    /// The same bits in all lanes.
    Bits(u32),
    Operand(u16),
}

/// How registers are saved.
#[derive(Clone, Copy, Debug)]
pub struct Thrift {
    /// How many of the values that stay the same have a register.
    fixed: usize,
    /// Whether what was loaded may be given up, and loaded again.
    reloads: bool,
}

impl Thrift {
    /// The code that is made with as little thrift as possible.
    pub fn least(chain: &Chain<'_>, make: impl Fn(Thrift) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let all = chain.fixed().len();
        match chain.set {
            // There are enough; a chain that needs more is cut.
            Set::Avx512 => make(Thrift { fixed: all, reloads: false }),
            Set::Avx2 => {
                let most = make(Thrift { fixed: 0, reloads: true });
                let less = (0..=all).rev().find_map(|fixed| make(Thrift { fixed, reloads: false }));
                less.or(most)
            }
        }
    }
}

impl Chain<'_> {
    /// What an operand is.
    fn value(&self, operand: u16) -> Value {
        self.constant(operand).map_or(Value::Operand(operand), Value::Bits)
    }

    /// Everything that a step takes, as often as it does.
    pub fn takes(&self, s: &Step) -> Vec<Value> {
        let operands = s.args[..arity(s.code)].iter().map(|a| self.value(*a));
        operands.chain(constants(s.code, self.set).map(Value::Bits)).collect()
    }

    /// How often each value is used.
    pub fn uses(&self) -> BTreeMap<Value, usize> {
        let mut uses = BTreeMap::new();
        let taken = self.steps.iter().flat_map(|s| self.takes(s));
        for value in taken.chain(self.made.iter().map(|m| self.value(*m))) {
            *uses.entry(value).or_default() += 1;
        }
        uses
    }

    /// What is the same in all lanes and all turns, constants first.
    fn fixed(&self) -> Vec<Value> {
        let known = self.uniform.iter().filter_map(|u| self.constant(*u));
        let needed = self.steps.iter().flat_map(|s| constants(s.code, self.set));
        let others = self.uniform.iter().filter(|u| self.constant(**u).is_none());
        let mut fixed = Vec::new();
        for value in known.chain(needed).map(Value::Bits).chain(others.map(|u| Value::Operand(*u))) {
            if !fixed.contains(&value) {
                fixed.push(value);
            }
        }
        fixed
    }
}

impl Emitter<'_> {
    /// Makes what stays the same: in registers what is used most. RAX is 0 then; a register for addresses is lent.
    pub fn fix(&mut self, at: Gpr) -> Option<()> {
        let (fixed, uses) = (self.chain.fixed(), self.chain.uses());
        let mut registers = fixed.clone();
        registers.sort_by_key(|v| Reverse(uses.get(v).copied()));
        registers.truncate(self.thrift.fixed);
        let (held, kept): (Vec<Value>, Vec<Value>) = fixed.into_iter().partition(|v| registers.contains(v));
        for value in kept {
            match value {
                Value::Bits(bits) => self.code.number(RAX, bits),
                Value::Operand(operand) => {
                    self.code.pointer(at, RDI, operand.into());
                    self.code.word(RAX, at);
                }
            }
            let below = 4 * (self.kept.len() as u8 + 1);
            self.code.keep(RAX, Some(below).filter(|b| *b <= BELOW)?);
            self.kept.insert(value, below);
        }
        for value in &held {
            if let Value::Bits(bits) = value {
                let to = self.free.pop()?;
                self.code.number(RAX, *bits);
                self.code.spread(to, RAX);
                self.fixed.insert(*value, to);
            }
        }
        self.code.number(RAX, 0);
        for value in &held {
            if let Value::Operand(operand) = value {
                let to = self.free.pop()?;
                self.code.pointer(at, RDI, (*operand).into());
                self.code.broadcast(to, at, RAX);
                self.fixed.insert(*value, to);
            }
        }
        Some(())
    }

    /// The register of an operand's lanes.
    pub fn lanes(&mut self, operand: u16, at: Place) -> Option<Vector> {
        let value = self.chain.value(operand);
        if let Some(there) = self.there(value) {
            return Some(there);
        }
        if self.kept.contains_key(&value) {
            return self.recall(value);
        }
        let to = self.register()?;
        // Of lanes that were loaded the bits count.
        match self.truths.get(&operand).filter(|_| self.decided.contains(&operand)) {
            Some(&truth) => {
                let one = self.bits(1)?;
                self.code.copy_some(to, one, truth);
                self.unless_used(Value::Bits(1));
            }
            None => self.code.load(to, self.addresses[&operand], at),
        }
        self.lanes.insert(value, to);
        Some(to)
    }

    /// The register of a constant that a step needs.
    pub fn bits(&mut self, bits: u32) -> Option<Vector> {
        self.there(Value::Bits(bits)).or_else(|| self.recall(Value::Bits(bits)))
    }

    fn there(&self, value: Value) -> Option<Vector> {
        self.fixed.get(&value).or_else(|| self.lanes.get(&value)).copied()
    }

    /// Spreads what is kept.
    fn recall(&mut self, value: Value) -> Option<Vector> {
        let below = *self.kept.get(&value)?;
        let to = self.register()?;
        self.code.recall(to, below);
        self.lanes.insert(value, to);
        Some(to)
    }

    /// The mask of an operand that is true or false.
    pub fn truth(&mut self, operand: u16, at: Place) -> Option<Mask> {
        if let Some(mask) = self.truths.get(&operand) {
            return Some(*mask);
        }
        let of = self.lanes(operand, at)?;
        let to = self.mask()?;
        self.code.test(to, of);
        self.truths.insert(operand, to);
        Some(to)
    }

    /// A register that holds nothing needed.
    pub fn register(&mut self) -> Option<Vector> {
        self.free.pop().or_else(|| self.give_up())
    }

    /// The same for a mask.
    pub fn mask(&mut self) -> Option<Mask> {
        match self.chain.set {
            Set::Avx512 => self.free_masks.pop(),
            Set::Avx2 => self.register().map(|v| Mask(v.0)),
        }
    }

    /// Gives a mask back.
    pub fn release(&mut self, mask: Mask) {
        match self.chain.set {
            Set::Avx512 => self.free_masks.push(mask),
            Set::Avx2 => self.free.push(Vector(mask.0)),
        }
    }

    /// The register of what can be loaded again and is needed last, but not by the step being made.
    fn give_up(&mut self) -> Option<Vector> {
        let loaded = |v: &&Value| match v {
            Value::Bits(_) => true,
            Value::Operand(o) => self.addresses.contains_key(o) || self.kept.contains_key(v),
        };
        let steps = &self.chain.steps[self.done..];
        let next = |v: &Value| steps.iter().position(|s| self.chain.takes(s).contains(v));
        let distance = |v: &Value| next(v).unwrap_or(usize::MAX);
        let candidates = self.lanes.keys().filter(loaded).map(|v| (distance(v), *v));
        let (_, value) = candidates.filter(|(far, _)| self.thrift.reloads && *far > 0).max()?;
        self.lanes.remove(&value)
    }

    /// One use less.
    pub fn used(&mut self, value: Value) {
        if let Some(left) = self.uses.get_mut(&value) {
            *left = left.saturating_sub(1);
        }
        self.unless_used(value);
    }

    /// Gives registers back unless there are more uses.
    fn unless_used(&mut self, value: Value) {
        if self.uses.get(&value).is_some_and(|left| *left > 0) {
            return;
        }
        self.free.extend(self.lanes.remove(&value));
        if let Value::Operand(operand) = value
            && let Some(mask) = self.truths.remove(&operand)
        {
            self.release(mask);
        }
    }
}
