//! Writing kernels of the IR: one method per statement, with constants folded and equal operations shared.
//!
//! Invariant: [`Builder::finish`] returns a kernel whose registers are defined before use and whose types agree; the
//! methods panic where they would not, since a wrong kernel is our bug.

use super::ir::{
    Cooperative, IntOp, Kernel, Matrix, MatrixType, Op, Param, ParamType, Role, Shared, Stmt, Tensor, Value,
    Var,
};
use std::collections::{HashMap, HashSet};
use thalweg_base::{DType, ScalarOp};

/// A kernel being written.
pub struct Builder {
    kernel: Kernel,
    /// Open blocks, innermost last, each with what it has defined (for sharing equal operations).
    blocks: Vec<(Vec<Stmt>, HashMap<Op, Var>)>,
    /// Registers that change.
    mutable: HashSet<Var>,
}

impl Builder {
    /// An empty kernel of that name and group size.
    pub fn new(name: impl Into<String>, threads: u32) -> Self {
        let kernel = Kernel {
            name: name.into(),
            threads,
            resident: 0,
            params: Vec::new(),
            shared: Vec::new(),
            types: Vec::new(),
            matrices: Vec::new(),
            subgroup: [0, 0],
            body: Vec::new(),
        };
        Builder { kernel, blocks: vec![(Vec::new(), HashMap::new())], mutable: HashSet::new() }
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        assert_eq!(self.blocks.len(), 1, "a block of {} is open", self.kernel.name);
        self.kernel.body = self.blocks.pop().expect("the outermost block").0;
        self.kernel
    }

    /// Says how many groups a unit has to hold at a time ([`Kernel::resident`]).
    pub fn resident(&mut self, groups: usize) {
        self.kernel.resident = groups as u32;
    }

    /// A parameter.
    pub fn param(&mut self, dtype: DType, written: bool) -> Param {
        self.kernel.params.push(ParamType { dtype, written });
        Param(self.kernel.params.len() as u32 - 1)
    }

    /// Notes that a parameter is also stored to.
    pub fn mark(&mut self, param: Param, written: bool) {
        self.kernel.params[param.0 as usize].written |= written;
    }

    /// An array of shared memory.
    pub fn shared(&mut self, dtype: DType, len: usize) -> Shared {
        self.kernel.shared.push((dtype, u32::try_from(len).expect("shared memory is small")));
        Shared(self.kernel.shared.len() as u32 - 1)
    }

    /// Threads of a group.
    pub fn threads(&self) -> usize {
        self.kernel.threads as usize
    }

    /// Type of a value.
    pub fn dtype(&self, v: Value) -> DType {
        self.kernel.dtype(v)
    }

    fn emit(&mut self, stmt: Stmt) {
        self.blocks.last_mut().expect("a block").0.push(stmt);
    }

    fn register(&mut self, dtype: DType) -> Var {
        self.kernel.types.push(dtype);
        Var(self.kernel.types.len() as u32 - 1)
    }

    /// Defines a register, or finds the one that holds the same already. Loads are never shared, as memory changes.
    fn define(&mut self, op: Op, dtype: DType) -> Value {
        let pure =
            !matches!(op, Op::Load(..) | Op::LoadShared(..) | Op::Mutable(_)) && !self.reads_mutable(&op);
        if let Some(v) = self.blocks.iter().find_map(|(_, known)| known.get(&op)).filter(|_| pure)
            && self.kernel.types[v.0 as usize] == dtype
        {
            return Value::Var(*v);
        }
        let v = self.register(dtype);
        if pure {
            self.blocks.last_mut().expect("a block").1.insert(op.clone(), v);
        }
        self.emit(Stmt::Let(v, op));
        Value::Var(v)
    }

    /// Whether an operand is a register that changes: then the operation's result is not always the same.
    fn reads_mutable(&self, op: &Op) -> bool {
        let operands: Vec<Value> = match op {
            Op::Scalar(_, args) => args.clone(),
            Op::Int(_, a, b) => vec![*a, *b],
            Op::Fma(a, b, c) => vec![*a, *b, *c],
            Op::Cast(a) | Op::Bits(a) => vec![*a],
            Op::Random { element, step, .. } => vec![*element, *step],
            Op::Load(..) | Op::LoadShared(..) | Op::Thread | Op::Group | Op::Subgroup | Op::Mutable(_) => {
                Vec::new()
            }
        };
        operands.iter().any(|o| matches!(o, Value::Var(v) if self.mutable.contains(v)))
    }

    /// The thread's number in its group, i32.
    pub fn thread(&mut self) -> Value {
        self.define(Op::Thread, DType::I32)
    }

    /// The group's number, i32.
    pub fn group(&mut self) -> Value {
        self.define(Op::Group, DType::I32)
    }

    /// The number of the thread's subgroup in its group, i32; `threads`: of a subgroup, least and most.
    pub fn subgroup(&mut self, threads: [u32; 2]) -> Value {
        assert!(self.kernel.subgroup == [0, 0] || self.kernel.subgroup == threads, "one kind of subgroups");
        self.kernel.subgroup = threads;
        self.define(Op::Subgroup, DType::I32)
    }

    /// An operation of the scalar table.
    pub fn scalar(&mut self, op: ScalarOp, args: &[Value]) -> Value {
        let types: Vec<DType> = args.iter().map(|a| self.dtype(*a)).collect();
        let dtype = op.infer(&types).unwrap_or_else(|| panic!("{} of {types:?}", op.name()));
        if let Some(folded) = fold(op, args) {
            return folded;
        }
        self.define(Op::Scalar(op, args.to_vec()), dtype)
    }

    /// a + b.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.scalar(ScalarOp::Add, &[a, b])
    }

    /// a * b.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.scalar(ScalarOp::Mul, &[a, b])
    }

    /// a * b + c: in f32 in one operation, in integers in two.
    pub fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.dtype(a) == DType::F32 {
            return self.define(Op::Fma(a, b, c), DType::F32);
        }
        let product = self.mul(a, b);
        self.add(product, c)
    }

    /// a < b.
    pub fn lt(&mut self, a: Value, b: Value) -> Value {
        self.scalar(ScalarOp::Lt, &[a, b])
    }

    /// a and b.
    pub fn and(&mut self, a: Value, b: Value) -> Value {
        self.scalar(ScalarOp::And, &[a, b])
    }

    /// `then` if the condition holds, else `other`.
    pub fn select(&mut self, condition: Value, then: Value, other: Value) -> Value {
        self.scalar(ScalarOp::Select, &[condition, then, other])
    }

    /// Integer arithmetic. Division of i32 is of numbers that are not negative.
    pub fn int(&mut self, op: IntOp, a: Value, b: Value) -> Value {
        let dtype = self.dtype(a);
        assert_eq!(dtype, self.dtype(b), "{op:?} of two types");
        match (op, a, b) {
            (IntOp::Div, _, Value::Const(_, 1)) => return a,
            (IntOp::Rem, _, Value::Const(_, 1)) => return Value::Const(dtype, 0),
            (IntOp::Div, Value::Const(_, x), Value::Const(_, y)) if y != 0 => {
                return Value::Const(dtype, x / y);
            }
            (IntOp::Rem, Value::Const(_, x), Value::Const(_, y)) if y != 0 => {
                return Value::Const(dtype, x % y);
            }
            _ => {}
        }
        self.define(Op::Int(op, a, b), dtype)
    }

    /// (a / n, a % n) of an i32 that is not negative.
    pub fn div_rem(&mut self, a: Value, n: usize) -> (Value, Value) {
        let n = Value::index(n);
        (self.int(IntOp::Div, a, n), self.int(IntOp::Rem, a, n))
    }

    /// Conversion.
    pub fn cast(&mut self, v: Value, to: DType) -> Value {
        if self.dtype(v) == to { v } else { self.define(Op::Cast(v), to) }
    }

    /// The same bits as another 32-bit type.
    pub fn bits(&mut self, v: Value, to: DType) -> Value {
        if self.dtype(v) == to { v } else { self.define(Op::Bits(v), to) }
    }

    /// A random number in [0, 1).
    pub fn random(&mut self, seed: u64, stream: u32, element: Value, step: Value) -> Value {
        self.define(Op::Random { seed, stream, element, step }, DType::F32)
    }

    /// An element of a parameter.
    pub fn load(&mut self, from: Param, index: Value) -> Value {
        let dtype = self.kernel.params[from.0 as usize].dtype;
        self.define(Op::Load(from, index), dtype)
    }

    /// Four elements from a multiple of four on.
    pub fn load4(&mut self, from: Param, index: Value) -> [Value; 4] {
        let dtype = self.kernel.params[from.0 as usize].dtype;
        let vars = [(); 4].map(|()| self.register(dtype));
        self.emit(Stmt::Load4(vars, from, index));
        vars.map(Value::Var)
    }

    /// An element of shared memory.
    pub fn load_shared(&mut self, from: Shared, index: Value) -> Value {
        let dtype = self.kernel.shared[from.0 as usize].0;
        self.define(Op::LoadShared(from, index), dtype)
    }

    /// Stores an element.
    pub fn store(&mut self, to: Param, index: Value, value: Value) {
        let ty = self.kernel.params[to.0 as usize];
        assert!(ty.written && ty.dtype == self.dtype(value), "a store of {:?} to {ty:?}", self.dtype(value));
        self.emit(Stmt::Store(to, index, value));
    }

    /// Stores four elements from a multiple of four on.
    pub fn store4(&mut self, to: Param, index: Value, values: [Value; 4]) {
        let ty = self.kernel.params[to.0 as usize];
        let fits = values.iter().all(|v| self.dtype(*v) == ty.dtype);
        assert!(ty.written && fits, "a store of four to {ty:?}");
        self.emit(Stmt::Store4(to, index, values));
    }

    /// Stores to shared memory.
    pub fn store_shared(&mut self, to: Shared, index: Value, value: Value) {
        assert_eq!(self.kernel.shared[to.0 as usize].0, self.dtype(value), "a store to shared memory");
        self.emit(Stmt::StoreShared(to, index, value));
    }

    /// Four elements of shared memory from a multiple of four on.
    pub fn load_shared4(&mut self, from: Shared, index: Value) -> [Value; 4] {
        let dtype = self.kernel.shared[from.0 as usize].0;
        assert!(dtype.is_float() || dtype.size() == 4, "four elements of {dtype} at once");
        let vars = [(); 4].map(|()| self.register(dtype));
        self.emit(Stmt::LoadShared4(vars, from, index));
        vars.map(Value::Var)
    }

    /// Stores four elements of shared memory from a multiple of four on.
    pub fn store_shared4(&mut self, to: Shared, index: Value, values: [Value; 4]) {
        let dtype = self.kernel.shared[to.0 as usize].0;
        let fits = (dtype.is_float() || dtype.size() == 4) && values.iter().all(|v| self.dtype(*v) == dtype);
        assert!(fits, "a store of four to shared memory");
        self.emit(Stmt::StoreShared4(to, index, values));
    }

    /// Eight floats of 16 bits from a multiple of eight on, as they are in memory.
    pub fn load_words(&mut self, from: Param, index: Value) -> [Value; 4] {
        assert!(self.kernel.params[from.0 as usize].dtype.is_half(), "two elements in a word");
        let vars = [(); 4].map(|()| self.register(DType::U32));
        self.emit(Stmt::LoadWords(vars, from, index));
        vars.map(Value::Var)
    }

    /// Stores such to shared memory.
    pub fn store_shared_words(&mut self, to: Shared, index: Value, words: [Value; 4]) {
        let fits = words.iter().all(|w| self.dtype(*w) == DType::U32);
        assert!(fits && self.kernel.shared[to.0 as usize].0.is_half(), "two elements in a word");
        self.emit(Stmt::StoreSharedWords(to, index, words));
    }

    /// A register that changes, with its first value.
    pub fn mutable(&mut self, first: Value) -> Var {
        let dtype = self.dtype(first);
        match self.define(Op::Mutable(first), dtype) {
            Value::Var(v) => {
                self.mutable.insert(v);
                v
            }
            Value::Const(..) => unreachable!("a register"),
        }
    }

    /// Changes one.
    pub fn set(&mut self, var: Var, value: Value) {
        assert_eq!(self.kernel.types[var.0 as usize], self.dtype(value), "a register keeps its type");
        self.emit(Stmt::Set(var, value));
    }

    /// A barrier.
    pub fn barrier(&mut self) {
        self.emit(Stmt::Barrier);
    }

    /// The nearest number that tf32 has, as bits for a tensor core.
    pub fn tf32(&mut self, v: Value) -> Value {
        assert_eq!(self.dtype(v), DType::F32, "what is rounded to tf32");
        let bits = self.register(DType::U32);
        self.emit(Stmt::Tensor(Tensor::Tf32(bits, v)));
        Value::Var(bits)
    }

    /// Four matrices of floats of 16 bits, for a tensor core: see [`Tensor::LoadMatrix`].
    pub fn load_matrix(&mut self, from: Shared, row: Value, transposed: bool) -> [Value; 4] {
        assert!(self.kernel.shared[from.0 as usize].0.is_half(), "matrices of 16-bit floats");
        let to = [(); 4].map(|()| self.register(DType::U32));
        self.emit(Stmt::Tensor(Tensor::LoadMatrix { to, from: (from, row), transposed }));
        to.map(Value::Var)
    }

    fn matrix(&mut self, size: usize, dtype: DType, role: Role) -> Matrix {
        self.kernel.matrices.push(MatrixType { size: size as u32, dtype, role });
        Matrix(self.kernel.matrices.len() as u32 - 1)
    }

    /// A sum of products of matrices, so far zero.
    pub fn sum_of_matrices(&mut self, size: usize) -> Matrix {
        let sum = self.matrix(size, DType::F32, Role::Sum);
        self.emit(Stmt::Cooperative(Cooperative::Clear(sum)));
        sum
    }

    /// A factor from shared memory: see [`Cooperative::Load`].
    pub fn load_factor(
        &mut self,
        (size, role): (usize, Role),
        from: (Shared, Value),
        stride: usize,
        rows: bool,
    ) -> Matrix {
        let dtype = self.kernel.shared[from.0.0 as usize].0;
        assert!(role != Role::Sum, "a factor");
        let to = self.matrix(size, dtype, role);
        self.emit(Stmt::Cooperative(Cooperative::Load { to, from, stride: stride as u32, rows }));
        to
    }

    /// Any other statement.
    pub fn statement(&mut self, stmt: Stmt) {
        self.emit(stmt);
    }

    /// Opens a loop from `from` to `to` (exclusive) by `step`; what is written until [`Builder::close`] is repeated. Returns the
    /// loop's variable too.
    pub fn open_repeat(&mut self, from: Value, to: Value, step: usize) -> (Open, Value) {
        self.begin(from, to, step, false)
    }

    /// The same for a known number of turns, which the compiler is asked to unroll.
    pub fn open_unrolled(&mut self, turns: usize) -> (Open, Value) {
        self.begin(Value::index(0), Value::index(turns), 1, true)
    }

    fn begin(&mut self, from: Value, to: Value, step: usize, unroll: bool) -> (Open, Value) {
        let var = self.register(DType::I32);
        self.blocks.push((Vec::new(), HashMap::new()));
        (Open::For { var, from, to, step: step as i32, unroll }, Value::Var(var))
    }

    /// Opens a block that runs where the condition holds.
    pub fn open(&mut self, condition: Value) -> Open {
        self.blocks.push((Vec::new(), HashMap::new()));
        Open::If(condition)
    }

    /// Closes the block opened last.
    pub fn close(&mut self, open: Open) {
        let (body, known) = self.blocks.pop().expect("the block just opened");
        match open {
            Open::For { var, from, to, step, unroll } => {
                self.emit(Stmt::For { var, from, to, step, unroll, body })
            }
            // What always holds needs no block: its registers belong to the one around it.
            Open::If(Value::Const(_, bits)) => {
                if bits != 0 {
                    let (outer, outer_known) = self.blocks.last_mut().expect("a block");
                    outer.extend(body);
                    outer_known.extend(known);
                }
            }
            Open::If(condition) => self.emit(Stmt::If(condition, body, Vec::new())),
        }
    }
}

/// A block that is open; to be given to [`Builder::close`].
#[must_use]
pub enum Open {
    /// A loop.
    For {
        /// Its variable.
        var: Var,
        /// First value.
        from: Value,
        /// End.
        to: Value,
        /// Step.
        step: i32,
        /// Whether it is to be unrolled.
        unroll: bool,
    },
    /// A condition.
    If(Value),
}

/// What needs no instruction: integer constants, neutral elements of integers, known conditions.
fn fold(op: ScalarOp, args: &[Value]) -> Option<Value> {
    let int = |v: Value| v.as_i32();
    match (op, args) {
        (ScalarOp::Add, &[a, b]) => match (int(a), int(b)) {
            (Some(x), Some(y)) => Some(Value::i32(x.wrapping_add(y))),
            (Some(0), _) => Some(b),
            (_, Some(0)) => Some(a),
            _ => None,
        },
        (ScalarOp::Sub, &[a, b]) => match (int(a), int(b)) {
            (Some(x), Some(y)) => Some(Value::i32(x.wrapping_sub(y))),
            (_, Some(0)) => Some(a),
            _ => None,
        },
        (ScalarOp::Mul, &[a, b]) => match (int(a), int(b)) {
            (Some(x), Some(y)) => Some(Value::i32(x.wrapping_mul(y))),
            (Some(0), _) | (_, Some(0)) => Some(Value::i32(0)),
            (Some(1), _) => Some(b),
            (_, Some(1)) => Some(a),
            _ => None,
        },
        (ScalarOp::Lt, &[a, b]) => Some(Value::bool(int(a)? < int(b)?)),
        (ScalarOp::And, &[a, b]) => match (a, b) {
            (Value::Const(_, 0), _) | (_, Value::Const(_, 0)) => Some(Value::bool(false)),
            (Value::Const(..), _) => Some(b),
            (_, Value::Const(..)) => Some(a),
            _ => None,
        },
        (ScalarOp::Select, &[c, then, other]) => match c {
            Value::Const(_, 0) => Some(other),
            Value::Const(..) => Some(then),
            Value::Var(_) => (then == other).then_some(then),
        },
        _ => None,
    }
}
