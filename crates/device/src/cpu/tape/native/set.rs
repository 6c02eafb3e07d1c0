//! The vector instructions that chains are made of.

use crate::cpu::Isa;

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// Masks are registers of their own.
    Avx512,
    /// AVX2 and FMA; masks are vectors, of which a lane is all ones or 0.
    Avx2,
}

impl Set {
    /// That of an instruction set, if it has one.
    pub fn of(isa: Isa) -> Option<Set> {
        match isa {
            Isa::Avx512 => Some(Set::Avx512),
            Isa::Avx2 => Some(Set::Avx2),
            Isa::Neon | Isa::Portable => None,
        }
    }

    /// Lanes of a register.
    pub fn lanes(self) -> usize {
        match self {
            Set::Avx512 => 16,
            Set::Avx2 => 8,
        }
    }

    /// Vector registers.
    pub fn registers(self) -> u8 {
        match self {
            Set::Avx512 => 32,
            Set::Avx2 => 16,
        }
    }

    /// Of which so many may hold sums.
    pub fn sums(self) -> usize {
        match self {
            Set::Avx512 => 12,
            Set::Avx2 => 6,
        }
    }
}
