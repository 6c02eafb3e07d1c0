//! Dynamic loss scaling, as Keras' `LossScaleOptimizer` (<https://keras.io/api/mixed_precision/loss_scale_optimizer/>).
//!
//! Half precision has no number below 6e-8: gradients smaller than that would be lost. So the loss is multiplied by a
//! scale before it is differentiated, and the gradients, which are f32 by then, are divided by it. If one of them is
//! not finite, the step changes no weight, is not counted by the optimizer, and the scale is halved; after
//! [`GROWTH_STEPS`] steps without that it is doubled. Unlike Keras', the scale does not fall below 1: gradients that are
//! not finite there are no matter of scale, and the step is a bad one. Invariant: the scale is a power of two, so that
//! scaling rounds nothing.

use crate::step::{LOSS_SCALE, SCALE_STEPS, SKIPPED, StateInit, is_finite};
use thalweg_base::DType;
use thalweg_graph::{Graph, NodeId, ReduceKind, Type};

/// Keras' `initial_scale`.
const INITIAL_SCALE: f64 = 32768.0;
/// Keras' `dynamic_growth_steps`.
const GROWTH_STEPS: f64 = 2000.0;

/// Its states, with their first values.
pub fn states() -> Vec<StateInit> {
    [(LOSS_SCALE, DType::F32, INITIAL_SCALE), (SCALE_STEPS, DType::I32, 0.0), (SKIPPED, DType::I32, 0.0)]
        .into_iter()
        .map(|(name, dtype, initial)| StateInit { name: name.into(), ty: Type::new(dtype, &[]), initial })
        .collect()
}

/// The states in a graph.
pub struct LossScale {
    scale: NodeId,
    steps: NodeId,
    skipped: NodeId,
}

impl LossScale {
    /// Declares them.
    pub fn declare(g: &mut Graph) -> LossScale {
        let [scale, steps, skipped] =
            [(LOSS_SCALE, DType::F32), (SCALE_STEPS, DType::I32), (SKIPPED, DType::I32)]
                .map(|(name, dtype)| g.state(name, Type::new(dtype, &[])));
        LossScale { scale, steps, skipped }
    }

    /// What is differentiated.
    pub fn scaled(&self, g: &mut Graph, loss: NodeId) -> NodeId {
        g.mul(loss, self.scale)
    }

    /// Gradients of the loss itself.
    pub fn unscaled(&self, g: &mut Graph, grads: &[NodeId]) -> Vec<NodeId> {
        grads.iter().map(|&grad| g.div(grad, self.scale)).collect()
    }

    /// Steps that the optimizer counts, of so many.
    pub fn counted(&self, g: &mut Graph, iteration: NodeId) -> NodeId {
        g.sub(iteration, self.skipped)
    }

    /// Looks at the scaled gradients.
    pub fn judge(&self, g: &mut Graph, grads: &[NodeId]) -> Judged {
        let (none, one) = (g.constant(0.0), g.constant(1.0));
        let mut worst = none;
        for &grad in grads {
            let fine = is_finite(g, grad);
            let bad = g.select(fine, none, one);
            let axes: Vec<usize> = (0..g.shape(bad).len()).collect();
            let any = g.reduce(ReduceKind::Max, bad, &axes);
            worst = g.max(worst, any);
        }
        let finite = g.lt(worst, one);
        let falls = g.lt(one, self.scale);
        let yes = g.constant_of(DType::Bool, 1.0);
        Judged { finite, fair: g.select(finite, yes, falls) }
    }

    /// Moves the scale, if the step is `ok`; returns whether weights change.
    pub fn step(&self, g: &mut Graph, finite: NodeId, ok: NodeId) -> NodeId {
        let whole = |g: &mut Graph, n: f64| g.constant_of(DType::I32, n);
        let (zero, step) = (whole(g, 0.0), whole(g, 1.0));
        let last = whole(g, GROWTH_STEPS - 1.0);
        let grows = g.eq(self.steps, last);
        let (double, half) = (g.scale(self.scale, 2.0), g.scale(self.scale, 0.5));
        let next = g.add(self.steps, step);
        let (grown, restarted) = (g.select(grows, double, self.scale), g.select(grows, zero, next));
        let missed = g.add(self.skipped, step);
        for (old, fine, bad) in
            [(self.scale, grown, half), (self.steps, restarted, zero), (self.skipped, self.skipped, missed)]
        {
            let new = g.select(finite, fine, bad);
            let kept = g.select(ok, new, old);
            g.update(old, kept);
        }
        g.and(ok, finite)
    }
}

/// What a step's gradients are.
pub struct Judged {
    /// Whether all are finite.
    pub finite: NodeId,
    /// Whether they are, or may be with a smaller scale.
    pub fair: NodeId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_graph::reference::{Feeds, Tensor, step};
    use thalweg_nn::optimizers::{Adam, Apply, Optimizer, Var};
    use thalweg_testkit::Golden;

    /// Keras' own course of the scale, to the bit; the weight within f32's rounding.
    #[test]
    fn the_scale_takes_keras_course() {
        let golden = Golden::open("mixed");
        let bad: Vec<usize> = golden.list("bad").iter().map(|b| b.as_u64().unwrap() as usize).collect();
        let mut g = Graph::new();
        let iteration = g.state("iteration", Type::new(DType::I32, &[]));
        let weight = g.state("w", Type::f32(&[]));
        let grad = g.input("grad", Type::f32(&[]));
        let rate = g.constant(0.01);
        let optimizer = Optimizer::from(Adam::default());
        let slots: Vec<NodeId> = optimizer.slots().iter().map(|s| g.state(s.name, Type::f32(&[]))).collect();
        let scaling = LossScale::declare(&mut g);
        let scaled = scaling.scaled(&mut g, grad);
        let grads = scaling.unscaled(&mut g, &[scaled]);
        let counted = scaling.counted(&mut g, iteration);
        let vars = [Var { value: weight, grad: grads[0], slots: slots.clone(), decay: true }];
        let apply = Apply { vars: &vars, scalars: &[], iteration: counted, learning_rate: rate };
        let updated = optimizer.apply(&mut g, apply);
        let ok = g.constant_of(DType::Bool, 1.0);
        let judged = scaling.judge(&mut g, &grads);
        let applies = scaling.step(&mut g, judged.finite, ok);
        let olds = [weight, slots[0], slots[1]];
        let news = [updated.vars[0].value, updated.vars[0].slots[0], updated.vars[0].slots[1]];
        for (old, new) in olds.into_iter().zip(news) {
            let kept = g.select(applies, new, old);
            g.update(old, kept);
        }
        let one = g.constant_of(DType::I32, 1.0);
        let next = g.add(iteration, one);
        g.update(iteration, next);

        let first = |name: &str| match name {
            "w" => 1.0,
            _ => states().iter().find(|s| s.name == name).map_or(0.0, |s| s.initial),
        };
        let mut states: Vec<Tensor> = g.states.iter().map(|s| Tensor::scalar(first(&s.name))).collect();
        let place = |name: &str| g.states.iter().position(|s| s.name == name).unwrap();
        let grads = golden.tensor("scale/grads");
        for i in 0..grads.data.len() {
            let grad = if bad.contains(&i) { f64::INFINITY } else { grads.data[i] };
            states = step(&g, &Feeds { inputs: vec![Tensor::scalar(grad)], states }).1;
            let value = |name: &str| states[place(name)].data[0];
            let keras = |name: &str| golden.tensor(&format!("scale/{name}")).data[i];
            assert_eq!(value(LOSS_SCALE), keras("scales"), "after step {i}");
            assert_eq!(value("iteration") - value(SKIPPED), keras("counted"), "after step {i}");
            assert!((value("w") - keras("weights")).abs() < 1e-4, "after step {i}: {}", value("w"));
        }
    }

    /// The scale falls as far as 1; what is not finite there is a fault, which training must hear of.
    #[test]
    fn what_no_scale_helps_is_a_fault() {
        let mut g = Graph::new();
        let grad = g.input("grad", Type::f32(&[]));
        let scaling = LossScale::declare(&mut g);
        let judged = scaling.judge(&mut g, &[grad]);
        // As the training step has it: a fault changes nothing.
        scaling.step(&mut g, judged.finite, judged.fair);
        g.output("fair", judged.fair);
        let mut states: Vec<Tensor> = states().iter().map(|s| Tensor::scalar(s.initial)).collect();
        let mut run = |grad: f64| {
            let (outputs, next) =
                step(&g, &Feeds { inputs: vec![Tensor::scalar(grad)], states: states.clone() });
            states = next;
            (outputs[0].data[0], states[0].data[0])
        };
        for halved in 1..=15 {
            assert_eq!(run(f64::INFINITY), (1.0, INITIAL_SCALE / f64::from(1 << halved)));
        }
        assert_eq!(run(f64::NAN), (0.0, 1.0));
        assert_eq!(run(f64::INFINITY), (0.0, 1.0));
        assert_eq!(run(3.0), (1.0, 1.0));
    }
}
