//! Annotated pictures: what every format is read to.
//!
//! Output of the readers: pictures with objects, the classes, and what was wrong. Invariants: an object's class is
//! below the number of classes; its numbers are finite and its box has an area and touches the picture; pictures
//! have different paths and ids; a picture's size is that of the file, turned upright.

use super::problem::Problem;
use super::rect::Rect;
use crate::error::{DataError, Result};
use std::path::PathBuf;
use thalweg_base::philox::Sequence;

/// The Philox stream of splits ("SPLI"); no other use of random numbers may take it.
const STREAM: u32 = 0x5350_4C49;

/// An object in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Where it is.
    pub rect: Rect,
    /// Its class, an index into the names.
    pub class: usize,
    /// Square pixels: in COCO those of the object's outline, elsewhere those of the box.
    pub area: f64,
    /// Whether the box stands for a group, which is neither to be learnt nor counted against a detector.
    pub crowd: bool,
    /// Whether VOC calls it difficult: learnt, but not counted in VOC's own measure.
    pub difficult: bool,
}

/// A picture and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotatedImage {
    /// The picture's file.
    pub path: PathBuf,
    /// COCO's number of it, or its place in the list from 1.
    pub id: u64,
    /// Columns of the upright picture.
    pub width: u32,
    /// Rows of the upright picture.
    pub height: u32,
    /// In the file's order.
    pub objects: Vec<Object>,
}

/// Annotated pictures of one data set or one split of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// By ascending id.
    pub images: Vec<AnnotatedImage>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// COCO's number of each class; from 1 where the format has none.
    pub category_ids: Vec<u64>,
    /// What was wrong and is not in `images`.
    pub problems: Vec<Problem>,
    /// Outlines that were there and are not used.
    pub segmentations: usize,
    /// What this is and where it is from.
    pub origin: String,
}

impl Annotations {
    /// Number of objects.
    pub fn objects(&self) -> usize {
        self.images.iter().map(|i| i.objects.len()).sum()
    }

    /// Splits by chance: (the rest, `fraction` of the pictures), each in the order of ids.
    ///
    /// The same seed gives the same split of the same list of pictures on every machine.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Annotations, Annotations)> {
        let len = self.images.len();
        let apart = (len as f64 * fraction).round();
        if !(fraction > 0.0 && fraction < 1.0) || apart < 1.0 || apart >= len as f64 {
            return Err(DataError::argument(format!(
                "a split of {fraction} of {len} pictures leaves one side empty; use a fraction above 0 and below 1 \
                 that leaves pictures on both sides"
            )));
        }
        let mut order: Vec<usize> = (0..len).collect();
        Sequence::new(seed, STREAM, 0).shuffle(&mut order);
        let mut chosen = vec![false; len];
        order[..apart as usize].iter().for_each(|&i| chosen[i] = true);
        let part = |wanted: bool, what: &str| {
            let images = self.images.iter().zip(&chosen).filter(|(_, c)| **c == wanted);
            Annotations {
                images: images.map(|(image, _)| image.clone()).collect(),
                origin: format!("{what} of {}", self.origin),
                class_names: self.class_names.clone(),
                category_ids: self.category_ids.clone(),
                // Problems are told once, with the whole.
                problems: Vec::new(),
                segmentations: 0,
            }
        };
        Ok((part(false, &format!("all but {fraction}")), part(true, &format!("{fraction}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_a_partition_that_never_changes() {
        let image = |id: u64| AnnotatedImage {
            path: PathBuf::from(format!("{id}.jpg")),
            id,
            width: 4,
            height: 4,
            objects: Vec::new(),
        };
        let all = Annotations { images: (1..=10).map(image).collect(), ..Annotations::default() };
        let ids = |a: &Annotations| a.images.iter().map(|i| i.id).collect::<Vec<_>>();
        let (rest, part) = all.split(0.3, 1).unwrap();
        let mut both = [ids(&rest), ids(&part)].concat();
        both.sort_unstable();
        assert_eq!(both, ids(&all));
        assert_eq!(ids(&part), ids(&all.split(0.3, 1).unwrap().1));
        assert_ne!(ids(&part), ids(&all.split(0.3, 3).unwrap().1));
        assert_eq!(part.images.len(), 3);
        for bad in [0.0, 1.0, 0.01, 0.99, f64::NAN] {
            assert!(all.split(bad, 1).unwrap_err().to_string().contains("leaves one side empty"));
        }
    }
}
