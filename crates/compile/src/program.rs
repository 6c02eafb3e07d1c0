//! The program between lowering and the finished plan: kernels over virtual buffers, in a valid order.

use std::collections::BTreeSet;
use thalweg_device::plan::{Binding, Buffer, BufferId, Entry, KernelId, Place, Plan, Stage};
use thalweg_graph::DType;

/// A buffer that has no place yet, unless it is a binding.
#[derive(Clone, PartialEq, Debug)]
pub struct Virtual {
    /// For people.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements.
    pub len: usize,
    /// Binding number.
    pub binding: Option<u32>,
}

/// A kernel with the kernels that must run before it.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The kernel.
    pub entry: Entry,
    /// Indices of kernels it must follow.
    pub after: Vec<usize>,
}

/// Kernels and buffers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Name of the plan.
    pub name: String,
    /// Bindings in the plan's order.
    pub bindings: Vec<Binding>,
    /// Buffers by id.
    pub buffers: Vec<Virtual>,
    /// Kernels; `after` refers to positions here.
    pub kernels: Vec<Node>,
}

impl Program {
    /// A new buffer.
    pub fn buffer(&mut self, name: impl Into<String>, dtype: DType, len: usize) -> BufferId {
        self.buffers.push(Virtual { name: name.into(), dtype, len, binding: None });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Whether kernel `from` must run before kernel `to`, directly or through others.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.kernels.len()];
        let mut open = vec![to];
        while let Some(k) = open.pop() {
            for &a in &self.kernels[k].after {
                if a == from {
                    return true;
                }
                if !std::mem::replace(&mut seen[a], true) {
                    open.push(a);
                }
            }
        }
        false
    }

    /// Removes kernels; what had to follow them follows what they followed.
    pub fn remove(&mut self, dead: &BTreeSet<usize>) {
        let mut position = Vec::with_capacity(self.kernels.len());
        let mut next = 0;
        for k in 0..self.kernels.len() {
            position.push(next);
            next += usize::from(!dead.contains(&k));
        }
        let after: Vec<Vec<usize>> = self.kernels.iter().map(|k| k.after.clone()).collect();
        let old = std::mem::take(&mut self.kernels);
        for (k, mut node) in old.into_iter().enumerate().filter(|(k, _)| !dead.contains(k)) {
            let mut all = Vec::new();
            let mut open = node.after.clone();
            while let Some(a) = open.pop() {
                if dead.contains(&a) {
                    open.extend(&after[a]);
                } else if a != k {
                    all.push(position[a]);
                }
            }
            all.sort_unstable();
            all.dedup();
            node.after = all;
            self.kernels.push(node);
        }
    }

    /// Puts the kernels in an order that respects `after`, earliest original position first.
    pub fn sort(&mut self) {
        let n = self.kernels.len();
        let mut order = Vec::with_capacity(n);
        let mut done = vec![false; n];
        while order.len() < n {
            let next = (0..n).find(|&k| !done[k] && self.kernels[k].after.iter().all(|&a| done[a]));
            let k = next.expect("kernels depend on each other in a circle");
            done[k] = true;
            order.push(k);
        }
        let mut position = vec![0; n];
        for (new, &old) in order.iter().enumerate() {
            position[old] = new;
        }
        let mut old: Vec<Option<Node>> = std::mem::take(&mut self.kernels).into_iter().map(Some).collect();
        self.kernels = order.iter().filter_map(|&k| old[k].take()).collect();
        for k in &mut self.kernels {
            k.after.iter_mut().for_each(|a| *a = position[*a]);
            k.after.sort_unstable();
            k.after.dedup();
        }
    }

    /// As a plan without stages or places worth the name: for explanations between passes.
    pub fn preview(&self) -> Plan {
        let buffers = self
            .buffers
            .iter()
            .map(|b| Buffer {
                name: b.name.clone(),
                dtype: b.dtype,
                len: b.len,
                place: b.binding.map_or(Place::Arena { offset: 0 }, Place::Binding),
            })
            .collect();
        Plan {
            name: self.name.clone(),
            bindings: self.bindings.clone(),
            buffers,
            kernels: self.kernels.iter().map(|k| k.entry.clone()).collect(),
            stages: (0..self.kernels.len() as u32).map(|k| Stage::Launch(vec![KernelId(k)])).collect(),
            arena: 0,
            slab: 0,
        }
    }
}
