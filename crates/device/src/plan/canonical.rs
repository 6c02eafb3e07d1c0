//! A loop's space brought to as few and as long axes as its accesses allow.
//!
//! Adjacent axes that every access walks as one are merged; axes of one step are dropped. Axis 0 of the kernel
//! stays the outermost part of axis 0 here, so that it can be cut at any of its steps: a step of the kernel's is
//! `scale` steps here.

use super::{Body, Expr, ExprId, Loop, LoopOut};

/// The same loop over a simpler space.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// Extents, at least one.
    pub space: Vec<usize>,
    /// Per axis, whether it is combined over.
    pub reduced: Vec<bool>,
    /// Steps of axis 0 per step of the kernel's.
    pub scale: usize,
    /// Expressions over the space.
    pub body: Body,
    /// Results over the space.
    pub outs: Vec<LoopOut>,
}

/// Simplifies.
pub fn canonical(l: &Loop) -> Canonical {
    let reducing = l.outs.iter().any(|o| o.reduce.is_some());
    let strides = all_strides(l);
    // Groups of axes that become one, each of adjacent axes but for those of one step.
    let mut groups: Vec<Vec<usize>> = vec![vec![0]];
    for axis in 1..l.space.len() {
        if l.space[axis] == 1 {
            continue;
        }
        let group = groups.last().map_or(&[][..], Vec::as_slice);
        let inner = group.iter().rev().copied().find(|&a| l.space[a] != 1);
        let joins = match inner {
            None => true,
            Some(before) => {
                (!reducing || l.reduced[before] == l.reduced[axis])
                    && strides.iter().all(|s| s[before] == s[axis] * l.space[axis] as i64)
            }
        };
        match groups.last_mut() {
            Some(g) if joins => g.push(axis),
            _ => groups.push(vec![axis]),
        }
    }
    // The axis of a group that its strides and flag are taken from: the innermost that has steps.
    let last = |g: &Vec<usize>| g.iter().rev().copied().find(|&a| l.space[a] != 1).unwrap_or(g[0]);
    let space: Vec<usize> = groups.iter().map(|g| g.iter().map(|&a| l.space[a]).product()).collect();
    let pick =
        |all: &[isize]| groups.iter().map(|g| if l.space[last(g)] == 1 { 0 } else { all[last(g)] }).collect();
    let (body, ids) = rewrite(&l.body, &pick);
    let outs = l.outs.iter().map(|o| {
        let mut o = o.clone();
        o.access.strides = pick(&o.access.strides);
        o.value = ids[o.value.0 as usize];
        o
    });
    Canonical {
        reduced: groups.iter().map(|g| reducing && l.reduced[last(g)]).collect(),
        scale: space[0] / l.space[0].max(1),
        space,
        body,
        outs: outs.collect(),
    }
}

/// Strides of everything that depends on the index.
fn all_strides(l: &Loop) -> Vec<Vec<i64>> {
    let wide = |s: &[isize]| s.iter().map(|&s| s as i64).collect();
    let mut all: Vec<Vec<i64>> = l.outs.iter().map(|o| wide(&o.access.strides)).collect();
    for (_, e, _) in l.body.iter() {
        match e {
            Expr::Load(a) => all.push(wide(&a.strides)),
            Expr::Index { strides, .. } => all.push(strides.iter().map(|&s| i64::from(s)).collect()),
            _ => {}
        }
    }
    all
}

/// The body with other strides, and where each expression went.
fn rewrite(body: &Body, pick: &dyn Fn(&[isize]) -> Vec<isize>) -> (Body, Vec<ExprId>) {
    let mut out = Body::new();
    let mut ids: Vec<ExprId> = Vec::with_capacity(body.len());
    for (_, e, dtype) in body.iter() {
        let mut e = e.clone();
        let moved = |x: &ExprId| ids[x.0 as usize];
        match &mut e {
            Expr::Load(a) => a.strides = pick(&a.strides),
            Expr::Index { strides, .. } => {
                let wide: Vec<isize> = strides.iter().map(|&s| s as isize).collect();
                *strides = pick(&wide).into_iter().map(|s| s as i32).collect();
            }
            Expr::Random { element, step, .. } => (*element, *step) = (moved(element), moved(step)),
            Expr::Op(_, args) => args.iter_mut().for_each(|a| *a = moved(a)),
            Expr::Cast(x) => *x = moved(x),
            Expr::Const(_) | Expr::Acc => {}
        }
        ids.push(out.push(e, dtype));
    }
    (out, ids)
}
