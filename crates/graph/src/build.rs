//! Builder methods: arithmetic with NumPy broadcasting, constants, movement, reductions.
//!
//! They panic where the operands do not fit; layers check first, in the user's words. `Graph::try_op` is the
//! checked way.

use crate::{Graph, NodeId, Op, ReduceKind, ScalarOp, Span, Type};
use thalweg_base::{DType, Scalar};

impl Graph {
    /// An f32 scalar constant.
    pub fn constant(&mut self, value: f64) -> NodeId {
        self.op(Op::Const(Scalar::new(DType::F32, value)), &[])
    }

    /// A scalar constant of a type.
    pub fn constant_of(&mut self, dtype: DType, value: f64) -> NodeId {
        self.op(Op::Const(Scalar::new(dtype, value)), &[])
    }

    /// A constant tensor.
    pub fn full(&mut self, ty: &Type, value: f64) -> NodeId {
        let c = self.constant_of(ty.dtype, value);
        self.broadcast_to(c, &ty.shape)
    }

    /// NumPy broadcasting: axes are matched from the right, extent 1 repeats.
    #[track_caller]
    pub fn broadcast_to(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        if self.shape(x) == shape {
            return x;
        }
        let mut padded = vec![1; shape.len() - self.shape(x).len()];
        padded.extend_from_slice(self.shape(x));
        let x = self.reshape(x, &padded);
        if self.shape(x) == shape { x } else { self.op(Op::Broadcast(shape.to_vec()), &[x]) }
    }

    /// An element-wise operation with NumPy broadcasting of its operands. An f32 constant beside a 16-bit operand is one
    /// of that type, as a Python number is in Keras.
    #[track_caller]
    pub fn scalar(&mut self, op: ScalarOp, args: &[NodeId]) -> NodeId {
        let half = args.iter().map(|&a| self.ty(a).dtype).find(|d| d.is_half());
        let args: Vec<NodeId> = args.iter().map(|&a| half.map_or(a, |half| self.weak(a, half))).collect();
        let rank = args.iter().map(|&a| self.shape(a).len()).max().unwrap_or(0);
        let mut shape = vec![1; rank];
        for &a in &args {
            let s = self.shape(a);
            for (d, &n) in shape[rank - s.len()..].iter_mut().zip(s) {
                assert!(*d == 1 || n == 1 || *d == n, "{}: shapes do not broadcast: {s:?}", op.name());
                *d = if *d == 1 { n } else { *d };
            }
        }
        let args: Vec<NodeId> = args.iter().map(|&a| self.broadcast_to(a, &shape)).collect();
        self.op(Op::Scalar(op), &args)
    }

    /// An f32 constant in that type; anything else as it is.
    fn weak(&mut self, x: NodeId, half: DType) -> NodeId {
        match self.node(x).op {
            Op::Const(c) if c.dtype() == DType::F32 => self.constant_of(half, c.value()),
            _ => x,
        }
    }

    /// Conversion; nothing where the type is already right.
    pub fn cast(&mut self, x: NodeId, dtype: DType) -> NodeId {
        if self.ty(x).dtype == dtype { x } else { self.op(Op::Cast(dtype), &[x]) }
    }

    /// Same elements, other shape.
    #[track_caller]
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        if self.shape(x) == shape { x } else { self.op(Op::Reshape(shape.to_vec()), &[x]) }
    }

    /// Permutes axes.
    #[track_caller]
    pub fn transpose(&mut self, x: NodeId, perm: &[usize]) -> NodeId {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            x
        } else {
            self.op(Op::Transpose(perm.to_vec()), &[x])
        }
    }

    /// `start..stop` along one axis.
    #[track_caller]
    pub fn slice(&mut self, x: NodeId, axis: usize, start: usize, stop: usize) -> NodeId {
        let mut spans: Vec<Span> =
            self.shape(x).iter().map(|&n| Span { start: 0, stop: n, step: 1 }).collect();
        spans[axis] = Span { start, stop, step: 1 };
        self.op(Op::Slice(spans), &[x])
    }

    /// Pads with `value`: per axis (before, after).
    #[track_caller]
    pub fn pad(&mut self, x: NodeId, axes: &[(usize, usize)], value: f64) -> NodeId {
        let value = Scalar::new(self.ty(x).dtype, value);
        self.op(Op::Pad { axes: axes.iter().map(|&(lo, hi)| (lo, hi, 0)).collect(), value }, &[x])
    }

    /// Reduction over axes, which disappear; nothing for no axes.
    #[track_caller]
    pub fn reduce(&mut self, kind: ReduceKind, x: NodeId, axes: &[usize]) -> NodeId {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        if axes.is_empty() { x } else { self.op(Op::Reduce(kind, axes), &[x]) }
    }

    /// Reduction over axes, which stay with extent 1.
    #[track_caller]
    pub fn reduce_keep(&mut self, kind: ReduceKind, x: NodeId, axes: &[usize]) -> NodeId {
        let mut shape = self.shape(x).to_vec();
        for &a in axes {
            shape[a] = 1;
        }
        let y = self.reduce(kind, x, axes);
        self.reshape(y, &shape)
    }

    /// Sum over all axes, a scalar.
    pub fn sum_all(&mut self, x: NodeId) -> NodeId {
        let axes: Vec<usize> = (0..self.shape(x).len()).collect();
        self.reduce(ReduceKind::Sum, x, &axes)
    }

    /// Mean over axes, which stay with extent 1. Of 16-bit floats it is rounded once.
    pub fn mean_keep(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let dtype = self.ty(x).dtype;
        if dtype.is_half() {
            let wide = self.cast(x, DType::F32);
            let mean = self.mean_keep(wide, axes);
            return self.cast(mean, dtype);
        }
        let count: usize = axes.iter().map(|&a| self.shape(x)[a]).product();
        let sum = self.reduce_keep(ReduceKind::Sum, x, axes);
        self.scale(sum, 1.0 / count as f64)
    }

    /// i32 indices of the `k` largest elements along the last axis, best first; ties by index.
    #[track_caller]
    pub fn top_k(&mut self, x: NodeId, k: usize) -> NodeId {
        self.op(Op::TopK(k), &[x])
    }

    /// Elements along an axis at i32 indices `[axes before.., j]`; zero where an index is outside.
    #[track_caller]
    pub fn gather(&mut self, x: NodeId, axis: usize, at: NodeId) -> NodeId {
        self.op(Op::Gather(axis), &[x, at])
    }

    /// Matrix product.
    #[track_caller]
    pub fn dot(&mut self, a: NodeId, b: NodeId, ta: bool, tb: bool) -> NodeId {
        self.op(Op::Dot { ta, tb }, &[a, b])
    }

    /// `x * value`.
    pub fn scale(&mut self, x: NodeId, value: f64) -> NodeId {
        let c = self.constant(value);
        self.mul(x, c)
    }

    /// `x + value`.
    pub fn offset(&mut self, x: NodeId, value: f64) -> NodeId {
        let c = self.constant(value);
        self.add(x, c)
    }

    /// `max(0, x)`. Zero first: its gradient at 0 is 0, as in Keras and PyTorch.
    pub fn relu(&mut self, x: NodeId) -> NodeId {
        let zero = self.constant(0.0);
        self.max(zero, x)
    }

    /// `condition ? then : otherwise`.
    #[track_caller]
    pub fn select(&mut self, condition: NodeId, then: NodeId, otherwise: NodeId) -> NodeId {
        self.scalar(ScalarOp::Select, &[condition, then, otherwise])
    }
}

/// One builder method per operation of the scalar table.
macro_rules! unary {
    ($($name:ident $op:ident $doc:literal;)*) => {
        impl Graph {$(
            #[doc = $doc]
            pub fn $name(&mut self, x: NodeId) -> NodeId {
                self.scalar(ScalarOp::$op, &[x])
            }
        )*}
    };
}
macro_rules! binary {
    ($($name:ident $op:ident $doc:literal;)*) => {
        impl Graph {$(
            #[doc = $doc]
            #[track_caller]
            pub fn $name(&mut self, a: NodeId, b: NodeId) -> NodeId {
                self.scalar(ScalarOp::$op, &[a, b])
            }
        )*}
    };
}
unary! {
    negate Neg "`-x`.";
    abs Abs "`|x|`.";
    exp Exp "`e^x`.";
    log Log "Natural logarithm.";
    sqrt Sqrt "Square root.";
    floor Floor "Largest integer not above `x`.";
    cos Cos "Cosine.";
    tanh Tanh "Hyperbolic tangent.";
    sigmoid Sigmoid "`1 / (1 + e^-x)`.";
    erf Erf "Error function.";
}
binary! {
    add Add "`a + b`.";
    sub Sub "`a - b`.";
    mul Mul "`a * b`.";
    div Div "`a / b`.";
    max Max "The larger; on a tie the gradient goes to `a`.";
    min Min "The smaller; on a tie the gradient goes to `a`.";
    pow Pow "`a ^ b`.";
    lt Lt "`a < b`.";
    eq Eq "`a == b`.";
    and And "`a && b`.";
}
