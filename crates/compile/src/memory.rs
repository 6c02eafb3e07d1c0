//! Memory plan: every scratch buffer gets a fixed offset in one arena; buffers whose lives do not overlap share.
//!
//! A buffer lives from the stage that first writes it to the stage that last reads it, both included, so
//! kernels of one stage never share; except that an element-wise result may take the place of an operand that
//! dies there and is read at the same elements.

use crate::program::Program;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_device::plan::{ALIGN, Buffer, BufferId, Kernel, KernelId, Place, Plan, Stage};

/// Life of a buffer in stages.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Life {
    first: usize,
    last: usize,
}

/// Gives every buffer a place and makes the plan. Buffers that nothing uses disappear.
pub fn plan(program: &Program, stages: Vec<Stage>) -> Plan {
    let lives = lives(program, &stages);
    let (slabs, slab) = slabs(program, &stages);
    let hosts = hosts(program, &stages, &lives);
    // Lives of joined buffers become one.
    let mut joined: BTreeMap<BufferId, (Life, usize)> = BTreeMap::new();
    for (&b, &life) in &lives {
        if program.buffers[b.0 as usize].binding.is_none() && !slabs.contains_key(&b) {
            let v = &program.buffers[b.0 as usize];
            let bytes = (v.len * v.dtype.size()).next_multiple_of(ALIGN);
            let e = joined.entry(root(&hosts, b)).or_insert((life, 0));
            e.0 = Life { first: e.0.first.min(life.first), last: e.0.last.max(life.last) };
            e.1 = e.1.max(bytes);
        }
    }
    let (offsets, arena) = pack(&joined);
    let mut numbers: BTreeMap<BufferId, BufferId> = BTreeMap::new();
    let mut buffers = Vec::new();
    for (i, v) in program.buffers.iter().enumerate() {
        let id = BufferId(i as u32);
        let mut len = v.len;
        let place = match v.binding {
            Some(n) => Place::Binding(n),
            None if slabs.contains_key(&id) => {
                let (offset, elements) = slabs[&id];
                len = elements;
                Place::Slab { offset }
            }
            None if lives.contains_key(&id) => Place::Arena { offset: offsets[&root(&hosts, id)] },
            None => continue,
        };
        numbers.insert(id, BufferId(buffers.len() as u32));
        buffers.push(Buffer { name: v.name.clone(), dtype: v.dtype, len, place });
    }
    let mut kernels: Vec<_> = program.kernels.iter().map(|k| k.entry.clone()).collect();
    for k in &mut kernels {
        k.kernel.map_buffers(|b| *b = numbers[b]);
    }
    Plan {
        name: program.name.clone(),
        bindings: program.bindings.clone(),
        buffers,
        kernels,
        stages,
        arena,
        slab,
    }
}

/// Buffers that one region alone uses: (offset in the slab, elements of one slice), and the slab's size.
fn slabs(program: &Program, stages: &[Stage]) -> (BTreeMap<BufferId, (usize, usize)>, usize) {
    let mut out = BTreeMap::new();
    let mut slab = 0;
    for (s, stage) in stages.iter().enumerate() {
        let Stage::Region { kernels, batch, slice } = stage else { continue };
        let elsewhere: BTreeSet<BufferId> = (0..stages.len())
            .filter(|&o| o != s)
            .flat_map(|o| kernels_of(&stages[o]))
            .flat_map(|k| uses(program, *k))
            .collect();
        let mut items: BTreeMap<BufferId, (Life, usize)> = BTreeMap::new();
        for (at, k) in kernels.iter().enumerate() {
            for b in uses(program, *k) {
                let v = &program.buffers[b.0 as usize];
                if v.binding.is_none() && !elsewhere.contains(&b) {
                    let bytes = (v.len / batch * slice * v.dtype.size()).next_multiple_of(ALIGN);
                    items.entry(b).or_insert((Life { first: at, last: at }, bytes)).0.last = at;
                }
            }
        }
        let (offsets, size) = pack(&items);
        slab = slab.max(size);
        out.extend(
            offsets.into_iter().map(|(b, o)| (b, (o, program.buffers[b.0 as usize].len / batch * slice))),
        );
    }
    (out, slab)
}

fn uses(program: &Program, k: KernelId) -> Vec<BufferId> {
    let kernel = &program.kernels[k.0 as usize].entry.kernel;
    kernel.reads().into_iter().chain(kernel.writes()).collect()
}

fn kernels_of(stage: &Stage) -> &[KernelId] {
    match stage {
        Stage::Launch(kernels) | Stage::Region { kernels, .. } => kernels,
    }
}

fn lives(program: &Program, stages: &[Stage]) -> BTreeMap<BufferId, Life> {
    let mut lives: BTreeMap<BufferId, Life> = BTreeMap::new();
    for (s, stage) in stages.iter().enumerate() {
        for k in kernels_of(stage) {
            let kernel = &program.kernels[k.0 as usize].entry.kernel;
            for b in kernel.reads().into_iter().chain(kernel.writes()) {
                let life = lives.entry(b).or_insert(Life { first: s, last: s });
                life.last = s;
            }
        }
    }
    lives
}

/// For a result that takes an operand's place: the operand.
fn hosts(
    program: &Program,
    stages: &[Stage],
    lives: &BTreeMap<BufferId, Life>,
) -> BTreeMap<BufferId, BufferId> {
    let mut hosts: BTreeMap<BufferId, BufferId> = BTreeMap::new();
    for (s, stage) in stages.iter().enumerate() {
        let Stage::Launch(kernels) = stage else { continue };
        let readers = |b: BufferId| {
            kernels.iter().filter(|k| program.kernels[k.0 as usize].entry.kernel.reads().contains(&b)).count()
        };
        for k in kernels {
            let Kernel::Loop(l) = &program.kernels[k.0 as usize].entry.kernel else { continue };
            for (i, out) in l.outs.iter().enumerate() {
                let target = out.access.buffer;
                let v = &program.buffers[target.0 as usize];
                let whole = v.len == l.space.iter().product::<usize>();
                if out.reduce.is_some() || v.binding.is_some() || lives[&target].first != s || !whole {
                    continue;
                }
                let fits = |b: BufferId| {
                    let o = &program.buffers[b.0 as usize];
                    let same = l
                        .body
                        .loads()
                        .filter(|a| a.buffer == b)
                        .all(|a| a.offset == out.access.offset && a.strides == out.access.strides);
                    // Another result that is the operand itself might be stored after it was overwritten.
                    let passed_on = l.outs.iter().enumerate().any(|(j, other)| {
                        j != i && matches!(l.body.expr(other.value), thalweg_device::plan::Expr::Load(a) if a.buffer == b)
                    });
                    o.binding.is_none()
                        && (o.len, o.dtype.size()) == (v.len, v.dtype.size())
                        && lives[&b].last == s
                        && lives[&b].first < s
                        && same
                        && !passed_on
                        && readers(b) == 1
                        && !hosts.values().any(|&h| h == b)
                };
                let host = l.body.loads().map(|a| a.buffer).find(|&b| fits(b));
                if let Some(b) = host {
                    hosts.insert(target, b);
                }
            }
        }
    }
    hosts
}

fn root(hosts: &BTreeMap<BufferId, BufferId>, mut b: BufferId) -> BufferId {
    while let Some(&h) = hosts.get(&b) {
        b = h;
    }
    b
}

/// First fit, largest first: offsets such that buffers alive together do not overlap. Returns the arena's size.
fn pack(items: &BTreeMap<BufferId, (Life, usize)>) -> (BTreeMap<BufferId, usize>, usize) {
    let mut order: Vec<(&BufferId, &(Life, usize))> = items.iter().collect();
    order.sort_by_key(|(id, (life, bytes))| (std::cmp::Reverse(*bytes), life.first, **id));
    let mut placed: Vec<(usize, usize, Life)> = Vec::new();
    let mut offsets = BTreeMap::new();
    let mut arena = 0;
    for (&id, &(life, bytes)) in order {
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(_, _, l)| l.first <= life.last && life.first <= l.last)
            .map(|&(at, n, _)| (at, n))
            .collect();
        busy.sort_unstable();
        let mut at = 0;
        for (start, n) in busy {
            if at + bytes <= start {
                break;
            }
            at = at.max(start + n);
        }
        placed.push((at, bytes, life));
        offsets.insert(id, at);
        arena = arena.max(at + bytes);
    }
    (offsets, arena)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_overlap_do_not_share_and_others_do() {
        let item = |first, last, bytes| (Life { first, last }, bytes);
        let items: BTreeMap<BufferId, (Life, usize)> =
            [item(0, 1, 128), item(1, 2, 64), item(2, 3, 128), item(0, 3, 64)]
                .into_iter()
                .enumerate()
                .map(|(i, x)| (BufferId(i as u32), x))
                .collect();
        let (offsets, arena) = pack(&items);
        for (a, (la, na)) in &items {
            for (b, (lb, nb)) in &items {
                let together = la.first <= lb.last && lb.first <= la.last;
                if a < b && together {
                    let (oa, ob) = (offsets[a], offsets[b]);
                    assert!(oa + na <= ob || ob + nb <= oa, "{a:?} and {b:?} overlap");
                }
            }
        }
        assert_eq!(arena, 256, "the first and the third share");
    }
}
