//! A chain of steps as one function: registers instead of slots.
//!
//! In: steps that compute, in order. Out: code that loads what they need, a vector at a time, does all of them and stores
//! what is needed later, or adds it up over rows; the last lanes are masked. Every lane gets the very bits that the steps
//! one by one would give it: the operations, their order and how NaN goes through are the same. `None` where registers do
//! not suffice.

use super::Chain;
use super::assembler::{Assembler, Gpr, Mask, Op, Place, R8, R9, RAX, RCX, RDI, RDX, RSI, Vector};
use super::set::Set;
use super::values::{Thrift, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Registers for addresses; the first ones need not be saved. The numbers and lengths of rows take the first two.
const ADDRESSES: [Gpr; 10] = [R8, R9, Gpr(10), Gpr(11), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
const UNSAVED: usize = 4;
const FOR_ROWS: usize = 2;
/// Registers for the sums of a result, at most.
const MOST_SUMS: usize = 6;
/// The mask of the last lanes, where masks are registers of their own.
const LAST: Mask = Mask(1);

pub struct Emitter<'a> {
    pub code: Assembler,
    pub chain: &'a Chain<'a>,
    pub thrift: Thrift,
    /// What is the same in all lanes and all turns: registers that hold it, or bytes below the stack.
    pub fixed: BTreeMap<Value, Vector>,
    pub kept: BTreeMap<Value, u8>,
    pub addresses: BTreeMap<u16, Gpr>,
    results: Vec<Gpr>,
    saved: Vec<Gpr>,
    /// Of one turn: how many of its steps are done.
    pub done: usize,
    pub lanes: BTreeMap<Value, Vector>,
    pub truths: BTreeMap<u16, Mask>,
    /// Operands that were made as masks.
    pub decided: BTreeSet<u16>,
    pub uses: BTreeMap<Value, usize>,
    pub free: Vec<Vector>,
    pub free_masks: Vec<Mask>,
}

/// The function of a chain that stores what it makes: of addresses of operands and results, bytes of whole vectors, and a
/// bit for each lane that is left.
pub fn emit(chain: &Chain<'_>) -> Option<Vec<u8>> {
    Thrift::least(chain, |thrift| {
        let mut e = Emitter::new(chain, thrift);
        e.enter(&ADDRESSES)?;
        let free = e.free.clone();
        let skip = e.code.ahead_unless_below(RAX, RDX);
        let top = e.code.here();
        e.stored(Place { index: RAX, vectors: 0, last: None })?;
        e.code.next(RAX, 1);
        e.code.back_while_below(top, RAX, RDX);
        e.code.land(skip);
        let done = e.code.ahead_if_zero(RCX);
        e.free = free;
        let last = Some(e.last()?);
        e.stored(Place { index: RAX, vectors: 0, last })?;
        e.code.land(done);
        Some(e.leave())
    })
}

/// The function of a chain that adds what it makes up, and then to sums of `columns` columns: of addresses of operands and
/// sums, nothing, a bit for each column that fills no vector, rows (at least one), and bytes of a row.
pub fn emit_sums(chain: &Chain<'_>, columns: usize) -> Option<Vec<u8>> {
    let set = chain.set;
    let most = (set.sums() / chain.made.len()).clamp(1, MOST_SUMS);
    let with = |side_by_side: usize, thrift: Thrift| {
        let mut e = Emitter::new(chain, thrift);
        e.enter(&ADDRESSES[FOR_ROWS..])?;
        let last = e.last()?;
        let mut left = columns / set.lanes();
        while left > 0 {
            let vectors = side_by_side.min(left);
            e.summed(vectors, None)?;
            e.code.next(RAX, vectors);
            left -= vectors;
        }
        if !columns.is_multiple_of(set.lanes()) {
            e.summed(1, Some(last))?;
        }
        Some(e.leave())
    };
    Thrift::least(chain, |thrift| (1..=most).rev().find_map(|n| with(n, thrift)))
}

impl<'a> Emitter<'a> {
    fn new(chain: &'a Chain<'a>, thrift: Thrift) -> Emitter<'a> {
        Emitter {
            code: Assembler::new(chain.set),
            chain,
            thrift,
            fixed: BTreeMap::new(),
            kept: BTreeMap::new(),
            addresses: BTreeMap::new(),
            results: Vec::new(),
            saved: Vec::new(),
            done: 0,
            lanes: BTreeMap::new(),
            truths: BTreeMap::new(),
            decided: BTreeSet::new(),
            uses: BTreeMap::new(),
            free: (0..chain.set.registers()).rev().map(Vector).collect(),
            free_masks: Vec::new(),
        }
    }

    /// Restores registers and ends the function.
    fn leave(mut self) -> Vec<u8> {
        for r in self.saved.iter().rev() {
            self.code.pop(*r);
        }
        self.code.leave();
        self.code.bytes
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
        self.fix(at)?;
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

    /// The mask of the last lanes.
    fn last(&mut self) -> Option<Mask> {
        match self.chain.set {
            Set::Avx512 => {
                self.code.mask(LAST, RCX);
                Some(LAST)
            }
            Set::Avx2 => {
                let to = Mask(self.free.pop()?.0);
                self.code.mask_by(to, RCX, RDX, *self.free.last()?);
                Some(to)
            }
        }
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
        self.uses = self.chain.uses();
        let chain = self.chain;
        for (done, s) in chain.steps.iter().enumerate() {
            self.done = done;
            self.step(s, at)?;
            for value in chain.takes(s) {
                self.used(value);
            }
        }
        self.done = chain.steps.len();
        Some(())
    }
}
