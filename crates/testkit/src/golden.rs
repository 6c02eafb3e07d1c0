//! Reading golden files: tensors and JSON metadata that `goldens/make_*.py` wrote from real Keras and PyTorch.

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use thalweg_base::DType;
use thalweg_graph::reference::Tensor;
use thiserror::Error;

/// Why a golden file cannot be read.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// The file is not there, or cannot be read.
    #[error("{path}: {problem}; `cargo xtask golden` makes it")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        problem: std::io::Error,
    },
    /// It is not a safetensors file, or has a type we do not use.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Named tensors and metadata. f64 and f32 are both read as f64, exactly.
#[derive(Clone, Debug)]
pub struct Golden {
    tensors: BTreeMap<String, (DType, Tensor)>,
    /// Metadata; values that are JSON are parsed, others are strings.
    pub metadata: BTreeMap<String, Value>,
    name: String,
}

impl Golden {
    /// The file `goldens/<name>.safetensors` of this workspace, or of the folder `THALWEG_GOLDENS`; panics with the reason if it cannot be read.
    #[track_caller]
    pub fn open(name: &str) -> Self {
        let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
        let root = std::env::var_os("THALWEG_GOLDENS").map_or_else(ours, PathBuf::from);
        match Golden::load(&root.join(format!("{name}.safetensors"))) {
            Ok(golden) => golden,
            Err(e) => panic!("{e}"),
        }
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, GoldenError> {
        let bytes =
            std::fs::read(path).map_err(|problem| GoldenError::File { path: path.into(), problem })?;
        let format = |problem: String| GoldenError::Format { path: path.into(), problem };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
        let none = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&none);
        let json = |v: &String| serde_json::from_str(v).unwrap_or_else(|_| Value::String(v.clone()));
        let metadata = metadata.iter().map(|(k, v)| (k.clone(), json(v))).collect();
        let file = SafeTensors::deserialize(&bytes).map_err(|e| format(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let (dtype, data) =
                decode(view.dtype(), view.data()).map_err(|e| format(format!("{name}: {e}")))?;
            tensors.insert(name, (dtype, Tensor::new(view.shape(), data)));
        }
        Ok(Golden { tensors, metadata, name: path.display().to_string() })
    }

    /// A tensor; panics if there is none of that name.
    #[track_caller]
    pub fn tensor(&self, name: &str) -> &Tensor {
        match self.tensors.get(name) {
            Some((_, t)) => t,
            None => panic!("{} has no tensor '{name}'; it has {:?}", self.name, self.names("")),
        }
    }

    /// A tensor, if there is one of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).map(|(_, t)| t)
    }

    /// The element type of a tensor (f32 where the file has f64).
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).map(|(d, _)| *d)
    }

    /// Names that start with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).filter(|n| n.starts_with(prefix)).collect()
    }

    /// A list in the metadata (the cases of the file); panics if it is not there.
    #[track_caller]
    pub fn list(&self, key: &str) -> &[Value] {
        match self.metadata.get(key).and_then(Value::as_array) {
            Some(list) => list,
            None => panic!("{} has no list '{key}' in its metadata", self.name),
        }
    }
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Result<(DType, Vec<f64>), String> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, _) = bytes.as_chunks::<N>();
        chunks.iter().map(|c| f(*c)).collect()
    }
    Ok(match dtype {
        Dtype::F64 => (DType::F32, each(bytes, f64::from_le_bytes)),
        Dtype::F32 => (DType::F32, each(bytes, |b| f64::from(f32::from_le_bytes(b)))),
        Dtype::I32 => (DType::I32, each(bytes, |b| f64::from(i32::from_le_bytes(b)))),
        Dtype::U32 => (DType::U32, each(bytes, |b| f64::from(u32::from_le_bytes(b)))),
        Dtype::I64 => (DType::I32, each(bytes, |b| i64::from_le_bytes(b) as f64)),
        Dtype::U8 => (DType::U8, bytes.iter().map(|&b| f64::from(b)).collect()),
        Dtype::BOOL => (DType::Bool, bytes.iter().map(|&b| f64::from(b)).collect()),
        other => return Err(format!("golden files do not use {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_goldens_open() {
        let golden = Golden::open("layers");
        let first = &golden.list("cases")[0];
        let name = first["name"].as_str().expect("a name");
        let out: Vec<usize> = first["output"]
            .as_array()
            .expect("a shape")
            .iter()
            .map(|n| n.as_u64().expect("n") as usize)
            .collect();
        assert_eq!(golden.tensor(&format!("{name}/out")).shape, out);
        assert!(golden.names(&format!("{name}/")).len() >= 3);
    }

    #[test]
    fn a_missing_file_says_how_to_make_it() {
        let e = Golden::load(Path::new("nowhere.safetensors")).expect_err("no such file");
        assert!(e.to_string().contains("xtask golden"));
    }
}
