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
pub fn constants(code: Code, set: Set) -> &'static [u32] {
    match code {
        Code::F1(ScalarOp::Neg) => &[SIGN],
        Code::F1(ScalarOp::Abs) => &[!SIGN],
        // What is true, as a lane.
        Code::LtF | Code::EqF | Code::ToBool | Code::And => &[1],
        Code::FToBool => &[0, 1],
        Code::UToF if set == Set::Avx2 => &[UPPER],
        _ => &[],
    }
}

impl Emitter<'_> {
    /// A step over some lanes.
    pub fn step(&mut self, s: &Step, at: Place) -> Option<()> {
        match s.code {
            Code::LtF | Code::EqF => {
                let how = if s.code == Code::LtF { Compare::Less } else { Compare::Equal };
                let (a, b) = (self.lanes(s.args[0], at)?, self.lanes(s.args[1], at)?);
                self.compare(s, a, b, how)
            }
            Code::FToBool => {
                let (a, zero) = (self.lanes(s.args[0], at)?, self.bits(0)?);
                self.compare(s, a, zero, Compare::NotEqual)
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

    fn compare(&mut self, s: &Step, a: Vector, b: Vector, how: Compare) -> Option<()> {
        let to = self.decide(s)?;
        self.code.compare(to, a, b, how);
        Some(())
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
            Code::F1(S::Neg) => {
                let sign = self.bits(SIGN)?;
                self.code.op(Op::Xor, to, a, sign);
            }
            Code::F1(S::Abs) => {
                let others = self.bits(!SIGN)?;
                self.code.op(Op::And, to, a, others);
            }
            Code::F1(S::Sqrt) => self.code.sqrt(to, a),
            Code::F1(S::Floor) => self.code.floor(to, a),
            Code::F2(S::Add) => self.code.op(Op::Add, to, a, b),
            Code::F2(S::Sub) => self.code.op(Op::Sub, to, a, b),
            Code::F2(S::Mul) => self.code.op(Op::Mul, to, a, b),
            Code::F2(S::Div) => self.code.op(Op::Div, to, a, b),
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
            _ => return None,
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
