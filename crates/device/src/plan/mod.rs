//! The plan: what the compiler makes and every device runs. Pure data, printable, comparable.
//!
//! Vocabulary: a [`Kernel`] computes buffers from buffers; a [`Stage`] is what runs between two barriers.
//! Invariant: within a stage, kernels of a `Launch` are independent of each other, and the kernels of a
//! `Region` depend on each other only image by image.

mod body;
mod canonical;
mod check;
mod choose;
mod kernel;
mod print;

pub use body::{Access, Body, Expr, ExprId};
pub use canonical::{Canonical, canonical};
pub use check::check;
pub use choose::{ArgMax, Gather, Suppress, TopK};
pub use kernel::{
    Contraction, DotDims, Epilogue, Expansion, Kernel, Loop, LoopOut, Pool, PoolEpilogue, PoolKind, Product,
    Reduce, Unpool, Unpooled,
};
use std::fmt;
use thalweg_base::DType;

/// Index of a buffer in its plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Index of a kernel in its plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct KernelId(pub u32);

/// Where a buffer lives. Offsets are in bytes, multiples of [`ALIGN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Storage that outlives the plan: binding number in [`Plan::bindings`].
    Binding(u32),
    /// In the arena that the device allocates once per program, shared by buffers whose lives do not overlap.
    Arena {
        /// Byte offset.
        offset: usize,
    },
    /// Inside a region only: each worker has its own slab that holds the images of one slice.
    Slab {
        /// Byte offset in the worker's slab.
        offset: usize,
    },
}

/// Alignment of every buffer, in bytes: a cache line and the widest vector.
pub const ALIGN: usize = 64;

/// A buffer.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// What it holds, for people.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of elements (for a `Slab` buffer: of one slice).
    pub len: usize,
    /// Where it is.
    pub place: Place,
}

impl Buffer {
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }
}

/// What a binding is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Read and written in place, step after step.
    State,
    /// Written by the host before a run.
    Input,
    /// Read by the host after a run.
    Output,
}

/// A storage that the host binds when it loads the plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Binding {
    /// Unique among its role.
    pub name: String,
    /// What for.
    pub role: Role,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
}

impl Binding {
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// What runs between two barriers.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// Independent kernels.
    Launch(Vec<KernelId>),
    /// Kernels that are parallel in the batch, run one slice of images after another, each slice through all
    /// kernels (depth first) by one worker, so that what passes between them stays in its caches.
    Region {
        /// In order.
        kernels: Vec<KernelId>,
        /// Images in the batch: the extent of axis 0 of everything in the region.
        batch: usize,
        /// Images per slice; the last slice may be smaller. Slice `s` is images `s*slice..min((s+1)*slice, batch)`.
        slice: usize,
    },
}

/// A kernel with what people want to know of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The layer it comes from and what it does.
    pub label: String,
    /// What it computes.
    pub kernel: Kernel,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes read and written in one run, each buffer once.
    pub bytes: u64,
}

/// A whole program: one training step, one evaluation step, one prediction.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// For people.
    pub name: String,
    /// Storage that the host provides.
    pub bindings: Vec<Binding>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// All kernels.
    pub kernels: Vec<Entry>,
    /// What runs, in order.
    pub stages: Vec<Stage>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Bytes of one worker's slab.
    pub slab: usize,
}

impl Plan {
    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// A kernel.
    pub fn kernel(&self, id: KernelId) -> &Entry {
        &self.kernels[id.0 as usize]
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.kernels.iter().map(|k| k.flops).sum()
    }

    /// Bytes of all bindings of a role.
    pub fn binding_bytes(&self, role: Role) -> usize {
        self.bindings.iter().filter(|b| b.role == role).map(Binding::bytes).sum()
    }

    /// The binding of that role and name.
    pub fn binding(&self, role: Role, name: &str) -> Option<u32> {
        self.bindings.iter().position(|b| b.role == role && b.name == name).map(|i| i as u32)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::plan(self, f)
    }
}
