//! `DecodeBoxes`: a detector's feature maps become boxes.

use super::class::{Call, Layer, layer};
use crate::arguments::Dims;
use crate::detection::{Level, decode, width};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::NodeId;

layer! {
    /// Boxes of the points of feature maps. Ours: Keras has no detector without anchor boxes.
    ///
    /// Inputs: for each level its class logits `[N, h, w, classes]`, then its distances `[N, h, w, 4]` (logarithms, in
    /// strides: left, top, right, bottom) or `[N, h, w, 4 * bins]` (logits of distributions over 0 to bins - 1). Output
    /// `[N, points, 7 + classes + 4 * bins]`: corners in pixels, point, stride, class logits, and the logits of the bins where
    /// there are.
    DecodeBoxes
    required {
        strides: Dims, "Pixels between the points of each level, in the order of the inputs.";
    }
    optional {}
}

impl DecodeBoxes {
    /// (classes, bins or 0, points) of maps that fit each other.
    fn layout(&self, inputs: &[Shape]) -> Result<(usize, usize, usize), String> {
        if inputs.len() != 2 * self.strides.0.len() || inputs.is_empty() {
            return Err(format!(
                "it takes class logits and distances for each of strides {:?}",
                self.strides.0
            ));
        }
        let (mut all, mut points) = (None, 0);
        for pair in inputs.chunks_exact(2) {
            let (&[h, w, classes], &[h2, w2, sides]) = (pair[0].as_slice(), pair[1].as_slice()) else {
                return Err("it takes maps [N, rows, columns, channels]".into());
            };
            if (h, w) != (h2, w2)
                || sides % 4 != 0
                || *all.get_or_insert((classes, sides)) != (classes, sides)
            {
                let fix = "class logits and distances of a level need the same rows and columns, and all levels the \
                           same channels: classes, and 4 or 4 * bins";
                return Err(fix.into());
            }
            points += h * w;
        }
        let (classes, sides) = all.unwrap_or((0, 4));
        Ok((classes, if sides == 4 { 0 } else { sides / 4 }, points))
    }
}

impl Layer for DecodeBoxes {
    fn check(&self) -> Result<(), String> {
        match self.strides.0.iter().any(|&s| s < 1) {
            true => Err(format!("strides must be positive; got {:?}", self.strides.0)),
            false => Ok(()),
        }
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let (classes, bins, points) = self.layout(inputs).map_err(|fix| self.refuse(inputs, fix))?;
        Ok(vec![points, width(classes, bins)])
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let levels: Vec<Level> = inputs
            .chunks_exact(2)
            .zip(&self.strides.0)
            .map(|(maps, &stride)| Level { logits: maps[0], distances: maps[1], stride: stride as usize })
            .collect();
        let predictions = decode(cx.graph, &levels);
        predictions.pack(cx.graph)
    }
}
