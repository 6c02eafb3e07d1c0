//! Detectors without anchor boxes: a CSP backbone, a PAN neck, a decoupled head at strides 8, 16 and 32.
//!
//! In: `[rows, columns, channels]` and the classes. Out: a configuration of ordinary layers with two outputs: `predictions`,
//! which the loss `task_aligned` takes, and `detections` `[max_detections, 6]`, which need none. Written from the papers:
//! Wang et al. 2020 (CSPNet), Liu et al. 2018 (PAN), He et al. 2014 (SPP), Ge et al. 2021 (YOLOX: stages, decoupled head),
//! Lin et al. 2017 (the prior of classes).

mod backbone;
mod block;
mod head;
mod neck;

use block::Net;
use thalweg_nn::layers::{DecodeBoxes, NonMaxSuppression};
use thalweg_nn::{Functional, ModelConfig, NnError};

/// Pixels between neighbouring points of the three maps.
pub const STRIDES: [usize; 3] = [8, 16, 32];
/// Output that the loss takes.
pub const PREDICTIONS: &str = "predictions";
/// Output that people take.
pub const DETECTIONS: &str = "detections";

/// How large a detector is, and of what it is made.
#[derive(Clone, PartialEq, Debug)]
pub struct DetectorSize {
    /// Name of the model.
    pub name: &'static str,
    /// Factor of the channels: 1 is 64 behind the stem, 1024 at the end.
    pub width: f64,
    /// Factor of the repeated blocks: 1 is 3, 9, 9, 3.
    pub depth: f64,
    /// 3 x 3 convolutions in each branch of the head.
    pub head: usize,
    /// Whether 3 x 3 convolutions are depthwise ones with a 1 x 1 behind.
    pub depthwise: bool,
    /// The activation behind every normalisation.
    pub activation: &'static str,
    /// Bins of each distance's distribution; 0: distances are numbers.
    pub bins: usize,
}

/// The smallest with full convolutions.
pub const NANO: DetectorSize = DetectorSize {
    name: "detector_nano",
    width: 0.25,
    depth: 0.33,
    head: 1,
    depthwise: false,
    activation: "silu",
    bins: 0,
};
/// Larger.
pub const TINY: DetectorSize = DetectorSize { name: "detector_tiny", width: 0.375, head: 2, ..NANO };
/// The largest; distances are distributions.
pub const SMALL: DetectorSize =
    DetectorSize { name: "detector_small", width: 0.5, head: 2, bins: 16, ..NANO };
/// For CPUs: depthwise convolutions.
pub const NANO_DEPTHWISE: DetectorSize =
    DetectorSize { name: "detector_nano_depthwise", depthwise: true, ..NANO };

/// [`NANO`] for a shape of image and a number of classes.
pub fn detector_nano(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    detector(&NANO, input, classes)
}

/// [`TINY`].
pub fn detector_tiny(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    detector(&TINY, input, classes)
}

/// [`SMALL`].
pub fn detector_small(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    detector(&SMALL, input, classes)
}

/// [`NANO_DEPTHWISE`].
pub fn detector_nano_depthwise(input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    detector(&NANO_DEPTHWISE, input, classes)
}

/// A detector of any size: images `[N, h, w, c]` whose sides are multiples of 32 to `predictions` and `detections`.
pub fn detector(size: &DetectorSize, input: [usize; 3], classes: usize) -> Result<ModelConfig, NnError> {
    let coarsest = STRIDES[2];
    let wrong = |problem: String| Err(NnError::Model { model: size.name.into(), problem });
    if input[..2].iter().any(|&side| side == 0 || !side.is_multiple_of(coarsest)) {
        return wrong(format!(
            "images of {} x {} pixels do not fit; use multiples of {coarsest}, such as 320 x 320",
            input[0], input[1]
        ));
    }
    if classes == 0 {
        return wrong("there are no classes to detect".into());
    }
    let mut net = Net::new(Functional::new().name(size.name), size);
    let image = net.b.input("image", &input);
    let stages = backbone::backbone(&mut net, image);
    let levels = neck::neck(&mut net, stages);
    let mut maps = Vec::new();
    for (level, stride) in levels.into_iter().zip(STRIDES) {
        maps.extend(head::head(&mut net, level, stride, classes));
    }
    let predictions = net.b.layer(DecodeBoxes::new(STRIDES.map(|s| s as i64)).name(PREDICTIONS), &maps);
    let select = NonMaxSuppression::new().bins(size.bins as i64).name(DETECTIONS);
    let detections = net.b.layer(select, &[predictions]);
    net.b.build(&[image], &[predictions, detections])
}
