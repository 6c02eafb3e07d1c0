//! Chains of steps made into machine code.
//!
//! A step runs over a whole block, so that what it makes goes through the first-level cache, and memory is waited for while
//! nothing else is done. Steps that only compute become one function, which keeps its values in registers and reads
//! memory as evenly as a copy does. In: the steps of a tape. Out: the same with chains in place of what they replace.
//! Invariant: results are the same to the bit (but for which of two NaN goes on). Only x86-64 with AVX-512 or AVX2 on Linux
//! has them; elsewhere, and where the system lets no code be made, steps run one by one.

mod assembler;
mod emit;
mod encode;
mod general;
mod page;
mod set;
mod steps;
#[cfg(test)]
mod tests;
mod values;

use super::code::{Class, Code, Compiled, NO_OUT, Step};
use page::Page;
pub use set::Set;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Results of a chain, at most.
pub const MAX_MADE: usize = super::MAX_DIRECT;
/// Steps that are worth a call; and of a chain, at most: how many fit is tried out.
const WORTH: usize = 2;
const LONGEST: usize = 64;

/// Steps that are to be one function, and the operands they take and leave.
struct Chain<'a> {
    set: Set,
    steps: &'a [Step],
    constants: &'a [u32],
    /// One lane for all; and others.
    uniform: Vec<u16>,
    dense: Vec<u16>,
    made: Vec<u16>,
}

impl<'a> Chain<'a> {
    fn new(code: &'a Compiled, set: Set, steps: &'a [Step], made: Vec<u16>) -> Chain<'a> {
        let inside: BTreeSet<u16> = steps.iter().map(|s| s.dst).collect();
        let (mut uniform, mut dense) = (BTreeSet::new(), BTreeSet::new());
        for s in steps {
            for i in 0..arity(s.code) {
                if s.uniform[i] {
                    uniform.insert(s.args[i])
                } else {
                    dense.insert(s.args[i])
                };
            }
        }
        dense.extend(&made);
        let outside = |set: BTreeSet<u16>| set.into_iter().filter(|x| !inside.contains(x)).collect();
        Chain { set, steps, constants: &code.consts, uniform: outside(uniform), dense: outside(dense), made }
    }

    /// Everything that comes from outside.
    fn reads(&self) -> Vec<u16> {
        [&self.uniform[..], &self.dense].concat()
    }

    /// The bits of an operand that is a constant.
    fn constant(&self, operand: u16) -> Option<u32> {
        self.constants.get(operand as usize).copied()
    }
}

/// Something that a chain makes.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub operand: u16,
    pub slot: u16,
    /// As of a step.
    pub out: u8,
}

/// A chain, ready to run.
#[derive(Clone, Debug)]
pub struct Native {
    /// What it reads.
    pub reads: Vec<u16>,
    pub made: Vec<Made>,
    page: Arc<Page>,
    set: Set,
}

impl Native {
    /// Runs over the first `n` lanes.
    ///
    /// # Safety
    /// The processor has the instructions it is made of; of every operand that it reads the table has the address of its
    /// lanes, and `to` where each of what it makes goes; these overlap no other operand but lane by lane.
    pub unsafe fn run(&self, table: *const *const u32, to: &[*mut u32; MAX_MADE], n: usize) {
        type Function = unsafe extern "sysv64" fn(*const *const u32, *const *mut u32, usize, u32);
        // SAFETY: the page holds a function of that kind.
        let f = unsafe { std::mem::transmute::<*const u8, Function>(self.page.entry()) };
        let lanes = self.set.lanes();
        // SAFETY: as the caller vouches.
        unsafe { f(table, to.as_ptr(), n / lanes * lanes * 4, (1 << (n % lanes)) - 1) }
    }

    /// Adds up rows, for a chain of [`sums`] of as many columns.
    ///
    /// # Safety
    /// As [`Native::run`]; there is at least one row, and as many sums as results.
    pub unsafe fn add(&self, table: *const *const u32, sums: &Sums) {
        type Function =
            unsafe extern "sysv64" fn(*const *const u32, *const *mut f32, usize, u32, usize, usize);
        // SAFETY: the page holds a function of that kind.
        let f = unsafe { std::mem::transmute::<*const u8, Function>(self.page.entry()) };
        let (to, columns, lanes) = (sums.to.as_ptr(), sums.columns, self.set.lanes());
        // SAFETY: as the caller vouches.
        unsafe { f(table, to, 0, (1 << (columns % lanes)) - 1, sums.rows, 4 * columns) }
    }
}

/// What several rows of lanes are added to, and their shape.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    pub to: [*mut f32; MAX_MADE],
    pub rows: usize,
    pub columns: usize,
}

/// Arguments that a step has.
pub fn arity(code: Code) -> usize {
    match code {
        Code::Load(_) | Code::Index(_) | Code::Acc | Code::Native(_) => 0,
        Code::Spread(_) | Code::F1(_) | Code::NegI | Code::AbsI | Code::Round(_) => 1,
        Code::FToI | Code::FToU | Code::FToU8 | Code::FToBool | Code::ToBool => 1,
        Code::IToF | Code::IToU | Code::IToU8 | Code::UToF | Code::UToI | Code::UToU8 => 1,
        Code::Random { .. } | Code::F2(_) | Code::AddI | Code::SubI | Code::MulI => 2,
        Code::MaxI | Code::MinI | Code::MaxU | Code::MinU => 2,
        Code::LtF | Code::LtI | Code::LtU | Code::EqF | Code::EqI | Code::And => 2,
        Code::Select | Code::MulAdd => 3,
    }
}

/// Puts chains in place of what they replace. Before slots are given out.
pub fn chain(code: &mut Compiled, set: Set) {
    let steps = std::mem::take(&mut code.steps);
    let (steady, others) = steps.split_at(code.steady);
    let mut ready: BTreeSet<u16> = (0..code.consts.len() as u16).collect();
    let steady = section(code, set, steady, others, &mut ready);
    let others = section(code, set, others, &[], &mut ready);
    code.steady = steady.len();
    code.steps = [steady, others].concat();
}

/// Makes all that depends on rows a chain that adds the results up, row by row, if it can be one. Before slots are given
/// out.
pub fn sums(code: &mut Compiled, columns: usize, set: Set) -> bool {
    let (steady, others) = code.steps.split_at(code.steady);
    let made = (0..code.consts.len() as u16).chain(steady.iter().map(|s| s.dst));
    let (mut ready, mut left) = (made.collect(), others.to_vec());
    let before = take(&mut left, &mut ready, |s| !candidate(s));
    let steps = take(&mut left, &mut ready, candidate);
    if !left.is_empty() || code.results.len() > MAX_MADE {
        return false;
    }
    let chain = Chain::new(code, set, &steps, code.results.clone());
    let function = emit::emit_sums(&chain, columns)
        .and_then(|code| Function { code, reads: chain.reads(), made: Vec::new(), set }.allowed());
    if function.is_none() {
        return false;
    }
    code.sum = function;
    code.steps = [steady, &before].concat();
    true
}

/// Whether a step can be part of a chain.
fn candidate(s: &Step) -> bool {
    s.class == Class::Dense && steps::knows(s.code)
}

/// One section of steps, which `later` ones follow: in turns what is no part of a chain, and all chains that can be.
fn section(
    code: &mut Compiled,
    set: Set,
    steps: &[Step],
    later: &[Step],
    ready: &mut BTreeSet<u16>,
) -> Vec<Step> {
    let mut left: Vec<Step> = steps.to_vec();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        ordered.extend(take(&mut left, ready, |s| !candidate(s)));
        let group = take(&mut left, ready, candidate);
        let mut rest = &group[..];
        while !rest.is_empty() {
            let needed = |n: usize| rest[n..].iter().chain(&left).chain(later).flat_map(args).collect();
            let fitting = (WORTH..=rest.len().min(LONGEST))
                .rev()
                .find_map(|n| Some((n, function(code, set, &rest[..n], &needed(n))?)));
            let native = fitting.and_then(|(n, function)| Some((n, function.allowed()?)));
            let n = native.as_ref().map_or(1, |(n, _)| *n);
            match native {
                Some((_, native)) => {
                    let step = Step {
                        code: Code::Native(code.natives.len() as u16),
                        dst: native.made[0].operand,
                        out: NO_OUT,
                        padded: false,
                        ..rest[0].clone()
                    };
                    code.natives.push(native);
                    ordered.push(step);
                }
                None => ordered.push(rest[0].clone()),
            }
            rest = &rest[n..];
        }
        assert!(left.len() < before, "a step waits for itself");
    }
    late(code, ordered)
}

/// The same steps, those that only move lanes just before they are needed: fewer slots are in use at a time.
fn late(code: &Compiled, steps: Vec<Step>) -> Vec<Step> {
    let (mut moves, others): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|s| s.code.moves());
    let mut ordered = Vec::new();
    for s in others {
        let reads = match s.code {
            Code::Native(n) => code.natives[n as usize].reads.clone(),
            _ => args(&s),
        };
        bring(&mut moves, &reads, &mut ordered);
        ordered.push(s);
    }
    // Results, and what later sections read.
    ordered.extend(moves);
    ordered
}

/// Moves to the end of `ordered` what makes these operands.
fn bring(moves: &mut Vec<Step>, operands: &[u16], ordered: &mut Vec<Step>) {
    for operand in operands {
        if let Some(at) = moves.iter().position(|m| m.dst == *operand) {
            let step = moves.remove(at);
            bring(moves, &args(&step), ordered);
            ordered.push(step);
        }
    }
}

fn args(s: &Step) -> Vec<u16> {
    s.args[..arity(s.code)].to_vec()
}

/// Takes all steps of a kind whose arguments are there, and those that they make possible, in order.
fn take(left: &mut Vec<Step>, ready: &mut BTreeSet<u16>, kind: impl Fn(&Step) -> bool) -> Vec<Step> {
    let mut taken = Vec::new();
    left.retain(|s| {
        let go = kind(s) && args(s).iter().all(|a| ready.contains(a));
        if go {
            ready.insert(s.dst);
            taken.push(s.clone());
        }
        !go
    });
    taken
}

/// Code of a chain, and what it reads and makes.
struct Function {
    code: Vec<u8>,
    reads: Vec<u16>,
    made: Vec<Made>,
    set: Set,
}

impl Function {
    /// Ready to run, if the system allows that.
    fn allowed(self) -> Option<Native> {
        let page = Arc::new(Page::new(&self.code)?);
        Some(Native { reads: self.reads, made: self.made, page, set: self.set })
    }
}

/// The function of some steps, of which `needed` is needed later; `None` if they need more registers than there are.
fn function(code: &Compiled, set: Set, steps: &[Step], needed: &BTreeSet<u16>) -> Option<Function> {
    let leaves = |s: &&Step| needed.contains(&s.dst) || code.results.contains(&s.dst);
    let made: Vec<&Step> = steps.iter().filter(leaves).collect();
    if made.is_empty() || made.len() > MAX_MADE {
        return None;
    }
    let chain = Chain::new(code, set, steps, made.iter().map(|s| s.dst).collect());
    let made = made.iter().map(|s| Made { operand: s.dst, slot: 0, out: s.out }).collect();
    Some(Function { code: emit::emit(&chain)?, reads: chain.reads(), made, set })
}
