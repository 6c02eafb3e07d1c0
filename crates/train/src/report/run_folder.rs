//! A run's folder: everything that a training leaves behind, in one place.
//!
//! Layout: `recipe.toml`, `history.csv`, `events/`, `curves.svg`, `checkpoints/last.safetensors`,
//! `model.safetensors`, `log.txt`. Invariant: every file but the growing log, table and events is replaced whole.

use super::curves::curves;
use crate::files::write_atomic;
use crate::{History, Logs, Result, TrainError};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// Makes the folder where it is not there.
    pub fn create(root: &Path) -> Result<RunFolder> {
        fs::create_dir_all(root).map_err(TrainError::io("create", root))?;
        Ok(RunFolder { root: root.to_path_buf() })
    }

    /// The recipe's copy.
    pub fn recipe(&self) -> PathBuf {
        self.root.join("recipe.toml")
    }
    /// Logs of all epochs.
    pub fn history(&self) -> PathBuf {
        self.root.join("history.csv")
    }
    /// TensorBoard's folder.
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }
    /// Curves of all logs.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.svg")
    }
    /// The checkpoint from which training goes on.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoints").join("last.safetensors")
    }
    /// The trained model.
    pub fn model(&self) -> PathBuf {
        self.root.join("model.safetensors")
    }
    /// What was said.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("log.txt")
    }

    /// Adds the logs of an epoch to the log.
    pub fn log_epoch(&self, epoch: usize, epochs: usize, seconds: f64, logs: &Logs) {
        let list: Vec<String> = logs.iter().map(|(n, v)| format!("{n} {v:.6}")).collect();
        self.log(&format!("epoch {}/{epochs}: {seconds:.1} s, {}", epoch + 1, list.join(", ")));
    }

    /// Adds a line to the log. A log that cannot be written does not end a training.
    pub fn log(&self, line: &str) {
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(self.log_file()) {
            writeln!(file, "{} {line}", super::utc_now()).ok();
        }
    }

    /// Copies the recipe's text.
    pub fn write_recipe(&self, text: &str) -> Result<()> {
        write_atomic(&self.recipe(), text.len() as u64, |w| w.write_all(text.as_bytes()))
    }

    /// Draws the curves anew.
    pub fn write_curves(&self, history: &History) -> Result<()> {
        let name = self.root.file_name().unwrap_or_default().to_string_lossy();
        let text = curves(history, &name);
        write_atomic(&self.curves(), text.len() as u64, |w| w.write_all(text.as_bytes()))
    }
}
