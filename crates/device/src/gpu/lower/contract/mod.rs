//! Contractions: products of matrices, convolutions and their gradients, all as one product.
//!
//! Each is, for every batch, C[m, n] = sum over k of A[m, k] B[k, n], where [`operand`] says which element of an image,
//! a filter or a gradient A and B are: nothing is copied into matrices first. The batches are those of a matrix product,
//! the groups of a convolution, the parts of a filter's gradient. [`tile`] says how the product is cut; [`tiled`] computes
//! tiles from [`panel`]s in shared memory, by [`threads`], by tensor cores ([`warps`], fed from [`fragments`]) or by cooperative
//! matrices ([`subgroups`]); [`direct`] gives a thread to each result, for what fills no tile (depthwise convolutions, large pooling windows). [`finish`] is what happens to each result
//! before it is stored. Input gradients of convolutions with strides are several products ([`stride`]).

mod direct;
mod finish;
mod fragments;
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

use super::Lowering;
use crate::plan::{Contraction, Product};
use operand::{Operand, Side};
use stride::Strides;
use thalweg_base::DType;

/// Columns below which a tile would be mostly empty, where there are several groups.
const FEW: usize = 8;
/// Elements of a pooling window that a thread may hold.
const MOST_POOLED: usize = 9;

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
}

/// Lowers a contraction.
pub fn lower(l: &mut Lowering<'_>, c: &Contraction) {
    let sets = match c.product {
        Product::ConvInputGrad(d) => stride::sets(&d),
        Product::Dot(_) | Product::Conv(_) | Product::ConvFilterGrad(_) => None,
    };
    match sets {
        None => product(l, c, None),
        Some(sets) => sets.into_iter().for_each(|s| product(l, c, Some(s))),
    }
}

fn product(l: &mut Lowering<'_>, c: &Contraction, strides: Option<Strides>) {
    let dtype = l.plan.buffer(c.a).dtype;
    let task = Task { c, sizes: sizes(c, strides), operand: Operand::new(c, strides), dtype };
    let groups = match c.product {
        Product::Dot(_) => 1,
        Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => d.groups,
    };
    if groups > 1 && task.sizes.n < FEW || task.sizes.pooled > MOST_POOLED || task.sizes.k == 0 {
        direct::lower(l, &task);
    } else {
        tiled::lower(l, &task);
    }
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
