//! The one view that everything else has of data: numbered examples made of typed fields.
//!
//! Input: an example's index. Output: one slice of raw little-endian bytes per field, exactly
//! `shape x dtype` bytes. Invariant: `read` is pure (same index, same bytes) and may be called from several
//! threads at once; fields and length never change.

use crate::detection::DetectionSet;
use crate::error::{DataError, Result};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thalweg_base::DType;

/// What a field of an example is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Fed to the model.
    Input,
    /// Compared with the model's output.
    Target,
    /// The weight of the example in the loss.
    SampleWeight,
}

/// One field of every example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, unique in the data set.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Shape of one example, without the batch axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// Element type of the raw bytes.
    pub dtype: DType,
}

impl Field {
    /// An input field.
    pub fn input(name: &str, shape: &[usize], dtype: DType) -> Field {
        Field { name: name.to_owned(), role: Role::Input, shape: shape.to_vec(), dtype }
    }

    /// A target field.
    pub fn target(name: &str, shape: &[usize], dtype: DType) -> Field {
        Field { name: name.to_owned(), role: Role::Target, shape: shape.to_vec(), dtype }
    }

    /// Elements of one example.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of one example.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Whether the field is one integer per example: a class label.
    pub fn is_label(&self) -> bool {
        self.role == Role::Target && self.elements() == 1 && !self.dtype.is_float()
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To judge by.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = DataError;
    fn from_str(s: &str) -> Result<Split> {
        match s {
            "train" => Ok(Split::Train),
            "test" => Ok(Split::Test),
            _ => Err(DataError::argument(format!("'{s}' is not a split; write \"train\" or \"test\""))),
        }
    }
}

/// A pass over a data set, among all of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// Numbered examples of fixed fields.
pub trait Dataset: Send + Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields of every example, in the order in which `read` fills them.
    fn fields(&self) -> &[Field];

    /// Names of the classes by label; empty when they are not known.
    fn class_names(&self) -> &[String];

    /// One line for the log: what this is and where it is from.
    fn describe(&self) -> String;

    /// Writes example `index`: one slice of raw little-endian bytes per field, each exactly
    /// `shape x dtype` bytes.
    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()>;

    /// Whether `read` only copies memory: then threads that read ahead cost more than they save, and a device may be given
    /// all examples at once.
    fn in_memory(&self) -> bool {
        false
    }

    /// Brings the memory of an example that is read soon into the caches, for a data set in memory.
    fn warm(&self, _index: usize) {}

    /// The class label of an example when it is known without decoding the example; `None` otherwise.
    fn label(&self, _index: usize) -> Option<i64> {
        None
    }

    /// The annotated pictures that these examples are, where they are such and all of them.
    fn detection(&self) -> Option<&DetectionSet> {
        None
    }

    /// The same examples as they are in an epoch of training; `None` where they are always the same.
    fn in_epoch(&self, _epoch: Epoch) -> Option<Arc<dyn Dataset>> {
        None
    }
}

/// How many examples each class has, by the first target that is one integer per example.
///
/// The result covers at least every named class. An error when there is no such target or a label is
/// negative.
pub fn class_counts(dataset: &dyn Dataset) -> Result<Vec<u64>> {
    let fields = dataset.fields();
    let Some(at) = fields.iter().position(Field::is_label) else {
        return Err(DataError::argument(format!(
            "{} has no target of one integer per example, so its classes cannot be counted",
            dataset.describe()
        )));
    };
    let mut counts = vec![0u64; dataset.class_names().len()];
    let mut buffers: Vec<Vec<u8>> = fields.iter().map(|f| vec![0; f.bytes()]).collect();
    for index in 0..dataset.len() {
        let label = match dataset.label(index) {
            Some(label) => label,
            None => {
                let mut views: Vec<&mut [u8]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
                dataset.read(index, &mut views)?;
                integer(&buffers[at], fields[at].dtype)
            }
        };
        // A label is a row of a weight matrix somewhere: beyond 2^24 it is a mistake, not a class.
        let class = usize::try_from(label).ok().filter(|&c| c < 1 << 24).ok_or_else(|| {
            DataError::argument(format!(
                "example {index} of {}: {label} cannot be a class label; labels count from 0",
                dataset.describe()
            ))
        })?;
        if class >= counts.len() {
            counts.resize(class + 1, 0);
        }
        counts[class] += 1;
    }
    Ok(counts)
}

/// The integer in the raw bytes of a label.
fn integer(bytes: &[u8], dtype: DType) -> i64 {
    match (dtype, bytes) {
        (DType::I32, &[a, b, c, d]) => i64::from(i32::from_le_bytes([a, b, c, d])),
        (DType::U32, &[a, b, c, d]) => i64::from(u32::from_le_bytes([a, b, c, d])),
        _ => bytes.first().map_or(0, |&b| i64::from(b)),
    }
}

/// Checks the slices a caller gave to `read` against the fields, and the index against the length.
pub(crate) fn check_read(dataset: &dyn Dataset, index: usize, out: &[&mut [u8]]) -> Result<()> {
    let fields = dataset.fields();
    if index >= dataset.len() {
        return Err(DataError::Index { index, len: dataset.len(), of: dataset.describe() });
    }
    if out.len() != fields.len() {
        let what = format!("{} slices were given for {} fields", out.len(), fields.len());
        return Err(DataError::Buffer { index, what });
    }
    for (field, slice) in fields.iter().zip(out) {
        if slice.len() != field.bytes() {
            let what =
                format!("the slice for '{}' has {} bytes, needs {}", field.name, slice.len(), field.bytes());
            return Err(DataError::Buffer { index, what });
        }
    }
    Ok(())
}
