//! One training picture: which pictures it is made of, how they are moved, what is still to be seen of their boxes.
//!
//! Input: an example's number, the epoch, a way to get at pictures. Output: pixels, and boxes with classes.

use super::colour::Jitter;
use super::config::Augment;
use super::paint::{Canvas, paint};
use super::transform::{Corners, Transform, area, cut};
use crate::dataset::Epoch;
use crate::detection::cache::Cache;
use crate::detection::letterbox::GRAY;
use crate::error::Result;
use crate::picture::Picture;
use thalweg_base::philox::Sequence;

/// The Philox stream of augmentation ("DETA"); no other use of random numbers may take it.
const STREAM: u32 = 0x4445_5441;

/// Random numbers of one example; never more are asked for.
const DRAWS: u32 = 256;

/// How often a part of a picture is looked for that leaves a box visible.
const TRIES: usize = 10;

/// How long the part may be, as a multiple of its other side, beyond the picture's own shape.
const CROP_RATIO: f64 = 4.0 / 3.0;

/// How much of the first of two pictures is kept when they are laid over each other.
const MIX: (f64, f64) = (0.4, 0.6);

/// A box, as training takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::detection) struct Labelled {
    /// Left, top, right, bottom, within the picture.
    pub(in crate::detection) corners: [f32; 4],
    pub(in crate::detection) class: usize,
}

/// What is changed, and by which random numbers.
#[derive(Clone, Copy, Debug)]
pub(in crate::detection) struct Augmented {
    pub(in crate::detection) augment: Augment,
    pub(in crate::detection) seed: u64,
    pub(in crate::detection) epoch: Epoch,
}

/// Makes pictures of one size.
pub(in crate::detection) struct Scene<'a> {
    pub(in crate::detection) cache: &'a Cache,
    /// Columns and rows.
    pub(in crate::detection) size: (usize, usize),
    pub(in crate::detection) changes: &'a Augmented,
}

/// A picture on its way into a training picture.
struct Move {
    /// From its pixels to those of the training picture.
    there: Transform,
    /// Which part of it is meant.
    part: Corners,
}

/// Random numbers in the shapes that are needed here.
struct Draws(Sequence);

impl Draws {
    fn share(&mut self) -> f64 {
        f64::from(self.0.next_unit())
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.share() * (high - low)
    }

    /// From `-most` to `most`.
    fn either_way(&mut self, most: f64) -> f64 {
        self.between(-most, most)
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.share() < probability
    }
}

impl Scene<'_> {
    /// Paints example `index` into `pixels` and returns its boxes.
    pub(in crate::detection) fn paint(&self, index: usize, pixels: &mut [u8]) -> Result<Vec<Labelled>> {
        let Augmented { augment, seed, epoch } = *self.changes;
        let first = (index as u32).wrapping_mul(DRAWS);
        let mut draws = Draws(Sequence::new(seed, STREAM, epoch.index).starting_at(first));
        let plain = epoch.index.saturating_add(augment.plain_epochs) >= epoch.of;
        let mut labels = Vec::new();
        self.one_or_four(index, plain, pixels, &mut labels, &mut draws)?;
        if draws.happens(if plain { 0.0 } else { augment.mixup }) {
            let other = draws.0.below(self.cache.len() as u32) as usize;
            let mut over = vec![0; pixels.len()];
            self.one_or_four(other, plain, &mut over, &mut labels, &mut draws)?;
            // In 1/256, so that all machines mix the same.
            let kept = (draws.between(MIX.0, MIX.1) * 256.0) as u32;
            for (under, over) in pixels.iter_mut().zip(over) {
                *under = ((u32::from(*under) * kept + u32::from(over) * (256 - kept) + 128) / 256) as u8;
            }
        }
        let jitter = Jitter {
            hue: draws.either_way(augment.hue) as f32,
            saturation: 1.0 + draws.either_way(augment.saturation) as f32,
            value: 1.0 + draws.either_way(augment.value) as f32,
        };
        jitter.apply(pixels);
        Ok(labels)
    }

    fn one_or_four(
        &self,
        index: usize,
        plain: bool,
        pixels: &mut [u8],
        labels: &mut Vec<Labelled>,
        draws: &mut Draws,
    ) -> Result<()> {
        pixels.fill(GRAY);
        let mut canvas = Canvas { pixels, width: self.size.0, height: self.size.1 };
        match draws.happens(if plain { 0.0 } else { self.changes.augment.mosaic }) {
            true => self.four(index, &mut canvas, labels, draws),
            false => self.one(index, &mut canvas, labels, draws),
        }
    }

    /// One picture, or a part of it, in the middle.
    fn one(
        &self,
        index: usize,
        canvas: &mut Canvas,
        labels: &mut Vec<Labelled>,
        draws: &mut Draws,
    ) -> Result<()> {
        self.cache.with(index, |picture| {
            let whole = [0.0, 0.0, picture.width() as f64, picture.height() as f64];
            let part = match draws.happens(self.changes.augment.crop) {
                true => self.crop(index, whole, draws),
                false => whole,
            };
            let there = self.middle(part).then(self.wiggle(draws));
            self.place(index, picture, &Move { there, part }, canvas, labels);
        })
    }

    /// Scales a part of a picture to the size, as large as fits, and its middle to the middle.
    fn middle(&self, [x0, y0, x1, y1]: Corners) -> Transform {
        let (width, height) = (self.size.0 as f64, self.size.1 as f64);
        let scale = (width / (x1 - x0)).min(height / (y1 - y0));
        let (left, top) = ((width - scale * (x1 - x0)) / 2.0, (height - scale * (y1 - y0)) / 2.0);
        // Whole pixels, as a letterbox has them: a picture that is not changed otherwise is not blurred.
        let corner = Transform::shift(left.floor(), top.floor());
        Transform::shift(-x0, -y0).then(Transform::scale(scale, scale)).then(corner)
    }

    /// A part of a picture in which a box is still visible, if there is a box; else all of it.
    fn crop(&self, index: usize, whole: Corners, draws: &mut Draws) -> Corners {
        let augment = &self.changes.augment;
        for _ in 0..TRIES {
            let share = draws.between(augment.crop_area, 1.0);
            let ratio = libm::exp(draws.either_way(libm::log(CROP_RATIO))).sqrt();
            let side = share.sqrt();
            let (width, height) = (whole[2] * (side * ratio).min(1.0), whole[3] * (side / ratio).min(1.0));
            let (x, y) = (draws.share() * (whole[2] - width), draws.share() * (whole[3] - height));
            let part = [x, y, x + width, y + height];
            let mut boxes = self.cache.boxes(index).peekable();
            let visible = |(corners, _): (Corners, usize)| {
                area(cut(corners, part)) >= augment.min_visibility.max(1e-6) * area(corners)
            };
            if boxes.peek().is_none() || boxes.any(visible) {
                return part;
            }
        }
        whole
    }

    /// Four pictures around a point of a canvas of twice the size, of which about the middle is seen.
    fn four(
        &self,
        index: usize,
        canvas: &mut Canvas,
        labels: &mut Vec<Labelled>,
        draws: &mut Draws,
    ) -> Result<()> {
        let (width, height) = (self.size.0 as f64, self.size.1 as f64);
        let around = (draws.between(0.5, 1.5) * width, draws.between(0.5, 1.5) * height);
        let around = (around.0.round(), around.1.round());
        let others: [usize; 3] = std::array::from_fn(|_| draws.0.below(self.cache.len() as u32) as usize);
        let wiggle = Transform::shift(-width / 2.0, -height / 2.0).then(self.wiggle(draws));
        for (quarter, index) in [index, others[0], others[1], others[2]].into_iter().enumerate() {
            self.cache.with(index, |picture| {
                let (w, h) = (picture.width() as f64, picture.height() as f64);
                let left = if quarter % 2 == 0 { around.0 - w } else { around.0 };
                let top = if quarter / 2 == 0 { around.1 - h } else { around.1 };
                // The canvas ends somewhere, so that no picture is seen without the others.
                let canvas_end = [-left, -top, 2.0 * width - left, 2.0 * height - top];
                let part = cut([0.0, 0.0, w, h], canvas_end);
                let there = Transform::shift(left, top).then(wiggle);
                self.place(index, picture, &Move { there, part }, canvas, labels);
            })?;
        }
        Ok(())
    }

    /// Moves of a picture of the size, all about its middle.
    fn wiggle(&self, draws: &mut Draws) -> Transform {
        let augment = &self.changes.augment;
        let (width, height) = (self.size.0 as f64, self.size.1 as f64);
        let mut far = |side: f64| draws.either_way(augment.perspective) * 2.0 / side;
        let perspective = Transform::perspective(far(width), far(height));
        let rotation = Transform::rotation(draws.either_way(augment.rotation));
        let scale = 1.0 + draws.either_way(augment.scale);
        let shear = Transform::shear(draws.either_way(augment.shear), draws.either_way(augment.shear));
        let (dx, dy) =
            (draws.either_way(augment.translation) * width, draws.either_way(augment.translation) * height);
        let mut sign = |probability| if draws.happens(probability) { -1.0 } else { 1.0 };
        let flip = Transform::scale(sign(augment.horizontal_flip), sign(augment.vertical_flip));
        Transform::shift(-width / 2.0, -height / 2.0)
            .then(perspective)
            .then(rotation)
            .then(Transform::scale(scale, scale))
            .then(shear)
            .then(flip)
            .then(Transform::shift(width / 2.0 + dx, height / 2.0 + dy))
    }

    /// Paints a picture and keeps those of its boxes that can still be seen.
    fn place(
        &self,
        index: usize,
        picture: &Picture,
        Move { there, part }: &Move,
        canvas: &mut Canvas,
        labels: &mut Vec<Labelled>,
    ) {
        let augment = &self.changes.augment;
        paint(canvas, picture, there, *part);
        let frame = [0.0, 0.0, self.size.0 as f64, self.size.1 as f64];
        for (corners, class) in self.cache.boxes(index) {
            let (Some(whole), Some(part)) = (there.moved(corners), there.moved(cut(corners, *part))) else {
                continue;
            };
            let seen = part.cut(frame);
            let around = cut(seen.around(), frame);
            let side = (around[2] - around[0]).min(around[3] - around[1]);
            if side >= augment.min_side.max(1e-3) && seen.area() >= augment.min_visibility * whole.area() {
                labels.push(Labelled { corners: around.map(|v| v as f32), class });
            }
        }
    }
}
