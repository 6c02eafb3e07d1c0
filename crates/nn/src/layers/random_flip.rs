//! `RandomFlip`.

use super::class::{Call, Layer, layer};
use crate::arguments::{Choice, Seed, Words};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::{NodeId, Op};

/// Which directions are flipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlipMode {
    /// Left and right change places.
    pub horizontal: bool,
    /// Top and bottom change places.
    pub vertical: bool,
}

impl Words for FlipMode {
    const KIND: &'static str = "mode";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("horizontal", FlipMode { horizontal: true, vertical: false }),
        ("vertical", FlipMode { horizontal: false, vertical: true }),
        ("horizontal_and_vertical", FlipMode { horizontal: true, vertical: true }),
    ];
}

layer! {
    /// In training, mirrors each image with probability 1/2 per direction
    /// (<https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_flip/>); same shape.
    RandomFlip
    required {}
    optional {
        mode: Choice<FlipMode> = Choice::of("horizontal_and_vertical"), "`horizontal`, `vertical` or both (default).";
        seed: Seed = Seed(None), "Key of its random numbers; default the model's seed.";
    }
}

impl Layer for RandomFlip {
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        self.image(inputs).map(|s| s.to_vec())
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let mut x = inputs[0];
        if !cx.training {
            return x;
        }
        let n = cx.graph.shape(x)[0];
        let u = cx.random(self.seed, &[2, n]);
        let mode = self.mode.get();
        for (row, (wanted, axis)) in [(mode.horizontal, 2), (mode.vertical, 1)].into_iter().enumerate() {
            if !wanted {
                continue;
            }
            let g = &mut *cx.graph;
            let mine = g.slice(u, 0, row, row + 1);
            let mine = g.reshape(mine, &[n, 1, 1, 1]);
            let half = g.constant(0.5);
            let flip = g.lt(mine, half);
            let flipped = g.op(Op::Flip(vec![axis]), &[x]);
            x = g.select(flip, flipped, x);
        }
        x
    }
}
