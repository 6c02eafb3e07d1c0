//! Merging element by element: `Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum`.

use super::class::{Call, Layer, layer};
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

/// Several shapes as one; an extent of 1 repeats, as in Keras.
fn merged(layer: &(impl Layer + Sized), inputs: &[Shape]) -> Result<Shape, LayerError> {
    let [first, rest @ ..] = inputs else { return Err(layer.refuse(inputs, "it takes two or more inputs")) };
    if rest.is_empty() {
        return Err(layer.refuse(inputs, "it takes two or more inputs"));
    }
    let mut shape = first.clone();
    for other in rest {
        let fits =
            other.len() == shape.len() && shape.iter().zip(other).all(|(&a, &b)| a == b || a == 1 || b == 1);
        if !fits {
            let fix = "all inputs need one shape; a Conv2D of kernel_size 1 on one of them can fit channels and size";
            return Err(layer.refuse(inputs, fix));
        }
        shape.iter_mut().zip(other).for_each(|(a, &b)| *a = if *a == 1 { b } else { *a });
    }
    Ok(shape)
}

macro_rules! merge {
    ($($class:ident, $page:literal, $what:literal, |$cx:ident, $x:ident| $make:expr;)*) => {$(
        layer! {
            #[doc = concat!($what, " (<https://keras.io/api/layers/merging_layers/", $page, "/>).")]
            ///
            /// Inputs of one shape, extents of 1 repeat; the output has that shape.
            $class
            required {}
            optional {}
        }

        impl Layer for $class {
            fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
                let shape = merged(self, inputs)?;
                if stringify!($class) == "Subtract" && inputs.len() != 2 {
                    return Err(self.refuse(inputs, "it takes two inputs"));
                }
                Ok(shape)
            }

            fn call(&self, $cx: &mut Call, $x: &[NodeId]) -> NodeId {
                $make
            }
        }
    )*};
}

merge! {
    Add, "add", "The sum of its inputs", |cx, x| fold(x, |a, b| cx.graph.add(a, b));
    Subtract, "subtract", "Its first input less its second", |cx, x| fold(x, |a, b| cx.graph.sub(a, b));
    Multiply, "multiply", "The product of its inputs", |cx, x| fold(x, |a, b| cx.graph.mul(a, b));
    Average, "average", "The mean of its inputs", |cx, x| {
        let sum = fold(x, |a, b| cx.graph.add(a, b));
        cx.graph.scale(sum, 1.0 / x.len() as f64)
    };
    Maximum, "maximum", "The largest of its inputs", |cx, x| fold(x, |a, b| cx.graph.max(a, b));
    Minimum, "minimum", "The smallest of its inputs", |cx, x| fold(x, |a, b| cx.graph.min(a, b));
}

fn fold(x: &[NodeId], mut f: impl FnMut(NodeId, NodeId) -> NodeId) -> NodeId {
    x[1..].iter().fold(x[0], |a, &b| f(a, b))
}
