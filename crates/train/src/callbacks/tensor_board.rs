//! TensorBoard: every epoch's logs as event files, `train` and `validation` side by side.

use super::callback::{Callback, EpochContext, TrainContext};
use super::events::EventFile;
use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Writes logs for TensorBoard. Keras' names, defaults and tags (`epoch_loss`, ...).
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TensorBoard {
    log_dir: String,
    #[serde(skip)]
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    train: EventFile,
    /// Made when there is something to write.
    validation: Option<EventFile>,
    purge: Option<i64>,
}

impl Default for TensorBoard {
    fn default() -> Self {
        TensorBoard { log_dir: "logs".into(), files: None }
    }
}

impl TensorBoard {
    /// Writes below `log_dir`.
    pub fn new(log_dir: &str) -> Self {
        TensorBoard { log_dir: log_dir.into(), files: None }
    }
}

impl Callback for TensorBoard {
    fn name(&self) -> String {
        format!("TensorBoard({})", self.log_dir)
    }

    fn on_train_begin(&mut self, c: &mut TrainContext<'_>) -> Result<()> {
        let purge = c.resumed.then_some(c.initial_epoch as i64);
        let train = EventFile::create(&Path::new(&self.log_dir).join("train"), purge)?;
        self.files = Some(Files { train, validation: None, purge });
        Ok(())
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        for (name, value) in c.logs.iter() {
            let (file, name) = match name.strip_prefix("val_") {
                Some(name) => {
                    if files.validation.is_none() {
                        let folder = Path::new(&self.log_dir).join("validation");
                        files.validation = Some(EventFile::create(&folder, files.purge)?);
                    }
                    (files.validation.as_mut(), name)
                }
                None => (Some(&mut files.train), name),
            };
            if let Some(file) = file {
                file.scalar(&format!("epoch_{name}"), c.epoch as i64, value as f32)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsal;
    use super::*;

    #[test]
    fn training_and_validation_have_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let callback = TensorBoard::new(&folder.path().display().to_string());
        Rehearsal::new("val_loss", &[0.5, 0.25]).run(Box::new(callback));
        for (side, tags) in [("train", 2), ("validation", 2)] {
            let entries: Vec<_> = std::fs::read_dir(folder.path().join(side)).unwrap().collect();
            assert_eq!(entries.len(), 1);
            let bytes = std::fs::read(entries[0].as_ref().unwrap().path()).unwrap();
            assert_eq!(bytes.windows(10).filter(|w| w == b"epoch_loss").count(), tags);
        }
    }
}
