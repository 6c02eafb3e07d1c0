//! Checkpoints: model files from which training goes on bit by bit.
//!
//! Input: the model's parts, every state of the training step, weights that callbacks keep, and the trainer's
//! position ([`TrainerState`]). Output: one file, written atomically. Invariant: a run resumed from it does
//! exactly what the uninterrupted run does.

use super::model_file::{self, ModelInfo, ModelReader};
use crate::{Result, Tensor, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainerState {
    /// Epochs done.
    pub epoch: usize,
    /// Batches of the epoch done.
    pub batch: usize,
    /// The settings that a resumed run must share.
    pub settings: Settings,
    /// Logs of the epochs done.
    pub history: Value,
    /// Each callback's name and state.
    pub callbacks: Vec<(String, Value)>,
    /// Why a callback ended training after the last epoch, if one did: going on ends there too.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Seconds trained.
    pub seconds: f64,
}

/// What decides the numbers of a run.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Seed of weights, shuffles and dropout.
    pub seed: u64,
    /// Examples per step.
    pub batch_size: usize,
    /// Examples in the training data.
    pub examples: usize,
    /// Whether the order is shuffled.
    pub shuffle: bool,
    /// The training data in words.
    pub data: String,
    /// Steps of an epoch if limited.
    pub steps_per_epoch: Option<usize>,
    /// Class weights in the order of labels.
    pub class_weight: Vec<(usize, f32)>,
    /// Optimizer, losses and metrics.
    pub compile: Value,
}

/// A checkpoint's parts beside the model.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TrainingState {
    /// Where the run stands.
    pub trainer: TrainerState,
    /// States of the training step that are not weights, by name.
    pub states: Vec<(String, Tensor)>,
    /// Copies of the weights that callbacks keep, by `<slot>/<weight>`.
    pub kept: Vec<(String, Tensor)>,
}

/// Writes a checkpoint.
pub fn write_checkpoint(
    path: &Path,
    info: &ModelInfo,
    weights: &[(String, Tensor)],
    training: &TrainingState,
) -> Result<()> {
    let trainer = serde_json::to_string(&training.trainer)
        .map_err(|e| TrainError::argument(format!("a callback's state cannot be saved: {e}")))?;
    let under = |prefix: &'static str, list: &[(String, Tensor)]| {
        list.iter().map(|(n, t)| (format!("{prefix}{n}"), t.clone())).collect::<Vec<_>>()
    };
    let tensors = [under("state/", &training.states), under("kept/", &training.kept)].concat();
    model_file::write_with(path, info, weights, None, vec![("trainer", trainer)], &tensors)
}

/// Reads what [`write_checkpoint`] wrote beside the model.
pub fn read_training(reader: &mut ModelReader) -> Result<TrainingState> {
    let Some(trainer) = model_file::json::<Option<TrainerState>>(&reader.container, "trainer")? else {
        return Err(TrainError::file(
            reader.path(),
            "it is a model, not a checkpoint, so training cannot go on from it",
            "resume from a file in the run's checkpoints folder",
        ));
    };
    Ok(TrainingState { trainer, states: reader.prefixed("state/")?, kept: reader.prefixed("kept/")? })
}

impl Settings {
    /// Refuses to go on from a checkpoint of other settings.
    pub fn check(&self, saved: &Settings, path: &Path) -> Result<()> {
        let differ = |what, found: &dyn ToString, expected: &dyn ToString| {
            let (found, expected) = (found.to_string(), expected.to_string());
            if found == expected {
                return Ok(());
            }
            Err(TrainError::Resume { path: path.to_path_buf(), what, found, expected })
        };
        let steps = |s: &Settings| s.steps_per_epoch.map_or("the whole epoch".into(), |n| n.to_string());
        differ("seed", &saved.seed, &self.seed)?;
        differ("batch size", &saved.batch_size, &self.batch_size)?;
        differ("the number of training examples", &saved.examples, &self.examples)?;
        differ("training data", &saved.data, &self.data)?;
        differ("shuffle", &saved.shuffle, &self.shuffle)?;
        differ("steps per epoch", &steps(saved), &steps(self))?;
        differ("class weights", &format!("{:?}", saved.class_weight), &format!("{:?}", self.class_weight))?;
        differ("optimizer, loss and metrics", &saved.compile, &self.compile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> TrainingState {
        let settings = Settings { seed: 3, batch_size: 32, ..Default::default() };
        TrainingState {
            trainer: TrainerState {
                epoch: 2,
                batch: 17,
                settings,
                history: serde_json::json!([{"loss": 0.1f32, "lr": 1e-300}]),
                callbacks: vec![("EarlyStopping".into(), serde_json::json!({"wait": 1}))],
                stopped: Some("enough".into()),
                seconds: 0.1 + 0.2,
            },
            states: vec![(
                "iteration".into(),
                Tensor::from_bytes(thalweg_base::DType::I32, &[], vec![9, 0, 0, 0]).unwrap(),
            )],
            kept: vec![("best/w".into(), Tensor::f32(&[1], &[2.0]).unwrap())],
        }
    }

    #[test]
    fn a_checkpoint_reads_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let info = ModelInfo { model: serde_json::json!({}), ..Default::default() };
        let weights = [("w".to_owned(), Tensor::f32(&[1], &[1.0]).unwrap())];
        write_checkpoint(&path, &info, &weights, &state()).unwrap();
        let mut reader = ModelReader::open(&path).unwrap();
        assert!(reader.is_checkpoint());
        assert_eq!(read_training(&mut reader).unwrap(), state());
        model_file::write_model(&path, &info, &weights, None).unwrap();
        let error = read_training(&mut ModelReader::open(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("a model, not a checkpoint"), "{error}");
    }

    #[test]
    fn other_settings_are_named() {
        let saved = state().trainer.settings;
        let now = Settings { batch_size: 64, ..saved.clone() };
        let error = now.check(&saved, Path::new("c")).unwrap_err().to_string();
        assert!(error.contains("made with batch size 32, and now batch size is 64"), "{error}");
        saved.check(&saved.clone(), Path::new("c")).unwrap();
    }
}
