//! The plan as text, for `thalweg explain` and snapshots.

use super::{Access, Body, Expr, Kernel, Place, Plan, Product, Stage};
use std::fmt::{Formatter, Result};

pub fn plan(p: &Plan, f: &mut Formatter<'_>) -> Result {
    writeln!(f, "plan {} (arena {} B, slab {} B, {} FLOP)", p.name, p.arena, p.slab, p.flops())?;
    for (i, b) in p.bindings.iter().enumerate() {
        writeln!(f, "  binding {i} {:?} {:?} {}{:?}", b.role, b.name, b.dtype, b.shape)?;
    }
    for (i, b) in p.buffers.iter().enumerate() {
        let place = match b.place {
            Place::Binding(n) => format!("binding {n}"),
            Place::Arena { offset } => format!("arena @{offset}"),
            Place::Slab { offset } => format!("slab @{offset}"),
        };
        writeln!(f, "  b{i} {}[{}] {place}  {}", b.dtype, b.len, b.name)?;
    }
    for (i, stage) in p.stages.iter().enumerate() {
        let kernels = match stage {
            Stage::Launch(kernels) => {
                writeln!(f, "  stage {i}: launch")?;
                kernels
            }
            Stage::Region { kernels, batch, slice } => {
                writeln!(f, "  stage {i}: region, {batch} images by {slice}")?;
                kernels
            }
        };
        for &k in kernels {
            let e = p.kernel(k);
            writeln!(f, "    k{} {} ({} FLOP, {} B)", k.0, e.label, e.flops, e.bytes)?;
            kernel(&e.kernel, f)?;
        }
    }
    Ok(())
}

fn kernel(k: &Kernel, f: &mut Formatter<'_>) -> Result {
    match k {
        Kernel::Loop(l) => {
            let axes: Vec<String> = l
                .space
                .iter()
                .zip(&l.reduced)
                .map(|(n, r)| if *r { format!("({n})") } else { n.to_string() })
                .collect();
            write!(f, "      loop [{}]", axes.join(", "))?;
            writeln!(f, "{}", if l.parts > 1 { format!(" in {} parts", l.parts) } else { String::new() })?;
            body(&l.body, f)?;
            for o in &l.outs {
                let how = o.reduce.map_or(String::new(), |r| format!("{r:?} of ").to_lowercase());
                writeln!(f, "        {} = {how}e{}", access(&o.access), o.value.0)?;
            }
        }
        Kernel::Contraction(c) => {
            let what = match c.product {
                Product::Dot(d) => {
                    let t = |b: bool| if b { "^T" } else { "" };
                    format!("dot{}{} [{}, {}, {}] over {}", t(d.ta), t(d.tb), d.batch, d.m, d.n, d.k)
                }
                Product::Conv(d) => format!("conv {:?} * {:?} {} {}", d.image(), d.filter(), d.rows, d.cols),
                Product::ConvInputGrad(d) => {
                    format!("conv input grad {:?} * {:?} {} {}", d.output(), d.filter(), d.rows, d.cols)
                }
                Product::ConvFilterGrad(d) => {
                    format!("conv filter grad {:?} * {:?} {} {}", d.image(), d.output(), d.rows, d.cols)
                }
            };
            writeln!(f, "      b{} = {what} of b{}, b{} in {} parts", c.out.0, c.a.0, c.b.0, c.parts)?;
            if let Some(u) = &c.unpooled {
                let (w, arg) = (u.dims, u.arg.0);
                writeln!(f, "        output gradient unpooled by {} {}, positions b{arg}", w.rows, w.cols)?;
            }
            if let Some(x) = &c.expansion {
                let (from, b) = (x.channels, x.b.0);
                writeln!(f, "        image of b{} with {from} channels, 1 x 1 by b{b}", c.a.0)?;
                if let Some(e) = &x.epilogue {
                    body(&e.body, f)?;
                    writeln!(f, "        then e{}", e.value.0)?;
                }
            }
            if let Some(e) = &c.epilogue {
                body(&e.body, f)?;
                writeln!(f, "        then e{}", e.value.0)?;
                if let Some(p) = e.pool {
                    let arg = p.arg.map_or(String::new(), |a| format!(", positions in b{}", a.0));
                    writeln!(f, "        max pool {} {}{arg}", p.dims.rows, p.dims.cols)?;
                }
            }
        }
        Kernel::Pool(p) => {
            writeln!(
                f,
                "      {:?} pool {:?} {} {} of b{} -> {:?}, positions {:?}",
                p.kind,
                p.dims.image(),
                p.dims.rows,
                p.dims.cols,
                p.x.0,
                p.out.map(|b| b.0),
                p.arg.map(|b| b.0)
            )?;
        }
        Kernel::Unpool(u) => {
            writeln!(
                f,
                "      b{} = unpool {:?} of b{}, positions b{}",
                u.out.0,
                u.dims.image(),
                u.dy.0,
                u.arg.0
            )?;
        }
        Kernel::ArgMax(a) => {
            writeln!(f, "      b{} = argmax [{}, ({}), {}] of b{}", a.out.0, a.outer, a.n, a.inner, a.x.0)?
        }
        Kernel::TopK(t) => {
            writeln!(f, "      b{} = top {} of [{}, ({})] of b{}", t.out.0, t.k, t.outer, t.n, t.x.0)?;
        }
        Kernel::Gather(g) => {
            let shape = format!("[{}, {} of {}, {}]", g.outer, g.count, g.n, g.inner);
            writeln!(f, "      b{} = gather {shape} of b{}, indices b{}", g.out.0, g.x.0, g.at.0)?;
        }
        Kernel::Suppress(s) => {
            writeln!(f, "      b{} = suppress [{}, {}] by b{}", s.out.0, s.outer, s.n, s.conflict.0)?;
        }
    }
    Ok(())
}

fn access(a: &Access) -> String {
    format!(
        "b{}[{}{}]",
        a.buffer.0,
        a.offset,
        a.strides.iter().map(|s| format!(" {s:+}")).collect::<String>()
    )
}

fn body(b: &Body, f: &mut Formatter<'_>) -> Result {
    for (id, e, dtype) in b.iter() {
        let text = match e {
            Expr::Const(c) => c.to_string(),
            Expr::Load(a) => access(a),
            Expr::Acc => "acc".into(),
            Expr::Index { offset, strides } => format!("index {offset} {strides:?}"),
            Expr::Random { seed, stream, element, step } => {
                format!("random {seed:#x} stream {stream} e{} step e{}", element.0, step.0)
            }
            Expr::Op(op, args) => {
                format!("{}{}", op.name(), args.iter().map(|a| format!(" e{}", a.0)).collect::<String>())
            }
            Expr::Cast(x) => format!("cast e{}", x.0),
        };
        writeln!(f, "        e{} {dtype} = {text}", id.0)?;
    }
    Ok(())
}
