//! `Concatenate`.

use super::class::{Call, Layer, layer};
use crate::{LayerError, Shape};
use thalweg_graph::{NodeId, Op};

layer! {
    /// Its inputs one after another (<https://keras.io/api/layers/merging_layers/concatenate/>), which may
    /// differ along `axis` only.
    Concatenate
    required {}
    optional {
        axis: i64 = -1, "The axis to join, the batch being axis 0; default the last.";
    }
}

impl Layer for Concatenate {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [first, rest @ ..] = inputs else { return Err(self.refuse(inputs, "it takes inputs")) };
        let Some(axis) = super::axis_of(self.axis, first.len()) else {
            return Err(
                self.refuse(inputs, format!("it cannot join along axis {} (the batch is axis 0)", self.axis))
            );
        };
        let mut shape = first.clone();
        for other in rest {
            let fits =
                other.len() == shape.len() && (0..shape.len()).all(|a| a == axis || shape[a] == other[a]);
            if !fits {
                return Err(self.refuse(inputs, format!("inputs may differ along axis {} only", axis + 1)));
            }
            shape[axis] += other[axis];
        }
        Ok(shape)
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let last = cx.graph.shape(inputs[0]).len() - 1;
        let axis = super::axis_of(self.axis, last).map_or(last, |a| a + 1);
        if inputs.len() == 1 { inputs[0] } else { cx.graph.op(Op::Concat(axis), inputs) }
    }
}
