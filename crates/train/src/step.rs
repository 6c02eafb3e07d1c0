//! The graphs of a model in use: training step, evaluation step, prediction, and the search for a bad value.
//!
//! Input: a network, its goals, the wiring of a data set, a batch size. Output: one graph each. States go by
//! name and are shared between all graphs: weights under their paths, `optimizer/<path>/<slot>`,
//! `optimizer/<slot>`, `iteration`, `learning_rate_scale`, `metric/<log>/total` and `/count`, `bad_step`, `loss_scale/..`.
//! Invariant: once a loss is not finite, no state changes but `bad_step`, which keeps the iteration at which
//! that was first so; it is -1 while all is well.

use crate::Result;
use crate::compile::Goal;
use crate::loss_scale::{self, LossScale};
use crate::model::ProgramSpec;
use crate::rows::{Kept, Rows};
use crate::wiring::{Wire, Wiring, target_name};
use thalweg_base::DType;
use thalweg_graph::{Graph, NodeId, Op, Type, gradients};
use thalweg_nn::metrics;
use thalweg_nn::optimizers::{Apply, Optimizer, Var};
use thalweg_nn::{Forward, ForwardArgs, Network};

/// Steps done: i32.
pub const ITERATION: &str = "iteration";
/// What the schedule's rate is multiplied by: f32.
pub const RATE_SCALE: &str = "learning_rate_scale";
/// The iteration at which the loss was not finite, or -1: i32.
pub const BAD_STEP: &str = "bad_step";
/// What the loss is multiplied by before it is differentiated in half precision: f32. Keras' `LossScaleOptimizer`.
pub const LOSS_SCALE: &str = "loss_scale/dynamic_scale";
/// Steps since the scale changed: i32.
pub const SCALE_STEPS: &str = "loss_scale/step_counter";
/// Steps that changed no weight, as a gradient was not finite: i32. Keras' optimizer does not count them.
pub const SKIPPED: &str = "loss_scale/skipped";
/// The input of example weights.
pub const SAMPLE_WEIGHT: &str = "sample_weight";

/// What every graph is built from.
#[derive(Clone, Copy)]
pub struct Plans<'a> {
    /// The network.
    pub network: &'a Network,
    /// What its outputs are held to.
    pub goals: &'a [Goal],
    /// Which fields feed it.
    pub wiring: &'a Wiring,
    /// Examples in a step.
    pub batch: usize,
    /// Whether examples have weights (their own or their classes').
    pub weighted: bool,
    /// Key of random numbers.
    pub seed: u64,
    /// The data on the device, if batches are taken there.
    pub kept: Option<Kept>,
}

impl<'a> Plans<'a> {
    /// Those of a program.
    pub(crate) fn of(network: &'a Network, goals: &'a [Goal], spec: &'a ProgramSpec) -> Plans<'a> {
        let ProgramSpec { wiring, batch, weighted, seed, kept } = spec;
        Plans { network, goals, wiring, batch: *batch, weighted: *weighted, seed: *seed, kept: *kept }
    }
}

/// A graph being built, with what all kinds share.
struct Builder<'a> {
    g: Graph,
    plans: Plans<'a>,
    weights: Vec<NodeId>,
    iteration: NodeId,
    /// The batch's examples, where the data are on the device.
    rows: Option<Rows>,
}

/// Name of an optimizer's state of a weight.
pub fn slot_name(path: &str, slot: &str) -> String {
    format!("optimizer/{path}/{slot}")
}

/// Names of a log's two states.
pub fn metric_names(log: &str) -> (String, String) {
    (format!("metric/{log}/total"), format!("metric/{log}/count"))
}

/// A state with its type and what it is before the first step.
#[derive(Clone, Debug, PartialEq)]
pub struct StateInit {
    /// Unique name.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Every element's first value.
    pub initial: f64,
}

/// Every state of a training step but the weights, in the order of the training graph.
pub fn training_states(network: &Network, optimizer: &Optimizer, goals: &[Goal]) -> Vec<StateInit> {
    let state = |name: String, ty: Type, initial: f64| StateInit { name, ty, initial };
    let scalar = |name: String, dtype, initial| state(name, Type::new(dtype, &[]), initial);
    let mut all = vec![
        scalar(ITERATION.into(), DType::I32, 0.0),
        scalar(RATE_SCALE.into(), DType::F32, 1.0),
        scalar(BAD_STEP.into(), DType::I32, -1.0),
    ];
    if network.dtype_policy().scales_loss() {
        all.extend(loss_scale::states());
    }
    for weight in network.weights().iter().filter(|w| w.trainable) {
        for slot in optimizer.slots() {
            all.push(state(slot_name(&weight.path, slot.name), Type::f32(&weight.shape), slot.initial));
        }
    }
    for slot in optimizer.scalar_slots() {
        all.push(scalar(format!("optimizer/{}", slot.name), DType::F32, slot.initial));
    }
    for log in crate::compile::log_names(goals) {
        let (total, count) = metric_names(&log);
        all.push(scalar(total, DType::F32, 0.0));
        all.push(scalar(count, DType::F32, 0.0));
    }
    all
}

/// The training step.
pub fn training(plans: Plans<'_>, optimizer: &Optimizer) -> Result<Graph> {
    let mut b = Builder::new(plans, true);
    let scale = b.g.state(RATE_SCALE, Type::f32(&[]));
    let bad = b.g.state(BAD_STEP, Type::new(DType::I32, &[]));
    let (forward, losses) = b.forward_and_losses(true);
    let loss = b.weighted_sum(&losses);

    b.g.set_scope("optimizer");
    let network = b.plans.network;
    let trainable: Vec<usize> = (0..b.weights.len()).filter(|&i| network.weights()[i].trainable).collect();
    let wrt: Vec<NodeId> = trainable.iter().map(|&i| b.weights[i]).collect();
    let scaling = network.dtype_policy().scales_loss().then(|| LossScale::declare(&mut b.g));
    let scaled = scaling.as_ref().map_or(loss, |s| s.scaled(&mut b.g, loss));
    let mut grads = gradients(&mut b.g, scaled, &wrt)?;
    b.g.set_scope("optimizer");
    if let Some(s) = &scaling {
        grads = s.unscaled(&mut b.g, &grads);
    }
    let counted = scaling.as_ref().map_or(b.iteration, |s| s.counted(&mut b.g, b.iteration));
    let rate = optimizer.learning_rate.value(&mut b.g, counted);
    let learning_rate = b.g.mul(rate, scale);
    let mut vars = Vec::with_capacity(trainable.len());
    for (&i, &grad) in trainable.iter().zip(&grads) {
        let weight = &network.weights()[i];
        let ty = Type::f32(&weight.shape);
        let slots = optimizer
            .slots()
            .iter()
            .map(|s| b.g.state(&slot_name(&weight.path, s.name), ty.clone()))
            .collect();
        vars.push(Var { value: b.weights[i], grad, slots, decay: true });
    }
    let scalars: Vec<NodeId> = optimizer
        .scalar_slots()
        .iter()
        .map(|s| b.g.state(&format!("optimizer/{}", s.name), Type::f32(&[])))
        .collect();
    let step = Apply { vars: &vars, scalars: &scalars, iteration: counted, learning_rate };
    let updated = optimizer.apply(&mut b.g, step);

    // A latched bad step freezes everything, so that the host may look as seldom as it likes.
    let zero = b.g.constant_of(DType::I32, 0.0);
    let well = b.g.lt(bad, zero);
    let mut finite = is_finite(&mut b.g, loss);
    let judged = scaling.as_ref().map(|s| (s, s.judge(&mut b.g, &grads)));
    if let Some((_, judged)) = &judged {
        finite = b.g.and(finite, judged.fair);
    }
    let newly_bad = b.g.select(finite, bad, b.iteration);
    let latched = b.g.select(well, newly_bad, bad);
    b.g.update(bad, latched);
    let ok = b.g.and(well, finite);
    let applies = match &judged {
        Some((s, judged)) => s.step(&mut b.g, judged.finite, ok),
        None => ok,
    };
    for (var, new) in vars.iter().zip(&updated.vars) {
        b.guarded(applies, var.value, new.value);
        for (&old, &slot) in var.slots.iter().zip(&new.slots) {
            b.guarded(applies, old, slot);
        }
    }
    for (&old, &new) in scalars.iter().zip(&updated.scalars) {
        b.guarded(applies, old, new);
    }
    for &(i, node) in &forward.updates {
        b.guarded(ok, b.weights[i], node);
    }
    let one = b.g.constant_of(DType::I32, 1.0);
    let next = b.g.add(b.iteration, one);
    b.guarded(ok, b.iteration, next);
    b.advance(Some(ok));
    b.metrics(&losses, loss, Some(ok));
    Ok(b.g)
}

/// The evaluation step: only metrics change.
pub fn evaluation(plans: Plans<'_>) -> Graph {
    let mut b = Builder::new(plans, false);
    let (_, losses) = b.forward_and_losses(false);
    let loss = b.weighted_sum(&losses);
    b.advance(None);
    b.metrics(&losses, loss, None);
    b.g
}

/// Prediction: outputs `output/<name>`. Goals and targets are not used.
pub fn prediction(plans: Plans<'_>) -> Graph {
    let mut b = Builder::new(plans, false);
    let inputs = b.inputs();
    let forward = b.forward(&inputs, false);
    for (info, &node) in plans.network.outputs().iter().zip(&forward.outputs) {
        b.g.output(&format!("output/{}", info.name), node);
    }
    b.g
}

/// What the network computes, in evaluation, up to the tensor of that name: output `value`.
pub(crate) fn tap(plans: Plans<'_>, tensor: &str) -> Graph {
    let mut b = Builder::new(plans, false);
    let inputs = b.inputs();
    let forward = b.forward(&inputs, false);
    if let Some((_, node)) = forward.layer_outputs.iter().find(|(name, _)| name == tensor) {
        let value = b.g.cast(*node, DType::F32);
        b.g.output("value", value);
    }
    b.g
}

/// The training step's forward pass with, per layer and in order, how many values are not finite
/// (`layer/<name>`), and the same of the loss (`loss`).
pub fn diagnosis(plans: Plans<'_>) -> Graph {
    let mut b = Builder::new(plans, true);
    let (forward, losses) = b.forward_and_losses(true);
    let loss = b.weighted_sum(&losses);
    for (name, node) in forward.layer_outputs.iter().chain([&("loss".to_owned(), loss)]) {
        let finite = is_finite(&mut b.g, *node);
        let (one, zero) = (b.g.constant(1.0), b.g.constant(0.0));
        let bad = b.g.select(finite, zero, one);
        let count = b.g.sum_all(bad);
        let label = if *node == loss { "loss".to_owned() } else { format!("layer/{name}") };
        if b.g.outputs.iter().all(|o| o.name != label) {
            b.g.output(&label, count);
        }
    }
    b.g
}

/// `|x| < f32::MAX`: false for NaN too. Not `x - x == 0`, which a simplifier may fold; not infinity, for which
/// some device languages have no literal.
pub(crate) fn is_finite(g: &mut Graph, x: NodeId) -> NodeId {
    let size = g.abs(x);
    let most = g.constant(f64::from(f32::MAX));
    g.lt(size, most)
}

impl<'a> Builder<'a> {
    fn new(plans: Plans<'a>, training: bool) -> Builder<'a> {
        let mut g = Graph::new();
        let weights = plans.network.weights().iter().map(|w| g.state(&w.path, Type::f32(&w.shape))).collect();
        // Prediction and evaluation draw no random numbers and need no counter.
        let iteration = if training {
            g.state(ITERATION, Type::new(DType::I32, &[]))
        } else {
            g.constant_of(DType::I32, 0.0)
        };
        let rows = Rows::of(&mut g, plans.kept, plans.batch);
        Builder { g, plans, weights, iteration, rows }
    }

    fn wire(&mut self, name: &str, wire: &Wire) -> NodeId {
        self.batch(name, wire.dtype, &wire.shape)
    }

    /// A batch of examples of that shape: an input, or taken from the data on the device.
    fn batch(&mut self, name: &str, dtype: DType, shape: &[usize]) -> NodeId {
        match &self.rows {
            Some(rows) => rows.take(&mut self.g, name, dtype, shape),
            None => self.g.input(name, Type::new(dtype, &[&[self.plans.batch], shape].concat())),
        }
    }

    /// Moves on to the next batch, where a step may move anything.
    fn advance(&mut self, ok: Option<NodeId>) {
        if let Some(rows) = &self.rows {
            let (place, next) = (rows.place, rows.next(&mut self.g));
            self.update(ok, place, next);
        }
    }

    /// The network's inputs, in its shapes.
    fn inputs(&mut self) -> Vec<NodeId> {
        let infos = self.plans.network.inputs();
        let wiring = self.plans.wiring;
        infos
            .iter()
            .zip(&wiring.inputs)
            .map(|(info, wire)| {
                let node = self.wire(&format!("input/{}", info.name), wire);
                let shape = [&[self.plans.batch], info.shape.as_slice()].concat();
                self.g.reshape(node, &shape)
            })
            .collect()
    }

    fn forward(&mut self, inputs: &[NodeId], training: bool) -> Forward {
        let args = ForwardArgs {
            weights: &self.weights,
            inputs,
            training,
            step: self.iteration,
            seed: self.plans.seed,
        };
        self.plans.network.forward(&mut self.g, &args)
    }

    /// The forward pass, and per goal what the reductions and metrics need.
    fn forward_and_losses(&mut self, training: bool) -> (Forward, Vec<GoalNodes>) {
        let inputs = self.inputs();
        let wiring = self.plans.wiring;
        let targets: Vec<NodeId> = self
            .plans
            .goals
            .iter()
            .zip(&wiring.targets)
            .map(|(goal, wires)| self.target(goal, wires))
            .collect();
        let weight = self.plans.weighted.then(|| {
            let shape = wiring.weight.as_ref().map_or(&[][..], |w| w.shape.as_slice());
            self.batch(SAMPLE_WEIGHT, DType::F32, shape)
        });
        let forward = self.forward(&inputs, training);
        self.g.set_scope("loss");
        let goals = self.plans.goals.iter().zip(targets);
        let nodes = goals
            .map(|(goal, target)| {
                let (pred, logits) = (forward.outputs[goal.output], forward.logits[goal.output]);
                let costs = goal.loss.per_element(&mut self.g, target, pred, logits);
                let loss = thalweg_nn::losses::reduce(&mut self.g, costs, weight);
                GoalNodes { target, pred, weight, loss }
            })
            .collect();
        (forward, nodes)
    }

    /// A goal's target; of several fields, joined along the last axis.
    fn target(&mut self, goal: &Goal, wires: &[Wire]) -> NodeId {
        let dtype = goal.loss.target_dtype();
        let mut parts = Vec::with_capacity(wires.len());
        for (i, wire) in wires.iter().enumerate() {
            let node = self.wire(&target_name(goal, wires.len(), i), wire);
            let node = self.g.cast(node, dtype);
            let lead = wires[0].shape.len();
            parts.push(match wire.shape.len() < lead {
                true => {
                    let shape = [self.g.shape(node), &[1]].concat();
                    self.g.reshape(node, &shape)
                }
                false => node,
            });
        }
        match parts[..] {
            [one] => one,
            _ => self.g.op(Op::Concat(wires[0].shape.len()), &parts),
        }
    }

    fn weighted_sum(&mut self, nodes: &[GoalNodes]) -> NodeId {
        let terms: Vec<NodeId> = nodes
            .iter()
            .zip(self.plans.goals)
            .map(|(n, goal)| if goal.weight == 1.0 { n.loss } else { self.g.scale(n.loss, goal.weight) })
            .collect();
        let first = terms.first().copied().unwrap_or_else(|| self.g.constant(0.0));
        terms.iter().skip(1).fold(first, |sum, &t| self.g.add(sum, t))
    }

    /// Sums of the loss (each batch by its size, as Keras' loss tracker) and of every metric.
    fn metrics(&mut self, nodes: &[GoalNodes], loss: NodeId, ok: Option<NodeId>) {
        self.g.set_scope("metrics");
        self.track("loss", loss, ok);
        for (n, goal) in nodes.iter().zip(self.plans.goals) {
            if let Some(log) = &goal.loss_log {
                self.track(log, n.loss, ok);
            }
        }
        for (n, goal) in nodes.iter().zip(self.plans.goals) {
            for m in &goal.metrics {
                let (total, count) = self.metric_states(&m.name);
                let weight = n.weight.filter(|_| m.weighted);
                let values = if weight.is_some() {
                    m.metric.per_element(&mut self.g, n.target, n.pred)
                } else {
                    m.metric.value(&mut self.g, n.target, n.pred)
                };
                let (t, c) = metrics::accumulate(&mut self.g, total, count, values, weight);
                self.update(ok, total, t);
                self.update(ok, count, c);
            }
        }
        self.g.set_scope("");
    }

    /// Adds a batch's mean, weighted by the batch's size.
    fn track(&mut self, log: &str, mean: NodeId, ok: Option<NodeId>) {
        let (total, count) = self.metric_states(log);
        let n = self.plans.batch as f64;
        let sum = self.g.scale(mean, n);
        let t = self.g.add(total, sum);
        let c = self.g.offset(count, n);
        self.update(ok, total, t);
        self.update(ok, count, c);
    }

    fn metric_states(&mut self, log: &str) -> (NodeId, NodeId) {
        let (total, count) = metric_names(log);
        (self.g.state(&total, Type::f32(&[])), self.g.state(&count, Type::f32(&[])))
    }

    fn update(&mut self, ok: Option<NodeId>, old: NodeId, new: NodeId) {
        match ok {
            Some(ok) => self.guarded(ok, old, new),
            None => self.g.update(old, new),
        }
    }

    fn guarded(&mut self, ok: NodeId, old: NodeId, new: NodeId) {
        let value = self.g.select(ok, new, old);
        self.g.update(old, value);
    }
}

/// The nodes of one goal.
struct GoalNodes {
    target: NodeId,
    pred: NodeId,
    weight: Option<NodeId>,
    /// The reduced loss, not yet multiplied by its weight.
    loss: NodeId,
}
