//! Annotated pictures as examples of one shape, for training and prediction.
//!
//! Input: [`Annotations`], a size, and for training how pictures are changed. Output: the fields "image" (U8,
//! [height, width, 3]), "boxes" (F32, [most, 4]: left, top, right, bottom in pixels of the image) and "classes" (I32,
//! [most]). Invariants: an unused row has the class -1 and a box of zeros, and all unused rows come last; boxes lie
//! within the image and have an area.

use super::annotations::Annotations;
use super::augment::{Augment, Augmented, Labelled, Scene};
use super::cache::Cache;
use super::letterbox::{GRAY, Letterbox};
use crate::dataset::{Dataset, Epoch, Field, check_read};
use crate::error::{DataError, Result};
use std::sync::Arc;
use thalweg_base::{DType, counted};

/// The class of rows that are not used.
pub const NO_CLASS: i32 = -1;

/// In what shape pictures are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Boxes of an image; where there are more, the largest are kept.
    pub boxes: usize,
    /// Bytes of decoded pictures that are kept.
    pub cache: usize,
}

impl Shape {
    /// A size; at most 100 boxes, and a gigabyte of decoded pictures.
    pub fn new(height: usize, width: usize) -> Shape {
        Shape { height, width, boxes: 100, cache: 1 << 30 }
    }
}

/// Annotated pictures as examples.
#[derive(Clone, Debug)]
pub struct DetectionSet {
    cache: Arc<Cache>,
    shape: Shape,
    fields: [Field; 3],
    changes: Option<Augmented>,
}

impl DetectionSet {
    /// Pictures as they are, each in the middle of the image. Parts of a data set are split off as annotations, before
    /// this: a mosaic takes its pictures from all of a set.
    pub fn new(annotations: Annotations, shape: Shape) -> Result<DetectionSet> {
        let sides = 1..=1 << 16;
        if !sides.contains(&shape.height) || !sides.contains(&shape.width) || shape.boxes == 0 {
            return Err(DataError::argument(format!(
                "images of {} x {} pixels with {} boxes cannot be made; use 1 to 65536 rows and columns, and at \
                 least 1 box",
                shape.height, shape.width, shape.boxes
            )));
        }
        let size = (shape.width, shape.height);
        Ok(DetectionSet {
            cache: Arc::new(Cache::new(Arc::new(annotations), size, shape.cache)),
            shape,
            fields: [
                Field::input("image", &[shape.height, shape.width, 3], DType::U8),
                Field::target("boxes", &[shape.boxes, 4], DType::F32),
                Field::target("classes", &[shape.boxes], DType::I32),
            ],
            changes: None,
        })
    }

    /// The same, changed anew in every epoch.
    pub fn augmented(self, augment: Augment, seed: u64) -> Result<DetectionSet> {
        augment.check()?;
        let epoch = Epoch { index: 0, of: u32::MAX };
        Ok(DetectionSet { changes: Some(Augmented { augment, seed, epoch }), ..self })
    }

    /// The first `count` pictures, or all where there are fewer.
    pub fn first(&self, count: usize) -> Result<DetectionSet> {
        let all = self.annotations();
        let images: Vec<_> = all.images.iter().take(count).cloned().collect();
        let origin = format!("the first {} of {}", images.len(), all.origin);
        let set = DetectionSet::new(Annotations { images, origin, ..all.clone() }, self.shape)?;
        Ok(DetectionSet { changes: self.changes, ..set })
    }

    /// The same pictures as they are.
    pub fn plain(&self) -> DetectionSet {
        DetectionSet { changes: None, ..self.clone() }
    }

    /// What is served.
    pub fn annotations(&self) -> &Annotations {
        &self.cache.annotations
    }

    /// Where a picture that is not changed lies in its image.
    pub fn letterbox(&self, index: usize) -> Letterbox {
        self.cache.letterbox(index)
    }

    /// The picture in the middle of the image.
    fn unchanged(&self, index: usize, pixels: &mut [u8]) -> Result<Vec<Labelled>> {
        let geometry = self.letterbox(index);
        pixels.fill(GRAY);
        let stride = self.shape.width * 3;
        self.cache.with(index, |picture| {
            for y in 0..picture.height() {
                let row = picture.row(y);
                pixels[(geometry.top + y) * stride + geometry.left * 3..][..row.len()].copy_from_slice(row);
            }
        })?;
        let objects = self.annotations().images[index].objects.iter().filter(|o| !o.crowd);
        let (width, height) = (self.shape.width as f64, self.shape.height as f64);
        let label = |o: &super::Object| {
            let inside = geometry.there(&o.rect).inside(width, height)?;
            Some(Labelled { corners: inside.corners_f32(), class: o.class })
        };
        Ok(objects.filter_map(label).collect())
    }

    /// Writes boxes and classes; the smallest are left out where there are too many.
    fn write(&self, mut labels: Vec<Labelled>, out: &mut [&mut [u8]]) {
        if labels.len() > self.shape.boxes {
            let area = |l: &Labelled| (l.corners[2] - l.corners[0]) * (l.corners[3] - l.corners[1]);
            labels.sort_by(|a, b| area(b).total_cmp(&area(a)));
        }
        let unused = Labelled { corners: [0.0; 4], class: 0 };
        let rows = labels.iter().map(|l| (l, l.class as i32)).chain(std::iter::repeat((&unused, NO_CLASS)));
        let [_, boxes, classes] = out else { return };
        for ((row, class), (label, number)) in
            boxes.chunks_exact_mut(16).zip(classes.chunks_exact_mut(4)).zip(rows)
        {
            for (bytes, corner) in row.chunks_exact_mut(4).zip(label.corners) {
                bytes.copy_from_slice(&corner.to_le_bytes());
            }
            class.copy_from_slice(&number.to_le_bytes());
        }
    }
}

impl Dataset for DetectionSet {
    fn len(&self) -> usize {
        self.cache.len()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn class_names(&self) -> &[String] {
        &self.annotations().class_names
    }

    fn describe(&self) -> String {
        let annotations = self.annotations();
        format!(
            "{} with {} of {} from {}, served as {} x {}{}",
            counted(self.len(), "picture"),
            counted(annotations.objects(), "object"),
            counted(annotations.class_names.len(), "class"),
            annotations.origin,
            self.shape.height,
            self.shape.width,
            if self.changes.is_some() { ", changed in every epoch" } else { "" }
        )
    }

    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        check_read(self, index, out)?;
        let labels = match &self.changes {
            None => self.unchanged(index, out[0])?,
            Some(changes) => {
                let size = (self.shape.width, self.shape.height);
                Scene { cache: &self.cache, size, changes }.paint(index, out[0])?
            }
        };
        self.write(labels, out);
        Ok(())
    }

    fn detection(&self) -> Option<&DetectionSet> {
        Some(self)
    }

    fn in_epoch(&self, epoch: Epoch) -> Option<Arc<dyn Dataset>> {
        let changes = Some(Augmented { epoch, ..self.changes? });
        Some(Arc::new(DetectionSet { changes, ..self.clone() }))
    }
}
