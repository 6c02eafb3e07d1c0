//! How vector instructions are written down.
//!
//! Encodings are those of Intel's manual, volume 2: "VEX" in chapter 2.3, "EVEX" in chapter 2.7. A prefix of three bytes or
//! four, the opcode, ModRM, and for memory always a base and a displacement of whole registers, mostly an index. Invariant:
//! what has both encodings has the same table, opcode and order of operands in both.

use super::assembler::{Assembler, Gpr, Mask, Vector};
use super::set::Set;

/// Which table an opcode is from, and its mandatory prefix: (map, prefix).
pub type Page = (u8, u8);
pub const PS: Page = (1, 0);
pub const PD: Page = (1, 1);
pub const SS: Page = (1, 2);
pub const SD: Page = (1, 3);
pub const X38: Page = (2, 1);
pub const X3A: Page = (3, 1);

/// An instruction over whole registers.
pub struct Instruction {
    page: Page,
    opcode: u8,
    /// The operand in ModRM's reg, and in vvvv, which is 0 where there is none.
    reg: u8,
    second: u8,
    /// EVEX only.
    mask: Mask,
    /// Whether lanes that are not in the mask become 0.
    zeroing: bool,
}

impl Instruction {
    pub fn new(page: Page, opcode: u8, reg: u8, second: Option<Vector>) -> Instruction {
        // Fields are inverted: no second operand is all ones.
        let second = second.map_or(0, |v| v.0);
        Instruction { page, opcode, reg, second, mask: Mask(0), zeroing: false }
    }

    pub fn masked(self, mask: Mask, zeroing: bool) -> Instruction {
        Instruction { mask, zeroing, ..self }
    }
}

impl Assembler {
    /// With the upper bits of the index, or of a register's number, and of the base.
    fn prefix(&mut self, i: &Instruction, x: bool, b: bool) {
        let not = |bit: bool, at: u8| u8::from(!bit) << at;
        let (map, prefix) = i.page;
        let p0 = not(i.reg & 8 != 0, 7) | not(x, 6) | not(b, 5) | map;
        let p1 = (!i.second & 15) << 3 | 4 | prefix;
        match self.set {
            Set::Avx512 => {
                let p2 = u8::from(i.zeroing) << 7 | 0b10 << 5 | not(i.second & 16 != 0, 3) | i.mask.0;
                self.bytes.extend([0x62, p0 | not(i.reg & 16 != 0, 4), p1, p2, i.opcode]);
            }
            Set::Avx2 => self.bytes.extend([0xc4, p0, p1, i.opcode]),
        }
    }

    pub fn with_register(&mut self, i: &Instruction, rm: u8) {
        self.prefix(i, rm & 16 != 0, rm & 8 != 0);
        self.bytes.push(0xc0 | (i.reg & 7) << 3 | rm & 7);
    }

    /// So many registers behind base and index.
    pub fn with_memory(&mut self, i: &Instruction, base: Gpr, index: Gpr, vectors: u8) {
        self.prefix(i, index.0 & 8 != 0, base.0 & 8 != 0);
        let (reg, sib) = ((i.reg & 7) << 3, (index.0 & 7) << 3 | base.0 & 7);
        match self.set {
            // The displacement counts the instruction's operands.
            Set::Avx512 => self.bytes.extend([0x44 | reg, sib, vectors]),
            Set::Avx2 if vectors < 4 => self.bytes.extend([0x44 | reg, sib, 32 * vectors]),
            Set::Avx2 => {
                self.bytes.extend([0x84 | reg, sib]);
                self.bytes.extend((32 * i32::from(vectors)).to_le_bytes());
            }
        }
    }

    /// So many bytes below the stack. VEX only.
    pub fn with_stack(&mut self, i: &Instruction, below: u8) {
        self.prefix(i, false, false);
        self.bytes.extend([0x44 | (i.reg & 7) << 3, 0x24, below.wrapping_neg()]);
    }
}
