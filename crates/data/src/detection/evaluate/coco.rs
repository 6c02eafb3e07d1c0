//! COCO's measure, equal to its reference implementation.
//!
//! Input: picture by picture (by ascending id, where equal scores shall be ordered as the reference orders them),
//! the objects and the detections. Output: [`Summary`] and [`Curve`]s.

use super::super::annotations::Object;
use super::super::results::Detection;
use super::curve::{Curve, average_precision};
use super::matching::{Area, MOST, Matched, THRESHOLDS, counts, matched};
use super::summary::{ClassSummary, Summary};
use super::{by_score, check};
use crate::error::Result;

/// How many detections of a picture and class count, from the fewest.
pub(super) const LIMITS: [usize; 3] = [1, 10, MOST];

/// What is known of one class.
#[derive(Clone, Debug, Default)]
struct Class {
    /// In the order of pictures.
    matched: Vec<Matched>,
    /// Objects that count, by area.
    positives: [u64; 4],
    /// Crowds.
    crowds: u64,
}

/// Judges detections as COCO does.
#[derive(Clone, Debug)]
pub struct Evaluator {
    classes: Vec<Class>,
    images: u64,
}

/// Precision by overlap and recall, and the recall reached, of one class.
pub(super) struct Accumulated {
    /// Average precision by area and overlap; none where no object counts.
    pub(super) precision: [Option<[f64; THRESHOLDS]>; 4],
    /// Recall by area and overlap, with all detections.
    pub(super) recall: [Option<[f64; THRESHOLDS]>; 4],
    /// Recall by [`LIMITS`] and overlap, of all areas.
    pub(super) limited: [Option<[f64; THRESHOLDS]>; 3],
}

impl Evaluator {
    /// An evaluator that has seen nothing.
    pub fn new(classes: usize) -> Evaluator {
        Evaluator { classes: vec![Class::default(); classes], images: 0 }
    }

    /// Adds a picture.
    pub fn add(&mut self, truths: &[Object], found: &[Detection]) -> Result<()> {
        check(self.classes.len(), truths, found)?;
        self.images += 1;
        for (number, class) in self.classes.iter_mut().enumerate() {
            let truths: Vec<&Object> = truths.iter().filter(|t| t.class == number).collect();
            let own: Vec<&Detection> = found.iter().filter(|d| d.class == number).collect();
            for (area, positives) in Area::EACH.into_iter().zip(&mut class.positives) {
                *positives += truths.iter().filter(|t| counts(t, area)).count() as u64;
            }
            class.crowds += truths.iter().filter(|t| t.crowd).count() as u64;
            if !own.is_empty() {
                let order = by_score(own.iter().map(|d| d.score)).into_iter().take(MOST);
                let best: Vec<&Detection> = order.map(|i| own[i]).collect();
                class.matched.extend(matched(&truths, &best));
            }
        }
        Ok(())
    }

    /// The numbers of all pictures so far.
    pub fn summary(&self) -> Summary {
        let one = |class: &Class| {
            let summary = ClassSummary {
                truths: class.positives[0],
                crowds: class.crowds,
                detections: class.matched.len() as u64,
                ..ClassSummary::default()
            };
            (class.accumulate(), summary)
        };
        Summary::new(self.images, self.classes.iter().map(one).collect())
    }

    /// Precision by recall of one class, at the overlap `iou_thresholds()[threshold]`.
    ///
    /// # Panics
    /// If there is no such class or overlap.
    pub fn curve(&self, class: usize, threshold: usize) -> Curve {
        assert!(threshold < THRESHOLDS, "there are {THRESHOLDS} overlaps");
        self.classes[class].curve(&self.classes[class].sorted(), 0, threshold)
    }
}

impl Class {
    /// The detections of all pictures, best first.
    fn sorted(&self) -> Vec<Matched> {
        by_score(self.matched.iter().map(|m| m.score)).into_iter().map(|i| self.matched[i]).collect()
    }

    /// Detections that count for nothing change neither precision nor recall, so they are left out.
    fn curve(&self, sorted: &[Matched], area: usize, threshold: usize) -> Curve {
        let bit = 1u16 << threshold;
        let counted = sorted.iter().filter(|m| m.ignored[area] & bit == 0);
        Curve::new(counted.map(|m| (m.score, m.found[area] & bit != 0)), self.positives[area])
    }

    fn accumulate(&self) -> Accumulated {
        let sorted = self.sorted();
        let mut out = Accumulated { precision: [None; 4], recall: [None; 4], limited: [None; 3] };
        for area in (0..4).filter(|a| self.positives[*a] > 0) {
            let curves: [Curve; THRESHOLDS] = std::array::from_fn(|t| self.curve(&sorted, area, t));
            out.precision[area] = Some(curves.each_ref().map(average_precision));
            out.recall[area] = Some(curves.each_ref().map(Curve::final_recall));
        }
        for (limit, recall) in LIMITS.into_iter().zip(&mut out.limited) {
            let hits = |bit: usize| {
                let hit = |m: &&Matched| {
                    usize::from(m.rank) < limit && m.found[0] & !m.ignored[0] & (1 << bit) != 0
                };
                sorted.iter().filter(hit).count() as f64
            };
            *recall =
                (self.positives[0] > 0).then(|| std::array::from_fn(|t| hits(t) / self.positives[0] as f64));
        }
        out
    }
}
