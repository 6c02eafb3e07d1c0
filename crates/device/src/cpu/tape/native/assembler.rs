//! The few vector instructions of x86-64 that chains of steps become.
//!
//! In: registers, addresses. Out: bytes. Where AVX2 has no such instruction, a few others do the same. Invariant: every
//! vector instruction works on whole registers.

use super::encode::{Instruction, PD, PS, SD, SS, X3A, X38};
use super::set::Set;

/// A general register, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpr(pub u8);

/// A vector register, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vector(pub u8);

/// A register that says which lanes: one of 8, or with AVX2 any vector register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub u8);

impl Mask {
    /// With AVX2.
    fn vector(self) -> Vector {
        Vector(self.0)
    }
}

pub const RAX: Gpr = Gpr(0);
pub const RCX: Gpr = Gpr(1);
pub const RDX: Gpr = Gpr(2);
pub const RSI: Gpr = Gpr(6);
pub const RDI: Gpr = Gpr(7);
pub const R8: Gpr = Gpr(8);
pub const R9: Gpr = Gpr(9);

/// Lanes in memory: so many bytes (a register) and so many whole vectors behind a base; only some lanes of it if they are
/// the last.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: Gpr,
    /// Below 128.
    pub vectors: u8,
    pub last: Option<Mask>,
}

/// Two operands to one, lane by lane.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Add,
    Mul,
    Sub,
    Div,
    /// The second operand where either is NaN, or both are 0.
    Min,
    /// As [`Op::Min`].
    Max,
    And,
    Xor,
    AddI,
    SubI,
    MulI,
    MaxI,
    MinI,
    MaxU,
    MinU,
}

/// How lanes are compared.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    Equal = 0,
    Less = 0x11,
    Unordered = 3,
    NotEqual = 4,
}

/// The code so far.
pub struct Assembler {
    pub set: Set,
    pub bytes: Vec<u8>,
}

impl Assembler {
    /// No code yet.
    pub fn new(set: Set) -> Assembler {
        Assembler { set, bytes: Vec::new() }
    }

    /// `to` = lanes, or only those of a mask, 0 elsewhere.
    pub fn load(&mut self, to: Vector, base: Gpr, at: Place) {
        let i = match (at.last, self.set) {
            (None, _) => Instruction::new(PS, 0x10, to.0, None),
            (Some(mask), Set::Avx512) => Instruction::new(PS, 0x10, to.0, None).masked(mask, true),
            (Some(mask), Set::Avx2) => Instruction::new(X38, 0x2c, to.0, Some(mask.vector())),
        };
        self.with_memory(&i, base, at.index, at.vectors);
    }

    /// Lanes, or only those of a mask, = `from`.
    pub fn store(&mut self, from: Vector, base: Gpr, at: Place) {
        let i = match (at.last, self.set) {
            (None, _) => Instruction::new(PS, 0x11, from.0, None),
            (Some(mask), Set::Avx512) => Instruction::new(PS, 0x11, from.0, None).masked(mask, false),
            (Some(mask), Set::Avx2) => Instruction::new(X38, 0x2e, from.0, Some(mask.vector())),
        };
        self.with_memory(&i, base, at.index, at.vectors);
    }

    /// All lanes what is at `[base + index]`.
    pub fn broadcast(&mut self, to: Vector, base: Gpr, index: Gpr) {
        self.with_memory(&Instruction::new(X38, 0x18, to.0, None), base, index, 0);
    }

    /// All lanes what is so many bytes, 128 at most, below the stack. AVX2 only.
    pub fn recall(&mut self, to: Vector, below: u8) {
        self.with_stack(&Instruction::new(X38, 0x18, to.0, None), below);
    }

    /// All lanes what is in `from`, which is below 8.
    pub fn spread(&mut self, to: Vector, from: Gpr) {
        match self.set {
            Set::Avx512 => self.with_register(&Instruction::new(X38, 0x7c, to.0, None), from.0),
            Set::Avx2 => {
                self.lowest(to, from, false);
                self.with_register(&Instruction::new(X38, 0x18, to.0, None), to.0);
            }
        }
    }

    /// The lowest lane, or two of them, what is in `from`, which is below 8; the others 0. AVX2 only.
    fn lowest(&mut self, to: Vector, from: Gpr, two: bool) {
        let p0 = u8::from(to.0 & 8 == 0) << 7 | 0x61;
        self.bytes.extend([0xc4, p0, u8::from(two) << 7 | 0x79, 0x6e, 0xc0 | (to.0 & 7) << 3 | from.0]);
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(PS, 0x28, to.0, None), from.0);
    }

    /// `to = from` in the lanes of a mask, and 0 elsewhere.
    pub fn copy_some(&mut self, to: Vector, from: Vector, mask: Mask) {
        match self.set {
            Set::Avx512 => {
                self.with_register(&Instruction::new(PS, 0x28, to.0, None).masked(mask, true), from.0);
            }
            Set::Avx2 => self.op(Op::And, to, from, mask.vector()),
        }
    }

    /// `to = from` in the lanes of a mask.
    pub fn replace_some(&mut self, to: Vector, from: Vector, mask: Mask) {
        match self.set {
            Set::Avx512 => {
                self.with_register(&Instruction::new(PS, 0x28, to.0, None).masked(mask, false), from.0);
            }
            Set::Avx2 => self.select(to, mask, from, to),
        }
    }

    /// `to = a op b`.
    pub fn op(&mut self, op: Op, to: Vector, a: Vector, b: Vector) {
        let (page, opcode) = match op {
            Op::Add => (PS, 0x58),
            Op::Mul => (PS, 0x59),
            Op::Sub => (PS, 0x5c),
            Op::Min => (PS, 0x5d),
            Op::Div => (PS, 0x5e),
            Op::Max => (PS, 0x5f),
            Op::And => (PD, 0xdb),
            Op::Xor => (PD, 0xef),
            Op::AddI => (PD, 0xfe),
            Op::SubI => (PD, 0xfa),
            Op::MulI => (X38, 0x40),
            Op::MaxI => (X38, 0x3d),
            Op::MinI => (X38, 0x39),
            Op::MaxU => (X38, 0x3f),
            Op::MinU => (X38, 0x3b),
        };
        self.with_register(&Instruction::new(page, opcode, to.0, Some(a)), b.0);
    }

    /// `to = a * b + to`, rounded once.
    pub fn add_product(&mut self, to: Vector, a: Vector, b: Vector) {
        self.with_register(&Instruction::new(X38, 0xb8, to.0, Some(a)), b.0);
    }

    /// The square root.
    pub fn sqrt(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(PS, 0x51, to.0, None), from.0);
    }

    /// The next whole number below.
    pub fn floor(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(X3A, 0x08, to.0, None), from.0);
        self.bytes.push(0x09);
    }

    /// Without the sign, of i32s.
    pub fn abs_signed(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(X38, 0x1e, to.0, None), from.0);
    }

    /// i32s of f32s, towards 0; the lowest one for what is out of range or NaN.
    pub fn truncate(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(SS, 0x5b, to.0, None), from.0);
    }

    /// f32s of i32s.
    pub fn of_signed(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(PS, 0x5b, to.0, None), from.0);
    }

    /// f32s of u32s. AVX-512 only.
    pub fn of_unsigned(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(SD, 0x7a, to.0, None), from.0);
    }

    /// The upper 16 bits. AVX2 only.
    pub fn upper_half(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(PD, 0x72, 2, Some(to)), from.0);
        self.bytes.push(16);
    }

    /// The lower 16 bits. AVX2 only.
    pub fn lower_half(&mut self, to: Vector, from: Vector) {
        self.with_register(&Instruction::new(PD, 0x72, 6, Some(to)), from.0);
        self.bytes.push(16);
        self.upper_half(to, to);
    }

    /// Which lanes compare so.
    pub fn compare(&mut self, to: Mask, a: Vector, b: Vector, how: Compare) {
        self.with_register(&Instruction::new(PS, 0xc2, to.0, Some(a)), b.0);
        self.bytes.push(how as u8);
    }

    /// Which lanes are not all zero bits; `to` is not `a`.
    pub fn test(&mut self, to: Mask, a: Vector) {
        match self.set {
            Set::Avx512 => self.with_register(&Instruction::new(X38, 0x27, to.0, Some(a)), a.0),
            Set::Avx2 => {
                let zero = to.vector();
                self.op(Op::Xor, zero, zero, zero);
                self.equal_bits(to, a, zero);
                // The other lanes: all ones are a NaN, which equals nothing.
                self.compare(to, to.vector(), to.vector(), Compare::Equal);
            }
        }
    }

    /// Which lanes of `a` are greater, as i32s.
    pub fn greater_signed(&mut self, to: Mask, a: Vector, b: Vector) {
        self.with_register(&Instruction::new(PD, 0x66, to.0, Some(a)), b.0);
    }

    /// Which lanes have the same bits.
    pub fn equal_bits(&mut self, to: Mask, a: Vector, b: Vector) {
        self.with_register(&Instruction::new(PD, 0x76, to.0, Some(a)), b.0);
    }

    /// `to = a` in the lanes of the mask, `b` elsewhere.
    pub fn select(&mut self, to: Vector, mask: Mask, a: Vector, b: Vector) {
        match self.set {
            Set::Avx512 => {
                self.with_register(&Instruction::new(X38, 0x64, to.0, Some(b)).masked(mask, false), a.0);
            }
            Set::Avx2 => {
                self.with_register(&Instruction::new(X3A, 0x4a, to.0, Some(b)), a.0);
                self.bytes.push(mask.0 << 4);
            }
        }
    }

    /// Lanes that are in both masks.
    pub fn both(&mut self, to: Mask, a: Mask, b: Mask) {
        match self.set {
            Set::Avx512 => {
                self.bytes.extend([0xc5, 0x80 | (!a.0 & 15) << 3 | 4, 0x41, 0xc0 | to.0 << 3 | b.0]);
            }
            Set::Avx2 => self.op(Op::And, to.vector(), a.vector(), b.vector()),
        }
    }

    /// A mask of the lowest bits of a register, which is below 8. AVX-512 only.
    pub fn mask(&mut self, to: Mask, from: Gpr) {
        self.bytes.extend([0xc5, 0xf8, 0x92, 0xc0 | to.0 << 3 | from.0]);
    }

    /// The same with AVX2, by way of two more registers, of which the general one is below 8.
    pub fn mask_by(&mut self, to: Mask, from: Gpr, bits: Gpr, spare: Vector) {
        // A byte, and then a lane, for each bit.
        self.long_number(bits, 0x8040_2010_0804_0201);
        self.lowest(to.vector(), bits, true);
        self.with_register(&Instruction::new(X38, 0x31, to.0, None), to.0);
        self.spread(spare, from);
        self.op(Op::And, spare, spare, to.vector());
        self.equal_bits(to, spare, to.vector());
    }

    /// Leaves the function; callers may use older vector instructions.
    pub fn leave(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]);
    }
}
