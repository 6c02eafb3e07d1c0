//! Detection: decoding, assignment and the selection of detections against plain loops and torchvision.

#[cfg(test)]
mod assign;
#[cfg(test)]
mod decode;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod select;

use thalweg_graph::philox::Sequence;
use thalweg_graph::reference::{Feeds, Tensor};
use thalweg_graph::{DType, Graph, NodeId, Type};

/// Numbers of a seed, exact in f32.
struct Random(Sequence);

impl Random {
    fn new(seed: u64) -> Random {
        Random(Sequence::new(seed, 0xde7e, 0))
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        f64::from((low + (high - low) * f64::from(self.0.next_unit())) as f32)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0.below(n as u32) as usize
    }

    fn tensor(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor {
        Tensor::generate(shape, |_| self.within(low, high))
    }
}

/// A graph whose inputs are fed as they are declared.
#[derive(Default)]
struct Fed {
    g: Graph,
    feeds: Feeds,
}

impl Fed {
    fn new() -> Fed {
        Fed { g: Graph::new(), feeds: Feeds::default() }
    }

    fn input(&mut self, dtype: DType, value: &Tensor) -> NodeId {
        let name = format!("x{}", self.g.inputs.len());
        self.feeds.inputs.push(value.clone());
        self.g.input(&name, Type::new(dtype, &value.shape))
    }
}

/// Points (x, y, stride) of square maps over a picture of `side` pixels.
fn points(side: usize) -> Vec<[f64; 3]> {
    let mut all = Vec::new();
    for stride in [8, 16, 32] {
        for i in 0..(side / stride) * (side / stride) {
            let (row, col) = (i / (side / stride), i % (side / stride));
            let at = |i: usize| (i as f64 + 0.5) * stride as f64;
            all.push([at(col), at(row), stride as f64]);
        }
    }
    all
}
