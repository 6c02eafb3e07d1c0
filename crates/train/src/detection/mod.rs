//! Detectors in use: what a model finds in pictures, in their own pixels, and how good that is.
//!
//! Input: a model with an output that decides (`NonMaxSuppression`), pictures or a [`DetectionSet`]. Output: detections
//! by picture, best first, and a [`Report`]. Invariant: a picture alone, in a folder or in a data set is brought to the
//! model's size in the same way, and boxes are brought back in f64 on the host: devices differ in the network alone.

mod detect;
mod report;

pub use detect::DetectorInput;
pub use report::Report;

use crate::Result;
use thalweg_data::detection::evaluate::Evaluator;
use thalweg_data::detection::{Annotations, Detection};

/// COCO's evaluation of what was found in every picture.
pub fn evaluator(truth: &Annotations, found: &[Vec<Detection>]) -> Result<Evaluator> {
    let mut evaluator = Evaluator::new(truth.class_names.len());
    for (image, found) in truth.images.iter().zip(found) {
        evaluator.add(&image.objects, found)?;
    }
    Ok(evaluator)
}
