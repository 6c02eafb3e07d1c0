//! Tensor cores and asynchronous copies, as the PTX ISA describes them ("Matrix fragments for mma.m16n8k8 / m16n8k16",
//! "ldmatrix", "cp.async").

use super::machine::{Machine, narrowed};
use std::collections::BTreeSet;
use thalweg_device::gpu::ir::{MmaType, Shared, Tensor, Value, Var, in_shared};

/// Threads of a warp.
const WARP: usize = 32;

/// Bytes of a copy.
const COPIED: usize = 16;

/// A copy under way: where to, and what elements.
type Copy = (Shared, usize, Vec<u32>);

/// Copies of a group's threads.
pub struct Copies {
    /// Per thread: groups of copies, oldest first; the last is open.
    threads: Vec<Vec<Vec<Copy>>>,
    under_way: BTreeSet<(u32, usize)>,
}

impl Copies {
    /// None yet.
    pub fn new(threads: usize) -> Copies {
        Copies { threads: vec![vec![Vec::new()]; threads], under_way: BTreeSet::new() }
    }

    /// Whether an element is being copied to.
    pub fn pending(&self, s: Shared, at: usize) -> bool {
        self.under_way.contains(&(s.0, at))
    }
}

impl Machine<'_> {
    /// Runs a statement for the threads of a mask.
    pub fn tensor(&mut self, tensor: &Tensor, mask: &[bool]) -> Result<(), String> {
        let threads: Vec<usize> = (0..mask.len()).filter(|&t| mask[t]).collect();
        match tensor {
            Tensor::Mma { ty, d, a, b } => {
                for warp in warps(mask)? {
                    self.multiply(*ty, warp, *d, *a, *b);
                }
            }
            Tensor::LoadMatrix { to, from, transposed } => {
                for warp in warps(mask)? {
                    self.load_matrix(warp, *to, *from, *transposed)?;
                }
            }
            Tensor::CopyAsync { to: (s, to), from: (p, from), valid } => {
                let (into, of) = (self.kernel.shared[s.0 as usize].0, self.kernel.params[p.0 as usize].dtype);
                if into != of || in_shared(into) != of.size() {
                    return Err(format!("a copy of {of} into a shared array of {into}"));
                }
                let count = COPIED / of.size();
                for &t in &threads {
                    let (to, from) = (self.get(*to, t) as usize, self.get(*from, t) as i32);
                    let mut words = vec![0; count];
                    if to % count != 0 {
                        return Err(format!("a copy of 16 bytes to {to} is not aligned"));
                    }
                    if self.get(*valid, t) != 0 {
                        if self.place(*p, from)?.1 % COPIED != 0 {
                            return Err(format!("a copy of 16 bytes from {from} is not aligned"));
                        }
                        for (i, word) in words.iter_mut().enumerate() {
                            *word = self.load(*p, from + i as i32, t)?;
                        }
                    }
                    // It may arrive at any time from now on: a store here and when it is waited for.
                    for at in to..to + count {
                        self.store_shared(*s, at as i32, 0, t)?;
                    }
                    self.copies.threads[t].last_mut().expect("an open group").push((*s, to, words));
                    self.copies.under_way.extend((to..to + count).map(|at| (s.0, at)));
                }
            }
            Tensor::Tf32(v, x) => {
                for &t in &threads {
                    let bits = self.get(*x, t);
                    self.set(*v, t, nearest_tf32(bits));
                }
            }
            Tensor::Commit => {
                for &t in &threads {
                    self.copies.threads[t].push(Vec::new());
                }
            }
            Tensor::Wait(left) => {
                for &t in &threads {
                    let groups = &mut self.copies.threads[t];
                    let done = (groups.len() - 1).saturating_sub(*left as usize);
                    let arrived: Vec<Copy> = groups.drain(..done).flatten().collect();
                    for (s, to, words) in arrived {
                        for (i, word) in words.into_iter().enumerate() {
                            self.copies.under_way.remove(&(s.0, to + i));
                            self.store_shared(s, (to + i) as i32, word, t)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Four matrices of 8 rows of 8 for one warp.
    fn load_matrix(
        &mut self,
        warp: usize,
        to: [Var; 4],
        (s, row): (Shared, Value),
        transposed: bool,
    ) -> Result<(), String> {
        let dtype = self.kernel.shared[s.0 as usize].0;
        if !dtype.is_half() {
            return Err(format!("matrices of {dtype}"));
        }
        for (i, var) in to.into_iter().enumerate() {
            let mut matrix = [[0u32; 8]; 8];
            for (r, elements) in matrix.iter_mut().enumerate() {
                let thread = warp + 8 * i + r;
                let first = self.get(row, thread) as i32;
                if first % 8 != 0 {
                    return Err(format!("a row of 16 bytes at {first} is not aligned"));
                }
                for (c, element) in elements.iter_mut().enumerate() {
                    *element = narrowed(dtype, self.load_shared(s, first + c as i32, thread)?);
                }
            }
            for lane in 0..WARP {
                let (g, t) = (lane / 4, 2 * (lane % 4));
                let [low, high] = match transposed {
                    false => [matrix[g][t], matrix[g][t + 1]],
                    true => [matrix[t][g], matrix[t + 1][g]],
                };
                self.set(var, warp + lane, low | high << 16);
            }
        }
        Ok(())
    }

    /// d = a b + d for one warp.
    fn multiply(&mut self, ty: MmaType, warp: usize, d: [Var; 4], a: [Value; 4], b: [Value; 2]) {
        let depth = if ty == MmaType::Tf32 { 8 } else { 16 };
        let (mut left, mut right) = (vec![[0.0f64; 16]; 16], vec![[0.0f64; 8]; 16]);
        for lane in 0..WARP {
            let (g, t) = (lane / 4, lane % 4);
            for (i, value) in a.into_iter().enumerate() {
                let row = g + 8 * (i % 2);
                for (k, x) in elements(ty, self.get(value, warp + lane), t, i / 2) {
                    left[row][k] = x;
                }
            }
            for (i, value) in b.into_iter().enumerate() {
                for (k, x) in elements(ty, self.get(value, warp + lane), t, i) {
                    right[k][g] = x;
                }
            }
        }
        for lane in 0..WARP {
            let (g, t) = (lane / 4, lane % 4);
            for (i, var) in d.into_iter().enumerate() {
                let (row, column) = (g + 8 * (i / 2), 2 * t + i % 2);
                let sum: f64 = (0..depth).map(|k| left[row][k] * right[k][column]).sum();
                let old = f32::from_bits(self.get(Value::Var(var), warp + lane));
                self.set(var, warp + lane, ((f64::from(old) + sum) as f32).to_bits());
            }
        }
    }
}

/// First threads of the warps of a mask, which are there as a whole.
fn warps(mask: &[bool]) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for (i, lanes) in mask.chunks(WARP).enumerate() {
        if lanes.len() < WARP || lanes.contains(&true) && lanes.contains(&false) {
            return Err("only a part of a warp takes part".into());
        }
        if lanes[0] {
            found.push(i * WARP);
        }
    }
    Ok(found)
}

/// What a register of an operand holds: positions along the sum and numbers. `half`: which half of the positions.
fn elements(ty: MmaType, bits: u32, t: usize, half: usize) -> Vec<(usize, f64)> {
    let (low, high) = (bits & 0xffff, bits >> 16);
    match ty {
        // The low 13 bits of the mantissa are not looked at.
        MmaType::Tf32 => vec![(t + 4 * half, f64::from(f32::from_bits(bits & 0xffff_e000)))],
        MmaType::Bf16 => {
            let number = |b: u32| f64::from(f32::from_bits(b << 16));
            vec![(2 * t + 8 * half, number(low)), (2 * t + 1 + 8 * half, number(high))]
        }
        MmaType::F16 => vec![(2 * t + 8 * half, half_float(low)), (2 * t + 1 + 8 * half, half_float(high))],
    }
}

/// Rounded to 10 bits of mantissa, ties away from 0; a NaN is one NaN.
fn nearest_tf32(bits: u32) -> u32 {
    match f32::from_bits(bits).is_nan() {
        true => 0x7fff_ffff,
        false => (bits + 0x1000) & 0xffff_e000,
    }
}

/// IEEE 754 half precision.
fn half_float(bits: u32) -> f64 {
    let (exponent, mantissa) = ((bits >> 10) & 31, f64::from(bits & 1023));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1024.0 + mantissa) * 2f64.powi(e as i32 - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}
