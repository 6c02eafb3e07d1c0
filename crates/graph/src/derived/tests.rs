//! Derived operations against their formulas, and their gradients against finite differences.

use super::{Fill, Geometry, Padding};
use crate::reference::{Feeds, Tensor, evaluate};
use crate::{Graph, NodeId, Type, gradients};

fn apply(x: &Tensor, build: impl Fn(&mut Graph, NodeId) -> NodeId) -> Tensor {
    let mut g = Graph::new();
    let node = g.input("x", Type::f32(&x.shape));
    let y = build(&mut g, node);
    let feeds = Feeds { inputs: vec![x.clone()], states: Vec::new() };
    evaluate(&g, &feeds, &[y]).remove(&y).unwrap()
}

/// The gradient of the sum of `build(x)` weighed by 1, 2, 3, ...
fn gradient(x: &Tensor, build: impl Fn(&mut Graph, NodeId) -> NodeId) -> (Tensor, impl Fn(&Tensor) -> f64) {
    let weigh = |t: &Tensor| -> f64 { t.data.iter().enumerate().map(|(i, v)| (i + 1) as f64 * v).sum() };
    let mut g = Graph::new();
    let node = g.input("x", Type::f32(&x.shape));
    let y = build(&mut g, node);
    let shape = g.shape(y).to_vec();
    let w = g.input("w", Type::f32(&shape));
    let weighed = g.mul(y, w);
    let sum = g.sum_all(weighed);
    let dx = gradients(&mut g, sum, &[node]).unwrap()[0];
    let mut i = 0.0;
    let w = Tensor::generate(&shape, |_| {
        i += 1.0;
        i
    });
    let feeds = Feeds { inputs: vec![x.clone(), w], states: Vec::new() };
    (evaluate(&g, &feeds, &[dx]).remove(&dx).unwrap(), move |x: &Tensor| weigh(&apply(x, &build)))
}

/// Away from kinks, on both sides of zero, small and large.
fn samples() -> Tensor {
    let data = vec![-30.0, -7.3, -3.2, -2.1, -0.9, -0.013, 0.011, 0.6, 1.7, 2.9, 3.3, 6.2, 25.0, 80.0];
    Tensor::new(&[2, 7], data)
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let bound = tolerance * (1.0 + expected.abs());
    assert!((found - expected).abs() <= bound, "{what}: {found} instead of {expected}");
}

#[test]
fn activations_follow_their_formulas() {
    type Build = fn(&mut Graph, NodeId) -> NodeId;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| if x > 30.0 { x } else { x.exp().ln_1p() };
    let hard = |x: f64| (x + 3.0).clamp(0.0, 6.0) / 6.0;
    type Formula = Box<dyn Fn(f64) -> f64>;
    let cases: Vec<(&str, Build, Formula)> = vec![
        ("relu6", |g, x| g.relu6(x), Box::new(|x| x.clamp(0.0, 6.0))),
        ("leaky_relu", |g, x| g.leaky_relu(x, 0.25), Box::new(|x| if x > 0.0 { x } else { 0.25 * x })),
        ("elu", |g, x| g.elu(x, 1.5), Box::new(|x| if x > 0.0 { x } else { 1.5 * x.exp_m1() })),
        ("silu", |g, x| g.silu(x), Box::new(move |x| x * sigmoid(x))),
        ("gelu", |g, x| g.gelu(x), Box::new(|x| 0.5 * x * (1.0 + libm_erf(x / 2f64.sqrt())))),
        ("softplus", |g, x| g.softplus(x), Box::new(softplus)),
        ("softsign", |g, x| g.softsign(x), Box::new(|x| x / (1.0 + x.abs()))),
        ("hard_sigmoid", |g, x| g.hard_sigmoid(x), Box::new(hard)),
        ("hard_swish", |g, x| g.hard_swish(x), Box::new(move |x| x * hard(x))),
        ("mish", |g, x| g.mish(x), Box::new(move |x| x * softplus(x).tanh())),
    ];
    let x = samples();
    for (name, build, formula) in cases {
        let y = apply(&x, build);
        let (dx, _) = gradient(&x, build);
        for (i, &v) in x.data.iter().enumerate() {
            close(name, y.data[i], formula(v), 1e-6);
            let h = 1e-5;
            let slope = (formula(v + h) - formula(v - h)) / (2.0 * h);
            close(&format!("{name}' at {v}"), dx.data[i], slope * (i + 1) as f64, 1e-5);
        }
    }
}

fn libm_erf(x: f64) -> f64 {
    crate::ScalarOp::Erf.eval(&[x])
}

#[test]
fn softmax_is_stable() {
    let x = Tensor::new(&[2, 3], vec![1e4, 1e4 - 1.0, -1e4, 0.0, -1.0, -2.0]);
    let y = apply(&x, |g, x| g.softmax(x, 1));
    let l = apply(&x, |g, x| g.log_softmax(x, 1));
    close("softmax", y.data[0], 1.0 / (1.0 + (-1f64).exp()), 1e-9);
    close("softmax", y.data[2], 0.0, 0.0);
    close("log_softmax", l.data[2], -2e4 - (-1f64).exp().ln_1p(), 1e-12);
    for i in 3..6 {
        close("log of softmax", l.data[i], y.data[i].ln(), 1e-12);
    }
}

#[test]
fn gradients_of_composites() {
    let images = Tensor::generate(&[2, 3, 4, 2], |i| {
        ((i[0] * 31 + i[1] * 17 + i[2] * 7 + i[3] * 3) % 13) as f64 / 4.0
    });
    let geometry = Geometry { size: (3, 2), strides: (2, 1), dilation: (1, 1), padding: Padding::Same };
    type Build = Box<dyn Fn(&mut Graph, NodeId) -> NodeId>;
    let cases: Vec<(&str, Build)> = vec![
        ("softmax", Box::new(|g, x| g.softmax(x, 3))),
        ("log_softmax", Box::new(|g, x| g.log_softmax(x, 2))),
        ("variance", Box::new(|g, x| g.moments(x).variance)),
        ("mean", Box::new(|g, x| g.moments(x).mean)),
        ("average_pool", Box::new(move |g, x| g.average_pool(x, geometry.pool([2, 3, 4, 2]).unwrap()))),
        ("nearest", Box::new(|g, x| g.upsample_nearest(x, (2, 3)))),
        ("bilinear", Box::new(|g, x| g.upsample_bilinear(x, (3, 2)))),
        (
            "batch_norm",
            Box::new(|g, x| {
                let moments = g.moments(x);
                g.batch_norm(x, &super::BatchNorm { moments, gamma: None, beta: None, epsilon: 1e-3 })
            }),
        ),
    ];
    for (name, build) in cases {
        let (dx, value) = gradient(&images, &build);
        for i in 0..images.data.len() {
            let h = 1e-4;
            let mut near = images.clone();
            near.data[i] += h;
            let above = value(&near);
            near.data[i] -= 2.0 * h;
            close(&format!("{name} at {i}"), dx.data[i], (above - value(&near)) / (2.0 * h), 1e-5);
        }
    }
}

#[test]
fn averages_do_not_count_padding() {
    let ones = Tensor::new(&[1, 5, 5, 1], vec![1.0; 25]);
    for (size, stride) in [(3, 1), (3, 2), (2, 2), (4, 3)] {
        let geometry =
            Geometry { size: (size, 2), strides: (stride, 1), dilation: (1, 1), padding: Padding::Same };
        let y = apply(&ones, |g, x| g.average_pool(x, geometry.pool([1, 5, 5, 1]).unwrap()));
        assert!(y.data.iter().all(|&v| v == 1.0), "{size} by {stride}: {y:?}");
    }
}

#[test]
fn shifts() {
    let x = Tensor::new(&[3, 4, 1, 1], [[1.0, 2.0, 3.0, 4.0]; 3].concat());
    let shifted = |fill, by: [f64; 3]| {
        apply(&x, move |g, x| {
            let parts: Vec<NodeId> = by
                .iter()
                .map(|&b| {
                    let c = g.constant(b);
                    g.reshape(c, &[1])
                })
                .collect();
            let by = g.op(crate::Op::Concat(0), &parts);
            g.shift_rows(x, by, fill)
        })
        .data
    };
    let by = [1.0, -2.0, 0.5];
    assert_eq!(shifted(Fill::Zero, by), [0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 0.0, 0.0, 0.5, 1.5, 2.5, 3.5]);
    assert_eq!(shifted(Fill::Nearest, by), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0, 1.0, 1.5, 2.5, 3.5]);
    assert_eq!(shifted(Fill::Reflect, by), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 1.0, 1.5, 2.5, 3.5]);
    assert_eq!(shifted(Fill::Wrap, by), [4.0, 1.0, 2.0, 3.0, 3.0, 4.0, 1.0, 2.0, 2.5, 1.5, 2.5, 3.5]);
    assert_eq!(shifted(Fill::Reflect, [4.0, 9.0, -8.0])[..4], [4.0, 3.0, 2.0, 1.0]);
}
