//! The body of a plan's kernel at one element, as IR.

use super::Writer;
use crate::gpu::ir::Value;
use crate::plan::{Access, Body, Expr};

/// The value of every expression of a body at the element of that index (i32, one per axis of the space). `acc`: the
/// product, in a contraction's epilogue.
pub fn evaluate(w: &mut Writer<'_>, body: &Body, index: &[Value], acc: Option<Value>) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::with_capacity(body.len());
    for (_, expr, dtype) in body.iter() {
        let at = |e: &crate::plan::ExprId| values[e.0 as usize];
        let value = match expr {
            Expr::Const(c) => Value::Const(c.dtype(), c.bits()),
            Expr::Load(a) => {
                let from = w.buffer(a.buffer, false);
                let element = element(w, a, index);
                w.load(from, element)
            }
            Expr::Acc => acc.expect("a product's value, in its epilogue"),
            Expr::Index { offset, strides } => {
                let mut sum = Value::i32(*offset);
                for (&s, &i) in strides.iter().zip(index) {
                    sum = w.mul_add(i, Value::i32(s), sum);
                }
                sum
            }
            Expr::Random { seed, stream, element, step } => {
                let (element, step) = (at(element), at(step));
                w.random(*seed, *stream, element, step)
            }
            Expr::Op(op, args) => {
                let args: Vec<Value> = args.iter().map(at).collect();
                w.scalar(*op, &args)
            }
            Expr::Cast(x) => {
                let x = at(x);
                w.cast(x, dtype)
            }
        };
        values.push(value);
    }
    values
}

/// The element of its buffer that an access touches at an index.
pub fn element(w: &mut Writer<'_>, a: &Access, index: &[Value]) -> Value {
    let number = |n: isize| Value::i32(i32::try_from(n).expect("offsets and strides are inside a buffer"));
    let mut sum = number(a.offset);
    for (&s, &i) in a.strides.iter().zip(index) {
        sum = w.mul_add(i, number(s), sum);
    }
    sum
}
