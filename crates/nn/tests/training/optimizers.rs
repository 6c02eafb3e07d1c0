//! Optimizers against Keras: ten steps on two variables, in f64 and rounded to f32.

use crate::{config, spread};
use serde_json::json;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, Type, verify};
use thalweg_nn::optimizers::{Apply, Optimizer, Var};
use thalweg_testkit::{Golden, Results, Tolerance, compare, run_reference, run_rounded};

/// A step as a graph: states are the iteration, the variables with their slots, the scalar slots; inputs the
/// gradients. Also the states before the first step.
fn step_graph(optimizer: &Optimizer, initial: &[Tensor]) -> (Graph, Vec<Tensor>) {
    let (mut g, mut states) = (Graph::new(), vec![Tensor::scalar(0.0)]);
    let iteration = g.state("iteration", Type::new(DType::I32, &[]));
    let mut vars = Vec::new();
    for (i, value) in initial.iter().enumerate() {
        let ty = Type::f32(&value.shape);
        let node = g.state(&format!("w{i}"), ty.clone());
        states.push(value.clone());
        let mut slots = Vec::new();
        for slot in optimizer.slots() {
            slots.push(g.state(&format!("w{i}/{}", slot.name), ty.clone()));
            states.push(Tensor::new(&value.shape, vec![slot.initial; value.data.len()]));
        }
        let grad = g.input(&format!("g{i}"), ty);
        vars.push(Var { value: node, grad, slots, decay: true });
    }
    let mut scalars = Vec::new();
    for slot in optimizer.scalar_slots() {
        scalars.push(g.state(slot.name, Type::f32(&[])));
        states.push(Tensor::scalar(slot.initial));
    }
    let learning_rate = optimizer.learning_rate.value(&mut g, iteration);
    let step = Apply { vars: &vars, scalars: &scalars, iteration, learning_rate };
    let new = optimizer.apply(&mut g, step);
    for (var, new) in vars.iter().zip(&new.vars) {
        g.update(var.value, new.value);
        assert_eq!(var.slots.len(), new.slots.len());
        for (&old, &new) in var.slots.iter().zip(&new.slots) {
            g.update(old, new);
        }
    }
    for (&old, &new) in scalars.iter().zip(&new.scalars) {
        g.update(old, new);
    }
    let one = g.constant_of(DType::I32, 1.0);
    let next = g.add(iteration, one);
    g.update(iteration, next);
    verify::verify(&g, "building an optimizer");
    (g, states)
}

/// The two variables after each step.
fn run(
    optimizer: &Optimizer,
    initial: &[Tensor],
    gradients: &[Vec<Tensor>],
    evaluate: impl Fn(&Graph, &Feeds) -> Results,
) -> Vec<Vec<Tensor>> {
    let (g, states) = step_graph(optimizer, initial);
    let mut feeds = Feeds { inputs: Vec::new(), states };
    let stride = 1 + optimizer.slots().len();
    gradients
        .iter()
        .map(|grads| {
            feeds.inputs = grads.clone();
            feeds.states = evaluate(&g, &feeds).states.into_iter().map(|s| s.1).collect();
            (0..initial.len()).map(|i| feeds.states[1 + i * stride].clone()).collect()
        })
        .collect()
}

/// Part `step` of a tensor whose first axis counts steps.
fn at(t: &Tensor, step: usize) -> Tensor {
    let len = t.data.len() / t.shape[0];
    Tensor::new(&t.shape[1..], t.data[step * len..(step + 1) * len].to_vec())
}

#[test]
fn keras_goldens() {
    let golden = Golden::open("optimizers");
    let initial = ["a", "b"].map(|k| golden.tensor(&format!("initial/{k}")).clone());
    let gradients: Vec<Vec<Tensor>> = (0..10)
        .map(|s| ["a", "b"].map(|k| at(golden.tensor(&format!("gradients/{k}")), s)).to_vec())
        .collect();
    let mut problems = Vec::new();
    for case in golden.list("optimizers") {
        let name = case["name"].as_str().unwrap();
        let optimizer = Optimizer::from_value(config(case)).unwrap();
        type Evaluate = fn(&Graph, &Feeds) -> Results;
        for (how, evaluate, tolerance) in [
            ("f64", run_reference as Evaluate, Tolerance { abs: 1e-7, rel: 1e-7, scale: 1e-7 }),
            ("f32", run_rounded as Evaluate, Tolerance { abs: 1e-6, rel: 1e-6, scale: 1e-6 }),
        ] {
            let found = run(&optimizer, &initial, &gradients, evaluate);
            for (step, vars) in found.iter().enumerate() {
                for (k, var) in ["a", "b"].iter().zip(vars) {
                    let want = at(golden.tensor(&format!("{name}/{k}")), step);
                    problems.extend(
                        compare(&format!("{name}/{k}, step {step}, {how}"), &want, var, tolerance).err(),
                    );
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Runs a formula in f64 beside the optimizer: `rule(w, g, t)` changes one element, with its own state.
fn follows(optimizer: Optimizer, mut rule: impl FnMut(usize, &mut f64, f64, f64)) {
    let initial = [spread(&[6], 1.0)];
    let gradients: Vec<Vec<Tensor>> = (0..12).map(|s| vec![spread(&[6], 3.0 + f64::from(s))]).collect();
    let found = run(&optimizer, &initial, &gradients, run_reference);
    let mut w = initial[0].data.clone();
    for (step, grads) in gradients.iter().enumerate() {
        for (i, (w, &g)) in w.iter_mut().zip(&grads[0].data).enumerate() {
            rule(i, w, g, step as f64 + 1.0);
        }
        let want = Tensor::new(&[6], w.clone());
        compare(&format!("{} step {step}", optimizer.name()), &want, &found[step][0], Tolerance::abs(2e-7))
            .unwrap();
    }
}

#[test]
fn adagrad_formula() {
    let mut sums = [0.1; 6];
    let optimizer = Optimizer::from_value(json!({"name": "Adagrad", "learning_rate": 0.5})).unwrap();
    follows(optimizer, |i, w, g, _| {
        sums[i] += g * g;
        *w -= 0.5 * g / (sums[i] + 1e-7_f64).sqrt();
    });
}

#[test]
fn nadam_formula() {
    let (mut m, mut v, mut products) = ([0.0; 6], [0.0; 6], [1.0; 6]);
    let optimizer = Optimizer::from_value(json!({"name": "nadam", "learning_rate": 0.1})).unwrap();
    assert_eq!(optimizer.scalar_slots()[0].initial, 1.0);
    follows(optimizer, |i, w, g, t| {
        let u = |t: f64| 0.9 * (1.0 - 0.5 * 0.96_f64.powf(t));
        products[i] *= u(t);
        m[i] += (g - m[i]) * (1.0 - 0.9);
        v[i] += (g * g - v[i]) * (1.0 - 0.999);
        let m_hat =
            u(t + 1.0) * m[i] / (1.0 - products[i] * u(t + 1.0)) + (1.0 - u(t)) * g / (1.0 - products[i]);
        *w -= 0.1 * m_hat / ((v[i] / (1.0 - 0.999_f64.powf(t))).sqrt() + 1e-7);
    });
}

#[test]
fn weight_decay_can_be_left_out_for_a_variable() {
    let optimizer = Optimizer::from(thalweg_nn::optimizers::SGD::default()).weight_decay(0.5);
    let mut g = Graph::new();
    let [w, d] = ["w", "d"].map(|n| g.state(n, Type::f32(&[2])));
    let iteration = g.constant_of(DType::I32, 0.0);
    let (zero, rate) = (g.full(&Type::f32(&[2]), 0.0), g.constant(0.1));
    let vars =
        [(w, true), (d, false)].map(|(value, decay)| Var { value, grad: zero, slots: Vec::new(), decay });
    let new = optimizer.apply(&mut g, Apply { vars: &vars, scalars: &[], iteration, learning_rate: rate });
    g.output("w", new.vars[0].value);
    g.output("d", new.vars[1].value);
    let ones = Tensor::new(&[2], vec![1.0; 2]);
    let feeds = Feeds { inputs: Vec::new(), states: vec![ones.clone(), ones] };
    let out = run_reference(&g, &feeds).outputs;
    assert!((out[0].1.data[0] - 0.95).abs() < 1e-7 && out[1].1.data[0] == 1.0);
}
