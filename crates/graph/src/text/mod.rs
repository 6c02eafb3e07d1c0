//! The text form of a graph: `graph.to_string()` prints it, [`parse`] reads it back.
//!
//! ```text
//! # a line that starts with '#' is a comment
//! input x: u8[32,32,32,3]
//! state conv2d/kernel: f32[3,3,3,32]
//! %0 = input x : u8[32,32,32,3]
//! %1 = state conv2d/kernel : f32[3,3,3,32]
//! %2 = cast(%0) : f32[32,32,32,3]
//! %3 = conv(%2, %1) {n=32, h=32, ...} : f32[32,30,30,32]  # conv2d
//! output loss = %9
//! update conv2d/kernel = %10
//! ```
//!
//! Node labels are free when reading (`%image` is fine). What follows `#` on a node's line is its scope.
//! A result's shape is written once, as its type: `reshape`, `broadcast`, `iota` and `random` take it from there.
//! Invariant: printing, parsing and printing again gives the same text, and the parsed graph has the same
//! nodes, with constants equal bit by bit.

mod attributes;
mod line;
mod parse;
mod print;

pub use parse::parse;

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::{DType, Graph, GraphError, Op, Scalar, Type};

    fn problem(text: &str) -> (usize, String) {
        match parse(text) {
            Err(GraphError::Parse { line, problem }) => (line, problem),
            other => panic!("parsed, or failed otherwise: {other:?}"),
        }
    }

    #[test]
    fn a_whole_graph_round_trips() {
        let mut g = Graph::new();
        let x = g.input("x", Type::new(DType::U8, &[2, 4]));
        let w = g.state("dense/kernel", Type::f32(&[4, 3]));
        g.set_scope("dense");
        let x = g.cast(x, DType::F32);
        let y = g.dot(x, w, false, false);
        g.set_scope("loss of \"all\"\n# 2");
        let loss = g.sum_all(y);
        g.set_scope("");
        let w2 = g.scale(w, 0.1);
        g.output("the loss: \\", loss);
        g.output("loss", loss);
        g.update(w, w2);
        let text = g.to_string();
        let back = parse(&text).expect("what was printed parses");
        assert_eq!(back.to_string(), text);
        assert_eq!(back.scope_of(loss), "loss of \"all\"\n# 2");
        assert_eq!((&back.outputs, &back.updates), (&g.outputs, &g.updates));
        for id in g.ids() {
            let (a, b) = (g.node(id), back.node(id));
            assert_eq!((&a.op, &a.inputs, &a.ty), (&b.op, &b.inputs, &b.ty));
        }
    }

    #[test]
    fn constants_keep_their_bits() {
        let floats = [0.1, -0.0, 1e-45, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut all: Vec<Scalar> = floats.into_iter().map(Scalar::f32).collect();
        all.push(Scalar::f32(f32::from_bits(0xffa0_0001)));
        all.push(Scalar::new(DType::I32, f64::from(i32::MIN)));
        all.push(Scalar::new(DType::U32, f64::from(u32::MAX)));
        all.push(Scalar::new(DType::U8, 255.0));
        all.push(Scalar::new(DType::Bool, 1.0));
        let mut g = Graph::new();
        for c in &all {
            g.op(Op::Const(*c), &[]);
        }
        let back = parse(&g.to_string()).expect("what was printed parses");
        let found: Vec<Op> = back.ids().map(|id| back.node(id).op.clone()).collect();
        assert_eq!(found, all.into_iter().map(Op::Const).collect::<Vec<_>>());
    }

    #[test]
    fn labels_are_free_and_repeats_are_one_node() {
        let g = parse("input x: f32[2]\n\n# twice\n%a = input x : f32[2]\n%b = neg(%a) : f32[2]\n%c = neg(%a) : f32[2]\noutput y = %c\n")
            .expect("a valid graph");
        assert_eq!(g.len(), 2);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(problem("input x: f32[2]\n%0 = input y : f32[2]").0, 2);
        assert_eq!(problem("input x: f32[2]\ninput x: f32[2]"), (2, "input 'x' is declared twice".into()));
        let leaf = "input x: f32[2]\n%0 = input x : f32[2]\n";
        for (line, part) in [
            ("%1 = negg(%0) : f32[2]", "'negg' is not an operation"),
            ("%1 = neg(%7) : f32[2]", "%7 is not defined"),
            ("%0 = neg(%0) : f32[2]", "%0 is defined twice"),
            ("%1 = neg(%0) : f32[3]", "f32[2]"),
            ("%1 = neg(%0, %0) : f32[2]", "takes 1 operands"),
            ("%1 = neg(%0) {axis=1} : f32[2]", "axis"),
            ("%1 = argmax(%0) : i32[]", "axis"),
            ("%1 = argmax(%0) {axis=x} : i32[]", "'x'"),
            ("%1 = const 300 : u8[]", "300"),
            ("%1 = iota {axis=0} : i32[99999999999999999999]", "number"),
            ("%1 = iota {axis=0} : i32[60000000000,60000000000]", "large"),
            ("update x = %0", "'x' is not a state"),
            ("output y = %0 %0", "unexpected"),
            ("hello", "expected"),
            (
                "%1 = pool_max(%0) {n=1, h=4, w=4, c=1, oh=2, ow=2, rows=2s0d1p0:0, cols=2s2d1p0:0} : f32[1,2,2,1]",
                "at least 1",
            ),
        ] {
            let (at, text) = problem(&format!("{leaf}{line}"));
            assert_eq!(at, 3, "{line}: {text}");
            assert!(text.contains(part), "{line}: {text}");
        }
    }
}
