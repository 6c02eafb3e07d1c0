//! How good detections are: all that is told after a training and by `evaluate`.

use super::evaluator;
use crate::Result;
use thalweg_data::detection::evaluate::{Confusion, Curve, Judge, Summary, VocEvaluator, VocSummary};
use thalweg_data::detection::{Annotations, Detection};

/// What detections are worth.
#[derive(Clone, Debug)]
pub struct Report {
    /// COCO's numbers, and by class.
    pub coco: Summary,
    /// VOC's measure.
    pub voc: VocSummary,
    /// Precision by recall of each class, at an overlap of 0.5.
    pub curves: Vec<Curve>,
    /// Which class is taken for which.
    pub confusion: Confusion,
    /// Pictures, the worst first.
    pub worst: Vec<usize>,
}

impl Report {
    /// Judges what was found in every picture.
    pub fn new(truth: &Annotations, found: &[Vec<Detection>]) -> Result<Report> {
        let classes = truth.class_names.len();
        let coco = evaluator(truth, found)?;
        let mut voc = VocEvaluator::new(classes);
        let mut confusion = Confusion::new(classes, Judge::default());
        let mut errors = Vec::with_capacity(truth.images.len());
        for (image, found) in truth.images.iter().zip(found) {
            voc.add(&image.objects, found)?;
            confusion.add(&image.objects, found)?;
            errors.push(share_of_errors(image.objects.as_slice(), found, classes)?);
        }
        let mut worst: Vec<usize> = (0..errors.len()).collect();
        worst.sort_by(|&a, &b| errors[b].total_cmp(&errors[a]));
        let curves = (0..classes).map(|class| coco.curve(class, 0)).collect();
        Ok(Report { coco: coco.summary(), voc: voc.summary(), curves, confusion, worst })
    }
}

/// What share of a picture's objects and surplus detections is wrong: missed, taken for another class, or not there.
fn share_of_errors(
    objects: &[thalweg_data::detection::Object],
    found: &[Detection],
    classes: usize,
) -> Result<f64> {
    let mut own = Confusion::new(classes, Judge::default());
    own.add(objects, found)?;
    let count = |is: usize, taken: usize| own.get(is, taken) as f64;
    let all: f64 =
        (0..=classes).flat_map(|i| (0..=classes).map(move |j| (i, j))).map(|(i, j)| count(i, j)).sum();
    let right: f64 = (0..classes).map(|c| count(c, c)).sum();
    Ok(if all == 0.0 { 0.0 } else { (all - right) / all })
}
