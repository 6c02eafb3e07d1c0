//! Softmax and its logarithm, stable for any finite input.

use crate::{Graph, NodeId, ReduceKind};

impl Graph {
    /// `x - max(x)` along `axis`. The shift cancels in every user below, so its gradient is not built.
    fn shifted(&mut self, x: NodeId, axis: usize) -> NodeId {
        let top = self.reduce_keep(ReduceKind::Max, x, &[axis]);
        let top = self.stop_gradient(top);
        self.sub(x, top)
    }

    /// `e^x / sum(e^x)` along `axis`; same shape.
    #[track_caller]
    pub fn softmax(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shifted = self.shifted(x, axis);
        let e = self.exp(shifted);
        let sum = self.reduce_keep(ReduceKind::Sum, e, &[axis]);
        self.div(e, sum)
    }

    /// `x - log(sum(e^x))` along `axis`; same shape.
    #[track_caller]
    pub fn log_softmax(&mut self, x: NodeId, axis: usize) -> NodeId {
        let shifted = self.shifted(x, axis);
        let e = self.exp(shifted);
        let sum = self.reduce_keep(ReduceKind::Sum, e, &[axis]);
        let log = self.log(sum);
        self.sub(shifted, log)
    }
}
