//! Pictures, decoded and scaled once.
//!
//! Input: annotated pictures and the size that they are brought to. Output: each picture as large as fits, and its
//! boxes in those pixels. Invariants: at most `limit` bytes are kept; pictures beyond that are decoded whenever they
//! are asked for; what is kept and what is not are the same pixels.

use super::annotations::Annotations;
use super::letterbox::Letterbox;
use crate::error::{DataError, Result};
use crate::picture::Picture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Pictures by number.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) annotations: Arc<Annotations>,
    /// Columns and rows that pictures are fitted to.
    size: (usize, usize),
    slots: Vec<OnceLock<Picture>>,
    /// Bytes kept.
    used: AtomicUsize,
    limit: usize,
}

impl Cache {
    pub(super) fn new(annotations: Arc<Annotations>, size: (usize, usize), limit: usize) -> Cache {
        let slots = annotations.images.iter().map(|_| OnceLock::new()).collect();
        Cache { annotations, size, slots, used: AtomicUsize::new(0), limit }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Where a picture lies in one of the size.
    pub(super) fn letterbox(&self, index: usize) -> Letterbox {
        let image = &self.annotations.images[index];
        Letterbox::new((image.width as usize, image.height as usize), self.size)
    }

    /// The boxes to be learnt in a picture's scaled pixels, with their classes: all but crowds.
    pub(super) fn boxes(&self, index: usize) -> impl Iterator<Item = ([f64; 4], usize)> + '_ {
        let (x, y) = self.letterbox(index).scale();
        let objects = self.annotations.images[index].objects.iter().filter(|o| !o.crowd);
        objects.map(move |o| {
            let [x0, y0, x1, y1] = o.rect.corners();
            ([x0 * x, y0 * y, x1 * x, y1 * y], o.class)
        })
    }

    /// Looks at a picture.
    pub(super) fn with<R>(&self, index: usize, look: impl FnOnce(&Picture) -> R) -> Result<R> {
        if let Some(picture) = self.slots[index].get() {
            return Ok(look(picture));
        }
        let picture = self.decode(index)?;
        let bytes = picture.pixels().len();
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Ok(look(&picture));
        }
        let mut first = false;
        let kept = self.slots[index].get_or_init(|| {
            first = true;
            picture
        });
        if !first {
            // Another thread was faster.
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(look(kept))
    }

    fn decode(&self, index: usize) -> Result<Picture> {
        let image = &self.annotations.images[index];
        let picture = Picture::open(&image.path)?;
        if (picture.width(), picture.height()) != (image.width as usize, image.height as usize) {
            return Err(DataError::Image {
                path: image.path.clone(),
                what: format!(
                    "it has {} x {} pixels, and had {} x {} when its annotations were read",
                    picture.width(),
                    picture.height(),
                    image.width,
                    image.height
                ),
            });
        }
        let (width, height) = self.letterbox(index).content;
        Ok(match (width, height) == (picture.width(), picture.height()) {
            true => picture,
            false => picture.resized(width, height),
        })
    }
}
