//! Random graphs: valid, small, with every primitive, several outputs, updated and swapped states, often with
//! gradients and an optimizer's step; and values for which f32 and f64 agree.
//!
//! A graph grows step by step, each node's value is computed as it is added, and only moderate values are
//! built upon. At the end the whole is thrown away if an f32 rounding could flip one of its decisions
//! (`robust.rs`) or is amplified; then the next attempt of the same seed is made.

mod builder;
mod choosing;
mod contractions;
mod elementwise;
mod halves;
mod movement;
mod robust;
mod training;
mod windows;

use crate::{Tolerance, compare_results, run_reference, run_rounded};
use builder::Builder;
use thalweg_base::philox::Sequence;
use thalweg_graph::Graph;
use thalweg_graph::reference::Feeds;

/// Philox stream of random graphs.
const STREAM: u32 = 0x6aaf;

/// How far rounding every value to f32 may move a result of a kept graph: a tenth of [`Tolerance::GRAPH`].
const ROUNDING: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5, scale: 1e-5 };

/// A random graph and its values: a pure function of the seed.
pub fn random_graph(seed: u64) -> (Graph, Feeds) {
    for attempt in 0.. {
        let (graph, feeds) = attempt_graph(Sequence::new(seed, STREAM, attempt));
        let usable = graph.roots().next().is_some() && robust::is_robust(&graph, &feeds);
        if usable {
            let (exact, rounded) = (run_reference(&graph, &feeds), run_rounded(&graph, &feeds));
            if compare_results(&exact, &rounded, ROUNDING).is_ok() {
                return (graph, feeds);
            }
        }
    }
    unreachable!("some attempt succeeds")
}

fn attempt_graph(random: Sequence) -> (Graph, Feeds) {
    let mut b = Builder::new(random);
    b.start();
    let size = 5 + b.below(36);
    for _ in 0..60 {
        if b.graph.len() >= size {
            break;
        }
        let layer = format!("step{}", b.below(6));
        b.graph.set_scope(&layer);
        step(&mut b);
        b.evaluate();
    }
    b.graph.set_scope("");
    training::finish(&mut b);
    (b.graph, b.feeds)
}

/// One random step; nothing happens where it does not apply.
fn step(b: &mut Builder) {
    match b.below(36) {
        0..=3 => elementwise::unary(b),
        4..=7 => elementwise::binary(b),
        8..=9 => elementwise::choose(b),
        10..=11 => elementwise::convert(b),
        12 => elementwise::integers(b),
        13 => elementwise::normalise(b),
        14 => elementwise::mask(b),
        15 => movement::reshape(b),
        16 => movement::transpose(b),
        17 => movement::broadcast(b),
        18 => movement::slice(b),
        19 => movement::pad(b),
        20 => movement::concat(b),
        21 => movement::flip(b),
        22..=23 => movement::reduce(b),
        24 => movement::argmax(b),
        25..=26 => contractions::dense(b),
        27..=28 => contractions::conv(b),
        29 => contractions::conv_gradient(b),
        30 => windows::pool(b),
        31 => choosing::best(b),
        32 => choosing::rows(b),
        33 => choosing::suppress(b),
        34 => halves::chain(b),
        _ => windows::unpool(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use thalweg_graph::{Op, ops, text, verify::verify};

    #[test]
    fn graphs_are_valid_and_cover_every_primitive() {
        let mut names = BTreeSet::new();
        let (mut swaps, mut updates, mut nodes) = (0, 0, 0);
        for seed in 0..300 {
            let (g, feeds) = random_graph(seed);
            verify(&g, "random_graph");
            assert_eq!(text::parse(&g.to_string()).map(|h| h.to_string()), Ok(g.to_string()), "seed {seed}");
            let live = g.live();
            names.extend(g.ids().filter(|id| live[id.index()]).map(|id| ops::name(&g.node(id).op)));
            updates += g.updates.len();
            swaps += g
                .updates
                .iter()
                .filter(|u| matches!(g.node(u.node).op, Op::State(s) if s != u.state))
                .count();
            nodes += g.len();
            let results = run_reference(&g, &feeds);
            assert!(results.outputs.iter().all(|(_, t)| t.data.iter().all(|v| v.is_finite())), "seed {seed}");
        }
        println!("300 graphs: {nodes} nodes, {updates} updates, {swaps} of them from another state");
        let cases: BTreeSet<&str> = ops::cases().iter().map(|c| ops::name(&c.op)).collect();
        let missing: Vec<_> = cases.difference(&names).collect();
        assert!(missing.is_empty(), "never seen: {missing:?}");
        assert!(swaps > 10 && updates > 100);
    }

    #[test]
    fn most_attempts_are_kept() {
        let kept = |seed: &u64| {
            let (g, f) = attempt_graph(Sequence::new(*seed, STREAM, 0));
            g.roots().next().is_some() && robust::is_robust(&g, &f)
        };
        let count = (0..200).filter(kept).count();
        println!("{count} of 200 first attempts kept");
        assert!(count > 80, "only {count} of 200 first attempts are robust");
    }

    #[test]
    fn the_same_seed_gives_the_same_graph() {
        let ((g, f), (h, e)) = (random_graph(7), random_graph(7));
        assert_eq!((g.to_string(), f.inputs, f.states), (h.to_string(), e.inputs, e.states));
    }
}
