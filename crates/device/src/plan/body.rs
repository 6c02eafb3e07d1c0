//! What a kernel computes per element: a DAG of scalar expressions over loads.

use super::BufferId;
use thalweg_base::{DType, Scalar, ScalarOp};

/// Index of an expression in its body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ExprId(pub u32);

/// An affine access: element `offset + sum(strides[d] * index[d])` of a buffer, one stride per axis of the
/// loop's space. All in elements; strides may be 0 (broadcast) or negative (flip).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// The buffer.
    pub buffer: BufferId,
    /// Element at index 0.
    pub offset: isize,
    /// Per axis of the space.
    pub strides: Vec<isize>,
}

/// A scalar expression.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Expr {
    /// A constant.
    Const(Scalar),
    /// An element of a buffer.
    Load(Access),
    /// In a contraction's epilogue: the accumulated product.
    Acc,
    /// i32: `offset + sum(strides[d] * index[d])`.
    Index {
        /// Value at index 0.
        offset: i32,
        /// Per axis of the space.
        strides: Vec<i32>,
    },
    /// f32 in [0, 1): Philox of (seed, stream, step, element); `element` and `step` are i32 expressions.
    Random {
        /// Key.
        seed: u64,
        /// Stream.
        stream: u32,
        /// Element index.
        element: ExprId,
        /// Step.
        step: ExprId,
    },
    /// An operation of the scalar table.
    Op(ScalarOp, Vec<ExprId>),
    /// Conversion to the expression's type.
    Cast(ExprId),
}

/// The expressions of a kernel, in topological order, each with its type, without duplicates.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    exprs: Vec<(Expr, DType)>,
}

impl Body {
    /// An empty body.
    pub fn new() -> Self {
        Body::default()
    }

    /// Adds an expression, or finds the equal one.
    pub fn push(&mut self, expr: Expr, dtype: DType) -> ExprId {
        let found = self.exprs.iter().position(|(e, d)| *e == expr && *d == dtype);
        let at = found.unwrap_or_else(|| {
            self.exprs.push((expr, dtype));
            self.exprs.len() - 1
        });
        ExprId(at as u32)
    }

    /// An expression.
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize].0
    }

    /// The type of an expression.
    pub fn dtype(&self, id: ExprId) -> DType {
        self.exprs[id.0 as usize].1
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ExprId, &Expr, DType)> {
        self.exprs.iter().enumerate().map(|(i, (e, d))| (ExprId(i as u32), e, *d))
    }

    /// Number of expressions.
    pub fn len(&self) -> usize {
        self.exprs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exprs.is_empty()
    }

    /// All loads.
    pub fn loads(&self) -> impl Iterator<Item = &Access> {
        self.exprs.iter().filter_map(|(e, _)| match e {
            Expr::Load(a) => Some(a),
            _ => None,
        })
    }

    /// Changes every access in place (buffer renaming, re-basing).
    pub fn map_loads(&mut self, mut f: impl FnMut(&mut Access)) {
        for (e, _) in &mut self.exprs {
            if let Expr::Load(a) = e {
                f(a);
            }
        }
    }

    /// Scalar operations per element.
    pub fn flops(&self) -> u64 {
        self.exprs
            .iter()
            .map(|(e, _)| match e {
                Expr::Op(op, _) => op.flops(),
                _ => 0,
            })
            .sum()
    }
}
