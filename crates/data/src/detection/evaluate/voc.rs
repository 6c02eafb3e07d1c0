//! Pascal VOC's measure since 2010: average precision at an overlap of 0.5, as the area below the curve.
//!
//! Input: picture by picture, the objects and the detections. Output: [`VocSummary`]. It differs from COCO's in how
//! detections choose: each looks only at the object that it overlaps most, and is wrong if that has been found
//! already. Objects that are difficult, or stand for crowds, count for nothing. Boxes end where they end; the first
//! program for this measure took their corners for pixels and so made every box a pixel larger.

use super::super::annotations::Object;
use super::super::results::Detection;
use super::curve::{Curve, area_below};
use super::{by_score, check};
use crate::error::Result;

/// The overlap that is asked for.
const OVERLAP: f64 = 0.5;

#[derive(Clone, Debug, Default)]
struct Class {
    /// (score, right), in the order of pictures.
    detections: Vec<(f64, bool)>,
    positives: u64,
}

/// Judges detections as VOC does.
#[derive(Clone, Debug)]
pub struct VocEvaluator {
    classes: Vec<Class>,
}

/// VOC's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct VocSummary {
    /// The mean over the classes that have objects; none where no class has.
    pub map50: Option<f64>,
    /// By class.
    pub ap50: Vec<Option<f64>>,
}

impl VocEvaluator {
    /// An evaluator that has seen nothing.
    pub fn new(classes: usize) -> VocEvaluator {
        VocEvaluator { classes: vec![Class::default(); classes] }
    }

    /// Adds a picture.
    pub fn add(&mut self, truths: &[Object], found: &[Detection]) -> Result<()> {
        check(self.classes.len(), truths, found)?;
        for (number, class) in self.classes.iter_mut().enumerate() {
            let truths: Vec<&Object> = truths.iter().filter(|t| t.class == number).collect();
            let found: Vec<&Detection> = found.iter().filter(|d| d.class == number).collect();
            class.add(&truths, &found);
        }
        Ok(())
    }

    /// The numbers of all pictures so far.
    pub fn summary(&self) -> VocSummary {
        let ap = |class: &Class| {
            let order = by_score(class.detections.iter().map(|d| d.0));
            let curve = Curve::new(order.into_iter().map(|i| class.detections[i]), class.positives);
            (class.positives > 0).then(|| area_below(&curve))
        };
        let ap50: Vec<Option<f64>> = self.classes.iter().map(ap).collect();
        let known: Vec<f64> = ap50.iter().copied().flatten().collect();
        let map50 = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        VocSummary { map50, ap50 }
    }
}

impl Class {
    fn add(&mut self, truths: &[&Object], found: &[&Detection]) {
        let counts = |t: &Object| !t.difficult && !t.crowd;
        self.positives += truths.iter().filter(|t| counts(t)).count() as u64;
        let mut free = vec![true; truths.len()];
        for i in by_score(found.iter().map(|d| d.score)) {
            let overlaps = truths.iter().map(|t| found[i].rect.iou(&t.rect)).enumerate();
            let most = overlaps.fold((0, -1.0), |most, one| if one.1 > most.1 { one } else { most });
            let right = match most {
                (t, overlap) if overlap >= OVERLAP && counts(truths[t]) => {
                    std::mem::replace(&mut free[t], false)
                }
                (_, overlap) if overlap >= OVERLAP => continue,
                _ => false,
            };
            self.detections.push((found[i].score, right));
        }
    }
}
