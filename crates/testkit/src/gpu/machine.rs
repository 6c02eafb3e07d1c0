//! A group of threads, one statement after another, all of its threads at each.
//!
//! Threads that a condition or a loop leaves out wait; so a barrier is seen to be reached by all or not. Arithmetic is the
//! scalar table's own, in f64 and rounded to f32, which is what a GPU computes for everything but transcendental
//! functions.

use super::cooperative::Subgroups;
use super::memory::{Memory, Window};
use super::tensor::Copies;
use thalweg_base::{DType, half, philox};
use thalweg_device::gpu::ir::{IntOp, Kernel, Op, Param, Shared, Stmt, Value, Var, in_shared};

/// Tells what happens at the same time: the launches of a stage, and what a group does between two barriers.
pub struct Clock {
    /// Grows with every stage, group and barrier.
    now: u64,
    /// When the stage began.
    stage: u64,
    /// Threads that the stage's launches had so far: each thread of a stage has its own number.
    threads: u32,
}

impl Default for Clock {
    /// At the start of a stage; memory was never touched at 0.
    fn default() -> Clock {
        Clock { now: 1, stage: 1, threads: 0 }
    }
}

impl Clock {
    /// Starts the next stage.
    pub fn next_stage(&mut self) {
        self.now += 1;
        (self.stage, self.threads) = (self.now, 0);
    }

    /// When the stage's launches run, and the number of one more thread that is alone in its launch.
    pub fn alone(&mut self) -> (u64, u32) {
        self.threads += 1;
        (self.stage, self.threads - 1)
    }
}

/// Runs all groups of a kernel, one after another. `arguments`: one window per parameter.
pub fn run_kernel(
    kernel: &Kernel,
    groups: u32,
    memories: &mut [Memory],
    arguments: &[Window],
    clock: &mut Clock,
) {
    for group in 0..groups {
        clock.now += 1;
        let shared =
            kernel.shared.iter().map(|(d, n)| Memory::new(vec![0; in_shared(*d) * *n as usize])).collect();
        let threads = kernel.threads as usize;
        let mut machine = Machine {
            kernel,
            group,
            stage: clock.stage,
            first: clock.threads,
            start: clock.now,
            now: clock.now,
            memories: &mut *memories,
            arguments,
            shared,
            registers: vec![Vec::new(); kernel.types.len()],
            copies: Copies::new(threads),
            subgroups: Subgroups::new(kernel, group),
            at: None,
        };
        machine.block(&kernel.body, &vec![true; threads]);
        clock.now = machine.now;
        clock.threads += kernel.threads;
    }
}

/// A group.
pub struct Machine<'a> {
    pub kernel: &'a Kernel,
    group: u32,
    stage: u64,
    /// Number of its first thread among all of the stage.
    first: u32,
    /// When the group began; and now.
    start: u64,
    now: u64,
    memories: &'a mut [Memory],
    arguments: &'a [Window],
    shared: Vec<Memory>,
    /// Per register, per thread, the bits once it is set.
    registers: Vec<Vec<Option<u32>>>,
    pub copies: Copies,
    pub subgroups: Subgroups,
    /// The statement being run.
    at: Option<&'a Stmt>,
}

impl<'a> Machine<'a> {
    fn block(&mut self, body: &'a [Stmt], mask: &[bool]) {
        for stmt in body {
            self.statement(stmt, mask);
        }
    }

    fn fail(&self, problem: &str) -> ! {
        let text = self.at.map_or(String::new(), |stmt| format!("{stmt:?}"));
        let short: String = text.chars().take(200).collect();
        panic!("kernel {}, group {}: {problem}; at {short}", self.kernel.name, self.group)
    }

    fn statement(&mut self, stmt: &'a Stmt, mask: &[bool]) {
        self.at = Some(stmt);
        let threads = || (0..mask.len()).filter(|&t| mask[t]);
        let told = |m: &Self, r: Result<u32, String>| r.unwrap_or_else(|e| m.fail(&e));
        match stmt {
            Stmt::Let(v, op) => {
                for t in threads() {
                    let r = self.op(*v, op, t);
                    let bits = told(self, r);
                    self.set(*v, t, bits);
                }
            }
            Stmt::Load4(vars, p, index) => {
                for t in threads() {
                    for (i, v) in vars.iter().enumerate() {
                        let r = self.quad(*p, *index, t).and_then(|at| self.load(*p, at + i as i32, t));
                        let bits = told(self, r);
                        self.set(*v, t, bits);
                    }
                }
            }
            Stmt::Set(v, value) => {
                for t in threads() {
                    let bits = self.get(*value, t);
                    self.set(*v, t, bits);
                }
            }
            Stmt::Store(p, index, value) => {
                for t in threads() {
                    let (at, bits) = (self.get(*index, t) as i32, self.get(*value, t));
                    let r = self.store(*p, at, bits, t);
                    told(self, r);
                }
            }
            Stmt::Store4(p, index, values) => {
                for t in threads() {
                    for (i, value) in values.iter().enumerate() {
                        let bits = self.get(*value, t);
                        let r =
                            self.quad(*p, *index, t).and_then(|at| self.store(*p, at + i as i32, bits, t));
                        told(self, r);
                    }
                }
            }
            Stmt::StoreShared(s, index, value) => {
                for t in threads() {
                    let (at, bits) = (self.get(*index, t) as i32, self.get(*value, t));
                    let r = self.store_shared(*s, at, bits, t);
                    told(self, r);
                }
            }
            Stmt::LoadShared4(vars, s, index) => {
                for t in threads() {
                    for (i, v) in vars.iter().enumerate() {
                        let at = self.quad_shared(*index, t);
                        let r = at.and_then(|at| self.load_shared(*s, at + i as i32, t));
                        let bits = told(self, r);
                        self.set(*v, t, bits);
                    }
                }
            }
            Stmt::StoreShared4(s, index, values) => {
                for t in threads() {
                    for (i, value) in values.iter().enumerate() {
                        let (at, bits) = (self.quad_shared(*index, t), self.get(*value, t));
                        let r = at.and_then(|at| self.store_shared(*s, at + i as i32, bits, t));
                        told(self, r);
                    }
                }
            }
            Stmt::LoadWords(vars, p, index) => {
                for t in threads() {
                    let r = self.words(*p, *index, t);
                    let words = r.unwrap_or_else(|e| self.fail(&e));
                    vars.iter().zip(words).for_each(|(v, word)| self.set(*v, t, word));
                }
            }
            Stmt::StoreSharedWords(s, index, words) => {
                for t in threads() {
                    let r = self.store_words(*s, *index, words.map(|w| self.get(w, t)), t);
                    told(self, r);
                }
            }
            Stmt::For { var, from, to, step, unroll: _, body } => {
                for t in threads() {
                    let first = self.get(*from, t);
                    self.set(*var, t, first);
                }
                let mut turn = mask.to_vec();
                loop {
                    for (t, takes) in turn.iter_mut().enumerate().filter(|(_, takes)| **takes) {
                        *takes = (self.get(Value::Var(*var), t) as i32) < self.get(*to, t) as i32;
                    }
                    if !turn.contains(&true) {
                        break;
                    }
                    self.block(body, &turn);
                    self.at = Some(stmt);
                    for t in (0..turn.len()).filter(|&t| turn[t]) {
                        let next = self.get(Value::Var(*var), t).wrapping_add(*step as u32);
                        self.set(*var, t, next);
                    }
                }
            }
            Stmt::If(condition, then, other) => {
                let chosen = |m: &Self, wanted: bool| -> Vec<bool> {
                    (0..mask.len()).map(|t| mask[t] && (m.get(*condition, t) != 0) == wanted).collect()
                };
                let (yes, no) = (chosen(self, true), chosen(self, false));
                if yes.contains(&true) {
                    self.block(then, &yes);
                }
                if no.contains(&true) {
                    self.block(other, &no);
                }
            }
            Stmt::Barrier => {
                if mask.contains(&false) {
                    self.fail("only some threads reach a barrier");
                }
                self.now += 1;
            }
            Stmt::Tensor(t) => {
                if let Err(e) = self.tensor(t, mask) {
                    self.fail(&e);
                }
            }
            Stmt::Cooperative(c) => {
                if let Err(e) = self.cooperative(c, mask) {
                    self.fail(&e);
                }
            }
        }
    }

    /// The bits of a value for a thread.
    pub fn get(&self, v: Value, t: usize) -> u32 {
        match v {
            Value::Const(_, bits) => bits,
            Value::Var(v) => match self.registers[v.0 as usize].get(t) {
                Some(Some(bits)) => *bits,
                _ => self.fail(&format!("thread {t} reads register {}, which it has not set", v.0)),
            },
        }
    }

    /// Sets a register of a thread.
    pub fn set(&mut self, v: Var, t: usize, bits: u32) {
        let register = &mut self.registers[v.0 as usize];
        if register.is_empty() {
            register.resize(self.kernel.threads as usize, None);
        }
        register[t] = Some(bits);
    }

    fn number(&self, v: Value, t: usize) -> f64 {
        number(self.kernel.dtype(v), self.get(v, t))
    }

    fn op(&mut self, v: Var, op: &Op, t: usize) -> Result<u32, String> {
        let to = self.kernel.types[v.0 as usize];
        Ok(match op {
            Op::Scalar(op, args) => {
                let mut values = [0.0; 3];
                for (value, a) in values.iter_mut().zip(args) {
                    *value = self.number(*a, t);
                }
                bits(to, op.eval_in(to, &values[..args.len()]))
            }
            Op::Int(op, a, b) => {
                let signed = self.kernel.dtype(*a) == DType::I32;
                integer(*op, signed, self.get(*a, t), self.get(*b, t))?
            }
            Op::Fma(a, b, c) => bits(to, self.number(*a, t) * self.number(*b, t) + self.number(*c, t)),
            Op::Cast(a) => bits(to, to.round(self.number(*a, t))),
            Op::Bits(a) | Op::Mutable(a) => self.get(*a, t),
            Op::Load(p, index) => {
                let at = self.get(*index, t) as i32;
                self.load(*p, at, t)?
            }
            Op::LoadShared(s, index) => {
                let at = self.get(*index, t) as i32;
                self.load_shared(*s, at, t)?
            }
            Op::Random { seed, stream, element, step } => {
                let word = philox::word(*seed, *stream, self.get(*step, t), self.get(*element, t));
                philox::unit(word).to_bits()
            }
            Op::Thread => t as u32,
            Op::Group => self.group,
            Op::Subgroup => self.subgroups.of(t) as u32,
        })
    }

    /// A thread's number among all of the stage.
    fn thread(&self, t: usize) -> u32 {
        self.first + t as u32
    }

    /// The byte of an element of a parameter.
    pub fn place(&self, p: Param, at: i32) -> Result<(usize, usize), String> {
        let (window, size) = (self.arguments[p.0 as usize], self.kernel.params[p.0 as usize].dtype.size());
        let offset = usize::try_from(at).map_err(|_| format!("element {at} of parameter {}", p.0))? * size;
        if offset + size > window.bytes {
            return Err(format!("element {at} of parameter {}, which has {} bytes", p.0, window.bytes));
        }
        Ok((window.memory, window.first + offset))
    }

    /// Loads an element of a parameter.
    pub fn load(&mut self, p: Param, at: i32, t: usize) -> Result<u32, String> {
        let (memory, byte) = self.place(p, at)?;
        let (dtype, thread, stage) = (self.kernel.params[p.0 as usize].dtype, self.thread(t), self.stage);
        let bits = self.memories[memory].load(byte, dtype.size(), stage, thread)?;
        Ok(widened(dtype, bits))
    }

    fn store(&mut self, p: Param, at: i32, bits: u32, t: usize) -> Result<u32, String> {
        if !self.kernel.params[p.0 as usize].written {
            return Err(format!("parameter {} is not to be written", p.0));
        }
        let (memory, byte) = self.place(p, at)?;
        let (dtype, thread, stage) = (self.kernel.params[p.0 as usize].dtype, self.thread(t), self.stage);
        let bits = narrowed(dtype, bits);
        self.memories[memory].store(byte, dtype.size(), bits, stage, thread).map(|()| 0)
    }

    /// The index of four elements that are loaded or stored at once.
    fn quad(&self, p: Param, index: Value, t: usize) -> Result<i32, String> {
        let at = self.get(index, t) as i32;
        let size = self.kernel.params[p.0 as usize].dtype.size();
        let (_, byte) = self.place(p, at)?;
        if at % 4 != 0 || byte % (4 * size) != 0 {
            return Err(format!("elements {at} to {} of parameter {} are not aligned", at + 3, p.0));
        }
        Ok(at)
    }

    /// The index of four elements of shared memory, whose arrays start where they may.
    fn quad_shared(&self, index: Value, t: usize) -> Result<i32, String> {
        let at = self.get(index, t) as i32;
        if at % 4 == 0 { Ok(at) } else { Err(format!("four elements of shared memory from {at} on")) }
    }

    /// Eight elements of 16 bits of a parameter, as they are.
    fn words(&mut self, p: Param, index: Value, t: usize) -> Result<[u32; 4], String> {
        let (at, dtype) = (self.get(index, t) as i32, self.kernel.params[p.0 as usize].dtype);
        if at % 8 != 0 || self.place(p, at)?.1 % 16 != 0 || !dtype.is_half() {
            return Err(format!("eight elements from {at} on of parameter {}, of {dtype}", p.0));
        }
        let mut words = [0; 4];
        for (i, word) in words.iter_mut().enumerate() {
            let [low, high] = [2 * i, 2 * i + 1].map(|i| self.load(p, at + i as i32, t));
            *word = narrowed(dtype, low?) | narrowed(dtype, high?) << 16;
        }
        Ok(words)
    }

    /// Stores eight elements of shared memory.
    fn store_words(&mut self, s: Shared, index: Value, words: [u32; 4], t: usize) -> Result<u32, String> {
        let (at, dtype) = (self.get(index, t) as i32, self.kernel.shared[s.0 as usize].0);
        if at % 8 != 0 || !dtype.is_half() {
            return Err(format!("eight elements from {at} on of a shared array of {dtype}"));
        }
        for (i, word) in words.into_iter().enumerate() {
            for (half, bits) in [word & 0xffff, word >> 16].into_iter().enumerate() {
                self.store_shared(s, at + (2 * i + half) as i32, widened(dtype, bits), t)?;
            }
        }
        Ok(0)
    }

    fn within(&self, s: Shared, at: i32) -> Result<usize, String> {
        let len = self.kernel.shared[s.0 as usize].1;
        let at = usize::try_from(at).ok().filter(|a| *a < len as usize);
        at.ok_or_else(|| format!("an element out of the {len} of shared array {}", s.0))
    }

    /// Loads an element of shared memory.
    pub fn load_shared(&mut self, s: Shared, at: i32, t: usize) -> Result<u32, String> {
        let at = self.within(s, at)?;
        if self.copies.pending(s, at) {
            return Err(format!("element {at} of shared array {} is still being copied", s.0));
        }
        let (now, start, dtype) = (self.now, self.start, self.kernel.shared[s.0 as usize].0);
        let (memory, size) = (&mut self.shared[s.0 as usize], in_shared(dtype));
        if !memory.is_set(size * at, start) {
            return Err(format!("element {at} of shared array {} was never stored", s.0));
        }
        Ok(widened(dtype, memory.load(size * at, size, now, t as u32)?))
    }

    /// Stores an element of shared memory.
    pub fn store_shared(&mut self, s: Shared, at: i32, bits: u32, t: usize) -> Result<u32, String> {
        let at = self.within(s, at)?;
        let (now, dtype) = (self.now, self.kernel.shared[s.0 as usize].0);
        let (memory, size) = (&mut self.shared[s.0 as usize], in_shared(dtype));
        memory.store(size * at, size, narrowed(dtype, bits), now, t as u32).map(|()| 0)
    }
}

/// Bits of that type as a number.
fn number(dtype: DType, bits: u32) -> f64 {
    match dtype {
        DType::Bool | DType::U8 | DType::U32 => f64::from(bits),
        DType::I32 => f64::from(bits as i32),
        // In a register a float of 16 bits is an f32.
        DType::F16 | DType::BF16 | DType::F32 => f64::from(f32::from_bits(bits)),
    }
}

/// A number as the bits of that type.
fn bits(dtype: DType, value: f64) -> u32 {
    match dtype {
        DType::Bool => u32::from(value != 0.0),
        DType::U8 => u32::from(value as u8),
        DType::U32 => value as u32,
        DType::I32 => value as i32 as u32,
        DType::F16 | DType::BF16 | DType::F32 => (dtype.round(value) as f32).to_bits(),
    }
}

/// What a register holds of an element of memory.
fn widened(dtype: DType, bits: u32) -> u32 {
    match dtype {
        DType::F16 => half::from_f16(bits as u16).to_bits(),
        DType::BF16 => half::from_bf16(bits as u16).to_bits(),
        DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::F32 => bits,
    }
}

/// What memory holds of a register.
pub fn narrowed(dtype: DType, bits: u32) -> u32 {
    match dtype {
        DType::F16 => u32::from(half::to_f16(f32::from_bits(bits))),
        DType::BF16 => u32::from(half::to_bf16(f32::from_bits(bits))),
        DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::F32 => bits,
    }
}

fn integer(op: IntOp, signed: bool, a: u32, b: u32) -> Result<u32, String> {
    let divides = matches!(op, IntOp::Div | IntOp::Rem);
    if divides && b == 0 {
        return Err("division by 0".into());
    }
    Ok(match op {
        IntOp::Div => a / b,
        IntOp::Rem => a % b,
        IntOp::And => a & b,
        IntOp::Or => a | b,
        IntOp::Xor => a ^ b,
        IntOp::Shl => a.wrapping_shl(b),
        IntOp::Shr if signed => (a as i32).wrapping_shr(b) as u32,
        IntOp::Shr => a.wrapping_shr(b),
    })
}
