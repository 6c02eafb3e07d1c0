//! A value that gradients do not pass: for terms whose gradient is known to vanish.

use crate::{DType, Graph, NodeId, Op};

impl Graph {
    /// `x`, as a constant to differentiation: a cast to the type it has. Only casts to another float type pass
    /// gradients; this one does nothing else, and the simplifier drops it once the gradients are built.
    pub fn stop_gradient(&mut self, x: NodeId) -> NodeId {
        let dtype: DType = self.ty(x).dtype;
        self.op(Op::Cast(dtype), &[x])
    }
}
