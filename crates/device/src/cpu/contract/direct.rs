//! Epilogues that fit in registers: recognised in an expression, and turned into a [`Store`].
//!
//! In: an epilogue's body. Out: `min(max(0, (acc - mean) * scale + bias + other), high)` if it is that, any part of
//! it missing; `mean`, `scale` and `bias` one value per column, `other` a buffer of the result's layout.

use super::store::Store;
use crate::cpu::Bases;
use crate::plan::{Access, Body, BufferId, Expr, ExprId};
use thalweg_base::{DType, ScalarOp};

/// A buffer from an element on.
type Place = (BufferId, isize);

/// The epilogue, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Direct {
    mean: Option<Place>,
    scale: Option<Place>,
    bias: Option<Place>,
    other: Option<BufferId>,
    relu: bool,
    high: Option<f32>,
}

impl Direct {
    /// Recognises an epilogue over `space`.
    pub fn new(body: &Body, value: ExprId, space: &[usize]) -> Option<Direct> {
        let mut found = Direct::default();
        let mut value = value;
        if let Some((rest, high)) = beside_constant(body, value, ScalarOp::Min) {
            (value, found.high) = (rest, Some(high));
        }
        if let Some((rest, 0.0)) = beside_constant(body, value, ScalarOp::Max) {
            (value, found.relu) = (rest, true);
        }
        if let Some((rest, other)) = beside_load(body, value, ScalarOp::Add, |a| dense(a, space)) {
            // A column that is the whole result is both; it is a bias.
            if !matches!(body.expr(rest), Expr::Acc) || !per_column(other, space) {
                (value, found.other) = (rest, Some(other.buffer));
            }
        }
        let column = |a: &Access| per_column(a, space);
        let take = |value: &mut ExprId, op: ScalarOp| {
            let (rest, a) = beside_load(body, *value, op, column)?;
            *value = rest;
            Some((a.buffer, a.offset))
        };
        found.bias = take(&mut value, ScalarOp::Add);
        found.scale = take(&mut value, ScalarOp::Mul);
        if found.scale.is_some() {
            found.mean = take(&mut value, ScalarOp::Sub);
        }
        (*body.expr(value) == Expr::Acc).then_some(found)
    }

    /// Whether it is a bias and a ReLU at most.
    pub fn is_simple(&self) -> bool {
        *self == Direct { bias: self.bias, relu: self.relu, ..Direct::default() }
    }

    /// Whether it reads anything that lies as the result does.
    pub fn reads_result(&self) -> bool {
        self.other.is_some()
    }

    /// For a result that starts at element `at`.
    pub fn store(&self, bases: &Bases, at: usize) -> Store {
        let find = |place: Option<Place>| {
            place.map_or(std::ptr::null(), |(buffer, offset)| {
                bases.get(buffer).cast::<f32>().cast_const().wrapping_offset(offset)
            })
        };
        Store {
            accumulate: false,
            mean: find(self.mean),
            scale: find(self.scale),
            bias: find(self.bias),
            other: find(self.other.map(|b| (b, at as isize))),
            relu: self.relu,
            high: self.high.unwrap_or(f32::INFINITY),
        }
    }
}

/// The other operand, and the constant, of `op(x, constant)` in any order.
fn beside_constant(body: &Body, id: ExprId, op: ScalarOp) -> Option<(ExprId, f32)> {
    let Expr::Op(found, args) = body.expr(id) else { return None };
    let constant = |id: ExprId| match body.expr(id) {
        Expr::Const(c) if c.dtype() == DType::F32 => Some(c.value() as f32),
        _ => None,
    };
    if *found != op {
        return None;
    }
    constant(args[0]).map(|c| (args[1], c)).or_else(|| constant(args[1]).map(|c| (args[0], c)))
}

/// The other operand of `op(x, load)`, and that load if it fits; in any order unless it is a difference.
fn beside_load(
    body: &Body,
    id: ExprId,
    op: ScalarOp,
    fits: impl Fn(&Access) -> bool,
) -> Option<(ExprId, &Access)> {
    let Expr::Op(found, args) = body.expr(id) else { return None };
    let load = |id: ExprId| match body.expr(id) {
        Expr::Load(a) if fits(a) => Some(a),
        _ => None,
    };
    if *found != op {
        return None;
    }
    let left = || load(args[0]).filter(|_| op != ScalarOp::Sub).map(|a| (args[1], a));
    load(args[1]).map(|a| (args[0], a)).or_else(left)
}

/// Whether an access reads element `k` for the last axis' index `k`, whatever the others are.
fn per_column(access: &Access, space: &[usize]) -> bool {
    let last = space.len() - 1;
    let stays = |axis: usize| access.strides[axis] == 0 || space[axis] == 1;
    (0..last).all(stays) && (access.strides[last] == 1 || space[last] == 1)
}

/// Whether an access reads what lies where the result does.
fn dense(access: &Access, space: &[usize]) -> bool {
    let mut step = 1;
    let axes = access.strides.iter().zip(space).rev().all(|(&stride, &n)| {
        let fits = stride == step || n == 1;
        step *= n as isize;
        fits
    });
    axes && access.offset == 0
}
