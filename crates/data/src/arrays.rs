//! A data set from arrays in memory: any number of inputs and targets, and sample weights.
//!
//! Input: per field a name, the shape of one example, and all examples one after the other. Output: a
//! [`Dataset`]. Invariant: all fields have the same number of examples; names are unique; there is an input.
//!
//! ```
//! # use thalweg_data::{Arrays, Dataset};
//! let set = Arrays::new()
//!     .input("x", &[2], vec![0.0f32, 0.0, 0.0, 1.0])
//!     .target("y", &[], vec![0i32, 1])
//!     .build()?;
//! assert_eq!(set.len(), 2);
//! # Ok::<(), thalweg_data::DataError>(())
//! ```

use crate::dataset::{Dataset, Field, Role, check_read};
use crate::error::{DataError, Result};
use thalweg_base::{DType, counted};

/// The elements of a field, of any type a tensor can have.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Truth values.
    Bool(Vec<bool>),
    /// Bytes.
    U8(Vec<u8>),
    /// Unsigned integers.
    U32(Vec<u32>),
    /// Signed integers.
    I32(Vec<i32>),
    /// Numbers.
    F32(Vec<f32>),
}

impl Values {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Values::Bool(_) => DType::Bool,
            Values::U8(_) => DType::U8,
            Values::U32(_) => DType::U32,
            Values::I32(_) => DType::I32,
            Values::F32(_) => DType::F32,
        }
    }

    /// The elements as raw little-endian bytes.
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Values::Bool(v) => v.into_iter().map(u8::from).collect(),
            Values::U8(v) => v,
            Values::U32(v) => v.into_iter().flat_map(u32::to_le_bytes).collect(),
            Values::I32(v) => v.into_iter().flat_map(i32::to_le_bytes).collect(),
            Values::F32(v) => v.into_iter().flat_map(f32::to_le_bytes).collect(),
        }
    }
}

macro_rules! values_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<Vec<$type>> for Values {
            fn from(v: Vec<$type>) -> Values {
                Values::$variant(v)
            }
        }
    )*};
}
values_from!(bool => Bool, u8 => U8, u32 => U32, i32 => I32, f32 => F32);

/// Arrays in memory as a data set; made by [`Arrays::new`] and its builder.
#[derive(Debug)]
pub struct Arrays {
    fields: Vec<Field>,
    bytes: Vec<Vec<u8>>,
    len: usize,
    class_names: Vec<String>,
    name: String,
}

/// Collects the fields of [`Arrays`]; `build` checks them.
#[derive(Debug, Default)]
pub struct ArraysBuilder {
    fields: Vec<(Field, Values)>,
    class_names: Vec<String>,
    name: Option<String>,
}

impl Arrays {
    /// An empty builder.
    #[expect(clippy::new_ret_no_self, reason = "fields are checked together, when the builder is built")]
    pub fn new() -> ArraysBuilder {
        ArraysBuilder::default()
    }
}

impl ArraysBuilder {
    /// Adds an input: `shape` is that of one example, `values` all examples one after the other.
    pub fn input(self, name: &str, shape: &[usize], values: impl Into<Values>) -> Self {
        self.field(name, Role::Input, shape, values.into())
    }

    /// Adds a target.
    pub fn target(self, name: &str, shape: &[usize], values: impl Into<Values>) -> Self {
        self.field(name, Role::Target, shape, values.into())
    }

    /// Adds the weights of the examples in the loss, one number each.
    pub fn sample_weight(self, values: Vec<f32>) -> Self {
        self.field("sample_weight", Role::SampleWeight, &[], values.into())
    }

    /// Names the classes, by label.
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names the data set for the log.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    fn field(mut self, name: &str, role: Role, shape: &[usize], values: Values) -> Self {
        let dtype = values.dtype();
        self.fields.push((Field { name: name.to_owned(), role, shape: shape.to_vec(), dtype }, values));
        self
    }

    /// Checks that the fields belong together.
    pub fn build(self) -> Result<Arrays> {
        let mut first: Option<(String, usize)> = None;
        let (mut fields, mut bytes) = (Vec::<Field>::new(), Vec::new());
        for (field, values) in self.fields {
            let name = &field.name;
            if fields.iter().any(|f| f.name == *name) {
                return Err(DataError::argument(format!("two arrays are named '{name}'; rename one")));
            }
            if field.elements() == 0 {
                return Err(DataError::argument(format!(
                    "array '{name}' has the shape {:?}, which holds nothing; give the shape of one example, [] \
                     for a scalar",
                    field.shape
                )));
            }
            let data = values.into_bytes();
            if !data.len().is_multiple_of(field.bytes()) {
                return Err(DataError::argument(format!(
                    "array '{name}' has {} elements, not a multiple of the {} of one example of shape {:?}",
                    data.len() / field.dtype.size(),
                    field.elements(),
                    field.shape
                )));
            }
            let len = data.len() / field.bytes();
            match &first {
                None => first = Some((name.clone(), len)),
                Some((other, n)) if *n != len => {
                    return Err(DataError::argument(format!(
                        "array '{name}' has {len} examples, but '{other}' has {n}; all must have as many"
                    )));
                }
                Some(_) => {}
            }
            fields.push(field);
            bytes.push(data);
        }
        if !fields.iter().any(|f| f.role == Role::Input) {
            return Err(DataError::argument(
                "the arrays have no input; add one with .input(name, shape, values)",
            ));
        }
        let len = first.map_or(0, |(_, n)| n);
        let name = self.name.unwrap_or_else(|| "arrays in memory".to_owned());
        Ok(Arrays { fields, bytes, len, class_names: self.class_names, name })
    }
}

impl Dataset for Arrays {
    fn in_memory(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.len
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn describe(&self) -> String {
        let fields: Vec<String> =
            self.fields.iter().map(|f| format!("{} {}{:?}", f.name, f.dtype, f.shape)).collect();
        format!("{}, {} of {}", self.name, counted(self.len, "example"), fields.join(", "))
    }

    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        check_read(self, index, out)?;
        for ((field, bytes), slice) in self.fields.iter().zip(&self.bytes).zip(out) {
            slice.copy_from_slice(&bytes[index * field.bytes()..][..field.bytes()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::class_counts;

    #[test]
    fn fields_come_back_as_little_endian_bytes() {
        let set = Arrays::new()
            .input("image", &[1, 2, 1], vec![1u8, 2, 3, 4])
            .input("extra", &[], vec![0.5f32, -1.0])
            .target("y", &[], vec![-1i32, 258])
            .sample_weight(vec![1.0, 2.0])
            .class_names(["a", "b"])
            .build()
            .unwrap();
        let mut buffers: Vec<Vec<u8>> = set.fields().iter().map(|f| vec![0; f.bytes()]).collect();
        let mut views: Vec<&mut [u8]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
        set.read(1, &mut views).unwrap();
        assert_eq!(buffers, [vec![3, 4], vec![0, 0, 128, 191], vec![2, 1, 0, 0], vec![0, 0, 0, 64]]);
        assert_eq!(set.class_names(), ["a", "b"]);
        assert!(set.describe().contains("image u8[1, 2, 1]"), "{}", set.describe());
    }

    #[test]
    fn mistakes_are_named() {
        let error = |b: ArraysBuilder| b.build().unwrap_err().to_string();
        let x = || Arrays::new().input("x", &[2], vec![0.0f32; 6]);
        assert_eq!(
            error(x().target("y", &[], vec![0i32; 2])),
            "array 'y' has 2 examples, but 'x' has 3; all must have as many"
        );
        assert!(error(x().target("x", &[], vec![0i32; 3])).contains("two arrays are named 'x'"));
        assert!(
            error(Arrays::new().input("x", &[4], vec![0u8; 6])).contains("has 6 elements, not a multiple")
        );
        assert!(error(x().target("y", &[0], vec![0u8; 0])).contains("holds nothing"));
        assert!(error(Arrays::new().target("y", &[], vec![0u8; 1])).contains("no input"));
    }

    #[test]
    fn reading_checks_index_and_slices() {
        let set = Arrays::new().input("x", &[2], vec![1u8, 2]).build().unwrap();
        let (mut right, mut wrong) = ([0; 2], [0; 3]);
        assert!(set.read(1, &mut [&mut right]).unwrap_err().to_string().contains("example 1 was asked for"));
        assert!(set.read(0, &mut [&mut wrong]).unwrap_err().to_string().contains("has 3 bytes, needs 2"));
        assert!(set.read(0, &mut []).unwrap_err().to_string().contains("0 slices were given for 1 fields"));
    }

    #[test]
    fn classes_are_counted_by_the_label() {
        let x = || Arrays::new().input("x", &[], vec![0u8; 4]);
        let set = x().target("y", &[1], vec![2i32, 0, 2, 2]).class_names(["a", "b", "c", "d"]);
        assert_eq!(class_counts(&set.build().unwrap()).unwrap(), [1, 0, 3, 0]);
        let negative = x().target("y", &[], vec![2i32, 0, -2, 2]).build().unwrap();
        assert!(class_counts(&negative).unwrap_err().to_string().contains("-2 cannot be a class label"));
        let regression = x().target("y", &[], vec![0.5f32; 4]).build().unwrap();
        assert!(class_counts(&regression).unwrap_err().to_string().contains("cannot be counted"));
    }
}
