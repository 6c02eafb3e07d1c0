//! COCO's twelve numbers, and the same by class.

use super::coco::Accumulated;
use super::matching::{Area, THRESHOLDS};

/// The names of COCO's numbers, in COCO's order.
pub const NUMBERS: [&str; 12] = [
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
];

/// The place of 0.75 among the overlaps.
const AT_75: usize = 5;

/// How well one class is detected. Where a class has no objects, it has no numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassSummary {
    /// Objects that count.
    pub truths: u64,
    /// Crowds, which do not.
    pub crowds: u64,
    /// Detections that were looked at.
    pub detections: u64,
    /// Average precision, the mean of all overlaps.
    pub ap: Option<f64>,
    /// Average precision at an overlap of 0.50.
    pub ap50: Option<f64>,
    /// Average precision at an overlap of 0.75.
    pub ap75: Option<f64>,
    /// Average precision of small, medium and large objects.
    pub ap_by_area: [Option<f64>; 3],
    /// Recall with 100 detections a picture, the mean of all overlaps.
    pub ar: Option<f64>,
}

/// How well a detector does.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// COCO's numbers, in the order of [`NUMBERS`]; -1 where there are no such objects.
    pub numbers: [f64; 12],
    /// By class.
    pub classes: Vec<ClassSummary>,
    /// Pictures that were judged.
    pub images: u64,
}

impl Summary {
    /// One of [`NUMBERS`]; none where there are no such objects, or no such name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let at = NUMBERS.iter().position(|n| *n == name)?;
        Some(self.numbers[at]).filter(|v| *v >= 0.0)
    }

    pub(super) fn new(images: u64, classes: Vec<(Accumulated, ClassSummary)>) -> Summary {
        let all: Vec<&Accumulated> = classes.iter().map(|(a, _)| a).collect();
        let precision = |area: Area| mean(all.iter().filter_map(|a| a.precision[area as usize]).flatten());
        let at = |t: usize| mean(all.iter().filter_map(|a| a.precision[0]).map(|p| p[t]));
        let recall = |area: Area| mean(all.iter().filter_map(|a| a.recall[area as usize]).flatten());
        let limited = |limit: usize| mean(all.iter().filter_map(|a| a.limited[limit]).flatten());
        let numbers = [
            precision(Area::All),
            at(0),
            at(AT_75),
            precision(Area::Small),
            precision(Area::Medium),
            precision(Area::Large),
            limited(0),
            limited(1),
            limited(2),
            recall(Area::Small),
            recall(Area::Medium),
            recall(Area::Large),
        ];
        let by_class = |(a, summary): &(Accumulated, ClassSummary)| {
            let whole = |values: Option<[f64; THRESHOLDS]>| values.and_then(|v| mean(v.into_iter()));
            ClassSummary {
                ap: whole(a.precision[0]),
                ap50: a.precision[0].map(|p| p[0]),
                ap75: a.precision[0].map(|p| p[AT_75]),
                ap_by_area: [Area::Small, Area::Medium, Area::Large]
                    .map(|area| whole(a.precision[area as usize])),
                ar: whole(a.recall[0]),
                ..*summary
            }
        };
        Summary {
            numbers: numbers.map(|n| n.unwrap_or(-1.0)),
            classes: classes.iter().map(by_class).collect(),
            images,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}
