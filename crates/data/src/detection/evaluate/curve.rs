//! Precision by recall.
//!
//! Input: detections, best first, each right or wrong, and how many objects there are. Output: a point per
//! detection; what is made of them. Invariant: recall never falls along the curve.

/// How many recalls precision is looked up at: 0.00, 0.01, .. 1.00.
const RECALLS: usize = 101;

/// What precision and recall are when detections below a score are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// The score.
    pub score: f64,
    /// The share of detections that are right.
    pub precision: f64,
    /// The share of objects that are found.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Precision and recall with ever more detections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Per detection, best first: (recall, precision) of all up to it.
    pub points: Vec<(f64, f64)>,
    /// Per detection, its score.
    pub scores: Vec<f64>,
    /// Objects that there are to be found.
    pub positives: u64,
}

impl Curve {
    /// From detections, best first, as (score, right).
    pub(super) fn new(detections: impl Iterator<Item = (f64, bool)>, positives: u64) -> Curve {
        let mut curve = Curve { positives, ..Curve::default() };
        let mut right = 0u64;
        for ((score, is_right), seen) in detections.zip(1u64..) {
            right += u64::from(is_right);
            // The reference adds the spacing of numbers at 1, so that nothing is divided by 0.
            let precision = right as f64 / (seen as f64 + f64::EPSILON);
            curve.points.push((right as f64 / positives.max(1) as f64, precision));
            curve.scores.push(score);
        }
        curve
    }

    /// The recall with all detections.
    pub fn final_recall(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.0)
    }

    /// Precision at every point, raised to the highest of any larger recall.
    pub fn envelope(&self) -> Vec<f64> {
        let mut precision: Vec<f64> = self.points.iter().map(|p| p.1).collect();
        for i in (1..precision.len()).rev() {
            precision[i - 1] = precision[i - 1].max(precision[i]);
        }
        precision
    }

    /// The score from which on detections do best, by the harmonic mean of precision and recall.
    pub fn best(&self) -> Option<Best> {
        let mut best: Option<Best> = None;
        for (i, (&(recall, precision), &score)) in self.points.iter().zip(&self.scores).enumerate() {
            // Detections of one score stay or go together.
            if self.scores.get(i + 1) == Some(&score) || recall == 0.0 {
                continue;
            }
            let f1 = 2.0 * precision * recall / (precision + recall);
            if best.is_none_or(|b| f1 > b.f1) {
                best = Some(Best { score, precision, recall, f1 });
            }
        }
        best
    }
}

/// COCO's average precision: the mean of the raised precision at 101 recalls.
pub(super) fn average_precision(curve: &Curve) -> f64 {
    let precision = curve.envelope();
    let (mut at, mut sum) = (0, 0.0);
    for i in 0..RECALLS {
        let wanted = recall_point(i);
        while at < precision.len() && curve.points[at].0 < wanted {
            at += 1;
        }
        // A recall that is not reached has no precision.
        sum += precision.get(at).unwrap_or(&0.0);
    }
    sum / RECALLS as f64
}

/// To the bit those of the reference, which computes them so.
fn recall_point(i: usize) -> f64 {
    i as f64 * (1.0 / (RECALLS - 1) as f64)
}

/// VOC's average precision since 2010: the area below the raised precision.
pub(super) fn area_below(curve: &Curve) -> f64 {
    let mut before = 0.0;
    let mut area = 0.0;
    for (&(recall, _), precision) in curve.points.iter().zip(curve.envelope()) {
        area += (recall - before) * precision;
        before = recall;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_detections_of_three_objects() {
        let curve = Curve::new([(0.9, true), (0.8, false), (0.7, true), (0.6, false)].into_iter(), 3);
        let recalls: Vec<f64> = curve.points.iter().map(|p| p.0).collect();
        assert_eq!(recalls, [1.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        // 34 recalls up to 1/3 at precision 1, 33 up to 2/3 at 2/3, the rest at 0.
        near(average_precision(&curve), (34.0 + 33.0 * 2.0 / 3.0) / 101.0);
        near(area_below(&curve), 1.0 / 3.0 + 2.0 / 9.0);
        let best = curve.best().unwrap();
        assert_eq!(best.score, 0.7);
        near(best.f1, 2.0 / 3.0);
        assert_eq!(Curve::new([(0.5, false)].into_iter(), 2).best(), None);
    }

    #[test]
    fn the_recall_points_end_at_1() {
        assert_eq!((recall_point(0), recall_point(100)), (0.0, 1.0));
    }
}
