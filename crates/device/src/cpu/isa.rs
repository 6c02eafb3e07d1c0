//! Which vector instructions the processor has, found at run time.
//!
//! Invariant: code behind a `#[target_feature]` is only entered through an [`Isa`] that [`Isa::detect`] or
//! [`Isa::available`] has vouched for.

use std::fmt;

/// What kernels are made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Their instructions.
    pub isa: Isa,
    /// Whether only algorithms are used that add up the same products as the definition does: none that
    /// transform their operands first (Winograd), which rounds differently.
    pub exact: bool,
}

impl Target {
    /// What is fastest with these instructions.
    pub fn fast(isa: Isa) -> Target {
        Target { isa, exact: false }
    }
}

/// A set of vector instructions that the kernels are compiled for, best first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes, 32 registers.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// aarch64: 4 lanes, 32 registers.
    Neon,
    /// What every processor of the target has.
    Portable,
}

impl Isa {
    /// All, best first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// The best this processor has.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Those this processor has, best first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Isa::Avx2.is_available()
            }
            // The last three came with AVX2 or before.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            Isa::Portable => true,
        }
    }

    /// By the word that asks for it: `avx512`, `avx2`, `neon`, `portable`.
    pub fn from_word(word: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.word() == word)
    }

    /// The word that asks for it.
    pub const fn word(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Neon => "NEON",
            Isa::Portable => "portable",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.isa, if self.exact { ", exact" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detected_one_is_available() {
        assert!(Isa::detect().is_available());
        assert_eq!(Isa::available().next(), Some(Isa::detect()));
        assert_eq!(Isa::available().last(), Some(Isa::Portable));
    }
}
