//! What runs on a GPU for one plan: kernels, and launches of them over places in memory; and calls of libraries.

use super::call::{Call, Libraries};
use super::ir::Kernel;
use crate::plan::Place;
use thalweg_base::DType;

/// A buffer that a launch passes as a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argument {
    /// Where it is. [`Place::Slab`] does not occur.
    pub place: Place,
    /// Bytes that the kernel may touch from there on.
    pub bytes: usize,
}

/// What a launch starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A kernel.
    Kernel {
        /// Position in [`Launches::kernels`].
        kernel: usize,
        /// Groups: their numbers run from 0 up to this.
        groups: u32,
    },
    /// A library's product: only where [`Abilities::libraries`] has the library.
    Call(Call),
}

/// One start of a kernel, or of what a library has instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// What is started.
    pub work: Work,
    /// One per parameter; of a call, its operands, its result and its workspace.
    pub arguments: Vec<Argument>,
    /// The plan's kernel it is part of, or the first of them: for labels and times.
    pub source: usize,
}

impl Argument {
    /// Whether two of them share a byte.
    pub fn overlaps(&self, other: &Argument) -> bool {
        let from = |a: &Argument| match a.place {
            Place::Binding(n) => (Some(n), 0),
            Place::Arena { offset } | Place::Slab { offset } => (None, offset),
        };
        let ((a, start_a), (b, start_b)) = (from(self), from(other));
        a == b && start_a < start_b + other.bytes && start_b < start_a + self.bytes
    }
}

impl Launch {
    /// Whether nothing that the launch stores to overlaps another of its arguments: then its loads may be moved across
    /// its stores.
    pub fn apart(&self, kernel: &Kernel) -> bool {
        let all = || self.arguments.iter().zip(&kernel.params);
        all().enumerate().all(|(i, (a, pa))| {
            all().skip(i + 1).all(|(b, pb)| !(pa.written || pb.written) || !a.overlaps(b))
        })
    }
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

/// Launches that are started together, at most, and runs of a plan among them: what starting costs is little beside so
/// many, and a driver keeps a record of each.
const TOGETHER: usize = 512;
const MOST_COPIES: usize = 16;

impl Launches {
    /// Runs that are worth being started together.
    pub fn copies(&self) -> usize {
        let launches: usize = self.stages.iter().map(Vec::len).sum();
        (TOGETHER / launches.max(1)).clamp(1, MOST_COPIES)
    }

    /// All launches, in order.
    pub fn all(&self) -> impl Iterator<Item = &Launch> {
        self.stages.iter().flatten()
    }

    /// The launches of kernels, with these.
    pub fn of_kernels(&self) -> impl Iterator<Item = (&Launch, &Kernel)> {
        self.all().filter_map(|l| match l.work {
            Work::Kernel { kernel, .. } => Some((l, &self.kernels[kernel])),
            Work::Call(_) => None,
        })
    }

    /// The calls of libraries.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.all().filter_map(|l| match &l.work {
            Work::Call(call) => Some(call),
            Work::Kernel { .. } => None,
        })
    }
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
    /// Cooperative matrices, where [`Cooperative`](super::ir::Cooperative) statements may be used.
    pub matrices: Option<Matrices>,
    /// Libraries that products may be left to. The account never does; a measured choice may.
    pub libraries: Libraries,
}

/// Which cooperative matrices there are: square ones that are multiplied into sums in f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matrices {
    /// Rows and columns of matrices of f16, 8 or 16.
    pub f16: Option<usize>,
    /// The same of f32.
    pub f32: Option<usize>,
    /// Threads of a subgroup, least and most: powers of two.
    pub subgroup: [u32; 2],
}

impl Matrices {
    /// Rows and columns of matrices of a type, if there are any.
    pub fn size(&self, dtype: DType) -> Option<usize> {
        match dtype {
            DType::F16 => self.f16,
            DType::F32 => self.f32,
            DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::BF16 => None,
        }
    }
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
        matrices: None,
        libraries: Libraries::NONE,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::build::Builder;
    use thalweg_base::DType;

    #[test]
    fn the_more_launches_the_fewer_copies() {
        let work = Work::Kernel { kernel: 0, groups: 1 };
        let launch = Launch { work, arguments: Vec::new(), source: 0 };
        let copies = |stages: usize| {
            Launches { stages: vec![vec![launch.clone()]; stages], ..Launches::default() }.copies()
        };
        assert_eq!([0, 27, 100, 512, 5000].map(copies), [16, 16, 5, 1, 1]);
    }

    #[test]
    fn what_is_stored_to_is_apart_or_not() {
        let mut b = Builder::new("k", 32);
        for written in [false, false, true] {
            b.param(DType::F32, written);
        }
        let kernel = b.finish();
        let arena = |offset, bytes| Argument { place: Place::Arena { offset }, bytes };
        let bound = |n| Argument { place: Place::Binding(n), bytes: 64 };
        let apart = |arguments: [Argument; 3]| {
            let work = Work::Kernel { kernel: 0, groups: 1 };
            Launch { work, arguments: arguments.to_vec(), source: 0 }.apart(&kernel)
        };
        assert!(apart([arena(0, 64), arena(0, 64), arena(64, 64)]), "what is only read may be one");
        assert!(!apart([arena(0, 68), bound(0), arena(64, 64)]));
        assert!(!apart([bound(0), bound(1), bound(1)]));
        assert!(apart([bound(0), arena(0, 64), bound(1)]));
    }
}
