//! COCO's evaluation of detections (Lin et al. 2014), number for number as pycocotools computes it.
//!
//! In: true boxes and detections of some images and classes. Out: precision and recall per threshold of overlap, class, size
//! and number of detections, and the twelve numbers. Boxes are (x, y, w, h) in pixels. Everything is f64 in a fixed
//! order, so that equal scores and overlaps are settled as in the original: earlier detections first, later truths
//! win. Invariant: a class without true boxes takes part in no mean.

/// Thresholds of overlap: 0.50, 0.55 ... 0.95.
const THRESHOLDS: usize = 10;
/// Points of recall: 0, 0.01 ... 1.
const RECALLS: usize = 101;
/// Detections per image and class that count.
const MOST: [usize; 3] = [1, 10, 100];
/// What keeps a precision of nothing from dividing by 0: the spacing of f64 at 1.
const EPSILON: f64 = f64::EPSILON;

/// Sizes of objects, by their area in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Every one.
    All,
    /// Up to 32 x 32.
    Small,
    /// 32 x 32 to 96 x 96.
    Medium,
    /// From 96 x 96.
    Large,
}

impl Size {
    /// All of them.
    pub const ALL: [Size; 4] = [Size::All, Size::Small, Size::Medium, Size::Large];

    /// Least and largest area, both included.
    pub const fn areas(self) -> [f64; 2] {
        match self {
            Size::All => [0.0, 1e10],
            Size::Small => [0.0, 1024.0],
            Size::Medium => [1024.0, 9216.0],
            Size::Large => [9216.0, 1e10],
        }
    }

    /// Whether an area is outside.
    fn excludes(self, area: f64) -> bool {
        let [least, most] = self.areas();
        area < least || area > most
    }
}

/// A true box.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Truth {
    /// Number of its image, from 0.
    pub image: usize,
    /// Number of its class, from 0.
    pub class: usize,
    /// x, y, width, height.
    pub bbox: [f64; 4],
    /// Area of the object, which may be less than the box's.
    pub area: f64,
    /// Whether it is a crowd: detections in it are neither right nor wrong.
    pub crowd: bool,
}

/// A detected box.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Detection {
    /// Number of its image, from 0.
    pub image: usize,
    /// Number of its class, from 0.
    pub class: usize,
    /// x, y, width, height.
    pub bbox: [f64; 4],
    /// How sure the detector is; only the order matters.
    pub score: f64,
}

/// The result.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    classes: usize,
    /// [threshold][recall][class][size][most]; -1 where a class has no true box of that size.
    precision: Vec<f64>,
    /// [threshold][class][size][most], likewise.
    recall: Vec<f64>,
}

/// Overlap threshold of that number, as `numpy.linspace(0.5, 0.95, 10)` gives it.
fn threshold(i: usize) -> f64 {
    if i == THRESHOLDS - 1 { 0.95 } else { i as f64 * ((0.95 - 0.5) / 9.0) + 0.5 }
}

/// Point of recall of that number, as `numpy.linspace(0, 1, 101)` gives it.
fn recall_point(i: usize) -> f64 {
    if i == RECALLS - 1 { 1.0 } else { i as f64 * 0.01 }
}

/// Judges detections on `images` images of `classes` classes.
pub fn evaluate(images: usize, classes: usize, truths: &[Truth], detections: &[Detection]) -> Evaluation {
    let mut e = Evaluation {
        classes,
        precision: vec![-1.0; THRESHOLDS * RECALLS * classes * Size::ALL.len() * MOST.len()],
        recall: vec![-1.0; THRESHOLDS * classes * Size::ALL.len() * MOST.len()],
    };
    let slot = |image: usize, class: usize| class * images + image;
    let mut true_here: Vec<Vec<Truth>> = vec![Vec::new(); images * classes];
    let mut found_here: Vec<Vec<Detection>> = vec![Vec::new(); images * classes];
    truths.iter().for_each(|t| true_here[slot(t.image, t.class)].push(*t));
    detections.iter().for_each(|d| found_here[slot(d.image, d.class)].push(*d));
    for found in &mut found_here {
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(MOST[MOST.len() - 1]);
    }
    for class in 0..classes {
        let of_class = slot(0, class)..slot(0, class) + images;
        let pairs = || true_here[of_class.clone()].iter().zip(&found_here[of_class.clone()]);
        let overlaps: Vec<Vec<f64>> = pairs().map(|(t, d)| all_overlaps(t, d)).collect();
        for (s, size) in Size::ALL.into_iter().enumerate() {
            let judged: Vec<Judged> =
                pairs().zip(&overlaps).map(|((t, d), o)| Judged::new(t, d, o, size)).collect();
            for m in 0..MOST.len() {
                e.accumulate([class, s, m], &judged);
            }
        }
    }
    e
}

/// Overlaps of every detection with every truth, [detection][truth]: intersection over union, for a crowd over the
/// detection's own area.
fn all_overlaps(truths: &[Truth], detections: &[Detection]) -> Vec<f64> {
    let mut all = Vec::with_capacity(truths.len() * detections.len());
    for d in detections {
        let [dx, dy, dw, dh] = d.bbox;
        for t in truths {
            let [tx, ty, tw, th] = t.bbox;
            let w = (dx + dw).min(tx + tw) - dx.max(tx);
            let h = (dy + dh).min(ty + th) - dy.max(ty);
            let shared = if w > 0.0 && h > 0.0 { w * h } else { 0.0 };
            let whole = if t.crowd { dw * dh } else { dw * dh + tw * th - shared };
            all.push(if shared > 0.0 { shared / whole } else { 0.0 });
        }
    }
    all
}

/// The detections of an image and class, judged for objects of one size.
struct Judged {
    scores: Vec<f64>,
    /// [threshold][detection]: whether it found something; whether it does not count.
    matched: Vec<Vec<bool>>,
    ignored: Vec<Vec<bool>>,
    /// True boxes that count.
    wanted: usize,
}

impl Judged {
    fn new(truths: &[Truth], detections: &[Detection], overlaps: &[f64], size: Size) -> Judged {
        let ignore = |t: &Truth| t.crowd || size.excludes(t.area);
        // Those that count first.
        let mut order: Vec<usize> = (0..truths.len()).collect();
        order.sort_by_key(|&i| ignore(&truths[i]));
        let mut judged = Judged {
            scores: detections.iter().map(|d| d.score).collect(),
            matched: Vec::with_capacity(THRESHOLDS),
            ignored: Vec::with_capacity(THRESHOLDS),
            wanted: truths.iter().filter(|t| !ignore(t)).count(),
        };
        for t in 0..THRESHOLDS {
            let mut taken = vec![false; truths.len()];
            let (mut matched, mut ignored) = (Vec::new(), Vec::new());
            for (d, detection) in detections.iter().enumerate() {
                let mut best = threshold(t).min(1.0 - 1e-10);
                let mut found: Option<usize> = None;
                for &g in &order {
                    if taken[g] && !truths[g].crowd {
                        continue;
                    }
                    // What follows does not count, and something that does was found.
                    if found.is_some_and(|f| !ignore(&truths[f])) && ignore(&truths[g]) {
                        break;
                    }
                    let overlap = overlaps[d * truths.len() + g];
                    if overlap >= best {
                        (best, found) = (overlap, Some(g));
                    }
                }
                if let Some(g) = found {
                    taken[g] = true;
                }
                matched.push(found.is_some());
                let [_, _, w, h] = detection.bbox;
                ignored.push(found.map_or_else(|| size.excludes(w * h), |g| ignore(&truths[g])));
            }
            judged.matched.push(matched);
            judged.ignored.push(ignored);
        }
        judged
    }
}

impl Evaluation {
    /// Precision and recall of a class, a size and a number of detections, over all images.
    fn accumulate(&mut self, [class, size, most]: [usize; 3], images: &[Judged]) {
        let wanted: usize = images.iter().map(|j| j.wanted).sum();
        if wanted == 0 {
            return;
        }
        let mut all: Vec<(f64, usize, usize)> = Vec::new();
        for (i, image) in images.iter().enumerate() {
            all.extend(image.scores.iter().take(MOST[most]).enumerate().map(|(d, s)| (*s, i, d)));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        for t in 0..THRESHOLDS {
            let (mut right, mut wrong) = (0.0, 0.0);
            let (mut recall, mut precision) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
            for &(_, i, d) in &all {
                if !images[i].ignored[t][d] {
                    *(if images[i].matched[t][d] { &mut right } else { &mut wrong }) += 1.0;
                }
                recall.push(right / wanted as f64);
                precision.push(right / (wrong + right + EPSILON));
            }
            for i in (1..precision.len()).rev() {
                precision[i - 1] = precision[i - 1].max(precision[i]);
            }
            let at = self.recall_at([t, class, size, most]);
            self.recall[at] = recall.last().copied().unwrap_or(0.0);
            for r in 0..RECALLS {
                let first = recall.partition_point(|x| *x < recall_point(r));
                let at = self.precision_at([t, r, class, size, most]);
                self.precision[at] = precision.get(first).copied().unwrap_or(0.0);
            }
        }
    }

    fn precision_at(&self, [t, r, class, size, most]: [usize; 5]) -> usize {
        (((t * RECALLS + r) * self.classes + class) * Size::ALL.len() + size) * MOST.len() + most
    }

    fn recall_at(&self, [t, class, size, most]: [usize; 4]) -> usize {
        ((t * self.classes + class) * Size::ALL.len() + size) * MOST.len() + most
    }

    /// Mean precision over some thresholds (all, or one) and classes (all, or one), with 100 detections an image; `None` where
    /// there is no true box.
    pub fn average_precision(
        &self,
        threshold: Option<usize>,
        class: Option<usize>,
        size: Size,
    ) -> Option<f64> {
        let mut values = Vec::new();
        for t in pick(threshold, THRESHOLDS) {
            for r in 0..RECALLS {
                for k in pick(class, self.classes) {
                    values.push(self.precision[self.precision_at([t, r, k, size as usize, MOST.len() - 1])]);
                }
            }
        }
        mean(&values)
    }

    /// Mean recall over thresholds and classes, with the `most`-th number of detections an image (1, 10, 100).
    fn average_recall(&self, size: Size, most: usize) -> Option<f64> {
        let all = (0..THRESHOLDS).flat_map(|t| (0..self.classes).map(move |k| (t, k)));
        let values: Vec<f64> =
            all.map(|(t, k)| self.recall[self.recall_at([t, k, size as usize, most])]).collect();
        mean(&values)
    }

    /// Precision at the 101 points of recall for a class at a threshold (0: overlap 0.5), all sizes; `None` where the class has
    /// no true box.
    pub fn curve(&self, threshold: usize, class: usize) -> Option<Vec<f64>> {
        let at = |r| self.precision[self.precision_at([threshold, r, class, 0, MOST.len() - 1])];
        let curve: Vec<f64> = (0..RECALLS).map(at).collect();
        (curve[0] >= 0.0).then_some(curve)
    }

    /// COCO's twelve: AP, AP50, AP75, AP of small, medium and large objects; AR with 1, 10 and 100 detections, AR of small, medium
    /// and large. -1 where there is nothing to find.
    pub fn summary(&self) -> [f64; 12] {
        let ap = |threshold, size| self.average_precision(threshold, None, size).unwrap_or(-1.0);
        let ar = |size, most| self.average_recall(size, most).unwrap_or(-1.0);
        [
            ap(None, Size::All),
            ap(Some(0), Size::All),
            ap(Some(5), Size::All),
            ap(None, Size::Small),
            ap(None, Size::Medium),
            ap(None, Size::Large),
            ar(Size::All, 0),
            ar(Size::All, 1),
            ar(Size::All, 2),
            ar(Size::Small, 2),
            ar(Size::Medium, 2),
            ar(Size::Large, 2),
        ]
    }
}

/// One, or all.
fn pick(one: Option<usize>, all: usize) -> std::ops::Range<usize> {
    one.map_or(0..all, |i| i..i + 1)
}

/// Mean of what is there.
fn mean(values: &[f64]) -> Option<f64> {
    let there: Vec<f64> = values.iter().copied().filter(|v| *v > -1.0).collect();
    (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
}
