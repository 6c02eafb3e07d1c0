//! Kernels of the IR as WGSL.
//!
//! In: a kernel, and which of a few bound memories each parameter lies in. Out: a shader with entry point `main`. All
//! memories are arrays of 32-bit words, bound from 1 on; binding 0 is a [`record`] of the launch: where each parameter
//! begins in its memory. So equal kernels share a shader wherever their buffers lie. Invariants: single bytes and floats
//! of 16 bits are stored with atomic operations that touch them alone; no constant is infinite or NaN in the text, as WGSL forbids it: such
//! bits are put together with a word of the record that is always 0.
//!
//! Floats of 16 bits are converted by integer operations of the prelude, also where an adapter has f16: WGSL and Vulkan let a
//! conversion round to either side and take what is subnormal for 0 (`unpack2x16float`, too), and our results are rounded to
//! nearest even on every device. Shaders with cooperative matrices have f16 in shared memory, as bits that no conversion touches.

mod prelude;
mod scalar;

use super::ir::{Cooperative, IntOp, Kernel, Matrix, Op, Param, Role, Shared, Stmt, Value, Var, in_shared};
use scalar::{cast, constant, scalar};
use std::fmt::Write;
use thalweg_base::DType;

/// The numbers of a launch that its shader reads, as words: groups, groups in a row, 0, 0, then the first word of each
/// parameter. Padded to 16 bytes.
pub fn record(groups: u32, row: u32, first_words: &[u32]) -> Vec<u32> {
    let mut words = vec![groups, row, 0, 0];
    words.extend(first_words);
    words.resize(words.len().next_multiple_of(4), 0);
    words
}

/// Words of a record for so many parameters.
pub fn record_words(params: usize) -> usize {
    4 + params.next_multiple_of(4)
}

/// The shader. `memories`: per parameter, the memory it lies in, counted from 0 without gaps.
pub fn render(kernel: &Kernel, memories: &[usize]) -> String {
    let count = memories.iter().max().map_or(0, |m| m + 1);
    let atomic: Vec<bool> = (0..count)
        .map(|m| {
            let mut params = kernel.params.iter().zip(memories).filter(|(_, at)| **at == m);
            params.any(|(p, _)| p.written && p.dtype.size() < 4)
        })
        .collect();
    let mut r = Renderer { kernel, memories, atomic, text: String::new(), depth: 1 };
    r.head();
    r.block(&kernel.body);
    r.text.push_str("}\n");
    r.text
}

struct Renderer<'a> {
    kernel: &'a Kernel,
    memories: &'a [usize],
    /// Per memory, whether parts of words are stored in it.
    atomic: Vec<bool>,
    text: String,
    depth: usize,
}

impl Renderer<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn head(&mut self) {
        let params = self.memories.len();
        let halves = self.kernel.shared.iter().any(|(dtype, _)| dtype.is_half());
        let text = &mut self.text;
        if halves {
            text.push_str("enable f16;\nenable wgpu_int16;\n");
        }
        if self.kernel.needs_matrices() {
            // Where only some subgroups have work, all threads of each go the same way, which is what is asked for; but naga
            // asks it of the whole group, under the name of a rule that has nothing to do with it.
            text.push_str("enable wgpu_cooperative_matrix;\ndiagnostic(off, derivative_uniformity);\n");
        }
        let quads = params.div_ceil(4).max(1);
        let _ = writeln!(
            text,
            "struct Record {{ groups: u32, row: u32, zero: u32, pad: u32, first: array<vec4<u32>, {quads}> }}"
        );
        text.push_str("@group(0) @binding(0) var<uniform> r: Record;\n");
        for (m, atomic) in self.atomic.iter().enumerate() {
            let word = if *atomic { "atomic<u32>" } else { "u32" };
            let _ =
                writeln!(text, "@group(0) @binding({}) var<storage, read_write> m{m}: array<{word}>;", m + 1);
        }
        for (i, (dtype, len)) in self.kernel.shared.iter().enumerate() {
            // Matrices begin at multiples of 16 bytes, so arrays do, whatever lies before them.
            let len = len.next_multiple_of((16 / in_shared(*dtype)) as u32);
            let _ = writeln!(text, "var<workgroup> s{i}: array<{}, {len}>;", shared_type(*dtype));
        }
        text.push_str(prelude::FUNCTIONS);
        if halves {
            text.push_str(prelude::HALVES);
        }
        let _ = writeln!(text, "@compute @workgroup_size({})", self.kernel.threads);
        let subgroup =
            if self.kernel.subgroup == [0, 0] { "" } else { ", @builtin(subgroup_id) subgroup: u32" };
        let _ = writeln!(
            text,
            "fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32{subgroup}) {{"
        );
        self.line("let group = wid.y * r.row + wid.x;");
        self.line("if (group >= r.groups) { return; }");
        for p in 0..params {
            let line = format!("let p{p} = r.first[{}][{}];", p / 4, p % 4);
            self.line(&line);
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn inner(&mut self, body: &[Stmt]) {
        self.depth += 1;
        self.block(body);
        self.depth -= 1;
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let(v, op) => {
                let word = if matches!(op, Op::Mutable(_)) { "var" } else { "let" };
                let ty = type_name(self.kernel.types[v.0 as usize]);
                let line = format!("{word} v{}: {ty} = {};", v.0, self.op(*v, op));
                self.line(&line);
            }
            Stmt::Load4(vars, p, index) => {
                for (i, v) in vars.iter().enumerate() {
                    let ty = type_name(self.kernel.types[v.0 as usize]);
                    let line = format!("let v{}: {ty} = {};", v.0, self.load(*p, *index, i));
                    self.line(&line);
                }
            }
            Stmt::Set(v, value) => {
                let line = format!("v{} = {};", v.0, self.value(*value));
                self.line(&line);
            }
            Stmt::Store(p, index, value) => self.store(*p, *index, 0, *value),
            Stmt::Store4(p, index, values) => self.store4(*p, *index, *values),
            Stmt::StoreShared(s, index, value) => {
                let (to, value) = (self.shared(*s, *index), self.value(*value));
                self.store_shared(*s, &to, &value);
            }
            Stmt::LoadShared4(vars, s, index) => {
                for (i, v) in vars.iter().enumerate() {
                    let ty = type_name(self.kernel.types[v.0 as usize]);
                    let value = self.load_shared(*s, &format!("s{}[{}]", s.0, self.element(*index, i)));
                    let line = format!("let v{}: {ty} = {value};", v.0);
                    self.line(&line);
                }
            }
            Stmt::StoreShared4(s, index, values) => {
                for (i, value) in values.iter().enumerate() {
                    let (to, value) = (self.element(*index, i), self.value(*value));
                    self.store_shared(*s, &format!("s{}[{to}]", s.0), &value);
                }
            }
            Stmt::LoadWords(vars, p, index) => {
                let first = format!("p{} + {} / 2u", p.0, self.element(*index, 0));
                for (i, v) in vars.iter().enumerate() {
                    let line = format!("let v{}: u32 = {};", v.0, self.word(*p, &format!("{first} + {i}u")));
                    self.line(&line);
                }
            }
            Stmt::StoreSharedWords(s, index, words) => {
                assert!(self.kernel.shared[s.0 as usize].0 == DType::F16, "WGSL has no other 16-bit floats");
                for (i, word) in words.iter().enumerate() {
                    let word = self.value(*word);
                    for (half, bits) in
                        [format!("{word} & 0xffffu"), format!("{word} >> 16u")].iter().enumerate()
                    {
                        let to = self.element(*index, 2 * i + half);
                        let line = format!("s{}[{to}] = half({bits});", s.0);
                        self.line(&line);
                    }
                }
            }
            Stmt::For { var, from, to, step, body, unroll: _ } => {
                let v = var.0;
                let (from, to) = (self.value(*from), self.value(*to));
                let line = format!("for (var v{v}: i32 = {from}; v{v} < {to}; v{v} += {step}i) {{");
                self.line(&line);
                self.inner(body);
                self.line("}");
            }
            Stmt::If(condition, then, other) => {
                let line = format!("if ({}) {{", self.value(*condition));
                self.line(&line);
                self.inner(then);
                if !other.is_empty() {
                    self.line("} else {");
                    self.inner(other);
                }
                self.line("}");
            }
            Stmt::Barrier => self.line("workgroupBarrier();"),
            Stmt::Tensor(t) => unreachable!("{t:?} is for CUDA alone"),
            Stmt::Cooperative(c) => {
                let line = self.cooperative(c);
                self.line(&line);
            }
        }
    }

    /// A statement on matrices.
    fn cooperative(&self, c: &Cooperative) -> String {
        let place = |(s, at): &(Shared, Value)| format!("&s{}[{}]", s.0, self.element(*at, 0));
        match c {
            Cooperative::Clear(m) => format!("var x{} = {}();", m.0, self.matrix_type(*m)),
            // WGSL's own order is of columns; the other is the transposed one.
            Cooperative::Load { to, from, stride, rows } => {
                let (transposed, ty) = (if *rows { "T" } else { "" }, self.matrix_type(*to));
                format!("let x{} = coopLoad{transposed}<{ty}>({}, {stride}u);", to.0, place(from))
            }
            Cooperative::MultiplyAdd { d, a, b } => {
                format!("x{0} = coopMultiplyAdd(x{1}, x{2}, x{0});", d.0, a.0, b.0)
            }
            Cooperative::Store { from, to, stride } => {
                format!("coopStoreT(x{}, {}, {stride}u);", from.0, place(to))
            }
        }
    }

    fn matrix_type(&self, m: Matrix) -> String {
        let ty = self.kernel.matrices[m.0 as usize];
        let role = match ty.role {
            Role::A => "A",
            Role::B => "B",
            Role::Sum => "C",
        };
        format!("coop_mat{0}x{0}<{1}, {role}>", ty.size, shared_type(ty.dtype))
    }

    /// An element of shared memory as a register has it.
    fn load_shared(&self, s: Shared, element: &str) -> String {
        match self.kernel.shared[s.0 as usize].0 {
            DType::F16 => format!("from_f16(u32(bitcast<u16>({element})))"),
            DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::BF16 | DType::F32 => element.into(),
        }
    }

    fn store_shared(&mut self, s: Shared, element: &str, value: &str) {
        let value = match self.kernel.shared[s.0 as usize].0 {
            DType::F16 => format!("half(to_f16({value}))"),
            DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::BF16 | DType::F32 => value.into(),
        };
        self.line(&format!("{element} = {value};"));
    }

    fn op(&self, v: Var, op: &Op) -> String {
        let to = self.kernel.types[v.0 as usize];
        match op {
            Op::Scalar(op, args) => {
                let dtype = self.kernel.dtype(args[args.len() - 1]);
                let words: Vec<String> = args.iter().map(|a| self.value(*a)).collect();
                // Of constants alone the compiler would compute the result, and refuse one that is infinite.
                let fixed = dtype.is_float() && args.iter().all(|a| matches!(a, Value::Const(..)));
                match (fixed, args[0]) {
                    (true, Value::Const(_, bits)) => {
                        let first = format!("bitcast<f32>(r.zero | {bits}u)");
                        scalar(*op, dtype, &[&[first], &words[1..]].concat())
                    }
                    _ => scalar(*op, dtype, &words),
                }
            }
            Op::Int(op, a, b) => self.int(*op, *a, *b),
            Op::Fma(a, b, c) => {
                format!("fma({}, {}, {})", self.value(*a), self.value(*b), self.value(*c))
            }
            Op::Cast(x) => cast(self.kernel.dtype(*x), to, &self.value(*x)),
            Op::Bits(x) => format!("bitcast<{}>({})", type_name(to), self.value(*x)),
            Op::Load(p, index) => self.load(*p, *index, 0),
            Op::LoadShared(s, index) => self.load_shared(*s, &self.shared(*s, *index)),
            Op::Random { seed, stream, element, step } => format!(
                "random({}u, {}u, {stream}u, u32({}), u32({}))",
                *seed as u32,
                (seed >> 32) as u32,
                self.value(*step),
                self.value(*element)
            ),
            Op::Thread => "i32(lid)".into(),
            Op::Group => "i32(group)".into(),
            Op::Subgroup => "i32(subgroup)".into(),
            Op::Mutable(first) => self.value(*first),
        }
    }

    fn int(&self, op: IntOp, a: Value, b: Value) -> String {
        let signed = self.kernel.dtype(a) == DType::I32;
        let (a, b) = (self.value(a), self.value(b));
        // Division of numbers that are not negative: of unsigned ones it is cheaper.
        let unsigned = |sign: &str| match signed {
            true => format!("i32(u32({a}) {sign} u32({b}))"),
            false => format!("{a} {sign} {b}"),
        };
        match op {
            IntOp::Div => unsigned("/"),
            IntOp::Rem => unsigned("%"),
            IntOp::And => format!("{a} & {b}"),
            IntOp::Or => format!("{a} | {b}"),
            IntOp::Xor => format!("{a} ^ {b}"),
            IntOp::Shl => format!("{a} << u32({b})"),
            IntOp::Shr => format!("{a} >> u32({b})"),
        }
    }

    fn value(&self, v: Value) -> String {
        match v {
            Value::Var(v) => format!("v{}", v.0),
            Value::Const(dtype, bits) => constant(dtype, bits),
        }
    }

    fn shared(&self, s: Shared, index: Value) -> String {
        format!("s{}[{}]", s.0, self.value(index))
    }

    /// A word of a parameter's memory.
    fn word(&self, p: Param, at: &str) -> String {
        let m = self.memories[p.0 as usize];
        match self.atomic[m] {
            true => format!("atomicLoad(&m{m}[{at}])"),
            false => format!("m{m}[{at}]"),
        }
    }

    fn load(&self, p: Param, index: Value, plus: usize) -> String {
        let (i, n) = (self.element(index, plus), p.0);
        match self.kernel.params[p.0 as usize].dtype {
            DType::F32 => format!("bitcast<f32>({})", self.word(p, &format!("p{n} + {i}"))),
            DType::I32 => format!("bitcast<i32>({})", self.word(p, &format!("p{n} + {i}"))),
            DType::U32 => self.word(p, &format!("p{n} + {i}")),
            dtype @ (DType::U8 | DType::Bool) => {
                let word = self.word(p, &format!("p{n} + ({i} >> 2u)"));
                let byte = format!("({word} >> (({i} & 3u) * 8u)) & 255u");
                if dtype == DType::Bool { format!("({byte}) != 0u") } else { byte }
            }
            dtype @ (DType::F16 | DType::BF16) => {
                let word = self.word(p, &format!("p{n} + ({i} >> 1u)"));
                let bits = format!("({word} >> (({i} & 1u) * 16u)) & 0xffffu");
                match dtype {
                    DType::F16 => format!("from_f16({bits})"),
                    _ => format!("bitcast<f32>(({bits}) << 16u)"),
                }
            }
        }
    }

    fn element(&self, index: Value, plus: usize) -> String {
        match (index.as_i32(), plus) {
            (Some(i), _) => format!("{}u", i as usize + plus),
            (None, 0) => format!("u32({})", self.value(index)),
            (None, _) => format!("(u32({}) + {plus}u)", self.value(index)),
        }
    }

    fn store(&mut self, p: Param, index: Value, plus: usize, value: Value) {
        let (i, n, m) = (self.element(index, plus), p.0, self.memories[p.0 as usize]);
        let v = self.value(value);
        let dtype = self.kernel.params[p.0 as usize].dtype;
        let line = match dtype {
            DType::F32 | DType::I32 | DType::U32 => {
                let word = if dtype == DType::U32 { v } else { format!("bitcast<u32>({v})") };
                match self.atomic[m] {
                    true => format!("atomicStore(&m{m}[p{n} + {i}], {word});"),
                    false => format!("m{m}[p{n} + {i}] = {word};"),
                }
            }
            DType::U8 | DType::Bool => format!(
                "{{ let w = p{n} + ({i} >> 2u); let s = ({i} & 3u) * 8u; atomicAnd(&m{m}[w], ~(255u << s)); \
                 atomicOr(&m{m}[w], {} << s); }}",
                narrowed(dtype, &v)
            ),
            DType::F16 | DType::BF16 => format!(
                "{{ let w = p{n} + ({i} >> 1u); let s = ({i} & 1u) * 16u; \
                 atomicAnd(&m{m}[w], ~(0xffffu << s)); atomicOr(&m{m}[w], {} << s); }}",
                narrowed(dtype, &v)
            ),
        };
        self.line(&line);
    }

    /// Four elements: of narrower types than a word, whole words that no other thread stores to.
    fn store4(&mut self, p: Param, index: Value, values: [Value; 4]) {
        let dtype = self.kernel.params[p.0 as usize].dtype;
        let each = 4 / dtype.size();
        if each == 1 {
            values.iter().enumerate().for_each(|(i, value)| self.store(p, index, i, *value));
            return;
        }
        let (first, m) = (self.element(index, 0), self.memories[p.0 as usize]);
        for (word, parts) in values.chunks(each).enumerate() {
            let part = |(i, v): (usize, &Value)| {
                format!("{} << {}u", narrowed(dtype, &self.value(*v)), i * 8 * dtype.size())
            };
            let parts: Vec<String> = parts.iter().enumerate().map(part).map(|p| format!("({p})")).collect();
            let at = format!("p{} + {first} / {each}u + {word}u", p.0);
            let line = format!("atomicStore(&m{m}[{at}], {});", parts.join(" | "));
            self.line(&line);
        }
    }
}

/// What a word of memory has of a value narrower than it, in its low bits.
fn narrowed(dtype: DType, value: &str) -> String {
    match dtype {
        DType::U8 | DType::Bool => format!("(u32({value}) & 255u)"),
        DType::F16 | DType::BF16 => format!("to_{dtype}({value})"),
        DType::F32 | DType::I32 | DType::U32 => unreachable!("{dtype} is a word"),
    }
}

/// The type of an element of shared memory.
fn shared_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => unreachable!("shared memory of {dtype} is for tensor cores"),
        DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::F32 => type_name(dtype),
    }
}

/// The type of a register.
fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 | DType::U32 => "u32",
        DType::I32 => "i32",
        DType::F16 | DType::BF16 | DType::F32 => "f32",
    }
}
