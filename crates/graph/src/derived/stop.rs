//! A value that gradients do not pass: for terms whose gradient is known to vanish, or known otherwise.

use crate::{DType, Graph, NodeId, Op};

impl Graph {
    /// `x`, as a constant to differentiation: a cast to the type it has. Only casts to another float type pass
    /// gradients; this one does nothing else, and the simplifier drops it once the gradients are built.
    pub fn stop_gradient(&mut self, x: NodeId) -> NodeId {
        let dtype: DType = self.ty(x).dtype;
        self.op(Op::Cast(dtype), &[x])
    }

    /// `value`, with the gradient of `like`: for a value that is computed in another way than it is best
    /// differentiated. Both are the same but for rounding; once gradients are built nothing is left of `like`.
    pub fn with_gradient_of(&mut self, value: NodeId, like: NodeId) -> NodeId {
        let (value, fixed) = (self.stop_gradient(value), self.stop_gradient(like));
        let nothing = self.sub(like, fixed);
        self.add(value, nothing)
    }
}
