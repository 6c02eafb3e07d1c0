//! What the speed of a product depends on, as one line of text: the key under which the way to compute it is kept.
//!
//! In: a product of a plan. Out: the line. It names what is computed, sizes, types, what multiplies, what is read on the way
//! and what happens to each sum; neither where buffers lie nor what they are called nor the values of constants. Invariant:
//! products with the same line are computed in the same ways.

use super::Task;
use super::multiplier::Multiplier;
use crate::gpu::ir::MmaType;
use crate::gpu::launch::Abilities;
use crate::plan::{Epilogue, Expr, Plan, Product};
use std::fmt::Write;

/// The line.
pub fn key(plan: &Plan, t: &Task<'_>, abilities: &Abilities) -> String {
    let by = match Multiplier::of(t.dtype, abilities) {
        None => String::new(),
        Some(Multiplier::Tensor(MmaType::Tf32)) => " by tf32".into(),
        Some(Multiplier::Tensor(MmaType::F16 | MmaType::Bf16)) => " by tensor cores".into(),
        Some(Multiplier::Matrices(of)) => {
            format!(" by matrices of {} and subgroups of {:?}", of.size, of.subgroup)
        }
    };
    let what = match t.c.product {
        Product::Dot(d) => {
            let transposed = |t: bool| if t { "^T" } else { "" };
            format!("dot of A{} and B{}", transposed(d.ta), transposed(d.tb))
        }
        Product::Conv(d) => format!("conv {:?} * {:?} {} {}", d.image(), d.filter(), d.rows, d.cols),
        Product::ConvInputGrad(d) => {
            format!("input grad {:?} * {:?} {} {}", d.output(), d.filter(), d.rows, d.cols)
        }
        Product::ConvFilterGrad(d) => {
            format!("filter grad {:?} * {:?} {} {}", d.image(), d.output(), d.rows, d.cols)
        }
    };
    let s = t.sizes;
    let mut line = format!("{}{by}: {what}, {} of {} x {} over {}", t.dtype, s.batches, s.m, s.n, s.k);
    if t.c.parts > 1 {
        add(&mut line, format_args!(" in {} parts", t.c.parts));
    }
    if let Some(u) = t.c.unpooled {
        add(&mut line, format_args!(", unpooled {} {}", u.dims.rows, u.dims.cols));
    }
    if let Some(e) = &t.c.epilogue {
        epilogue(&mut line, plan, e);
    }
    add(&mut line, format_args!(", to {}", plan.buffer(t.c.out).dtype));
    line
}

/// What happens to each sum.
fn epilogue(line: &mut String, plan: &Plan, e: &Epilogue) {
    for (id, expr, dtype) in e.body.iter() {
        add(line, format_args!("{} ", if id.0 == 0 { ", then" } else { ";" }));
        match expr {
            Expr::Const(_) => add(line, format_args!("constant")),
            Expr::Load(a) => {
                add(line, format_args!("{} by {:?}", plan.buffer(a.buffer).dtype, a.strides));
            }
            Expr::Acc => add(line, format_args!("sum")),
            Expr::Index { .. } => add(line, format_args!("index")),
            Expr::Random { .. } => add(line, format_args!("random")),
            Expr::Op(op, args) => {
                let args: Vec<u32> = args.iter().map(|a| a.0).collect();
                add(line, format_args!("{} {args:?}", op.name()));
            }
            Expr::Cast(x) => add(line, format_args!("{dtype} of {}", x.0)),
        }
    }
    if let Some(p) = e.pool {
        let positions = if p.arg.is_some() { " with positions" } else { "" };
        add(line, format_args!(", pooled {} {}{positions}", p.dims.rows, p.dims.cols));
    }
}

fn add(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = line.write_fmt(text);
}
