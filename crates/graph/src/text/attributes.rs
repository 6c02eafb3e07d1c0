//! Attributes of operations as text, in both directions: `{axis=1}`, `{spans=[0:9:2, 1:3:1]}`.
//!
//! Invariant: what [`attributes_of`] writes, [`Attributes::operation`] reads; the sweep holds every operation to it.

use super::line::{Line, list_of, number};
use crate::{ConvDims, DType, Op, PoolDims, PoolKind, ReduceKind, Scalar, ScalarOp, Span, Type, Window};

/// Bound on window lengths and gaps, so that no product with an extent overflows.
const MOST_WINDOW: usize = 1 << 20;

/// A constant without its type: shortest digits that read back exactly; not-a-number by its bits.
pub fn literal(c: Scalar) -> String {
    if c.dtype().is_float() && c.value().is_nan() { format!("{:#010x}", c.bits()) } else { c.to_string() }
}

/// The constant of a literal.
pub fn scalar(dtype: DType, text: &str) -> Result<Scalar, String> {
    let bad = || format!("'{text}' is not a constant of type {dtype}");
    if dtype.is_float() {
        let read = match text.strip_prefix("0x") {
            Some(bits) => u32::from_str_radix(bits, 16).ok().map(f32::from_bits),
            None => text.parse().ok(),
        };
        let c = match (dtype, read.ok_or_else(bad)?) {
            (DType::F32, value) => return Ok(Scalar::f32(value)),
            (_, value) => (Scalar::new(dtype, f64::from(value)), value),
        };
        let same = c.0.value() == f64::from(c.1) || c.1.is_nan();
        return if same { Ok(c.0) } else { Err(bad()) };
    }
    let value = text.parse::<i64>().map_err(|_| bad())? as f64;
    let c = Scalar::new(dtype, value);
    if c.value() == value { Ok(c) } else { Err(bad()) }
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn numbers(items: &[usize]) -> String {
    list(items.iter().map(ToString::to_string))
}

/// What an operation says beside its operands and its type.
pub fn attributes_of(op: &Op) -> Vec<(&'static str, String)> {
    let plain = |items: &[(&'static str, usize)]| items.iter().map(|(k, v)| (*k, v.to_string())).collect();
    match op {
        Op::Input(_) | Op::State(_) | Op::Const(_) => Vec::new(),
        Op::Scalar(_) | Op::Cast(_) | Op::Reshape(_) | Op::Broadcast(_) => Vec::new(),
        Op::Suppress => Vec::new(),
        Op::Iota { axis, .. } | Op::Concat(axis) | Op::ArgMax(axis) | Op::Gather(axis) => {
            plain(&[("axis", *axis)])
        }
        Op::TopK(k) => plain(&[("k", *k)]),
        Op::Random { seed, stream, .. } => {
            vec![("seed", format!("{seed:#x}")), ("stream", stream.to_string())]
        }
        Op::Transpose(perm) => vec![("perm", numbers(perm))],
        Op::Flip(axes) | Op::Reduce(_, axes) => vec![("axes", numbers(axes))],
        Op::Slice(spans) => {
            vec![("spans", list(spans.iter().map(|s| format!("{}:{}:{}", s.start, s.stop, s.step))))]
        }
        Op::Pad { axes, value } => vec![
            ("axes", list(axes.iter().map(|(lo, hi, between)| format!("{lo}:{hi}:{between}")))),
            ("value", literal(*value)),
        ],
        Op::Dot { ta, tb } => vec![("ta", ta.to_string()), ("tb", tb.to_string())],
        Op::Conv(d) | Op::ConvInputGrad(d) | Op::ConvFilterGrad(d) => {
            let mut out: Vec<_> = plain(&[
                ("n", d.n),
                ("h", d.h),
                ("w", d.w),
                ("c", d.c),
                ("k", d.k),
                ("oh", d.oh),
                ("ow", d.ow),
            ]);
            out.extend([("rows", d.rows.to_string()), ("cols", d.cols.to_string())]);
            out.push(("groups", d.groups.to_string()));
            out
        }
        Op::Pool(_, d) | Op::ArgPool(d) | Op::Unpool(d) => {
            let mut out: Vec<_> =
                plain(&[("n", d.n), ("h", d.h), ("w", d.w), ("c", d.c), ("oh", d.oh), ("ow", d.ow)]);
            out.extend([("rows", d.rows.to_string()), ("cols", d.cols.to_string())]);
            out
        }
    }
}

/// Attributes that were read and not yet used.
pub struct Attributes<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Attributes<'a> {
    /// The braces and what is in them; nothing where there are none.
    pub fn read(line: &mut Line<'a>) -> Result<Self, String> {
        let mut pairs = Vec::new();
        if line.eat("{") {
            while !line.eat("}") {
                let key = line.word("an attribute's name, or '}'")?;
                line.expect("=")?;
                let value = if line.eat("[") {
                    let value = line.until(&[']']);
                    line.expect("]")?;
                    value
                } else {
                    line.until(&[',', '}'])
                };
                pairs.push((key, value));
                line.eat(",");
            }
        }
        Ok(Attributes { pairs })
    }

    fn take(&mut self, key: &str) -> Result<&'a str, String> {
        let at = self.pairs.iter().position(|(k, _)| *k == key);
        at.map(|i| self.pairs.remove(i).1).ok_or_else(|| format!("the attribute '{key}' is missing"))
    }

    fn number(&mut self, key: &str) -> Result<usize, String> {
        number(self.take(key)?)
    }

    fn numbers(&mut self, key: &str) -> Result<Vec<usize>, String> {
        list_of(self.take(key)?, number)
    }

    fn truth(&mut self, key: &str) -> Result<bool, String> {
        let text = self.take(key)?;
        text.parse().map_err(|_| format!("'{key}' is true or false, not '{text}'"))
    }

    fn triples(&mut self, key: &str) -> Result<Vec<(usize, usize, usize)>, String> {
        list_of(self.take(key)?, |text| {
            let parts = text.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
            let [a, b, c] = parts[..] else { return Err(format!("'{text}' is not three numbers a:b:c")) };
            Ok((a, b, c))
        })
    }

    fn window(&mut self, key: &str) -> Result<Window, String> {
        let text = self.take(key)?;
        let numbers = text.split(['s', 'd', 'p', ':']).map(number).collect::<Result<Vec<_>, _>>()?;
        let [size, stride, dilation, lo, hi] = numbers[..] else {
            return Err(format!("'{text}' is not a window such as 3s1d1p0:0"));
        };
        let w = Window { size, stride, dilation, lo, hi };
        if w.to_string() != text || [size, stride, dilation].contains(&0) {
            return Err(format!("'{text}' is not a window such as 3s1d1p0:0, its first three at least 1"));
        }
        if numbers.iter().any(|&n| n > MOST_WINDOW) {
            return Err(format!("the window '{text}' is too large"));
        }
        Ok(w)
    }

    fn conv(&mut self) -> Result<ConvDims, String> {
        Ok(ConvDims {
            n: self.number("n")?,
            h: self.number("h")?,
            w: self.number("w")?,
            c: self.number("c")?,
            k: self.number("k")?,
            oh: self.number("oh")?,
            ow: self.number("ow")?,
            rows: self.window("rows")?,
            cols: self.window("cols")?,
            groups: self.number("groups")?,
        })
    }

    fn pool(&mut self) -> Result<PoolDims, String> {
        Ok(PoolDims {
            n: self.number("n")?,
            h: self.number("h")?,
            w: self.number("w")?,
            c: self.number("c")?,
            oh: self.number("oh")?,
            ow: self.number("ow")?,
            rows: self.window("rows")?,
            cols: self.window("cols")?,
        })
    }

    /// The operation of that name with these attributes, for a result of type `ty`. All must be used.
    pub fn operation(mut self, name: &str, ty: &Type) -> Result<Op, String> {
        let op = match name {
            "iota" => Op::Iota { axis: self.number("axis")?, shape: ty.shape.clone() },
            "random" => Op::Random {
                seed: seed(self.take("seed")?)?,
                stream: self.number("stream").and_then(|n| u32::try_from(n).map_err(|e| e.to_string()))?,
                shape: ty.shape.clone(),
            },
            "cast" => Op::Cast(ty.dtype),
            "reshape" => Op::Reshape(ty.shape.clone()),
            "broadcast" => Op::Broadcast(ty.shape.clone()),
            "transpose" => Op::Transpose(self.numbers("perm")?),
            "slice" => {
                let spans = self.triples("spans")?;
                Op::Slice(spans.into_iter().map(|(start, stop, step)| Span { start, stop, step }).collect())
            }
            "pad" => {
                let axes = self.triples("axes")?;
                if axes.iter().any(|a| a.2 > MOST_WINDOW) {
                    return Err("the gap between padded elements is too large".into());
                }
                Op::Pad { axes, value: scalar(ty.dtype, self.take("value")?)? }
            }
            "concat" => Op::Concat(self.number("axis")?),
            "flip" => Op::Flip(self.numbers("axes")?),
            "reduce_sum" => Op::Reduce(ReduceKind::Sum, self.numbers("axes")?),
            "reduce_max" => Op::Reduce(ReduceKind::Max, self.numbers("axes")?),
            "argmax" => Op::ArgMax(self.number("axis")?),
            "top_k" => Op::TopK(self.number("k")?),
            "gather" => Op::Gather(self.number("axis")?),
            "suppress" => Op::Suppress,
            "dot" => Op::Dot { ta: self.truth("ta")?, tb: self.truth("tb")? },
            "conv" => Op::Conv(self.conv()?),
            "conv_input_grad" => Op::ConvInputGrad(self.conv()?),
            "conv_filter_grad" => Op::ConvFilterGrad(self.conv()?),
            "pool_max" => Op::Pool(PoolKind::Max, self.pool()?),
            "pool_sum" => Op::Pool(PoolKind::Sum, self.pool()?),
            "argpool" => Op::ArgPool(self.pool()?),
            "unpool" => Op::Unpool(self.pool()?),
            _ => {
                let op = ScalarOp::from_name(name).ok_or_else(|| format!("'{name}' is not an operation"))?;
                Op::Scalar(op)
            }
        };
        match self.pairs.first() {
            None => Ok(op),
            Some((key, _)) => Err(format!("{name} has no attribute '{key}', or it is given twice")),
        }
    }
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is not a 64-bit seed"))
}
