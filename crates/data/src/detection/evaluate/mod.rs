//! Judges detections by the truth: COCO's numbers, VOC's, precision by recall, which class is taken for which.
//!
//! Input: picture by picture, the objects and what was found. Output: numbers and tables. Invariant: nothing is
//! kept of a picture but what its detections counted for, and the order of pictures matters only where detections
//! of different pictures have the very same score.

mod coco;
mod confusion;
mod curve;
mod matching;
mod summary;
mod voc;

pub use coco::Evaluator;
pub use confusion::{Confusion, Judge};
pub use curve::{Best, Curve};
pub use matching::{Area, iou_thresholds};
pub use summary::{ClassSummary, NUMBERS, Summary};
pub use voc::{VocEvaluator, VocSummary};

use super::annotations::Object;
use super::results::Detection;
use crate::error::{DataError, Result};

/// Refuses what cannot be judged: unknown classes, numbers that are not finite.
fn check(classes: usize, truths: &[Object], found: &[Detection]) -> Result<()> {
    let wrong = |what: String| Err(DataError::argument(what));
    let class = truths.iter().map(|o| o.class).chain(found.iter().map(|d| d.class)).find(|c| *c >= classes);
    if let Some(class) = class {
        return wrong(format!("class {class} cannot be judged: there are {classes} classes (from 0)"));
    }
    let finite = |d: &&Detection| d.score.is_finite() && d.rect.corners().iter().all(|v| v.is_finite());
    match found.iter().find(|d| !finite(d)) {
        Some(d) => wrong(format!("{d:?} cannot be judged: a number is not finite")),
        None => Ok(()),
    }
}

/// The places of `scores`, highest first; equal ones in the order in which they stand.
fn by_score(scores: impl Iterator<Item = f64>) -> Vec<usize> {
    let scores: Vec<f64> = scores.collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Scores are finite, so that they are always ordered; unlike `total_cmp`, 0 equals -0.
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(std::cmp::Ordering::Equal));
    order
}
