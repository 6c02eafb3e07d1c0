//! The rules of a plan, checked: what a device relies on without looking.
//!
//! In: a plan. Out: nothing, or the first rule it breaks, in words. Every device holds a plan to them when it is
//! loaded.

use super::{
    ALIGN, Access, Body, BufferId, Contraction, Expansion, Expr, Kernel, KernelId, Loop, Place, Plan,
    PoolEpilogue, Product, Stage,
};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_base::{ConvDims, DType};

type Rule = Result<(), String>;

/// Finds the first rule that the plan breaks.
pub fn check(plan: &Plan) -> Rule {
    for (i, _) in plan.buffers.iter().enumerate() {
        placed(plan, BufferId(i as u32))?;
    }
    let mut seen = BTreeSet::new();
    for stage in &plan.stages {
        for &k in kernels_of(stage) {
            if k.0 as usize >= plan.kernels.len() {
                return Err(format!("k{} does not exist", k.0));
            }
            if !seen.insert(k) {
                return Err(format!("k{} ({}) runs twice", k.0, plan.kernel(k).label));
            }
            let within = |rule: Rule| rule.map_err(|e| format!("k{} ({}): {e}", k.0, plan.kernel(k).label));
            within(Checker { plan, stage }.kernel(&plan.kernel(k).kernel))?;
        }
        match stage {
            Stage::Launch(kernels) => independent(plan, kernels)?,
            Stage::Region { kernels, batch, slice } => region(plan, kernels, *batch, *slice)?,
        }
    }
    lives(plan)
}

fn kernels_of(stage: &Stage) -> &[KernelId] {
    match stage {
        Stage::Launch(kernels) | Stage::Region { kernels, .. } => kernels,
    }
}

/// A buffer is inside what it is placed in.
fn placed(plan: &Plan, id: BufferId) -> Rule {
    let b = plan.buffer(id);
    let inside = |offset: usize, whole: usize, what: &str| {
        if !offset.is_multiple_of(ALIGN) {
            return Err(format!("b{} ({}) is at {offset}, not a multiple of {ALIGN}", id.0, b.name));
        }
        match offset.checked_add(b.bytes()) {
            Some(end) if end <= whole => Ok(()),
            _ => {
                Err(format!("b{} ({}) at {offset}+{} leaves the {what} of {whole}", id.0, b.name, b.bytes()))
            }
        }
    };
    match b.place {
        Place::Arena { offset } => inside(offset, plan.arena, "arena"),
        Place::Slab { offset } => inside(offset, plan.slab, "slab"),
        Place::Binding(n) => match plan.bindings.get(n as usize) {
            None => Err(format!("b{} ({}) is bound to {n}, which does not exist", id.0, b.name)),
            Some(to) if to.dtype != b.dtype => {
                Err(format!("b{} is {}, its binding {}", id.0, b.dtype, to.dtype))
            }
            Some(to) => inside(0, to.bytes(), &format!("binding {:?}", to.name)),
        },
    }
}

struct Checker<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
}

impl Checker<'_> {
    /// Elements that indices may reach: of all images, also where a slab holds only a slice's.
    fn len(&self, id: BufferId) -> Result<usize, String> {
        let Some(b) = self.plan.buffers.get(id.0 as usize) else {
            return Err(format!("b{} does not exist", id.0));
        };
        match (b.place, self.stage) {
            (Place::Slab { .. }, Stage::Launch(_)) => {
                Err(format!("b{} is in a slab, outside a region", id.0))
            }
            (Place::Slab { .. }, Stage::Region { batch, slice, .. }) => {
                if *slice == 0 || !b.len.is_multiple_of(*slice) {
                    return Err(format!("b{} of {} elements does not hold {slice} images", id.0, b.len));
                }
                Ok(b.len / slice * batch)
            }
            _ => Ok(b.len),
        }
    }

    fn dense(&self, id: BufferId, dtype: DType, count: usize) -> Rule {
        let len = self.len(id)?;
        let have = self.plan.buffer(id).dtype;
        if have != dtype || len < count {
            return Err(format!("b{} is {have}[{len}], where {dtype}[{count}] is needed", id.0));
        }
        Ok(())
    }

    fn access(&self, a: &Access, space: &[usize], dtype: DType, beyond: isize) -> Rule {
        if a.strides.len() != space.len() {
            return Err(format!("an access of b{} has {} strides", a.buffer.0, a.strides.len()));
        }
        let len = self.len(a.buffer)? as isize;
        let have = self.plan.buffer(a.buffer).dtype;
        if have != dtype {
            return Err(format!("b{} is {have}, used as {dtype}", a.buffer.0));
        }
        let (low, high) = reach(a, space);
        if low < 0 || high + beyond >= len {
            return Err(format!("elements {low}..={} of b{} with {len} are used", high + beyond, a.buffer.0));
        }
        Ok(())
    }

    /// `accumulated`: whether there is a product whose value [`Expr::Acc`] can be.
    fn body(&self, body: &Body, space: &[usize], accumulated: bool) -> Rule {
        for (id, e, dtype) in body.iter() {
            let earlier = |x: &super::ExprId| {
                if x.0 < id.0 { Ok(()) } else { Err(format!("e{} uses e{}, a later one", id.0, x.0)) }
            };
            match e {
                Expr::Load(a) => self.access(a, space, dtype, 0)?,
                Expr::Const(c) if c.dtype() != dtype => return Err(format!("e{} is not a {dtype}", id.0)),
                Expr::Index { strides, .. } if strides.len() != space.len() || dtype != DType::I32 => {
                    return Err(format!("index e{} is not an i32 over the space", id.0));
                }
                Expr::Random { element, step, .. } => [element, step].into_iter().try_for_each(earlier)?,
                Expr::Cast(x) => earlier(x)?,
                Expr::Op(op, args) => {
                    args.iter().try_for_each(earlier)?;
                    let types: Vec<DType> = args.iter().map(|a| body.dtype(*a)).collect();
                    if op.infer(&types) != Some(dtype) {
                        return Err(format!("e{}: {} of {types:?} is not {dtype}", id.0, op.name()));
                    }
                    if op.rounds() && dtype.is_half() {
                        return Err(format!(
                            "e{}: {} of 16 bits, which devices compute in f32",
                            id.0,
                            op.name()
                        ));
                    }
                }
                Expr::Acc if !accumulated || dtype != DType::F32 => {
                    return Err(format!("e{} is an accumulated value, where there is none", id.0));
                }
                Expr::Const(_) | Expr::Acc | Expr::Index { .. } => {}
            }
        }
        Ok(())
    }

    fn kernel(&self, k: &Kernel) -> Rule {
        let in_place = |w: &BufferId| k.reads().iter().any(|r| r == w || overlap(self.plan, *w, *r));
        if !matches!(k, Kernel::Loop(_)) && k.writes().iter().any(in_place) {
            return Err("its result lies where an operand is".into());
        }
        match k {
            Kernel::Loop(l) => self.loops(l),
            Kernel::Contraction(c) => {
                let count = |shape: &[usize]| shape.iter().product::<usize>();
                let pooled = |d: &ConvDims| match &c.unpooled {
                    None => Ok(count(&d.output())),
                    Some(u) if u.dims.image() == d.output() && u.dims.disjoint() && u.fits(d) => {
                        self.dense(u.arg, DType::U8, count(&u.dims.output()))?;
                        Ok(count(&u.dims.output()))
                    }
                    Some(_) => Err("the unpooled operand does not fit the product".to_owned()),
                };
                if let Some(x) = &c.expansion {
                    self.expansion(c, x)?;
                }
                let (a, b, space) = match c.product {
                    Product::Dot(d) => (d.batch * d.m * d.k, d.batch * d.k * d.n, vec![d.batch, d.m, d.n]),
                    Product::Conv(d) => {
                        let channels = c.expansion.as_ref().map_or(d.c, |x| x.channels);
                        (d.n * d.h * d.w * channels, count(&d.filter()), d.output().to_vec())
                    }
                    Product::ConvInputGrad(d) => (pooled(&d)?, count(&d.filter()), d.image().to_vec()),
                    Product::ConvFilterGrad(d) => (count(&d.image()), pooled(&d)?, d.filter().to_vec()),
                };
                let dtype = self.plan.buffers.get(c.a.0 as usize).map_or(DType::F32, |b| b.dtype);
                if !dtype.is_float() {
                    return Err(format!("a product of {dtype}"));
                }
                self.dense(c.a, dtype, a)?;
                self.dense(c.b, dtype, b)?;
                if c.parts == 0 || c.parts > 1 && !matches!(c.product, Product::ConvFilterGrad(_)) {
                    return Err(format!("{} parts", c.parts));
                }
                let filter = matches!(c.product, Product::ConvFilterGrad(_));
                if filter && c.epilogue.is_some() && (c.parts > 1 || c.unpooled.is_some()) {
                    return Err("partial and sparse sums have no epilogue".into());
                }
                let Some(e) = &c.epilogue else {
                    return self.dense(c.out, DType::F32, c.parts * count(&space));
                };
                self.body(&e.body, &space, true)?;
                if e.value.0 as usize >= e.body.len() {
                    return Err(format!("e{} does not exist", e.value.0));
                }
                let stored = match e.body.dtype(e.value) {
                    DType::F32 => DType::F32,
                    half if half.is_half() && half == dtype && e.pool.is_none() => half,
                    other => return Err(format!("a product of {dtype} that stores {other}")),
                };
                let Some(PoolEpilogue { dims, arg }) = e.pool else {
                    return self.dense(c.out, stored, c.parts * count(&space));
                };
                let convolution = matches!(c.product, Product::Conv(_));
                if !convolution || space != dims.image() || !PoolEpilogue::fits(&dims) {
                    return Err("the epilogue's pool does not fit the product".into());
                }
                self.dense(c.out, DType::F32, count(&dims.output()))?;
                arg.map_or(Ok(()), |arg| self.dense(arg, DType::U8, count(&dims.output())))
            }
            Kernel::Pool(p) => {
                let count = p.dims.output().iter().product();
                self.dense(p.x, DType::F32, p.dims.image().iter().product())?;
                p.out.map_or(Ok(()), |b| self.dense(b, DType::F32, count))?;
                p.arg.map_or(Ok(()), |b| self.dense(b, DType::U8, count))
            }
            Kernel::Unpool(u) => {
                let count = u.dims.output().iter().product();
                self.dense(u.out, DType::F32, u.dims.image().iter().product())?;
                self.dense(u.dy, DType::F32, count)?;
                self.dense(u.arg, DType::U8, count)
            }
            Kernel::ArgMax(a) => {
                self.dense(a.x, DType::F32, a.outer * a.n * a.inner)?;
                self.dense(a.out, DType::I32, a.outer * a.inner)
            }
            Kernel::TopK(t) => {
                if t.k == 0 || t.k > t.n {
                    return Err(format!("the {} largest of {}", t.k, t.n));
                }
                self.dense(t.x, DType::F32, t.outer * t.n)?;
                self.dense(t.out, DType::I32, t.outer * t.k)
            }
            Kernel::Gather(g) => {
                self.dense(g.x, g.dtype, g.outer * g.n * g.inner)?;
                self.dense(g.at, DType::I32, g.outer * g.count)?;
                self.dense(g.out, g.dtype, g.outer * g.count * g.inner)
            }
            Kernel::Suppress(s) => {
                self.dense(s.conflict, DType::Bool, s.outer * s.n * s.n)?;
                self.dense(s.out, DType::Bool, s.outer * s.n)
            }
        }
    }

    fn expansion(&self, c: &Contraction, x: &Expansion) -> Rule {
        let Product::Conv(d) = c.product else { return Err("what is no convolution has no image".into()) };
        let f32s = self.plan.buffers.get(c.a.0 as usize).is_some_and(|a| a.dtype == DType::F32);
        let pools = c.epilogue.iter().any(|e| e.pool.is_some());
        if !d.is_depthwise() || x.channels == 0 || !f32s || pools {
            return Err("only a depthwise convolution's image of f32, not pooled, is made as needed".into());
        }
        self.dense(x.b, DType::F32, x.channels * d.c)?;
        let Some(e) = &x.epilogue else { return Ok(()) };
        self.body(&e.body, &d.image(), true)?;
        let every_pixel = |a: &Access| a.strides[..3].iter().all(|&s| s == 0);
        if e.value.0 as usize >= e.body.len() || e.body.dtype(e.value) != DType::F32 {
            return Err(format!("e{} of the expansion is no f32", e.value.0));
        }
        if e.pool.is_some() || !e.body.loads().all(every_pixel) {
            return Err("the expansion's epilogue pools, or differs from pixel to pixel".into());
        }
        Ok(())
    }

    fn loops(&self, l: &Loop) -> Rule {
        let reducing = l.outs.iter().any(|o| o.reduce.is_some());
        if l.space.is_empty() || l.space.len() != l.reduced.len() || l.outs.is_empty() || l.parts == 0 {
            return Err("a loop without axes or results".into());
        }
        if l.parts > 1 && !(reducing && l.reduced[0] && l.parts <= l.space[0]) {
            return Err(format!("{} parts of an axis that is too short or not combined over", l.parts));
        }
        self.body(&l.body, &l.space, false)?;
        for o in &l.outs {
            let beyond = if o.reduce.is_some() { (l.parts as isize - 1) * o.part_stride } else { 0 };
            self.access(&o.access, &l.space, l.body.dtype(o.value), beyond)?;
            if o.reduce.is_some() && l.body.dtype(o.value).is_half() {
                return Err(format!("b{} is combined in 16 bits", o.access.buffer.0));
            }
            let combined = l.reduced.iter().zip(&o.access.strides).any(|(r, s)| *r && *s != 0);
            let repeats = l.space.iter().zip(&o.access.strides).any(|(n, s)| *n > 1 && *s == 0);
            if o.reduce.is_none() && repeats {
                return Err(format!("an element of b{} is stored more than once", o.access.buffer.0));
            }
            if o.reduce.is_some() && combined {
                return Err(format!(
                    "a reduced result moves along a combined axis of b{}",
                    o.access.buffer.0
                ));
            }
            let same = |a: &Access| a.offset == o.access.offset && a.strides == o.access.strides;
            let mut loads = l.body.loads().filter(|a| a.buffer == o.access.buffer);
            if !loads.all(|a| o.reduce.is_none() && same(a)) {
                return Err(format!("b{} is stored while other elements of it are read", o.access.buffer.0));
            }
        }
        Ok(())
    }
}

/// First and last element that an access touches.
fn reach(a: &Access, space: &[usize]) -> (isize, isize) {
    let ends = a.strides.iter().zip(space).map(|(s, n)| s * (*n as isize - 1));
    ends.fold((a.offset, a.offset), |(low, high), end| (low + end.min(0), high + end.max(0)))
}

/// Bytes that a buffer takes, with the storage they are in: (binding or -1 for the arena or -2 for a slab, range).
fn bytes(plan: &Plan, id: BufferId) -> (i64, usize, usize) {
    let b = plan.buffer(id);
    match b.place {
        Place::Binding(n) => (i64::from(n), 0, b.bytes()),
        Place::Arena { offset } => (-1, offset, offset + b.bytes()),
        Place::Slab { offset } => (-2, offset, offset + b.bytes()),
    }
}

fn overlap(plan: &Plan, a: BufferId, b: BufferId) -> bool {
    let ((sa, fa, ta), (sb, fb, tb)) = (bytes(plan, a), bytes(plan, b));
    sa == sb && fa < tb && fb < ta
}

/// Kernels of a launch: none reads or writes what another writes.
fn independent(plan: &Plan, kernels: &[KernelId]) -> Rule {
    for (i, &a) in kernels.iter().enumerate() {
        for &b in &kernels[i + 1..] {
            let (ka, kb) = (&plan.kernel(a).kernel, &plan.kernel(b).kernel);
            for (writer, other) in [(ka, kb), (kb, ka)] {
                for w in writer.writes() {
                    let clash = other.reads().into_iter().find(|r| overlap(plan, w, *r)).or_else(|| {
                        other
                            .writes()
                            .into_iter()
                            .find(|o| overlap(plan, w, *o) && !apart(writer, other, w, *o))
                    });
                    if let Some(c) = clash {
                        return Err(format!(
                            "k{} and k{} of one launch clash on b{} and b{}",
                            a.0, b.0, w.0, c.0
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether two loops write different elements of one buffer, as the pieces of a concatenation do: the same strides
/// at other offsets, or ranges that do not meet.
fn apart(a: &Kernel, b: &Kernel, wa: BufferId, wb: BufferId) -> bool {
    let (Kernel::Loop(a), Kernel::Loop(b)) = (a, b) else { return false };
    let of = |l: &Loop, w: BufferId| -> Vec<(Access, Vec<usize>)> {
        let outs = l.outs.iter().filter(|o| o.access.buffer == w);
        outs.map(|o| (o.access.clone(), l.space.clone())).collect()
    };
    wa == wb
        && of(a, wa).iter().all(|(x, sx)| {
            of(b, wb).iter().all(|(y, sy)| {
                let ((lx, hx), (ly, hy)) = (reach(x, sx), reach(y, sy));
                hx < ly || hy < lx || x.strides == y.strides && x.offset != y.offset
            })
        })
}

/// Kernels of a region run over its images, and pack nothing that it computes.
fn region(plan: &Plan, kernels: &[KernelId], batch: usize, slice: usize) -> Rule {
    if slice == 0 {
        return Err("a region of empty slices".into());
    }
    let slices = batch.div_ceil(slice);
    let written: BTreeSet<BufferId> = kernels.iter().flat_map(|k| plan.kernel(*k).kernel.writes()).collect();
    for &k in kernels {
        let kernel = &plan.kernel(k).kernel;
        if kernel.extent() != batch {
            return Err(format!("k{} has {} images in a region of {batch}", k.0, kernel.extent()));
        }
        let parts = match kernel {
            Kernel::Loop(l) if l.reduced[0] && l.outs.iter().any(|o| o.reduce.is_some()) => Some(l.parts),
            Kernel::Contraction(c) => match c.product {
                Product::ConvFilterGrad(_) => Some(c.parts),
                Product::Dot(d) if !(d.batch == 1 && d.ta) || written.contains(&c.a) => {
                    return Err(format!("k{} is a product whose rows are not its region's images", k.0));
                }
                _ => match c.filters().find(|b| written.contains(b)) {
                    Some(b) => {
                        return Err(format!("k{} packs b{}, which its region computes", k.0, b.0));
                    }
                    None => None,
                },
            },
            _ => None,
        };
        if parts.is_some_and(|p| p != slices) {
            return Err(format!("k{} has {parts:?} parts in a region of {slices} slices", k.0));
        }
    }
    Ok(())
}

/// Arena buffers whose bytes overlap do not live at the same time, nor slab buffers of one region; except that an
/// element-wise result takes the place of what its own kernel reads last.
fn lives(plan: &Plan) -> Rule {
    // Time: (stage, 0) in a launch, (stage, position) in a region.
    let mut lives: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
    let mut steps: Vec<Vec<KernelId>> = Vec::new();
    let mut written: BTreeSet<BufferId> = BTreeSet::new();
    for stage in &plan.stages {
        let groups: Vec<Vec<KernelId>> = match stage {
            Stage::Launch(kernels) => vec![kernels.clone()],
            Stage::Region { kernels, .. } => kernels.iter().map(|k| vec![*k]).collect(),
        };
        // Slices run at their own pace: in a region what is not in a slab lives through all of it.
        let (first, last) = (steps.len(), steps.len() + groups.len() - usize::from(!groups.is_empty()));
        for (at, group) in (first..).zip(&groups) {
            for k in group {
                let kernel = &plan.kernel(*k).kernel;
                for b in kernel.reads() {
                    let fresh = !written.contains(&b) && !matches!(plan.buffer(b).place, Place::Binding(_));
                    if fresh {
                        return Err(format!("k{} reads b{} before anything wrote it", k.0, b.0));
                    }
                }
                for b in kernel.reads().into_iter().chain(kernel.writes()) {
                    let slab = matches!(plan.buffer(b).place, Place::Slab { .. });
                    let (from, to) = if slab { (at, at) } else { (first, last) };
                    let life = lives.entry(b).or_insert((from, to));
                    *life = (life.0.min(from), life.1.max(to));
                }
                written.extend(kernel.writes());
            }
        }
        steps.extend(groups);
    }
    let all: Vec<(&BufferId, &(usize, usize))> = lives.iter().collect();
    for (i, (a, la)) in all.iter().enumerate() {
        for (b, lb) in &all[i + 1..] {
            let bound = matches!(plan.buffer(**a).place, Place::Binding(_));
            let meet = la.0 <= lb.1 && lb.0 <= la.1;
            if bound || !meet || !overlap(plan, **a, **b) {
                continue;
            }
            let handed_on = la.1 == lb.0 && takes_place(plan, &steps[la.1], **a, **b)
                || lb.1 == la.0 && takes_place(plan, &steps[lb.1], **b, **a);
            if !handed_on {
                return Err(format!("b{} and b{} live at the same time in the same place", a.0, b.0));
            }
        }
    }
    Ok(())
}

/// Whether, among kernels of one step, only one loop uses both, and stores `new` where it reads `old`.
fn takes_place(plan: &Plan, step: &[KernelId], old: BufferId, new: BufferId) -> bool {
    let uses = |k: &&KernelId, b: BufferId| {
        let kernel = &plan.kernel(**k).kernel;
        kernel.reads().contains(&b) || kernel.writes().contains(&b)
    };
    let users: Vec<&KernelId> = step.iter().filter(|k| uses(k, old) || uses(k, new)).collect();
    let [one] = users[..] else { return false };
    let Kernel::Loop(l) = &plan.kernel(*one).kernel else { return false };
    let (same_start, same_size) = (
        bytes(plan, old).1 == bytes(plan, new).1,
        plan.buffer(old).dtype.size() == plan.buffer(new).dtype.size(),
    );
    let mut outs = l.outs.iter().filter(|o| o.access.buffer == new);
    same_start
        && same_size
        && outs.all(|o| {
            let same = |a: &Access| a.offset == o.access.offset && a.strides == o.access.strides;
            o.reduce.is_none() && l.body.loads().filter(|a| a.buffer == old).all(same)
        })
}
