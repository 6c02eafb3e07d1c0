//! The text form on random graphs: exact round trips, and no damaged text makes the parser panic.

use thalweg_base::philox::Sequence;
use thalweg_graph::{Graph, GraphError, text, verify::verify};
use thalweg_testkit::{compare_results, random_graph, run_reference};

#[test]
fn random_graphs_round_trip() {
    for seed in 0..150 {
        let (g, feeds) = random_graph(seed);
        let back = text::parse(&g.to_string()).unwrap_or_else(|e| panic!("{e}\n{g}"));
        verify(&back, "parse");
        assert_eq!((g.len(), &g.inputs, &g.states), (back.len(), &back.inputs, &back.states));
        assert_eq!((&g.outputs, &g.updates), (&back.outputs, &back.updates));
        for id in g.ids() {
            let (a, b) = (g.node(id), back.node(id));
            assert_eq!((&a.op, &a.inputs, &a.ty), (&b.op, &b.inputs, &b.ty), "seed {seed}, %{}", id.0);
            assert_eq!(g.scope_of(id), back.scope_of(id));
        }
        let (want, found) = (run_reference(&g, &feeds), run_reference(&back, &feeds));
        assert_eq!(compare_results(&want, &found, thalweg_testkit::Tolerance::EXACT), Ok(()));
    }
}

/// What a damaged text may do: parse to a graph that verifies and prints, or name a line.
fn survives(damaged: &str) {
    match text::parse(damaged) {
        Ok(g) => {
            verify(&g, "parse");
            assert_eq!(text::parse(&g.to_string()).map(|h: Graph| h.to_string()), Ok(g.to_string()));
        }
        Err(GraphError::Parse { line, .. }) => assert!(line >= 1 && line <= damaged.lines().count()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn damaged_texts_are_errors_or_graphs() {
    let mut random = Sequence::new(1, 0xf022, 0);
    for seed in 0..60 {
        let (g, _) = random_graph(seed);
        let whole = g.to_string();
        let tokens: Vec<&str> = whole.split_inclusive([' ', ',', ':', '=', '(', '[', '{', '\n']).collect();
        for _ in 0..60 {
            let mut some = tokens.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(some.len() as u32) as usize;
                let other = tokens[random.below(tokens.len() as u32) as usize];
                match random.below(4) {
                    0 => drop(some.remove(at)),
                    1 => some.insert(at, other),
                    2 => some[at] = other,
                    _ => {
                        let wild =
                            ["0", "68719476736", "-1", "%", "\"", "1:0:0", "3s0d0p9:9", "nan", "é", "}"];
                        some[at] = wild[random.below(wild.len() as u32) as usize];
                    }
                }
            }
            survives(&some.concat());
        }
    }
}
