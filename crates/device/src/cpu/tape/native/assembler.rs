//! The few machine instructions of x86-64 with AVX-512 that chains of steps become.
//!
//! In: registers, addresses. Out: bytes. Encodings are those of Intel's manual (volume 2, "EVEX" in chapter 2.7): a prefix
//! of four bytes, the opcode, ModRM, and for memory always a base, an index and a displacement of whole registers. Invariant: every
//! vector instruction works on 512 bits.

/// A general register, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpr(pub u8);

/// A vector register, 0 to 31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zmm(pub u8);

/// A mask register, 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub u8);

pub const RAX: Gpr = Gpr(0);
pub const RCX: Gpr = Gpr(1);
pub const RDX: Gpr = Gpr(2);
pub const RSI: Gpr = Gpr(6);
pub const RDI: Gpr = Gpr(7);
pub const R8: Gpr = Gpr(8);
pub const R9: Gpr = Gpr(9);

/// 16 lanes in memory: so many bytes (a register) and so many whole vectors behind a base; only some lanes of it if they are
/// the last.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: Gpr,
    /// Below 128.
    pub vectors: u8,
    pub last: Option<Mask>,
}

/// Which table an opcode is from, and its mandatory prefix: (map, prefix).
type Page = (u8, u8);
const PS: Page = (1, 0);
const PD: Page = (1, 1);
const SD: Page = (1, 3);
const X38: Page = (2, 1);
const X3A: Page = (3, 1);

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
#[derive(Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

/// An instruction with an EVEX prefix.
struct Evex {
    page: Page,
    opcode: u8,
    /// The operand in ModRM's reg, and in vvvv, which is 0 where there is none.
    reg: u8,
    second: u8,
    mask: Mask,
    /// Whether lanes that are not in the mask become 0.
    zeroing: bool,
}

impl Evex {
    fn new(page: Page, opcode: u8, reg: u8, second: Option<Zmm>) -> Evex {
        // Fields are inverted: no second operand is all ones.
        Evex { page, opcode, reg, second: second.map_or(0, |z| z.0), mask: Mask(0), zeroing: false }
    }

    fn masked(self, mask: Mask, zeroing: bool) -> Evex {
        Evex { mask, zeroing, ..self }
    }
}

impl Assembler {
    /// The finished code.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn prefix(&mut self, e: &Evex, x: bool, b: bool) {
        let not = |bit: bool, at: u8| u8::from(!bit) << at;
        let (map, prefix) = e.page;
        let p0 = not(e.reg & 8 != 0, 7) | not(x, 6) | not(b, 5) | not(e.reg & 16 != 0, 4) | map;
        let p1 = (!e.second & 15) << 3 | 4 | prefix;
        let p2 = u8::from(e.zeroing) << 7 | 0b10 << 5 | not(e.second & 16 != 0, 3) | e.mask.0;
        self.bytes.extend([0x62, p0, p1, p2, e.opcode]);
    }

    fn with_register(&mut self, e: &Evex, rm: u8) {
        self.prefix(e, rm & 16 != 0, rm & 8 != 0);
        self.bytes.push(0xc0 | (e.reg & 7) << 3 | rm & 7);
    }

    /// The displacement counts the instruction's operands.
    fn with_memory(&mut self, e: &Evex, base: Gpr, index: Gpr, displacement: u8) {
        self.prefix(e, index.0 & 8 != 0, base.0 & 8 != 0);
        self.bytes.extend([0x44 | (e.reg & 7) << 3, (index.0 & 7) << 3 | base.0 & 7, displacement]);
    }

    /// `to` = 16 lanes, or only those of a mask, 0 elsewhere.
    pub fn load(&mut self, to: Zmm, base: Gpr, at: Place) {
        let e = Evex::new(PS, 0x10, to.0, None).masked(at.last.unwrap_or(Mask(0)), at.last.is_some());
        self.with_memory(&e, base, at.index, at.vectors);
    }

    /// 16 lanes, or only those of a mask, = `from`.
    pub fn store(&mut self, from: Zmm, base: Gpr, at: Place) {
        let e = Evex::new(PS, 0x11, from.0, None).masked(at.last.unwrap_or(Mask(0)), false);
        self.with_memory(&e, base, at.index, at.vectors);
    }

    /// All lanes what is at `[base + index]`.
    pub fn broadcast(&mut self, to: Zmm, base: Gpr, index: Gpr) {
        self.with_memory(&Evex::new(X38, 0x18, to.0, None), base, index, 0);
    }

    /// All lanes what is in `from`.
    pub fn spread(&mut self, to: Zmm, from: Gpr) {
        self.with_register(&Evex::new(X38, 0x7c, to.0, None), from.0);
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Zmm, from: Zmm) {
        self.with_register(&Evex::new(PS, 0x28, to.0, None), from.0);
    }

    /// `to = from` in the lanes of a mask, and 0 elsewhere if `zeroing`, what it was if not.
    pub fn copy_some(&mut self, to: Zmm, from: Zmm, mask: Mask, zeroing: bool) {
        self.with_register(&Evex::new(PS, 0x28, to.0, None).masked(mask, zeroing), from.0);
    }

    /// `to = a op b`.
    pub fn op(&mut self, op: Op, to: Zmm, a: Zmm, b: Zmm) {
        let (page, opcode) = match op {
            Op::Add => (PS, 0x58),
            Op::Mul => (PS, 0x59),
            Op::Sub => (PS, 0x5c),
            Op::Min => (PS, 0x5d),
            Op::Div => (PS, 0x5e),
            Op::Max => (PS, 0x5f),
            Op::And => (PD, 0xdb),
            Op::Xor => (PD, 0xef),
        };
        self.with_register(&Evex::new(page, opcode, to.0, Some(a)), b.0);
    }

    /// `to = a * b + to`, rounded once.
    pub fn add_product(&mut self, to: Zmm, a: Zmm, b: Zmm) {
        self.with_register(&Evex::new(X38, 0xb8, to.0, Some(a)), b.0);
    }

    /// The square root.
    pub fn sqrt(&mut self, to: Zmm, from: Zmm) {
        self.with_register(&Evex::new(PS, 0x51, to.0, None), from.0);
    }

    /// The next whole number below.
    pub fn floor(&mut self, to: Zmm, from: Zmm) {
        self.with_register(&Evex::new(X3A, 0x08, to.0, None), from.0);
        self.bytes.push(0x09);
    }

    /// f32s of i32s.
    pub fn of_signed(&mut self, to: Zmm, from: Zmm) {
        self.with_register(&Evex::new(PS, 0x5b, to.0, None), from.0);
    }

    /// f32s of u32s.
    pub fn of_unsigned(&mut self, to: Zmm, from: Zmm) {
        self.with_register(&Evex::new(SD, 0x7a, to.0, None), from.0);
    }

    /// Which lanes compare so.
    pub fn compare(&mut self, to: Mask, a: Zmm, b: Zmm, how: Compare) {
        self.with_register(&Evex::new(PS, 0xc2, to.0, Some(a)), b.0);
        self.bytes.push(how as u8);
    }

    /// Which lanes are not all zero bits.
    pub fn test(&mut self, to: Mask, a: Zmm) {
        self.with_register(&Evex::new(X38, 0x27, to.0, Some(a)), a.0);
    }

    /// `to = a` in the lanes of the mask, `b` elsewhere.
    pub fn select(&mut self, to: Zmm, mask: Mask, a: Zmm, b: Zmm) {
        self.with_register(&Evex::new(X38, 0x64, to.0, Some(b)).masked(mask, false), a.0);
    }

    /// Lanes that are in both masks.
    pub fn both(&mut self, to: Mask, a: Mask, b: Mask) {
        self.bytes.extend([0xc5, 0x80 | (!a.0 & 15) << 3 | 4, 0x41, 0xc0 | to.0 << 3 | b.0]);
    }

    /// A mask of the lowest bits of a register.
    pub fn mask(&mut self, to: Mask, from: Gpr) {
        self.bytes.extend([0xc5, 0xf8, 0x92, 0xc0 | to.0 << 3 | from.0]);
    }

    /// `to = [base + 8 * number]`.
    pub fn pointer(&mut self, to: Gpr, base: Gpr, number: usize) {
        self.bytes.extend([0x48 | to.0 >> 3 << 2 | base.0 >> 3, 0x8b, 0x80 | (to.0 & 7) << 3 | base.0 & 7]);
        self.bytes.extend((8 * number as i32).to_le_bytes());
    }

    /// A number below 8 and some bits.
    pub fn number(&mut self, to: Gpr, bits: u32) {
        self.bytes.push(0xb8 | to.0);
        self.bytes.extend(bits.to_le_bytes());
    }

    /// Adds the bytes of so many vectors to a register below 8.
    pub fn next(&mut self, to: Gpr, vectors: usize) {
        self.bytes.extend([0x48, 0x81, 0xc0 | to.0]);
        self.bytes.extend((64 * vectors as i32).to_le_bytes());
    }

    /// `to = from`, `to` below 8.
    pub fn copy_register(&mut self, to: Gpr, from: Gpr) {
        self.bytes.extend([0x48 | from.0 >> 3 << 2, 0x89, 0xc0 | (from.0 & 7) << 3 | to.0]);
    }

    /// `to += by`, `to` below 8.
    pub fn add_register(&mut self, to: Gpr, by: Gpr) {
        self.bytes.extend([0x48 | by.0 >> 3 << 2, 0x01, 0xc0 | (by.0 & 7) << 3 | to.0]);
    }

    /// Takes 1 from a register below 8 and goes back to `to` unless that leaves 0.
    pub fn back_until_zero(&mut self, to: usize, count: Gpr) {
        self.bytes.extend([0x48, 0xff, 0xc8 | count.0, 0x0f, 0x85]);
        self.back(to);
    }

    /// Saves a register on the stack.
    pub fn push(&mut self, r: Gpr) {
        self.bytes.extend([0x40 | r.0 >> 3, 0x50 | r.0 & 7]);
    }

    /// Restores a register from the stack.
    pub fn pop(&mut self, r: Gpr) {
        self.bytes.extend([0x40 | r.0 >> 3, 0x58 | r.0 & 7]);
    }

    /// Where code goes on, as a target of jumps back.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Goes back to `to` while `a < b`, both below 8.
    pub fn back_while_below(&mut self, to: usize, a: Gpr, b: Gpr) {
        self.compare_registers(a, b);
        self.bytes.extend([0x0f, 0x82]);
        self.back(to);
    }

    fn back(&mut self, to: usize) {
        let distance = to as i64 - (self.bytes.len() as i64 + 4);
        self.bytes.extend((distance as i32).to_le_bytes());
    }

    /// Goes ahead if `a >= b`, both below 8; [`Assembler::land`] says where to.
    pub fn ahead_unless_below(&mut self, a: Gpr, b: Gpr) -> usize {
        self.compare_registers(a, b);
        self.ahead(0x83)
    }

    /// Goes ahead if the lowest 32 bits of a register below 8 are 0.
    pub fn ahead_if_zero(&mut self, a: Gpr) -> usize {
        self.bytes.extend([0x85, 0xc0 | a.0 << 3 | a.0]);
        self.ahead(0x84)
    }

    fn compare_registers(&mut self, a: Gpr, b: Gpr) {
        self.bytes.extend([0x48, 0x39, 0xc0 | b.0 << 3 | a.0]);
    }

    fn ahead(&mut self, condition: u8) -> usize {
        self.bytes.extend([0x0f, condition, 0, 0, 0, 0]);
        self.bytes.len()
    }

    /// What was to go ahead from there goes here.
    pub fn land(&mut self, from: usize) {
        let distance = (self.bytes.len() - from) as i32;
        self.bytes[from - 4..from].copy_from_slice(&distance.to_le_bytes());
    }

    /// Leaves the function; callers may use older vector instructions.
    pub fn leave(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]);
    }
}
