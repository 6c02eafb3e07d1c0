//! Images and labels held in memory: what CIFAR and MNIST become once they are read.
//!
//! Input: NHWC bytes and one label per image. Output: the fields "image" (U8, [h, w, c]) and "label" (I32,
//! scalar). Invariant: `images.len() == labels.len() * h * w * c`, checked by whoever builds it.

use crate::dataset::{Dataset, Field, check_read};
use crate::error::Result;
use crate::pages::Pages;
use thalweg_base::DType;

/// A labelled image set in memory.
#[derive(Debug)]
pub(crate) struct LabelledImages {
    fields: [Field; 2],
    images: Pages,
    labels: Vec<i32>,
    class_names: Vec<String>,
    description: String,
}

impl LabelledImages {
    /// From NHWC bytes of images of `shape` ([h, w, c]), one label each.
    pub(crate) fn new(
        shape: [usize; 3],
        images: Vec<u8>,
        labels: Vec<i32>,
        class_names: Vec<String>,
        description: String,
    ) -> LabelledImages {
        let fields = [Field::input("image", &shape, DType::U8), Field::target("label", &[], DType::I32)];
        debug_assert_eq!(images.len(), labels.len() * fields[0].bytes());
        LabelledImages { fields, images: Pages::new(images), labels, class_names, description }
    }

    pub(crate) fn images(&self) -> &[u8] {
        &self.images
    }

    pub(crate) fn labels(&self) -> &[i32] {
        &self.labels
    }
}

impl Dataset for LabelledImages {
    fn in_memory(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        check_read(self, index, out)?;
        let size = self.fields[0].bytes();
        out[0].copy_from_slice(&self.images[index * size..][..size]);
        out[1].copy_from_slice(&self.labels[index].to_le_bytes());
        Ok(())
    }

    fn warm(&self, index: usize) {
        const LINE: usize = 64;
        let size = self.fields[0].bytes();
        let image = self.images.get(index * size..(index + 1) * size).unwrap_or_default();
        // One byte of each line: these loads wait for memory side by side, where a copy waits line after line.
        std::hint::black_box(image.iter().step_by(LINE).fold(0, |all, byte| all ^ byte));
    }

    fn label(&self, index: usize) -> Option<i64> {
        self.labels.get(index).map(|&l| i64::from(l))
    }
}

/// Makes a named data set of a tuple struct around [`LabelledImages`]: accessors and `Dataset`.
macro_rules! delegate_dataset {
    ($name:ident) => {
        impl $name {
            /// All images, one after the other, each in the shape of the field "image".
            pub fn images(&self) -> &[u8] {
                self.0.images()
            }

            /// The label of every image.
            pub fn labels(&self) -> &[i32] {
                self.0.labels()
            }
        }

        impl $crate::Dataset for $name {
            fn len(&self) -> usize {
                self.0.len()
            }
            fn fields(&self) -> &[$crate::Field] {
                self.0.fields()
            }
            fn class_names(&self) -> &[String] {
                self.0.class_names()
            }
            fn describe(&self) -> String {
                self.0.describe()
            }
            fn read(&self, index: usize, out: &mut [&mut [u8]]) -> $crate::Result<()> {
                self.0.read(index, out)
            }
            fn in_memory(&self) -> bool {
                self.0.in_memory()
            }
            fn warm(&self, index: usize) {
                self.0.warm(index)
            }
            fn label(&self, index: usize) -> Option<i64> {
                self.0.label(index)
            }
        }
    };
}
pub(crate) use delegate_dataset;
