//! Kernels of the IR as CUDA C.
//!
//! In: a [`Kernel`], and whether what it stores lies apart from everything else it is given. Out: [`Source`]: one
//! translation unit without an `#include`, with one entry point. Values are `v`*n*, parameters `p`*n*, shared arrays
//! `s`*n*; a bool is `bool` in registers and a byte in memory, a `U8` is `unsigned`, a float of
//! 16 bits is `float`, and `unsigned short` in every memory. Invariant: the same kernel gives the
//! same text, which is what compiled kernels are cached by.

mod prelude;
mod scalar;
mod tensor;

use super::ir::{IntOp, Kernel, Op, Param, Shared, Stmt, Value, Var};
use scalar::{bits, cast, constant, narrowed, scalar, widened};
use std::fmt::Write;
use thalweg_base::DType;

/// Bytes of shared memory that a kernel may declare; more is asked for when it is launched.
const STATIC_SHARED: usize = 48 << 10;

/// A rendered kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its entry point.
    pub entry: String,
    /// CUDA C++.
    pub text: String,
    /// Bytes of shared memory to launch it with; 0 where it declares its own.
    pub dynamic_shared: usize,
}

/// Renders a kernel. `apart`: no parameter it stores to overlaps another one, so the compiler may move loads across
/// stores.
pub fn render(kernel: &Kernel, apart: bool) -> Source {
    let entry = format!("thalweg_{}", kernel.name);
    let (text, dynamic_shared) = function(kernel, apart, &entry);
    Source { entry, text: prelude::used_by(&text) + &text, dynamic_shared }
}

/// Several kernels as one translation unit: most of the time that NVRTC takes is for a unit, not for its kernels. Gives the
/// text and the entry points, in order.
pub fn render_together(kernels: &[(Kernel, bool)]) -> (String, Vec<String>) {
    let entries: Vec<String> =
        kernels.iter().enumerate().map(|(i, (k, _))| format!("thalweg_{}_{i}", k.name)).collect();
    let functions = kernels.iter().zip(&entries).map(|((k, apart), entry)| function(k, *apart, entry).0);
    let text: String = functions.collect();
    (prelude::used_by(&text) + &text, entries)
}

/// The function of that name, and bytes of shared memory to launch it with.
fn function(kernel: &Kernel, apart: bool, entry: &str) -> (String, usize) {
    let shared = kernel.shared_bytes();
    let dynamic = shared > STATIC_SHARED;
    let mut r = Renderer { kernel, text: String::new(), depth: 1 };
    if dynamic {
        r.line("extern __shared__ __align__(16) unsigned char shared[];");
    }
    for s in 0..kernel.shared.len() {
        r.shared(Shared(s as u32), dynamic);
    }
    r.block(&kernel.body);
    let restrict = if apart { " __restrict__" } else { "" };
    let params: Vec<String> = kernel
        .params
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let constant = if p.written { "" } else { "const " };
            format!("{constant}{}*{restrict} p{i}", in_memory(p.dtype))
        })
        .collect();
    let resident = if kernel.resident > 0 { format!(", {}", kernel.resident) } else { String::new() };
    let (bounds, params) = (format!("{}{resident}", kernel.threads), params.join(", "));
    let head = format!("extern \"C\" __global__ void __launch_bounds__({bounds}) {entry}({params}) {{\n");
    (head + &r.text + "}\n", if dynamic { shared } else { 0 })
}

/// Type of a register.
fn in_register(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 | DType::U32 => "unsigned",
        DType::I32 => "int",
        DType::F16 | DType::BF16 | DType::F32 => "float",
    }
}

/// Type of an element of a parameter.
fn in_memory(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 => "unsigned char",
        DType::F16 | DType::BF16 => "unsigned short",
        DType::U32 | DType::I32 | DType::F32 => in_register(dtype),
    }
}

/// Type of four elements of a parameter.
fn four_in_memory(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 => "uchar4",
        DType::U32 => "uint4",
        DType::I32 => "int4",
        DType::F16 | DType::BF16 => "ushort4",
        DType::F32 => "float4",
    }
}

/// Type of an element of shared memory.
fn in_shared(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 => "unsigned",
        DType::U32 | DType::I32 | DType::F16 | DType::BF16 | DType::F32 => in_memory(dtype),
    }
}

/// What was loaded, as a register holds it.
fn loaded(dtype: DType, element: &str) -> String {
    match dtype {
        DType::Bool => format!("{element} != 0"),
        DType::F16 | DType::BF16 => widened(dtype, element),
        DType::U8 | DType::U32 | DType::I32 | DType::F32 => element.to_owned(),
    }
}

struct Renderer<'k> {
    kernel: &'k Kernel,
    text: String,
    depth: usize,
}

impl Renderer<'_> {
    fn line(&mut self, line: impl AsRef<str>) {
        let (indent, line) = (4 * self.depth, line.as_ref());
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Declares a shared array, in dynamic memory at a multiple of 16 bytes behind those before it.
    fn shared(&mut self, s: Shared, dynamic: bool) {
        let at = s.0 as usize;
        let (dtype, len) = self.kernel.shared[at];
        let ty = in_shared(dtype);
        if dynamic {
            let offset = self.kernel.shared_offset(s);
            self.line(format!("{ty}* const s{at} = reinterpret_cast<{ty}*>(shared + {offset});"));
        } else {
            self.line(format!("__shared__ __align__(16) {ty} s{at}[{len}];"));
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        body.iter().for_each(|s| self.statement(s));
    }

    fn inner(&mut self, head: &str, body: &[Stmt]) {
        self.line(format!("{head} {{"));
        self.depth += 1;
        self.block(body);
        self.depth -= 1;
        self.line("}");
    }

    fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let(v, op) => {
                let dtype = self.kernel.types[v.0 as usize];
                let constant = if matches!(op, Op::Mutable(_)) { "" } else { "const " };
                let value = self.op(op, dtype);
                self.line(format!("{constant}{} v{} = {value};", in_register(dtype), v.0));
            }
            Stmt::Load4(vars, p, index) => self.four(vars, self.param(*p), &format!("p{}", p.0), *index),
            Stmt::Set(v, value) => self.line(format!("v{} = {};", v.0, constant_or_name(*value))),
            Stmt::Store(p, index, value) => {
                let (dtype, index) = (self.param(*p), constant_or_name(*index));
                let value = stored(in_memory(dtype), dtype, *value);
                self.line(format!("p{}[{index}] = {value};", p.0));
            }
            Stmt::Store4(p, index, values) => {
                let (dtype, index) = (self.param(*p), constant_or_name(*index));
                let ty = four_in_memory(dtype);
                let four = values.map(|v| stored(in_memory(dtype), dtype, v)).join(", ");
                self.line(format!("*reinterpret_cast<{ty}*>(p{} + {index}) = {ty}{{{four}}};", p.0));
            }
            Stmt::StoreShared(s, index, value) => {
                let dtype = self.kernel.shared[s.0 as usize].0;
                let value = stored(in_shared(dtype), dtype, *value);
                self.line(format!("s{}[{}] = {value};", s.0, constant_or_name(*index)));
            }
            Stmt::LoadShared4(vars, s, index) => {
                let dtype = self.kernel.shared[s.0 as usize].0;
                self.four(vars, dtype, &format!("s{}", s.0), *index);
            }
            Stmt::StoreShared4(s, index, values) => {
                let dtype = self.kernel.shared[s.0 as usize].0;
                let ty = four_in_memory(dtype);
                let four = values.map(|v| stored(in_shared(dtype), dtype, v)).join(", ");
                let index = constant_or_name(*index);
                self.line(format!("*reinterpret_cast<{ty}*>(s{} + {index}) = {ty}{{{four}}};", s.0));
            }
            Stmt::LoadWords(vars, p, index) => {
                let (first, index) = (vars[0].0, constant_or_name(*index));
                self.line(format!(
                    "const uint4 q{first} = *reinterpret_cast<const uint4*>(p{} + {index});",
                    p.0
                ));
                let parts = vars.iter().zip(["x", "y", "z", "w"]);
                let parts: Vec<String> =
                    parts.map(|(v, part)| format!("v{} = q{first}.{part}", v.0)).collect();
                self.line(format!("const unsigned {};", parts.join(", ")));
            }
            Stmt::StoreSharedWords(s, index, words) => {
                let (words, index) = (words.map(constant_or_name).join(", "), constant_or_name(*index));
                self.line(format!("*reinterpret_cast<uint4*>(s{} + {index}) = uint4{{{words}}};", s.0));
            }
            Stmt::For { var, from, to, step, unroll, body } => {
                if *unroll {
                    self.line("#pragma unroll");
                }
                let (from, to) = (constant_or_name(*from), constant_or_name(*to));
                self.inner(&format!("for (int v{0} = {from}; v{0} < {to}; v{0} += {step})", var.0), body);
            }
            Stmt::If(condition, then, other) => {
                self.inner(&format!("if ({})", constant_or_name(*condition)), then);
                if !other.is_empty() {
                    self.inner("else", other);
                }
            }
            Stmt::Barrier => self.line("__syncthreads();"),
            Stmt::Tensor(t) => {
                let text = tensor::tensor(t);
                self.line(text);
            }
            Stmt::Cooperative(c) => unreachable!("{c:?} is for WGSL alone; CUDA has tensor cores"),
        }
    }

    /// Four registers from an array of memory or shared memory.
    fn four(&mut self, vars: &[Var; 4], dtype: DType, array: &str, index: Value) {
        let (four, one, first) = (four_in_memory(dtype), in_register(dtype), vars[0].0);
        let index = constant_or_name(index);
        self.line(format!("const {four} q{first} = *reinterpret_cast<const {four}*>({array} + {index});"));
        let parts: Vec<String> = vars
            .iter()
            .zip(["x", "y", "z", "w"])
            .map(|(v, part)| format!("v{} = {}", v.0, loaded(dtype, &format!("q{first}.{part}"))))
            .collect();
        self.line(format!("const {one} {};", parts.join(", ")));
    }

    fn param(&self, p: Param) -> DType {
        self.kernel.params[p.0 as usize].dtype
    }

    /// The expression of an operation whose result is of that type.
    fn op(&self, op: &Op, dtype: DType) -> String {
        let name = constant_or_name;
        match op {
            Op::Scalar(op, args) => {
                let names: Vec<String> = args.iter().map(|a| name(*a)).collect();
                scalar(*op, self.kernel.dtype(args[0]), &names)
            }
            Op::Int(op, a, b) => int(*op, dtype, &name(*a), &name(*b)),
            Op::Fma(a, b, c) => format!("__fmaf_rn({}, {}, {})", name(*a), name(*b), name(*c)),
            Op::Cast(a) => cast(self.kernel.dtype(*a), dtype, &name(*a)),
            Op::Bits(a) => bits(self.kernel.dtype(*a), dtype, &name(*a)),
            Op::Load(p, index) => loaded(dtype, &format!("p{}[{}]", p.0, name(*index))),
            Op::LoadShared(s, index) => loaded(dtype, &format!("s{}[{}]", s.0, name(*index))),
            Op::Random { seed, stream, element, step } => {
                let (low, high) = (*seed as u32, (*seed >> 32) as u32);
                let (element, step) = (name(*element), name(*step));
                format!("thalweg_random({low}u, {high}u, {stream}u, (unsigned){step}, (unsigned){element})")
            }
            Op::Thread => "(int)threadIdx.x".to_owned(),
            Op::Group => "(int)blockIdx.x".to_owned(),
            Op::Subgroup => "(int)(threadIdx.x / 32)".to_owned(),
            Op::Mutable(first) => name(*first),
        }
    }
}

/// A register's name or a constant's text.
fn constant_or_name(v: Value) -> String {
    match v {
        Value::Var(v) => format!("v{}", v.0),
        Value::Const(dtype, bits) => constant(dtype, bits),
    }
}

/// A value as memory of type `ty` takes it.
fn stored(ty: &str, dtype: DType, value: Value) -> String {
    let value = constant_or_name(value);
    match dtype {
        DType::Bool | DType::U8 => format!("({ty}){value}"),
        DType::F16 | DType::BF16 => narrowed(dtype, &value),
        DType::U32 | DType::I32 | DType::F32 => value,
    }
}

/// Integer arithmetic. Division is of numbers that are not negative: unsigned division is the cheaper one.
fn int(op: IntOp, dtype: DType, a: &str, b: &str) -> String {
    let mut text = String::new();
    let symbol = match op {
        IntOp::Div => "/",
        IntOp::Rem => "%",
        IntOp::And => "&",
        IntOp::Or => "|",
        IntOp::Xor => "^",
        IntOp::Shl => "<<",
        // Of an i32 it keeps the sign.
        IntOp::Shr => return format!("{a} >> {b}"),
    };
    let _ = match dtype {
        DType::I32 => write!(text, "(int)((unsigned){a} {symbol} (unsigned){b})"),
        DType::Bool | DType::U8 | DType::U32 | DType::F16 | DType::BF16 | DType::F32 => {
            write!(text, "{a} {symbol} {b}")
        }
    };
    text
}
