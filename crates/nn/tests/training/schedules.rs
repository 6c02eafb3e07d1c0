//! Schedules against Keras, at their borders, and rounded to f32.

use crate::config;
use serde_json::json;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, Type};
use thalweg_nn::schedules::Schedule;
use thalweg_testkit::{Golden, run_rounded};

fn rounded(schedule: &Schedule, step: u64) -> f64 {
    let mut g = Graph::new();
    let iteration = g.input("iteration", Type::new(DType::I32, &[]));
    let value = schedule.value(&mut g, iteration);
    g.output("rate", value);
    let feeds = Feeds { inputs: vec![Tensor::scalar(step as f64)], states: Vec::new() };
    run_rounded(&g, &feeds).outputs[0].1.data[0]
}

#[test]
fn keras_goldens() {
    let golden = Golden::open("optimizers");
    let mut problems = Vec::new();
    for case in golden.list("schedules") {
        let schedule = Schedule::from_value(config(case)).unwrap();
        for (step, want) in case["values"].as_array().unwrap().iter().enumerate() {
            let (want, step) = (want.as_f64().unwrap(), step as u64);
            for (how, got) in [("f64", schedule.at(step)), ("f32", rounded(&schedule, step))] {
                if (got - want).abs() > 1e-8 + 1e-6 * want.abs() {
                    problems.push(format!("{} at {step}, {how}: {got} for {want}", case["name"]));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

fn schedule(value: serde_json::Value) -> Schedule {
    Schedule::from_value(value).unwrap()
}

#[test]
fn borders_hold_far_out_and_in_f32() {
    let stairs = schedule(json!({"name": "exponential_decay", "initial_learning_rate": 1.0,
        "decay_steps": 1563, "decay_rate": 0.5, "staircase": true}));
    for k in 1..40_u64 {
        for (step, want) in [(k * 1563 - 1, k - 1), (k * 1563, k)] {
            let want = 0.5_f64.powi(want as i32);
            assert!((rounded(&stairs, step) / want - 1.0).abs() < 1e-5, "step {step}");
        }
    }
    for (t, restarts) in [(2.0_f64, 10), (3.0, 6)] {
        let cosines = schedule(json!({"name": "cosine_decay_restarts", "initial_learning_rate": 1.0,
            "first_decay_steps": 391, "t_mul": t}));
        let mut start = 0.0;
        for i in 0..restarts {
            let step = start as u64;
            assert!((rounded(&cosines, step) - 1.0).abs() < 1e-5, "restart {i} of t_mul {t}, at {step}");
            start += 391.0 * t.powi(i);
            assert!(rounded(&cosines, start as u64 - 1) < 1e-4, "end {i} of t_mul {t}");
        }
    }
}

#[test]
fn warmup_reaches_the_schedule_and_follows_it() {
    let cosine = json!({"name": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 40});
    let warm = schedule(json!({"name": "linear_warmup", "warmup_steps": 10, "schedule": cosine}));
    let keras = schedule(json!({"name": "cosine_decay", "initial_learning_rate": 0.0, "decay_steps": 40,
        "warmup_target": 0.1, "warmup_steps": 10}));
    for step in 0..70 {
        assert!((warm.at(step) - keras.at(step)).abs() < 1e-8, "step {step}");
    }
    let flat = schedule(json!({"name": "linear_warmup", "warmup_steps": 4, "schedule": 0.2,
        "initial_learning_rate": 0.1}));
    for (step, want) in [(0, 0.1), (2, 0.15), (4, 0.2), (1000, 0.2)] {
        assert!((flat.at(step) - want).abs() < 1e-7);
    }
    assert!((Schedule::from(0.3).at(7) - 0.3).abs() < 1e-7);
}
