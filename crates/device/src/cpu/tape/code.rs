//! A tape as data: steps, what they load, where their lanes are.
//!
//! [`compile`](super::compile) makes it, [`exec`](super::exec) runs it, `native` puts chains in it. Invariant: steps are in
//! an order in which every argument is made before it is read, steady ones first.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::native;
use crate::plan::Access;
use thalweg_base::{DType, ScalarOp};

/// How a value varies over a block of rows x cols lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Class {
    /// One lane: the same everywhere.
    Uniform,
    /// `cols` lanes: the same in every row.
    Col,
    /// `rows` lanes: the same in every column.
    Row,
    /// rows x cols lanes.
    Dense,
}

impl Class {
    pub fn of(row_varies: bool, col_varies: bool, one_row: bool) -> Class {
        match (row_varies && !one_row, col_varies) {
            (false, false) => Class::Uniform,
            (false, true) if one_row => Class::Dense,
            (false, true) => Class::Col,
            (true, false) => Class::Row,
            (true, true) => Class::Dense,
        }
    }

    pub fn join(self, other: Class) -> Class {
        match (self, other) {
            (a, b) if a == b => a,
            (Class::Uniform, c) | (c, Class::Uniform) => c,
            _ => Class::Dense,
        }
    }
}

/// An affine read over the block's space.
#[derive(Clone, Debug)]
pub struct Load {
    /// Which buffer.
    pub buffer: crate::plan::BufferId,
    /// Element at index 0.
    pub offset: isize,
    /// Per axis of the space but the last two.
    pub outer: Vec<isize>,
    /// Of the second-last axis; 0 where it has one step.
    pub row: isize,
    /// Of the last axis; 0 where it has one step.
    pub col: isize,
    /// What is stored: lanes are wider than a byte or a float of 16 bits.
    pub dtype: DType,
    /// Whether its lanes must be copied even where they could be used in place.
    pub copied: bool,
}

impl Load {
    /// Whether it reads, from the same buffer, the very elements of a whole block that an access leads to.
    pub fn is(&self, access: &Access) -> bool {
        let strides =
            self.outer.iter().chain(std::iter::repeat_n(&self.row, (access.strides.len() > 1).into()));
        self.dtype.size() == 4
            && self.offset == access.offset
            && strides.chain([&self.col]).eq(&access.strides)
    }
}

/// An affine index, as [`Load`].
#[derive(Clone, Debug)]
pub struct Index {
    pub offset: i32,
    pub outer: Vec<i32>,
    pub row: i32,
    pub col: i32,
}

/// What a step does. `F`, `I`, `U`: on f32, i32, u32 lanes; bool and u8 are u32 lanes, floats of 16 bits f32 ones.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Code {
    Load(u16),
    Index(u16),
    Acc,
    Random {
        seed: u64,
        stream: u32,
    },
    /// To Dense from the argument's class.
    Spread(Class),
    F1(ScalarOp),
    NegI,
    AbsI,
    F2(ScalarOp),
    AddI,
    SubI,
    MulI,
    MaxI,
    MinI,
    MaxU,
    MinU,
    LtF,
    LtI,
    LtU,
    EqF,
    EqI,
    And,
    Select,
    /// a * b + c, from a product used once.
    MulAdd,
    FToI,
    FToU,
    FToU8,
    FToBool,
    IToF,
    IToU,
    IToU8,
    UToF,
    UToI,
    UToU8,
    ToBool,
    /// An f32 rounded to a float of 16 bits; the lane stays an f32.
    Round(DType),
    /// Several steps as one function, by its number in `Compiled::natives`.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Native(u16),
}

impl Code {
    /// Whether it only brings lanes to where they are used.
    pub fn moves(self) -> bool {
        matches!(self, Code::Load(_) | Code::Index(_) | Code::Acc | Code::Spread(_))
    }
}

/// One step over all lanes of its class.
#[derive(Clone, Debug)]
pub struct Step {
    pub code: Code,
    pub class: Class,
    pub dst: u16,
    pub slot: u16,
    pub args: [u16; 3],
    /// Per argument, whether it is one lane for all.
    pub uniform: [bool; 3],
    /// Whether lanes may be rounded up to 16: no argument lies in a buffer.
    pub padded: bool,
    /// Whether it is the same in every row: done once for blocks that differ in nothing else.
    pub steady: bool,
    /// The result it makes, which may go straight to where it is stored; [`NO_OUT`] if none.
    pub out: u8,
}

/// Of a step whose value is not a result, or not one that may be made in place.
pub const NO_OUT: u8 = u8::MAX;
/// Results that may be made in place.
pub const MAX_DIRECT: usize = 8;

/// What [`super::Tape`] is made of.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub consts: Vec<u32>,
    pub loads: Vec<Load>,
    pub indices: Vec<Index>,
    /// Steady steps first.
    pub steps: Vec<Step>,
    /// How many are steady.
    pub steady: usize,
    pub slots: usize,
    /// How many slots the steps take one by one. Blocks, and so the order of sums, depend on that: not on whether the
    /// system lets code be made.
    pub width: usize,
    /// Constants, and everything that is made.
    pub operands: usize,
    pub results: Vec<u16>,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub natives: Vec<native::Native>,
    /// What is left after the steps, if results are only added up.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub sum: Option<native::Native>,
}

impl Compiled {
    /// Whether all that is computed is computed by one chain, at the end.
    pub fn one_chain(&self) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let [before @ .., last] = &self.steps[..] {
            return matches!(last.code, Code::Native(_)) && before.iter().all(|s| s.code.moves());
        }
        false
    }

    /// Operands that a step reads.
    pub fn reads(&self, at: usize) -> Vec<u16> {
        let step = &self.steps[at];
        match step.code {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Code::Native(n) => self.natives[n as usize].reads.clone(),
            _ => step.args.to_vec(),
        }
    }

    /// Operands that a step makes.
    pub fn makes(&self, at: usize) -> Vec<u16> {
        let step = &self.steps[at];
        match step.code {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Code::Native(n) => self.natives[n as usize].made.iter().map(|m| m.operand).collect(),
            _ => vec![step.dst],
        }
    }

    /// Gives a slot to an operand that a step makes.
    pub fn place(&mut self, at: usize, operand: u16, slot: u16) {
        let step = &mut self.steps[at];
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Code::Native(n) = step.code {
            for made in self.natives[n as usize].made.iter_mut().filter(|m| m.operand == operand) {
                made.slot = slot;
            }
            return;
        }
        debug_assert_eq!(step.dst, operand);
        step.slot = slot;
    }
}
