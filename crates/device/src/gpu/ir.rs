//! The kernel IR: what one GPU kernel does, as data.
//!
//! A kernel is run by groups of `threads` threads each; a group shares memory and meets at barriers. Statements are in
//! single-assignment form over typed registers, but for [`Stmt::Set`]. Register types are [`DType`]s; a `U8` is
//! held in a 32-bit register, also in shared memory, a float of 16 bits as an f32. All indices are i32 and count elements.
//! Matrices of subgroups are no registers: they have numbers of their own.
//!
//! Invariants (the [`Builder`](super::build::Builder) keeps the first two, the interpreter in the test kit holds kernels to
//! the others): a register is defined before it is used, once; types agree with
//! the operation; a [`Stmt::Barrier`] is reached by all threads of a group or by none; within one launch no thread reads
//! an element that another thread writes, but in shared memory with a barrier between.

use thalweg_base::{DType, ScalarOp};

/// A register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Var(pub u32);

/// A parameter of a kernel: a buffer, by its position in [`Kernel::params`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Param(pub u32);

/// An array in a group's shared memory, by its position in [`Kernel::shared`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Shared(pub u32);

/// A matrix that a subgroup holds together, by its position in [`Kernel::matrices`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Matrix(pub u32);

/// A register or a constant. Floats are held as bits, so that kernels can be compared and hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// What a register holds.
    Var(Var),
    /// A constant: the type and its bits (a bool is 0 or 1).
    Const(DType, u32),
}

impl Value {
    /// An index.
    pub fn index(i: usize) -> Value {
        Value::Const(DType::I32, i32::try_from(i).expect("an index of a GPU kernel fits 31 bits") as u32)
    }

    /// A signed integer.
    pub fn i32(i: i32) -> Value {
        Value::Const(DType::I32, i as u32)
    }

    /// An unsigned integer.
    pub fn u32(u: u32) -> Value {
        Value::Const(DType::U32, u)
    }

    /// A float.
    pub fn f32(x: f32) -> Value {
        Value::Const(DType::F32, x.to_bits())
    }

    /// A truth value.
    pub fn bool(b: bool) -> Value {
        Value::Const(DType::Bool, u32::from(b))
    }

    /// The value of a constant i32.
    pub fn as_i32(self) -> Option<i32> {
        match self {
            Value::Const(DType::I32, bits) => Some(bits as i32),
            _ => None,
        }
    }
}

/// Operations on integers that the scalar table does not have, because graphs do not need them. Operands are both i32
/// (and not negative, for division) or both u32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum IntOp {
    Div,
    Rem,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// What defines a register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// An operation of the scalar table, on one type.
    Scalar(ScalarOp, Vec<Value>),
    /// Integer arithmetic.
    Int(IntOp, Value, Value),
    /// a * b + c in f32, rounded once or twice.
    Fma(Value, Value, Value),
    /// Conversion, as plans mean it ([`DType::round`]: saturating, towards zero).
    Cast(Value),
    /// The same bits as another 32-bit type.
    Bits(Value),
    /// An element of a parameter.
    Load(Param, Value),
    /// An element of shared memory.
    LoadShared(Shared, Value),
    /// f32 in [0, 1): Philox of (seed, stream, step, element), the last two i32.
    Random {
        /// Key.
        seed: u64,
        /// Stream.
        stream: u32,
        /// Element index.
        element: Value,
        /// Step.
        step: Value,
    },
    /// i32: the thread's number in its group.
    Thread,
    /// i32: the group's number.
    Group,
    /// i32: the number of the thread's subgroup in its group. Which threads are in it is not known.
    Subgroup,
    /// A register that [`Stmt::Set`] changes, with its first value.
    Mutable(Value),
}

/// What a kernel does, in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Stmt {
    /// Defines a register.
    Let(Var, Op),
    /// Defines four registers: elements `index..index + 4` of a parameter; `index` is a multiple of 4 and the parameter's
    /// base is aligned to 16 bytes.
    Load4([Var; 4], Param, Value),
    /// Changes a register defined as [`Op::Mutable`].
    Set(Var, Value),
    /// Stores an element of a parameter.
    Store(Param, Value, Value),
    /// Stores four elements, as [`Stmt::Load4`] loads them.
    Store4(Param, Value, [Value; 4]),
    /// Stores an element of shared memory.
    StoreShared(Shared, Value, Value),
    /// Defines four registers: elements `index..index + 4` of a shared array of floats or 32-bit integers; `index` is a
    /// multiple of 4.
    LoadShared4([Var; 4], Shared, Value),
    /// Stores four elements, as [`Stmt::LoadShared4`] loads them.
    StoreShared4(Shared, Value, [Value; 4]),
    /// Defines four u32 registers: elements `index..index + 8` of a parameter of floats of 16 bits as they are in memory, two in
    /// a register, the first in its low half; `index` is a multiple of 8 and the parameter's base aligned to 16 bytes.
    LoadWords([Var; 4], Param, Value),
    /// Stores eight elements of a shared array of floats of 16 bits, as [`Stmt::LoadWords`] loads them.
    StoreSharedWords(Shared, Value, [Value; 4]),
    /// For `var` from `from`, while less than `to`, by `step` (> 0).
    For {
        /// i32.
        var: Var,
        /// First value.
        from: Value,
        /// End, exclusive.
        to: Value,
        /// Step.
        step: i32,
        /// Whether to ask the compiler to unroll it (then `from` and `to` are constants).
        unroll: bool,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// If the condition holds, one; otherwise the other.
    If(Value, Vec<Stmt>, Vec<Stmt>),
    /// All threads of the group wait for each other; what they stored in shared memory is seen by all.
    Barrier,
    /// What only NVIDIA GPUs can do; kernels with it are rendered to CUDA alone.
    Tensor(Tensor),
    /// What a subgroup does together; kernels with it are rendered to WGSL alone.
    Cooperative(Cooperative),
}

/// Types of the operands of a tensor core. The sum is always f32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MmaType {
    /// f32 registers, rounded to 10 bits of mantissa; 16 x 8 x 8.
    Tf32,
    /// Two f16 in a register; 16 x 8 x 16.
    F16,
    /// Two bf16 in a register; 16 x 8 x 16.
    Bf16,
}

/// Operations of warps of 32 threads (consecutive numbers), and asynchronous copies, as PTX has them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Tensor {
    /// `mma.sync.aligned.m16n8k{8,16}.row.col.f32.T.T.f32`: d = a * b + d, fragments as PTX lays them out. `d` are mutable
    /// f32 registers; `a` and `b` hold u32 bits.
    Mma {
        /// Operand type.
        ty: MmaType,
        /// The accumulator: 4 f32.
        d: [Var; 4],
        /// 4 u32.
        a: [Value; 4],
        /// 2 u32.
        b: [Value; 2],
    },
    /// `cp.async.cg.shared.global` of 16 bytes from a parameter's element to a shared array's element of the same type, or 16
    /// zero bytes where the condition does not hold. Element indices are such that both are aligned to 16 bytes.
    CopyAsync {
        /// Where to.
        to: (Shared, Value),
        /// Where from.
        from: (Param, Value),
        /// bool: whether to copy or to clear.
        valid: Value,
    },
    /// `ldmatrix.sync.aligned.m8n8.x4.shared.b16`: defines four u32 registers, one per matrix of 8 rows of 8 floats of 16 bits.
    /// Threads 8i to 8i + 7 of a warp name the first element of each row of matrix i, a multiple of 8. Thread t gets the
    /// elements 2 (t % 4) and the next of row t / 4; transposed, those of column t / 4.
    LoadMatrix {
        /// One register per matrix.
        to: [Var; 4],
        /// An array of floats of 16 bits, and the thread's row.
        from: (Shared, Value),
        /// Whether columns are handed out.
        transposed: bool,
    },
    /// `cvt.rna.tf32.f32`: defines a u32 register, the bits of the nearest number with 10 bits of mantissa.
    Tf32(Var, Value),
    /// `cp.async.commit_group`.
    Commit,
    /// `cp.async.wait_group n`: waits until at most `n` of the thread's groups are under way.
    Wait(u32),
}

/// What a matrix of a product is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The first factor.
    A,
    /// The second factor.
    B,
    /// The sum: of f32.
    Sum,
}

/// A square matrix that the threads of a subgroup hold together; who has which element is the GPU's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MatrixType {
    /// Rows and columns: 8 or 16.
    pub size: u32,
    /// Type of the elements: f32 or f16.
    pub dtype: DType,
    /// What it is of a product.
    pub role: Role,
}

/// Operations of cooperative matrices. All threads of a subgroup do them together, with the same indices; matrices in shared
/// memory begin, and their rows (columns) follow each other, at multiples of 16 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Cooperative {
    /// Defines a sum: all zero.
    Clear(Matrix),
    /// Defines a factor.
    Load {
        /// The factor.
        to: Matrix,
        /// An array of its type, and the first element.
        from: (Shared, Value),
        /// Elements from one row to the next, or from one column.
        stride: u32,
        /// Whether rows lie in one piece; otherwise columns do.
        rows: bool,
    },
    /// d = a * b + d.
    MultiplyAdd {
        /// The sum.
        d: Matrix,
        /// Factor.
        a: Matrix,
        /// Factor.
        b: Matrix,
    },
    /// Stores a sum, its rows in one piece each.
    Store {
        /// The sum.
        from: Matrix,
        /// An array of f32, and the first element.
        to: (Shared, Value),
        /// Elements from one row to the next.
        stride: u32,
    },
}

/// How a parameter is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ParamType {
    /// Element type in memory.
    pub dtype: DType,
    /// Whether the kernel stores to it.
    pub written: bool,
}

/// A kernel. Equal kernels are one kernel: everything that differs from launch to launch is in the launch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    /// An identifier: what it is, for people (`conv_64x64`).
    pub name: String,
    /// Threads of a group, at most 256 (1024 for kernels with [`Stmt::Tensor`]).
    pub threads: u32,
    /// Groups that a unit (a multiprocessor) has to hold at a time; the rest of its registers are theirs. 0: as the compiler
    /// finds best. A hint: CUDA's alone takes it.
    pub resident: u32,
    /// Buffers.
    pub params: Vec<ParamType>,
    /// Shared arrays: type and number of elements.
    pub shared: Vec<(DType, u32)>,
    /// Type of each register.
    pub types: Vec<DType>,
    /// Matrices that subgroups hold.
    pub matrices: Vec<MatrixType>,
    /// Threads of a subgroup, least and most, that [`Op::Subgroup`] may rely on; 0 in kernels without.
    pub subgroup: [u32; 2],
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Kernel {
    /// Bytes of shared memory. Arrays start at multiples of 16 bytes, as [`Tensor::CopyAsync`] asks.
    pub fn shared_bytes(&self) -> usize {
        self.shared_offset(Shared(self.shared.len() as u32))
    }

    /// Byte at which a shared array starts if they are laid out one after another.
    pub fn shared_offset(&self, s: Shared) -> usize {
        let bytes = |(dtype, n): &(DType, u32)| (*n as usize * in_shared(*dtype)).next_multiple_of(16);
        self.shared[..s.0 as usize].iter().map(bytes).sum()
    }

    /// Type of a value.
    pub fn dtype(&self, v: Value) -> DType {
        match v {
            Value::Var(v) => self.types[v.0 as usize],
            Value::Const(dtype, _) => dtype,
        }
    }

    /// Whether it is for adapters with cooperative matrices.
    pub fn needs_matrices(&self) -> bool {
        !self.matrices.is_empty()
    }

    /// Whether only CUDA can run it.
    pub fn needs_tensor_cores(&self) -> bool {
        fn any(body: &[Stmt]) -> bool {
            body.iter().any(|s| match s {
                Stmt::Tensor(_) => true,
                Stmt::For { body, .. } => any(body),
                Stmt::If(_, then, other) => any(then) || any(other),
                _ => false,
            })
        }
        any(&self.body)
    }
}

/// Bytes of an element of shared memory: those of a float of 16 bits (for tensor cores and cooperative matrices), 4 of anything else.
pub fn in_shared(dtype: DType) -> usize {
    if dtype.is_half() { 2 } else { 4 }
}
