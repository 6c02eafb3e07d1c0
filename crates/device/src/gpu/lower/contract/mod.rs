//! Contractions: products of matrices, convolutions and their gradients, all as one product.
//!
//! Each is, for every batch, C[m, n] = sum over k of A[m, k] B[k, n], where [`operand`] says which element of an image,
//! a filter or a gradient A and B are: nothing is copied into matrices first. The batches are those of a matrix product,
//! the groups of a convolution, the parts of a filter's gradient. [`way`] says in which ways a product can be computed and
//! which is taken, [`tile`] how it may be cut; [`tiled`] computes tiles from [`panel`]s in shared memory, by [`threads`] or
//! by a [`multiplier`], be it tensor cores ([`warps`], fed from [`fragments`]) or cooperative matrices ([`subgroups`]);
//! [`direct`] gives a thread to each result, for what fills no tile (depthwise convolutions, large pooling windows).
//! [`finish`] is what happens to each result before it is stored. Input gradients of convolutions with strides are several
//! products ([`stride`]). [`library`] leaves a product to a library of the GPU's maker, where one is there and was chosen.

mod direct;
mod finish;
mod fragments;
mod key;
mod library;
mod multiplier;
mod operand;
mod panel;
mod results;
mod seat;
mod stride;
mod subgroups;
mod threads;
mod tile;
mod tiled;
mod warps;
mod way;

pub use key::key;
pub use way::Way;

use super::Lowering;
use crate::gpu::launch::Abilities;
use crate::plan::{Contraction, Plan, Product};
use operand::{Operand, Side};
use stride::Strides;
use thalweg_base::DType;

/// The sizes of the product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Products: batches or groups, times parts.
    pub batches: usize,
    /// Rows of a product. With a pooling behind, rows of one window follow each other.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Length of the sum, of all parts together.
    pub k: usize,
    /// Elements of a pooling window behind; 1 without.
    pub pooled: usize,
}

/// A contraction being lowered.
pub struct Task<'a> {
    /// What the plan says.
    pub c: &'a Contraction,
    /// Its sizes.
    pub sizes: Sizes,
    /// How its elements are found.
    pub operand: Operand<'a>,
    /// Type of the elements of both operands: f32, or floats of 16 bits.
    pub dtype: DType,
    /// Type of what is stored.
    pub stored: DType,
    /// How much of the contraction it is.
    pub share: Share,
}

/// How much of a contraction a product is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// All of it.
    Only,
    /// One of several, which together are it.
    Part,
    /// All of it, where it is mostly computed as several.
    Whole,
}

impl Task<'_> {
    /// The products that a contraction is: one, or a set for each residue of an input gradient's strides and then the whole,
    /// which is something to choose as well.
    pub fn all<'a>(plan: &Plan, c: &'a Contraction) -> Vec<Task<'a>> {
        let sets = match c.product {
            Product::ConvInputGrad(d) => stride::sets(&d),
            Product::Dot(_) | Product::Conv(_) | Product::ConvFilterGrad(_) => None,
        };
        let [dtype, stored] = [c.a, c.out].map(|b| plan.buffer(b).dtype);
        let task = |strides, share| {
            let (sizes, operand) = (sizes(c, strides), Operand::new(c, strides));
            Task { c, sizes, operand, dtype, stored, share }
        };
        match sets.as_deref() {
            None => vec![task(None, Share::Only)],
            Some([one]) => vec![task(Some(*one), Share::Only)],
            Some(sets) => {
                let parts = sets.iter().map(|s| task(Some(*s), Share::Part));
                parts.chain([task(None, Share::Whole)]).collect()
            }
        }
    }

    /// Groups of a convolution.
    fn groups(&self) -> usize {
        match self.c.product {
            Product::Dot(_) => 1,
            Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => d.groups,
        }
    }
}

/// Lowers a contraction.
pub fn lower(l: &mut Lowering<'_>, c: &Contraction) {
    let tasks: Vec<(Task<'_>, Way)> = Task::all(l.plan, c)
        .into_iter()
        .map(|t| {
            let way = way::chosen(l.plan, &t, l.abilities, l.choices);
            (t, way)
        })
        .collect();
    // What computes the whole leaves nothing for its parts.
    let as_a_whole = |(t, way): &&(Task<'_>, Way)| t.share == Share::Whole && *way != Way::Apart;
    let chosen = tasks.iter().find(as_a_whole).map_or(&tasks[..], std::slice::from_ref);
    for (task, way) in chosen {
        match way {
            Way::Direct => direct::lower(l, task),
            Way::Tiles(cut) => tiled::lower(l, task, cut),
            Way::Library(library) => library::lower(l, task, *library),
            Way::Apart => {}
        }
    }
}

/// A product of a plan: its key among [`Choices`](crate::gpu::tune::Choices), and the ways that are worth measuring, the
/// account's first.
pub fn products(plan: &Plan, c: &Contraction, abilities: &Abilities) -> Vec<(String, Vec<Way>)> {
    keyed(plan, c, abilities, way::promising)
}

/// Every way in which the products of a contraction can be computed, by their keys.
pub fn legal(plan: &Plan, c: &Contraction, abilities: &Abilities) -> Vec<(String, Vec<Way>)> {
    keyed(plan, c, abilities, way::legal)
}

fn keyed(
    plan: &Plan,
    c: &Contraction,
    abilities: &Abilities,
    ways: fn(&Task<'_>, &Abilities) -> Vec<Way>,
) -> Vec<(String, Vec<Way>)> {
    let tasks = Task::all(plan, c);
    let of = tasks.iter().map(|t| (key(plan, t, abilities), ways(t, abilities)));
    // Where a whole can only be computed as its parts there is nothing to choose.
    of.filter(|(_, ways)| ways[..] != [Way::Apart]).collect()
}

fn sizes(c: &Contraction, strides: Option<Strides>) -> Sizes {
    let pool = c.epilogue.as_ref().and_then(|e| e.pool);
    match c.product {
        Product::Dot(d) => Sizes { batches: d.batch, m: d.m, n: d.n, k: d.k, pooled: 1 },
        Product::Conv(d) => {
            let k = d.rows.size * d.cols.size * d.c / d.groups;
            let (windows, pooled) = match pool {
                None => (d.n * d.oh * d.ow, 1),
                Some(p) => (p.dims.n * p.dims.oh * p.dims.ow, p.dims.rows.size * p.dims.cols.size),
            };
            Sizes { batches: d.groups, m: windows * pooled, n: d.k / d.groups, k, pooled }
        }
        Product::ConvInputGrad(d) => {
            let (pixels, taps) = match strides {
                None => (d.h * d.w, d.rows.size * d.cols.size),
                Some(s) => (s.rows.pixels * s.cols.pixels, s.rows.taps * s.cols.taps),
            };
            let k = taps * d.k / d.groups;
            Sizes { batches: d.groups, m: d.n * pixels, n: d.c / d.groups, k, pooled: 1 }
        }
        Product::ConvFilterGrad(d) => {
            let m = d.rows.size * d.cols.size * d.c / d.groups;
            Sizes { batches: d.groups * c.parts, m, n: d.k / d.groups, k: d.n * d.oh * d.ow, pooled: 1 }
        }
    }
}
