//! What each step becomes.
//!
//! Invariant: a chain has only steps that [`knows`] knows.

use super::arity;
use super::assembler::{Compare, Mask, Op, Place, Vector};
use super::emit::Emitter;
use super::set::Set;
use super::values::Value;
use crate::cpu::tape::code::{Code, Step};
use thalweg_base::ScalarOp;

const SIGN: u32 = 1 << 31;
/// 2^16, an f32.
const UPPER: u32 = 65536.0_f32.to_bits();
/// 255, an f32.
const BYTE: u32 = 255.0_f32.to_bits();
/// The greatest f32 below 2^31.
const MOST: u32 = 2_147_483_520.0_f32.to_bits();

/// Whether a step can be part of a chain.
pub fn knows(code: Code) -> bool {
    use ScalarOp as S;
    match code {
        Code::F1(S::Sqrt | S::Floor) | Code::MulAdd | Code::Select | Code::And => true,
        Code::LtF | Code::EqF | Code::LtI | Code::EqI | Code::FToBool | Code::ToBool => true,
        Code::IToF | Code::UToF | Code::FToI | Code::AbsI => true,
        _ => binary(code).is_some() || !with_constants(code).is_empty(),
    }
}

/// Two operands to one, by one instruction; but for NaN in maxima.
fn binary(code: Code) -> Option<Op> {
    use ScalarOp as S;
    Some(match code {
        Code::F2(S::Add) => Op::Add,
        Code::F2(S::Sub) => Op::Sub,
        Code::F2(S::Mul) => Op::Mul,
        Code::F2(S::Div) => Op::Div,
        Code::F2(S::Max) => Op::Max,
        Code::F2(S::Min) => Op::Min,
        Code::AddI => Op::AddI,
        Code::SubI => Op::SubI,
        Code::MulI => Op::MulI,
        Code::MaxI => Op::MaxI,
        Code::MinI => Op::MinI,
        Code::MaxU => Op::MaxU,
        Code::MinU => Op::MinU,
        _ => return None,
    })
}

/// Operations on the value and constants that a step is, or begins with, in order.
fn with_constants(code: Code) -> &'static [(Op, u32)] {
    match code {
        Code::F1(ScalarOp::Neg) => &[(Op::Xor, SIGN)],
        Code::F1(ScalarOp::Abs) => &[(Op::And, !SIGN)],
        Code::NegI => &[(Op::MulI, u32::MAX)],
        Code::IToU => &[(Op::MaxI, 0)],
        Code::IToU8 => &[(Op::MaxI, 0), (Op::MinI, 255)],
        Code::UToI => &[(Op::MinU, i32::MAX as u32)],
        Code::UToU8 => &[(Op::MinU, 255)],
        // NaN becomes 0.
        Code::FToU8 => &[(Op::Max, 0), (Op::Min, BYTE)],
        _ => &[],
    }
}

/// Constants that a step needs beside its arguments.
pub fn constants(code: Code, set: Set) -> impl Iterator<Item = u32> {
    let others: &[u32] = match code {
        // What is true, as a lane.
        Code::LtF | Code::EqF | Code::LtI | Code::EqI | Code::ToBool | Code::And => &[1],
        Code::FToBool => &[0, 1],
        Code::FToI => &[MOST, i32::MAX as u32],
        Code::UToF if set == Set::Avx2 => &[UPPER],
        _ => &[],
    };
    with_constants(code).iter().map(|(_, bits)| *bits).chain(others.iter().copied())
}

impl Emitter<'_> {
    /// A step over some lanes.
    pub fn step(&mut self, s: &Step, at: Place) -> Option<()> {
        match s.code {
            Code::LtF | Code::EqF | Code::LtI | Code::EqI => {
                let (a, b) = (self.lanes(s.args[0], at)?, self.lanes(s.args[1], at)?);
                let to = self.decide(s)?;
                match s.code {
                    Code::LtF => self.code.compare(to, a, b, Compare::Less),
                    Code::EqF => self.code.compare(to, a, b, Compare::Equal),
                    Code::LtI => self.code.greater_signed(to, b, a),
                    _ => self.code.equal_bits(to, a, b),
                }
                Some(())
            }
            Code::FToBool => {
                let (a, zero) = (self.lanes(s.args[0], at)?, self.bits(0)?);
                let to = self.decide(s)?;
                self.code.compare(to, a, zero, Compare::NotEqual);
                Some(())
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

    /// A mask for what a step makes.
    fn decide(&mut self, s: &Step) -> Option<Mask> {
        let to = self.mask()?;
        self.truths.insert(s.dst, to);
        self.decided.insert(s.dst);
        Some(to)
    }

    /// A step that makes lanes.
    fn arithmetic(&mut self, s: &Step, at: Place) -> Option<()> {
        use ScalarOp as S;
        let condition = if s.code == Code::Select { Some(self.truth(s.args[0], at)?) } else { None };
        let mut args = [Vector(0); 3];
        let values = usize::from(condition.is_some())..arity(s.code);
        for (to, &operand) in args[values.clone()].iter_mut().zip(&s.args[values]) {
            *to = self.lanes(operand, at)?;
        }
        let [a, b, c] = args;
        let to = self.register()?;
        match s.code {
            Code::F1(S::Sqrt) => self.code.sqrt(to, a),
            Code::F1(S::Floor) => self.code.floor(to, a),
            Code::F2(S::Max) => self.extreme(Op::Max, s, [to, a, b])?,
            Code::F2(S::Min) => self.extreme(Op::Min, s, [to, a, b])?,
            Code::And => self.code.op(Op::And, to, a, b),
            Code::MulAdd => {
                self.code.copy(to, c);
                self.code.add_product(to, a, b);
            }
            Code::Select => self.code.select(to, condition?, b, c),
            Code::IToF => self.code.of_signed(to, a),
            Code::UToF => match self.chain.set {
                Set::Avx512 => self.code.of_unsigned(to, a),
                Set::Avx2 => self.of_halves(to, a)?,
            },
            Code::FToI => self.saturated(to, a)?,
            Code::AbsI => self.code.abs_signed(to, a),
            Code::FToU8 => {
                self.constantly(s.code, to, a)?;
                self.code.truncate(to, to);
            }
            code => match binary(code) {
                Some(op) => self.code.op(op, to, a, b),
                None if with_constants(code).is_empty() => return None,
                None => self.constantly(code, to, a)?,
            },
        }
        self.lanes.insert(Value::Operand(s.dst), to);
        Some(())
    }

    /// As `math::max` and `math::min`: the first operand if it is NaN, else the second if that is.
    fn extreme(&mut self, op: Op, s: &Step, [to, a, b]: [Vector; 3]) -> Option<()> {
        self.code.op(op, to, a, b);
        let number = self.chain.constant(s.args[0]).is_some_and(|bits| !f32::from_bits(bits).is_nan());
        if !number {
            let nan = self.mask()?;
            self.code.compare(nan, a, a, Compare::Unordered);
            self.code.replace_some(to, a, nan);
            self.release(nan);
        }
        Some(())
    }

    /// A step's operations with constants.
    fn constantly(&mut self, code: Code, to: Vector, mut from: Vector) -> Option<()> {
        for (op, bits) in with_constants(code) {
            let constant = self.bits(*bits)?;
            self.code.op(*op, to, from, constant);
            from = to;
        }
        Some(())
    }

    /// i32s of f32s: the greatest of what is above, 0 of NaN.
    fn saturated(&mut self, to: Vector, from: Vector) -> Option<()> {
        let (most, greatest) = (self.bits(MOST)?, self.bits(i32::MAX as u32)?);
        let mask = self.mask()?;
        self.code.truncate(to, from);
        self.code.compare(mask, most, from, Compare::Less);
        self.code.replace_some(to, greatest, mask);
        self.code.compare(mask, from, from, Compare::Equal);
        self.code.copy_some(to, to, mask);
        self.release(mask);
        Some(())
    }

    /// f32s of u32s: both halves are exact, their sum is rounded once.
    fn of_halves(&mut self, to: Vector, from: Vector) -> Option<()> {
        let upper = self.bits(UPPER)?;
        let high = self.register()?;
        self.code.upper_half(high, from);
        self.code.of_signed(high, high);
        self.code.lower_half(to, from);
        self.code.of_signed(to, to);
        self.code.add_product(to, high, upper);
        self.free.push(high);
        Some(())
    }
}
