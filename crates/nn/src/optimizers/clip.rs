//! Gradient clipping, before anything else sees the gradients.

use super::{Optimizer, Var};
use thalweg_graph::{Graph, NodeId};

/// The variables' gradients as the optimizer clips them.
pub(super) fn clipped(g: &mut Graph, optimizer: &Optimizer, vars: &[Var]) -> Vec<NodeId> {
    let grads: Vec<NodeId> = vars.iter().map(|v| v.grad).collect();
    if let Some(limit) = optimizer.clipnorm {
        return grads
            .into_iter()
            .map(|grad| {
                let squared = squared_norm(g, grad);
                let factor = factor(g, squared, limit);
                g.mul(grad, factor)
            })
            .collect();
    }
    if let Some(limit) = optimizer.global_clipnorm {
        let squares: Vec<NodeId> = grads.iter().map(|&grad| squared_norm(g, grad)).collect();
        let Some(total) = squares.into_iter().reduce(|a, b| g.add(a, b)) else { return grads };
        let factor = factor(g, total, limit);
        return grads.into_iter().map(|grad| g.mul(grad, factor)).collect();
    }
    if let Some(limit) = optimizer.clipvalue {
        return grads.into_iter().map(|grad| g.clip(grad, -limit, limit)).collect();
    }
    grads
}

fn squared_norm(g: &mut Graph, x: NodeId) -> NodeId {
    let xx = g.mul(x, x);
    g.sum_all(xx)
}

/// `limit / max(norm, limit)`.
fn factor(g: &mut Graph, squared_norm: NodeId, limit: f64) -> NodeId {
    let norm = g.sqrt(squared_norm);
    let limit = g.constant(limit);
    let divisor = g.max(norm, limit);
    g.div(limit, divisor)
}
