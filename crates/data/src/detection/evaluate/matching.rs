//! Which detection finds which object: COCO's rule, in one picture and of one class.
//!
//! Input: the objects and the detections, best first. Output: per detection whether it finds something, and whether
//! that counts, for each area and overlap. The rule: detections choose in the order of their scores; each takes the
//! free object that it overlaps most and at least as much as asked, of equal ones the last; one that counts is
//! preferred to any that does not (crowds, and objects of another size than is judged); crowds may be taken again
//! and again. A detection counts for nothing if what it took does not count, or if it took nothing and has
//! another size than is judged.

use super::super::annotations::Object;
use super::super::rect::Rect;
use super::super::results::Detection;

/// How many overlaps are asked for.
pub(super) const THRESHOLDS: usize = 10;

/// Detections of a picture and class that are looked at: the best ones.
pub(super) const MOST: usize = 100;

/// The overlaps that are asked for: 0.50, 0.55, .. 0.95, to the bit those of the reference, which computes them so.
pub fn iou_thresholds() -> [f64; THRESHOLDS] {
    let step = (0.95 - 0.5) / (THRESHOLDS - 1) as f64;
    let mut all = std::array::from_fn(|i| i as f64 * step + 0.5);
    all[THRESHOLDS - 1] = 0.95;
    all
}

/// Which sizes of objects are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// All.
    All,
    /// Up to 32 x 32 pixels.
    Small,
    /// From there to 96 x 96 pixels.
    Medium,
    /// From there on.
    Large,
}

impl Area {
    /// All of them.
    pub const EACH: [Area; 4] = [Area::All, Area::Small, Area::Medium, Area::Large];

    /// Square pixels, both ends belonging to it.
    pub fn range(self) -> (f64, f64) {
        match self {
            Area::All => (0.0, 1e10),
            Area::Small => (0.0, 1024.0),
            Area::Medium => (1024.0, 9216.0),
            Area::Large => (9216.0, 1e10),
        }
    }

    fn holds(self, area: f64) -> bool {
        let (low, high) = self.range();
        (low..=high).contains(&area)
    }
}

/// What a detection counts for; one bit per overlap, one number per area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matched {
    pub(super) score: f64,
    /// Its place among the detections of its picture and class.
    pub(super) rank: u8,
    /// Whether it found something.
    pub(super) found: [u16; 4],
    /// Whether it counts for nothing.
    pub(super) ignored: [u16; 4],
}

/// How much of a detection and an object is shared: of a crowd it may be any part.
fn overlap(detection: &Rect, truth: &Object) -> f64 {
    match truth.crowd {
        false => detection.iou(&truth.rect),
        true => match detection.intersection(&truth.rect) {
            0.0 => 0.0,
            both => both / detection.area(),
        },
    }
}

/// Matches the detections, best first, of a picture and class; at most [`MOST`] of them.
pub(super) fn matched(truths: &[&Object], found: &[&Detection]) -> Vec<Matched> {
    let overlaps: Vec<f64> = found.iter().flat_map(|d| truths.iter().map(|t| overlap(&d.rect, t))).collect();
    let fresh = |(rank, d): (usize, &&Detection)| Matched {
        score: d.score,
        rank: rank as u8,
        found: [0; 4],
        ignored: [0; 4],
    };
    let mut all: Vec<Matched> = found.iter().enumerate().map(fresh).collect();
    for (a, area) in Area::EACH.into_iter().enumerate() {
        let choice = Choice::new(area, truths, &overlaps, found.len());
        for (bit, threshold) in iou_thresholds().into_iter().enumerate() {
            choice.run(threshold, |rank, taken| {
                let ignored = match taken {
                    Some(truth) => choice.ignored[truth],
                    None => !area.holds(found[rank].rect.area()),
                };
                all[rank].found[a] |= u16::from(taken.is_some()) << bit;
                all[rank].ignored[a] |= u16::from(ignored) << bit;
            });
        }
    }
    all
}

/// Whether an object counts.
pub(super) fn counts(truth: &Object, area: Area) -> bool {
    !truth.crowd && area.holds(truth.area)
}

/// The objects as detections of one area choose among them.
struct Choice<'a> {
    truths: &'a [&'a Object],
    /// Those that count first.
    order: Vec<usize>,
    ignored: Vec<bool>,
    /// One row per detection.
    overlaps: &'a [f64],
    detections: usize,
}

impl<'a> Choice<'a> {
    fn new(area: Area, truths: &'a [&'a Object], overlaps: &'a [f64], detections: usize) -> Choice<'a> {
        let ignored: Vec<bool> = truths.iter().map(|t| !counts(t, area)).collect();
        let mut order: Vec<usize> = (0..truths.len()).collect();
        order.sort_by_key(|&t| ignored[t]);
        Choice { truths, order, ignored, overlaps, detections }
    }

    /// Tells for each detection which object it takes.
    fn run(&self, threshold: f64, mut tell: impl FnMut(usize, Option<usize>)) {
        let mut free = vec![true; self.truths.len()];
        for rank in 0..self.detections {
            let row = &self.overlaps[rank * self.truths.len()..][..self.truths.len()];
            let mut least = threshold;
            let mut taken: Option<usize> = None;
            for &t in &self.order {
                if !free[t] && !self.truths[t].crowd {
                    continue;
                }
                if self.ignored[t] && taken.is_some_and(|t| !self.ignored[t]) {
                    break;
                }
                if row[t] >= least {
                    least = row[t];
                    taken = Some(t);
                }
            }
            if let Some(t) = taken {
                free[t] = false;
            }
            tell(rank, taken);
        }
    }
}
