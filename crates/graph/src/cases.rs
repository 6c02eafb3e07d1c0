//! Test cases of primitives, kept in each operation's own file: what the sweep tests build, differentiate and
//! run on every device. An operation without cases fails the sweep.

use crate::{DType, Graph, NodeId, Op, Scalar, Type};

/// One operation on operands of given types, with values in `low..high`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operation.
    pub op: Op,
    /// Types of the operands.
    pub inputs: Vec<Type>,
    /// Least value of generated operands.
    pub low: f64,
    /// Upper bound of generated operands.
    pub high: f64,
    /// Whether a finite-difference check makes sense (the operation is differentiable, values away from kinks).
    pub differentiable: bool,
}

impl Case {
    /// A differentiable case with f32 operands in -1..1.
    pub fn new(op: Op, shapes: &[&[usize]]) -> Self {
        let inputs = shapes.iter().map(|s| Type::f32(s)).collect();
        Case { op, inputs, low: -1.0, high: 1.0, differentiable: true }
    }

    /// With other operand types.
    pub fn types(mut self, inputs: Vec<Type>) -> Self {
        self.inputs = inputs;
        self
    }

    /// With operands in this range.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        (self.low, self.high) = (low, high);
        self
    }

    /// Not to be differentiated.
    pub fn discrete(mut self) -> Self {
        self.differentiable = false;
        self
    }

    /// The same on a 16-bit type instead of f32, if it works on floats. Not to be differentiated numerically: steps small
    /// enough would be rounded away.
    pub fn in_half(&self, half: DType) -> Option<Case> {
        let mut case = Case { differentiable: false, ..self.clone() };
        let mut any = false;
        for ty in case.inputs.iter_mut().filter(|ty| ty.dtype == DType::F32) {
            (ty.dtype, any) = (half, true);
        }
        if let Op::Pad { value, .. } = &mut case.op {
            *value = Scalar::new(half, value.value());
        }
        any.then_some(case)
    }

    /// A graph with one input per operand and the operation as its output. Returns the inputs and the result.
    pub fn graph(&self) -> (Graph, Vec<NodeId>, NodeId) {
        let mut g = Graph::new();
        let inputs: Vec<NodeId> =
            self.inputs.iter().enumerate().map(|(i, ty)| g.input(&format!("x{i}"), ty.clone())).collect();
        let out = g.op(self.op.clone(), &inputs);
        g.output("y", out);
        (g, inputs, out)
    }
}
