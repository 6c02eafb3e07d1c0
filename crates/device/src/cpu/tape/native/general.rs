//! Instructions on general registers, and jumps.

use super::assembler::{Assembler, Gpr};

impl Assembler {
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

    /// A number below 8 and 64 bits.
    pub fn long_number(&mut self, to: Gpr, bits: u64) {
        self.bytes.extend([0x48, 0xb8 | to.0]);
        self.bytes.extend(bits.to_le_bytes());
    }

    /// `to` = the 32 bits at `[base]`, `base` above 7 and not 12 or 13, `to` below 8.
    pub fn word(&mut self, to: Gpr, base: Gpr) {
        self.bytes.extend([0x41, 0x8b, to.0 << 3 | base.0 & 7]);
    }

    /// The 32 bits so many bytes, 128 at most, below the stack = those of a register below 8.
    pub fn keep(&mut self, from: Gpr, below: u8) {
        self.bytes.extend([0x89, 0x44 | from.0 << 3, 0x24, below.wrapping_neg()]);
    }

    /// Adds the bytes of so many vectors to a register below 8.
    pub fn next(&mut self, to: Gpr, vectors: usize) {
        self.bytes.extend([0x48, 0x81, 0xc0 | to.0]);
        self.bytes.extend((4 * (self.set.lanes() * vectors) as i32).to_le_bytes());
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
}
