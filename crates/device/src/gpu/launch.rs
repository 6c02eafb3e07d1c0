//! What runs on a GPU for one plan: kernels, and launches of them over places in memory.

use super::ir::Kernel;
use crate::plan::Place;

/// A buffer that a launch passes as a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argument {
    /// Where it is. [`Place::Slab`] does not occur.
    pub place: Place,
    /// Bytes that the kernel may touch from there on.
    pub bytes: usize,
}

/// One start of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Position in [`Launches::kernels`].
    pub kernel: usize,
    /// Groups: their numbers run from 0 up to this.
    pub groups: u32,
    /// One per parameter.
    pub arguments: Vec<Argument>,
    /// The plan's kernel it is part of, or the first of them: for labels and times.
    pub source: usize,
}

/// A lowered plan.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Launches {
    /// Different kernels.
    pub kernels: Vec<Kernel>,
    /// Stages: launches of a stage are independent of each other; stages run one after another.
    pub stages: Vec<Vec<Launch>>,
    /// Bytes of the arena: the plan's, and what kernels need in addition behind it (partial sums).
    pub arena: usize,
}

/// What a GPU can do, as far as kernels depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Most threads of a group.
    pub threads: u32,
    /// Bytes of shared memory a group may use.
    pub shared_bytes: usize,
    /// Threads the whole device runs at a time, about: kernels are cut so that these have work.
    pub parallel: usize,
    /// Memories (the arena, bindings) that a kernel may use.
    pub memories: usize,
    /// Whether [`Tensor`](super::ir::Tensor) statements may be used: tensor cores and asynchronous copies.
    pub tensor: bool,
    /// Whether f32 products may run on tensor cores in tf32 (10 bits of mantissa).
    pub tf32: bool,
}

impl Abilities {
    /// What every adapter has: the least that WebGPU promises.
    pub const LEAST: Abilities = Abilities {
        threads: 256,
        shared_bytes: 16 << 10,
        parallel: 1 << 13,
        memories: 8,
        tensor: false,
        tf32: false,
    };
}
