//! Which class is taken for which, what is missed, and what is found where nothing is.
//!
//! Input: picture by picture, the objects and the detections. Output: counts. The rule: detections of enough score
//! choose in the order of their scores; each takes the free object of any class that it overlaps most and at least
//! as much as asked. Crowds are no rows: a detection that takes none but lies in a crowd is not counted.

use super::super::annotations::Object;
use super::super::results::Detection;
use super::{by_score, check};
use crate::error::Result;

/// Which detections count, and for what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judge {
    /// The least score.
    pub score: f64,
    /// The least overlap.
    pub overlap: f64,
}

impl Default for Judge {
    /// A score of 0.25, an overlap of 0.5.
    fn default() -> Judge {
        Judge { score: 0.25, overlap: 0.5 }
    }
}

/// Counts by (what it is, what it is taken for); the class after the last stands for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    judge: Judge,
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize, judge: Judge) -> Confusion {
        Confusion { judge, classes, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// Adds a picture.
    pub fn add(&mut self, truths: &[Object], found: &[Detection]) -> Result<()> {
        check(self.classes, truths, found)?;
        let found: Vec<&Detection> = found.iter().filter(|d| d.score >= self.judge.score).collect();
        let mut free: Vec<bool> = truths.iter().map(|t| !t.crowd).collect();
        for i in by_score(found.iter().map(|d| d.score)) {
            let detection = found[i];
            let overlaps = truths.iter().zip(&free).enumerate().filter(|(_, (_, free))| **free);
            let overlaps = overlaps.map(|(t, (truth, _))| (t, detection.rect.iou(&truth.rect)));
            let most = overlaps.fold((0, -1.0), |most, one| if one.1 > most.1 { one } else { most });
            let in_crowd = |t: &Object| {
                t.crowd && detection.rect.intersection(&t.rect) >= self.judge.overlap * detection.rect.area()
            };
            match most {
                (t, overlap) if overlap >= self.judge.overlap => {
                    free[t] = false;
                    self.count(truths[t].class, detection.class);
                }
                _ if truths.iter().any(in_crowd) => {}
                _ => self.count(self.classes, detection.class),
            }
        }
        for (truth, _) in truths.iter().zip(free).filter(|(_, free)| *free) {
            self.count(truth.class, self.classes);
        }
        Ok(())
    }

    fn count(&mut self, is: usize, taken_for: usize) {
        self.counts[is * (self.classes + 1) + taken_for] += 1;
    }

    /// Number of classes; the class of that number stands for nothing.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often something of class `is` was taken for `taken_for`.
    ///
    /// # Panics
    /// If a class is beyond that of nothing.
    pub fn get(&self, is: usize, taken_for: usize) -> u64 {
        assert!(is <= self.classes && taken_for <= self.classes);
        self.counts[is * (self.classes + 1) + taken_for]
    }

    /// Which detections count.
    pub fn judge(&self) -> Judge {
        self.judge
    }
}
