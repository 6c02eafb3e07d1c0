//! A view of some examples of another data set.
//!
//! Input: a data set and a list of its indices. Output: a data set of those examples in that order.
//! Invariant: every index was checked when the view was made.

use crate::dataset::{Dataset, Epoch, Field};
use crate::error::{DataError, Result};
use std::sync::Arc;

/// Some examples of a data set, in a given order.
pub struct Subset {
    source: Arc<dyn Dataset>,
    indices: Vec<u32>,
    what: String,
}

impl Subset {
    /// The examples `indices` of `source`, in that order.
    pub fn new(source: Arc<dyn Dataset>, indices: Vec<u32>) -> Result<Subset> {
        if let Some(&index) = indices.iter().find(|&&i| i as usize >= source.len()) {
            let (index, len, of) = (index as usize, source.len(), source.describe());
            return Err(DataError::Index { index, len, of });
        }
        Ok(Subset { source, indices, what: "chosen examples".to_owned() })
    }

    /// The first `limit` examples, or all when there are fewer.
    pub fn first(source: Arc<dyn Dataset>, limit: usize) -> Result<Subset> {
        if limit == 0 {
            return Err(DataError::argument("a limit of 0 examples leaves no data; use at least 1"));
        }
        let len = source.len();
        Subset::range(source, 0, len.min(limit), "the first")
    }

    /// Splits off the last `fraction` for validation, as Keras does: (training, validation).
    pub fn validation_split(source: Arc<dyn Dataset>, fraction: f64) -> Result<(Subset, Subset)> {
        let len = source.len();
        let at = (len as f64 * (1.0 - fraction)).floor();
        if !(fraction > 0.0 && fraction < 1.0) || at < 1.0 || at >= len as f64 {
            return Err(DataError::argument(format!(
                "a validation split of {fraction} of {len} examples leaves one side empty; use a fraction \
                 above 0 and below 1 that leaves examples on both sides"
            )));
        }
        let at = at as usize;
        let training = Subset::range(source.clone(), 0, at, "all but the validation split,")?;
        let validation = Subset::range(source, at, len, "the validation split,")?;
        Ok((training, validation))
    }

    /// The examples from `start` to before `end`.
    fn range(source: Arc<dyn Dataset>, start: usize, end: usize, what: &str) -> Result<Subset> {
        let Ok(last) = u32::try_from(end) else {
            return Err(DataError::argument(format!("{end} examples; at most {} are supported", u32::MAX)));
        };
        Ok(Subset { source, indices: (start as u32..last).collect(), what: what.to_owned() })
    }

    /// The indices into the source.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    fn source_index(&self, index: usize) -> Result<usize> {
        match self.indices.get(index) {
            Some(&i) => Ok(i as usize),
            None => Err(DataError::Index { index, len: self.len(), of: self.describe() }),
        }
    }
}

impl Dataset for Subset {
    fn warm(&self, index: usize) {
        if let Some(&index) = self.indices.get(index) {
            self.source.warm(index as usize);
        }
    }

    fn in_memory(&self) -> bool {
        self.source.in_memory()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn fields(&self) -> &[Field] {
        self.source.fields()
    }

    fn class_names(&self) -> &[String] {
        self.source.class_names()
    }

    fn describe(&self) -> String {
        format!("{} {} of {}", self.what, self.len(), self.source.describe())
    }

    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        self.source.read(self.source_index(index)?, out)
    }

    fn in_epoch(&self, epoch: Epoch) -> Option<Arc<dyn Dataset>> {
        let source = self.source.in_epoch(epoch)?;
        Some(Arc::new(Subset { source, indices: self.indices.clone(), what: self.what.clone() }))
    }

    fn label(&self, index: usize) -> Option<i64> {
        self.source.label(*self.indices.get(index)? as usize)
    }
}
