//! Cooperative matrices: what WGSL's `coopLoad`, `coopStore` and `coopMultiplyAdd` do, as Vulkan describes them
//! (VK_KHR_cooperative_matrix).
//!
//! A subgroup acts as one thread of its own: what its threads stored is there for its matrices only behind a barrier, and the
//! other way round. Groups with odd numbers have the smallest subgroups that a kernel allows, others the largest.

use super::machine::Machine;
use std::collections::HashMap;
use thalweg_base::DType;
use thalweg_device::gpu::ir::{Cooperative, Kernel, Matrix, Role, Shared, Value, in_shared};

/// Number of the first subgroup among those that touch shared memory, behind all threads.
const ACTORS: usize = 1 << 16;

/// Matrices begin, and rows follow each other, at multiples of so many bytes.
const ALIGN: usize = 16;

/// Subgroups of a group, and what they hold.
pub struct Subgroups {
    /// Threads of each; one where the kernel never asked for its place among them.
    threads: usize,
    asked: bool,
    /// By matrix and subgroup, its elements, row by row.
    held: HashMap<(Matrix, usize), Vec<f64>>,
}

impl Subgroups {
    /// Of a group.
    pub fn new(kernel: &Kernel, group: u32) -> Subgroups {
        let [least, most] = kernel.subgroup.map(|n| n.max(1) as usize);
        let threads = if group.is_multiple_of(2) { most } else { least };
        Subgroups { threads, asked: kernel.subgroup != [0, 0], held: HashMap::new() }
    }

    /// The subgroup of a thread.
    pub fn of(&self, t: usize) -> usize {
        t / self.threads
    }

    /// Subgroups of a mask, which are there as a whole.
    fn whole(&self, mask: &[bool]) -> Result<Vec<usize>, String> {
        if !self.asked {
            return Err("matrices in a kernel that does not know its subgroups".into());
        }
        let mut found = Vec::new();
        for (i, lanes) in mask.chunks(self.threads).enumerate() {
            if lanes.len() < self.threads || lanes.contains(&true) && lanes.contains(&false) {
                return Err("only a part of a subgroup takes part".into());
            }
            if lanes[0] {
                found.push(i);
            }
        }
        Ok(found)
    }

    fn get(&self, m: Matrix, subgroup: usize) -> Result<Vec<f64>, String> {
        let held = self.held.get(&(m, subgroup));
        held.cloned().ok_or_else(|| format!("subgroup {subgroup} uses matrix {}, which it has not set", m.0))
    }
}

impl Machine<'_> {
    /// Runs a statement for the threads of a mask.
    pub fn cooperative(&mut self, c: &Cooperative, mask: &[bool]) -> Result<(), String> {
        for subgroup in self.subgroups.whole(mask)? {
            match c {
                Cooperative::Clear(m) => {
                    let size = self.matrix(*m, &[Role::Sum], DType::F32)?;
                    self.subgroups.held.insert((*m, subgroup), vec![0.0; size * size]);
                }
                Cooperative::Load { to, from: (s, first), stride, rows } => {
                    let dtype = self.kernel.shared[s.0 as usize].0;
                    let size = self.matrix(*to, &[Role::A, Role::B], dtype)?;
                    let first = self.same(*first, subgroup)?;
                    self.aligned(*s, first, *stride)?;
                    let mut elements = Vec::with_capacity(size * size);
                    for (row, column) in (0..size * size).map(|i| (i / size, i % size)) {
                        let (outer, inner) = if *rows { (row, column) } else { (column, row) };
                        let at = first + outer * *stride as usize + inner;
                        let bits = self.load_shared(*s, at as i32, ACTORS + subgroup)?;
                        elements.push(f64::from(f32::from_bits(bits)));
                    }
                    self.subgroups.held.insert((*to, subgroup), elements);
                }
                Cooperative::MultiplyAdd { d, a, b } => {
                    let size = self.matrix(*d, &[Role::Sum], DType::F32)?;
                    let dtype = self.kernel.matrices[a.0 as usize].dtype;
                    for (m, role) in [(a, Role::A), (b, Role::B)] {
                        if self.matrix(*m, &[role], dtype)? != size {
                            return Err("matrices of several sizes".into());
                        }
                    }
                    let held = |m: &Matrix| self.subgroups.get(*m, subgroup);
                    let (mut sum, a, b) = (held(d)?, held(a)?, held(b)?);
                    for (i, element) in sum.iter_mut().enumerate() {
                        let (row, column) = (i / size, i % size);
                        let product: f64 = (0..size).map(|k| a[row * size + k] * b[k * size + column]).sum();
                        *element = f64::from((*element + product) as f32);
                    }
                    self.subgroups.held.insert((*d, subgroup), sum);
                }
                Cooperative::Store { from, to: (s, first), stride } => {
                    let size = self.matrix(*from, &[Role::Sum], self.kernel.shared[s.0 as usize].0)?;
                    let first = self.same(*first, subgroup)?;
                    self.aligned(*s, first, *stride)?;
                    for (i, element) in self.subgroups.get(*from, subgroup)?.into_iter().enumerate() {
                        let at = first + i / size * *stride as usize + i % size;
                        let bits = (element as f32).to_bits();
                        self.store_shared(*s, at as i32, bits, ACTORS + subgroup)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Size of a matrix, which must be one of these.
    fn matrix(&self, m: Matrix, roles: &[Role], dtype: DType) -> Result<usize, String> {
        let ty = self.kernel.matrices[m.0 as usize];
        let fits = matches!(ty.size, 8 | 16) && matches!(ty.dtype, DType::F16 | DType::F32);
        match fits && roles.contains(&ty.role) && ty.dtype == dtype {
            true => Ok(ty.size as usize),
            false => Err(format!("matrix {} is {ty:?}, not {roles:?} of {dtype}", m.0)),
        }
    }

    /// An index, which all threads of a subgroup must have the same.
    fn same(&self, v: Value, subgroup: usize) -> Result<usize, String> {
        let threads = self.subgroups.threads;
        let first = self.get(v, subgroup * threads);
        match (1..threads).all(|t| self.get(v, subgroup * threads + t) == first) {
            true => Ok(first as usize),
            false => Err(format!("threads of subgroup {subgroup} differ about an index")),
        }
    }

    fn aligned(&self, s: Shared, first: usize, stride: u32) -> Result<(), String> {
        let size = in_shared(self.kernel.shared[s.0 as usize].0);
        match [first, stride as usize].iter().all(|n| (n * size).is_multiple_of(ALIGN)) {
            true => Ok(()),
            false => {
                Err(format!("a matrix from {first} on, rows {stride} apart, is not aligned to 16 bytes"))
            }
        }
    }
}
