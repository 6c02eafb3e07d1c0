//! Holding whatever runs graphs to the f64 reference: on every primitive's cases, and on random graphs.

use crate::{Results, Tolerance, compare_results, operands, random_graph, run_reference, shrink};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thalweg_graph::reference::Feeds;
use thalweg_graph::{Graph, ops};

/// Runs every case of every primitive; panics with all that differ. Those of 16 bits may be one rounding off.
pub fn check_cases(tolerance: Tolerance, mut run: impl FnMut(&Graph, &Feeds) -> Results) {
    let mut problems = Vec::new();
    for (i, case) in ops::cases().iter().enumerate() {
        let (graph, _, _) = case.graph();
        let tolerance = case.inputs.iter().find_map(|ty| Tolerance::half(ty.dtype)).unwrap_or(tolerance);
        if let Err(problem) = check_one(&graph, &operands(case, i as u64), tolerance, &mut run) {
            problems.push(format!("case {i}, {}: {problem}\n{graph}", ops::name(&case.op)));
        }
    }
    assert!(problems.is_empty(), "{} cases differ:\n\n{}", problems.len(), problems.join("\n"));
}

/// Runs the random graphs of these seeds; at the first that differs (or panics), panics with a small graph
/// that still does, its seed and its text.
pub fn check_random(seeds: Range<u64>, tolerance: Tolerance, mut run: impl FnMut(&Graph, &Feeds) -> Results) {
    for seed in seeds {
        let (graph, feeds) = random_graph(seed);
        let Err(first) = check_one(&graph, &feeds, tolerance, &mut run) else { continue };
        let (small, feeds) = shrink(&graph, &feeds, |g, f| check_one(g, f, tolerance, &mut run).is_err());
        let problem = check_one(&small, &feeds, tolerance, &mut run).err().unwrap_or(first);
        let values = values(&small, &feeds);
        panic!("random graph {seed}, made small: {problem}\n\n{small}\n{values}");
    }
}

/// Small values as text, so that a failure can be understood from its message alone.
fn values(graph: &Graph, feeds: &Feeds) -> String {
    let inputs = graph.inputs.iter().map(|i| &i.name).zip(&feeds.inputs);
    let states = graph.states.iter().map(|s| &s.name).zip(&feeds.states);
    let lines = inputs.chain(states).map(|(name, t)| match t.data.len() {
        0..=32 => format!("{name} = {:?}", t.data),
        n => format!("{name}: {n} values"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn check_one(
    graph: &Graph,
    feeds: &Feeds,
    tolerance: Tolerance,
    run: &mut impl FnMut(&Graph, &Feeds) -> Results,
) -> Result<(), String> {
    let expected = run_reference(graph, feeds);
    match catch_unwind(AssertUnwindSafe(|| run(graph, feeds))) {
        Ok(found) => compare_results(&expected, &found, tolerance),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rounded;

    #[test]
    fn rounding_to_f32_passes() {
        check_cases(Tolerance::F32, run_rounded);
        check_random(0..40, Tolerance::GRAPH, run_rounded);
    }

    #[test]
    #[should_panic(expected = "made small")]
    fn a_wrong_device_is_caught() {
        check_random(0..40, Tolerance::GRAPH, |g, f| {
            let mut found = run_rounded(g, f);
            found.outputs.iter_mut().for_each(|o| o.1.data.iter_mut().for_each(|v| *v += 0.01));
            found
        });
    }
}
