//! Model files: what a trained model is on disk.
//!
//! Input: weights under Keras' variable paths and the facts around them ([`ModelInfo`]). Output: one safetensors
//! file, and its parts read back. Invariants: loading never runs code from a file; every weight is checked
//! against the model's own list (name, shape, type, finite) before the model sees it.
//!
//! Metadata: `thalweg` (format version), `model`, `preprocessing`, `class_names`, `compile`, `provenance`; in
//! checkpoints also `trainer`. Tensors: `<layer>/<variable>` weights, `golden/input/<name>` and
//! `golden/output/<name>`, and in checkpoints `state/<name>` and `kept/<slot>/<weight>`.

use super::container::{self, Container};
use super::header::TensorPlace;
use crate::{Result, Tensor, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use thalweg_base::DType;

/// The version of the format that is written; newer ones are refused.
pub const FORMAT: u32 = 1;

/// The metadata that marks a file of weights alone.
const WEIGHTS_ONLY: &str = "weights_only";

/// Prefixes of tensors that are not weights.
const RESERVED: [&str; 3] = ["golden/", "state/", "kept/"];

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The recipe's text, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The training data in words.
    #[serde(default)]
    pub data: String,
    /// Epochs trained.
    #[serde(default)]
    pub epochs: usize,
    /// The seed of weights, shuffles and dropout.
    #[serde(default)]
    pub seed: u64,
    /// When, UTC: `2026-11-23T09:00:00Z`.
    #[serde(default)]
    pub date: String,
    /// Version of Thalweg.
    #[serde(default)]
    pub version: String,
}

/// Everything in a model file but tensors.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModelInfo {
    /// The model's config.
    pub model: Value,
    /// What was done to the data before the model; null for nothing.
    pub preprocessing: Value,
    /// Names of classes by label; empty when not known.
    pub class_names: Vec<String>,
    /// Optimizer, losses and metrics; null for a model that was not compiled.
    pub compile: Value,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A few real inputs and what the model made of them, to prove another device by.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Golden {
    /// By the input's name.
    pub inputs: Vec<(String, Tensor)>,
    /// By the output's name.
    pub outputs: Vec<(String, Tensor)>,
}

/// What a weight in a file must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// Keras' variable path.
    pub path: String,
    /// Extents.
    pub shape: Vec<usize>,
}

/// Writes a model file.
pub fn write_model(
    path: &Path,
    info: &ModelInfo,
    weights: &[(String, Tensor)],
    golden: Option<&Golden>,
) -> Result<()> {
    write_with(path, info, weights, golden, Vec::new(), &[])
}

/// Writes weights alone: a file for [`crate::Model::load_weights`] of a model with the same layers.
pub fn write_weights(path: &Path, weights: &[(String, Tensor)]) -> Result<()> {
    check_names(weights.iter().map(|(n, _)| n.as_str()))?;
    let tensors: Vec<(String, &Tensor)> = weights.iter().map(|(n, t)| (n.clone(), t)).collect();
    let metadata = [("thalweg", FORMAT.to_string()), (WEIGHTS_ONLY, "true".to_owned())];
    container::write(path, &metadata, &tensors)
}

/// Writes a model file with more metadata and tensors: a checkpoint.
pub(super) fn write_with(
    path: &Path,
    info: &ModelInfo,
    weights: &[(String, Tensor)],
    golden: Option<&Golden>,
    more: Vec<(&'static str, String)>,
    state: &[(String, Tensor)],
) -> Result<()> {
    check_names(weights.iter().map(|(n, _)| n.as_str()))?;
    let provenance = serde_json::to_string(&info.provenance).unwrap_or_default();
    let mut metadata = vec![("thalweg", FORMAT.to_string()), ("model", info.model.to_string())];
    if !info.preprocessing.is_null() {
        metadata.push(("preprocessing", info.preprocessing.to_string()));
    }
    if !info.class_names.is_empty() {
        metadata.push(("class_names", Value::from(info.class_names.clone()).to_string()));
    }
    if !info.compile.is_null() {
        metadata.push(("compile", info.compile.to_string()));
    }
    metadata.push(("provenance", provenance));
    metadata.extend(more);
    let mut tensors: Vec<(String, &Tensor)> = weights.iter().map(|(n, t)| (n.clone(), t)).collect();
    if let Some(golden) = golden {
        tensors.extend(golden.inputs.iter().map(|(n, t)| (format!("golden/input/{n}"), t)));
        tensors.extend(golden.outputs.iter().map(|(n, t)| (format!("golden/output/{n}"), t)));
    }
    tensors.extend(state.iter().map(|(n, t)| (n.clone(), t)));
    container::write(path, &metadata, &tensors)
}

/// Refuses weights that a file could not hold, in time for the layer to be renamed.
pub(crate) fn check_names<'a>(mut weights: impl Iterator<Item = &'a str>) -> Result<()> {
    match weights.find(|n| is_reserved(n)) {
        None => Ok(()),
        Some(name) => Err(TrainError::argument(format!(
            "weight '{name}' cannot be saved: layers may not be named golden, state or kept; rename the layer"
        ))),
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|p| name.starts_with(p))
}

/// An opened model file or checkpoint.
pub struct ModelReader {
    pub(super) container: Container,
    info: ModelInfo,
}

impl ModelReader {
    /// Opens a file and reads its metadata.
    pub fn open(path: &Path) -> Result<ModelReader> {
        ModelReader::new(Container::open(path)?)
    }

    /// The same from bytes in memory; `name` is for messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<ModelReader> {
        ModelReader::new(Container::from_bytes(name, bytes)?)
    }

    fn new(container: Container) -> Result<ModelReader> {
        let path = container.path();
        let Some(version) = container.metadata("thalweg") else {
            return Err(TrainError::file(
                path,
                "it is a safetensors file, but not a Thalweg model (no 'thalweg' in its metadata)",
                "use a file that `fit` or `save` wrote",
            ));
        };
        match version.parse::<u32>() {
            Ok(1..=FORMAT) => {}
            Ok(v) if v > FORMAT => {
                return Err(TrainError::file(
                    path,
                    format!("it has format {v}, and this version reads up to {FORMAT}"),
                    "update Thalweg",
                ));
            }
            _ => {
                let shown: String = version.chars().take(20).collect();
                let what = format!("its format version is {shown:?}, not a number from 1");
                return Err(TrainError::file(path, what, "copy the file again"));
            }
        }
        let info = ModelInfo {
            model: json(&container, "model")?,
            preprocessing: json(&container, "preprocessing")?,
            class_names: json::<Option<Vec<String>>>(&container, "class_names")?.unwrap_or_default(),
            compile: json(&container, "compile")?,
            provenance: json::<Option<Provenance>>(&container, "provenance")?.unwrap_or_default(),
        };
        if info.model.is_null() && container.metadata(WEIGHTS_ONLY).is_none() {
            return Err(TrainError::file(path, "it has no model config", "use a file that `save` wrote"));
        }
        Ok(ModelReader { container, info })
    }

    /// Whether the file holds weights alone, without a model.
    pub fn is_weights_only(&self) -> bool {
        self.info.model.is_null()
    }

    /// Everything but tensors.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Whether training can go on from this file.
    pub fn is_checkpoint(&self) -> bool {
        self.container.metadata("trainer").is_some()
    }

    /// Where it was opened from.
    pub fn path(&self) -> &Path {
        self.container.path()
    }

    /// The weights in the order of `expected`, each checked.
    pub fn weights(&mut self, expected: &[WeightSpec]) -> Result<Vec<Tensor>> {
        const FIX: &str = "the file is of another model; load it with the config it was saved with";
        let path = self.container.path().to_path_buf();
        let fault = |what: String| TrainError::file(&path, what, FIX);
        let mut places = Vec::with_capacity(expected.len());
        for want in expected {
            let Some(place) = self.container.place(&want.path) else {
                return Err(fault(format!("weight '{}' {:?} is missing", want.path, want.shape)));
            };
            if place.shape != want.shape {
                return Err(fault(format!(
                    "weight '{}' has shape {:?} in the file, but the model needs {:?}",
                    want.path, place.shape, want.shape
                )));
            }
            if place.dtype != DType::F32 {
                return Err(fault(format!("weight '{}' is {}, but must be f32", want.path, place.dtype)));
            }
            places.push(place.clone());
        }
        let known: std::collections::HashSet<&str> = expected.iter().map(|w| w.path.as_str()).collect();
        let extra = self.container.tensors().iter();
        if let Some(t) = extra.into_iter().find(|t| !is_reserved(&t.name) && !known.contains(t.name.as_str()))
        {
            return Err(fault(format!("it holds '{}' {:?}, which the model has not", t.name, t.shape)));
        }
        places.iter().map(|p| self.finite(p)).collect()
    }

    fn finite(&mut self, place: &TensorPlace) -> Result<Tensor> {
        let tensor = self.container.read(place)?;
        match tensor.first_not_finite() {
            None => Ok(tensor),
            Some(at) => Err(TrainError::file(
                self.container.path(),
                format!("weight '{}' is not finite at element {at} ({})", place.name, tensor.to_f32()[at]),
                "its training diverged; use an earlier checkpoint",
            )),
        }
    }

    /// The golden inputs and outputs, if the file has them.
    pub fn golden(&mut self) -> Result<Option<Golden>> {
        let inputs = self.prefixed("golden/input/")?;
        let outputs = self.prefixed("golden/output/")?;
        Ok((!outputs.is_empty()).then_some(Golden { inputs, outputs }))
    }

    /// The tensors whose names begin so, by the rest of their names.
    pub(super) fn prefixed(&mut self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let places: Vec<TensorPlace> =
            self.container.tensors().iter().filter(|t| t.name.starts_with(prefix)).cloned().collect();
        places.iter().map(|p| Ok((p.name[prefix.len()..].to_owned(), self.container.read(p)?))).collect()
    }
}

/// A metadata string as JSON; null where it is not there.
pub(super) fn json<T: serde::de::DeserializeOwned>(container: &Container, name: &str) -> Result<T> {
    let text = container.metadata(name).unwrap_or("null");
    serde_json::from_str(text).map_err(|e| {
        TrainError::file(container.path(), format!("its '{name}' cannot be read: {e}"), "copy the file again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> ModelInfo {
        ModelInfo {
            model: serde_json::json!({"name": "m"}),
            class_names: vec!["cat".into(), "dog".into()],
            provenance: Provenance { seed: 7, version: "0.1.0".into(), ..Default::default() },
            ..Default::default()
        }
    }

    fn specs() -> Vec<WeightSpec> {
        let spec = |path: &str, shape: &[usize]| WeightSpec { path: path.into(), shape: shape.to_vec() };
        vec![spec("dense/kernel", &[2, 2]), spec("dense/bias", &[2])]
    }

    fn file(kernel: &[f32], more: Vec<(&'static str, String)>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let x = Tensor::from_bytes(DType::U8, &[1, 2], vec![3, 4]).unwrap();
        let y = Tensor::f32(&[1, 2], &[0.5, 0.5]).unwrap();
        let golden = Golden { inputs: vec![("image".into(), x)], outputs: vec![("softmax".into(), y)] };
        let weights = [
            ("dense/kernel".to_owned(), Tensor::f32(&[2, 2], kernel).unwrap()),
            ("dense/bias".to_owned(), Tensor::f32(&[2], &[0.0, 0.0]).unwrap()),
        ];
        write_with(&path, &info(), &weights, Some(&golden), more, &[]).unwrap();
        std::fs::read(path).unwrap()
    }

    fn weights(bytes: Vec<u8>, specs: &[WeightSpec]) -> Result<Vec<Tensor>> {
        ModelReader::from_bytes("m.safetensors", bytes)?.weights(specs)
    }

    #[test]
    fn a_model_reads_back() {
        let mut reader = ModelReader::from_bytes("m", file(&[1.0, 2.0, 3.0, 4.0], vec![])).unwrap();
        assert_eq!(reader.info(), &info());
        assert!(!reader.is_checkpoint());
        assert_eq!(reader.weights(&specs()).unwrap()[0].to_f32(), [1.0, 2.0, 3.0, 4.0]);
        let golden = reader.golden().unwrap().unwrap();
        assert_eq!(golden.inputs[0].0, "image");
        assert_eq!(golden.outputs[0].1.to_f32(), [0.5, 0.5]);
    }

    #[test]
    fn wrong_weights_are_named() {
        let good = file(&[1.0; 4], vec![]);
        let error = |specs: &[WeightSpec]| weights(good.clone(), specs).unwrap_err().to_string();
        let mut other = specs();
        other[0].shape = vec![4, 1];
        assert!(
            error(&other).contains("'dense/kernel' has shape [2, 2] in the file, but the model needs [4, 1]")
        );
        other[0].path = "dense_1/kernel".into();
        assert!(error(&other).contains("'dense_1/kernel' [4, 1] is missing"));
        assert!(error(&specs()[..1]).contains("holds 'dense/bias' [2], which the model has not"));
        let nan = weights(file(&[1.0, f32::NAN, 3.0, 4.0], vec![]), &specs()).unwrap_err().to_string();
        assert!(nan.contains("'dense/kernel' is not finite at element 1 (NaN)"), "{nan}");
    }

    #[test]
    fn other_files_and_versions_are_refused() {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0, 0, 0, 0]).unwrap();
        let plain = safetensors::serialize([("w", view)], None).unwrap();
        assert!(weights(plain, &[]).unwrap_err().to_string().contains("not a Thalweg model"));
        let replace = |from: &str, to: &str| {
            let bytes = file(&[1.0; 4], vec![]);
            let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
        };
        let newer = replace(r#""thalweg":"1""#, r#""thalweg":"9""#);
        assert!(weights(newer, &specs()).unwrap_err().to_string().contains("format 9, and this version"));
        let odd = replace(r#""thalweg":"1""#, r#""thalweg":"x""#);
        assert!(weights(odd, &specs()).unwrap_err().to_string().contains("is \"x\", not a number"));
        let broken = replace(r#""{\"name\""#, r#""{\"name\ "#);
        assert!(!weights(broken, &specs()).unwrap_err().to_string().contains('\n'));
    }

    /// Ten thousand damaged files: each is refused in one line or read, none panics.
    #[test]
    fn damaged_files_never_panic() {
        let good = file(&[1.0, 2.0, 3.0, 4.0], vec![("trainer", "{}".into())]);
        let mut random = thalweg_base::philox::Sequence::new(1, 2, 3);
        let mut read = 0;
        for _ in 0..10_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u32) as usize;
                match random.below(5) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes[at] = random.next_word() as u8,
                    3 => bytes.insert(at, b"0123456789[]{},:\"-e"[random.below(19) as usize]),
                    _ => {
                        let to = random.below(bytes.len() as u32) as usize;
                        bytes.swap(at, to);
                    }
                }
            }
            let outcome = ModelReader::from_bytes("m", bytes).and_then(|mut reader| {
                reader.weights(&specs())?;
                reader.golden()
            });
            match outcome {
                Ok(_) => read += 1,
                Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
            }
        }
        assert!(read > 100, "the mutations should leave some files readable, {read} were");
    }
}
