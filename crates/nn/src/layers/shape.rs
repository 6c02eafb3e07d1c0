//! `Flatten` and `Reshape`: other shape, same elements in the same order.

use super::class::{Call, Layer, layer};
use crate::arguments::Dims;
use crate::{LayerError, Shape};
use thalweg_graph::NodeId;

layer! {
    /// All of an example in one axis (<https://keras.io/api/layers/reshaping_layers/flatten/>):
    /// `[N, h, w, c]` to `[N, h * w * c]`.
    Flatten
    required {}
    optional {}
}

layer! {
    /// Another shape (<https://keras.io/api/layers/reshaping_layers/reshape/>): `[N, ..]` to `[N, target_shape]`.
    Reshape
    required {
        target_shape: Dims, "The new shape of an example; one extent may be -1: whatever is left.";
    }
    optional {}
}

fn reshape(cx: &mut Call, x: NodeId, shape: &[usize]) -> NodeId {
    let n = cx.graph.shape(x)[0];
    cx.graph.reshape(x, &[&[n], shape].concat())
}

impl Layer for Flatten {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        Ok(vec![self.single(inputs)?.iter().product()])
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let size = cx.graph.shape(inputs[0])[1..].iter().product();
        reshape(cx, inputs[0], &[size])
    }
}

impl Reshape {
    /// The target with -1 resolved, or `None` where the elements do not suffice or are left over.
    fn target(&self, size: usize) -> Option<Shape> {
        let mut given = self.target_shape.0.iter().filter(|&&d| d > 0);
        let given = given.try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))?;
        let free = self.target_shape.0.contains(&-1);
        (if free { size.is_multiple_of(given) } else { size == given }).then(|| {
            self.target_shape.0.iter().map(|&d| if d > 0 { d as usize } else { size / given }).collect()
        })
    }
}

impl Layer for Reshape {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let size: usize = self.single(inputs)?.iter().product();
        self.target(size).ok_or_else(|| {
            let fix = format!("{size} elements cannot take target_shape {:?}", self.target_shape.0);
            self.refuse(inputs, fix)
        })
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let size = cx.graph.shape(inputs[0])[1..].iter().product();
        match self.target(size) {
            Some(shape) => reshape(cx, inputs[0], &shape),
            None => unreachable!("the layer accepted the shape"),
        }
    }
}
