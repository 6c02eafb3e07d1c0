//! `NonMaxSuppression`: a detector's predictions become detections.

use super::class::{Call, Layer, layer};
use crate::arguments::Count;
use crate::detection::{Predictions, Select};
use crate::{LayerError, Precision, Shape};
use thalweg_graph::NodeId;

/// Most scores (points times classes): their numbers are exact in f32, and so are those between them.
const MOST_SCORES: usize = 1 << 22;

layer! {
    /// The best boxes, where they overlap the best of each class alone. Words as in KerasCV's layer of that name.
    ///
    /// Input: the predictions of `DecodeBoxes`. Output `[N, max_detections, 6]`, best first: x1, y1, x2, y2 in pixels, score,
    /// class; rows that are left over have class -1. Nothing is learned through it: as an output of a model it needs no loss.
    NonMaxSuppression
    required {}
    optional {
        confidence_threshold: f64 = 0.01, "Scores must be above it; default 0.01.";
        iou_threshold: f64 = 0.6, "A box goes where a better one of its class overlaps it (IoU) more; default 0.6.";
        candidates: Count = Count(300), "How many of the best scores are looked at; default 300.";
        max_detections: Count = Count(100), "Rows of the result; default 100.";
        bins: i64 = 0, "Bins of each distance's distribution in the predictions; default 0, none.";
    }
}

impl NonMaxSuppression {
    fn own_bins(&self) -> usize {
        usize::try_from(self.bins).unwrap_or(0)
    }
}

impl Layer for NonMaxSuppression {
    fn check(&self) -> Result<(), String> {
        for (name, value) in
            [("confidence_threshold", self.confidence_threshold), ("iou_threshold", self.iou_threshold)]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} must be in [0, 1]; got {value}"));
            }
        }
        match self.bins {
            0 | 2.. => Ok(()),
            other => Err(format!("bins must be 0 or at least 2; got {other}")),
        }
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let shape = self.single(inputs)?;
        let classes = Predictions::classes(shape, self.own_bins()).map_err(|fix| self.refuse(inputs, fix))?;
        if shape[0].saturating_mul(classes) > MOST_SCORES {
            let fix = format!("{} points of {classes} classes are too many; use a smaller image", shape[0]);
            return Err(self.refuse(inputs, fix));
        }
        Ok(vec![self.max_detections.0, 6])
    }

    fn precision(&self) -> Precision {
        Precision::Full
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let predictions = Predictions::unpack(cx.graph, inputs[0], self.own_bins());
        let select = Select {
            confidence_threshold: self.confidence_threshold,
            iou_threshold: self.iou_threshold,
            candidates: self.candidates.0,
            max_detections: self.max_detections.0,
        };
        select.select(cx.graph, &predictions)
    }

    fn decides(&self) -> bool {
        true
    }
}
