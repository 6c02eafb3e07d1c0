//! Checkpoints of a running training: written from the device, read back into it.
//!
//! Input: a desk and the loop's position. Output: one file, or the position it holds. Invariant: whatever decides
//! the next step is in the file; a file of other settings is refused.

use crate::callbacks::Callback;
use crate::desk::Desk;
use crate::events::Event;
use crate::files::{ModelReader, Settings, TrainerState, TrainingState, read_training, write_checkpoint};
use crate::model::{hex, specs};
use crate::{History, Result, Tensor, TrainError};
use sha2::{Digest, Sha256};
use std::path::Path;
use thalweg_data::Dataset;

/// Where the loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Batches of the epoch done.
    pub batch: usize,
}

/// What a checkpoint says beside what it puts into the model and the callbacks.
pub(crate) struct Resumed {
    pub position: Position,
    pub history: History,
    /// Seconds trained before.
    pub seconds: f64,
    /// Why a callback had ended training, if one had.
    pub stopped: Option<String>,
}

/// Writes a checkpoint.
pub(crate) fn write(
    desk: &mut Desk<'_>,
    path: &Path,
    callbacks: &[Box<dyn Callback>],
    trainer: TrainerState,
) -> Result<()> {
    let weights = desk.model.finite_weights(path)?;
    let names: Vec<String> = desk.model.state_list()?.into_iter().map(|s| s.name).collect();
    let session = desk.model.session()?;
    let states = names
        .into_iter()
        .map(|name| session.read_state(&name).map(|t| (name, t)))
        .collect::<Result<Vec<(String, Tensor)>>>()?;
    let paths = desk.model.network.weights().iter().map(|w| w.path.clone());
    let kept = desk
        .kept
        .iter()
        .flat_map(|(slot, list)| {
            paths.clone().zip(list).map(move |(p, t)| (format!("{slot}/{p}"), t.clone()))
        })
        .collect();
    let callbacks = callbacks.iter().map(|c| (c.name(), c.state())).collect();
    let training = TrainingState { trainer: TrainerState { callbacks, ..trainer }, states, kept };
    write_checkpoint(path, &desk.model.info, &weights, &training)?;
    desk.tell(&Event::Saved { path, checkpoint: true });
    Ok(())
}

/// Takes everything back from a checkpoint of the same settings.
pub(crate) fn read(
    desk: &mut Desk<'_>,
    path: &Path,
    callbacks: &mut [Box<dyn Callback>],
    settings: &Settings,
) -> Result<Resumed> {
    let mut reader = ModelReader::open(path)?;
    let saved = reader.info().model.clone();
    if saved != desk.model.info.model {
        return Err(TrainError::file(
            path,
            "it is a checkpoint of another model",
            "resume with the same model, or start a new run",
        ));
    }
    let weights = reader.weights(&specs(&desk.model.network))?;
    let training = read_training(&mut reader)?;
    let trainer = training.trainer;
    settings.check(&trainer.settings, path)?;
    let damaged = |what: String| TrainError::file(path, what, "use an earlier checkpoint");
    let list = desk.model.state_list()?;
    let mut states = Vec::with_capacity(list.len());
    for want in &list {
        let found = training.states.iter().find(|(n, _)| *n == want.name);
        let fits = |t: &Tensor| t.dtype() == want.ty.dtype && t.shape() == want.ty.shape;
        match found {
            Some((_, t)) if fits(t) => states.push(t),
            Some(_) => return Err(damaged(format!("its state '{}' is not {}", want.name, want.ty))),
            None => return Err(damaged(format!("its state '{}' is missing", want.name))),
        }
    }
    let history =
        History::from_json(&trainer.history).ok_or_else(|| damaged("its history is damaged".into()))?;
    let names: Vec<String> = callbacks.iter().map(|c| c.name()).collect();
    let before: Vec<&str> = trainer.callbacks.iter().map(|(n, _)| n.as_str()).collect();
    if names != before {
        return Err(TrainError::Resume {
            path: path.to_path_buf(),
            what: "the callbacks",
            found: before.join(", "),
            expected: names.join(", "),
        });
    }
    for (callback, (_, state)) in callbacks.iter_mut().zip(&trainer.callbacks) {
        callback.restore(state)?;
    }
    desk.kept.clear();
    for (slot, _) in training.kept.iter().filter_map(|(n, _)| n.split_once('/')) {
        if desk.kept.contains_key(slot) {
            continue;
        }
        let weights = desk.model.network.weights();
        let list: Option<Vec<Tensor>> = weights
            .iter()
            .map(|w| {
                let name = format!("{slot}/{}", w.path);
                let (_, t) = training.kept.iter().find(|(n, _)| *n == name)?;
                (t.shape() == w.shape).then(|| t.clone())
            })
            .collect();
        let list = list.ok_or_else(|| damaged(format!("its kept weights '{slot}' are not whole")))?;
        desk.kept.insert(slot.to_owned(), list);
    }
    // Only now, when nothing can be refused any more, does the model change.
    desk.model.set_weights(&weights)?;
    let session = desk.model.session()?;
    for (want, value) in list.iter().zip(states) {
        session.write_state(&want.name, value)?;
    }
    let position = Position { epoch: trainer.epoch, batch: trainer.batch };
    Ok(Resumed { position, history, seconds: trainer.seconds, stopped: trainer.stopped })
}

/// What a data set is, wherever it lies: its fields, and a sum over up to 16 examples spread over it.
pub(crate) fn fingerprint(data: &dyn Dataset) -> Result<String> {
    let fields = data.fields();
    let mut rows: Vec<Vec<u8>> = fields.iter().map(|f| vec![0; f.bytes()]).collect();
    let mut hash = Sha256::new();
    let (len, samples) = (data.len(), data.len().min(16));
    for i in 0..samples {
        let mut views: Vec<&mut [u8]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
        data.read(i * len / samples, &mut views)?;
        rows.iter().for_each(|r| hash.update(r));
    }
    let listed: Vec<String> = fields.iter().map(|f| format!("{} {}{:?}", f.name, f.dtype, f.shape)).collect();
    Ok(format!("{} (sum {})", listed.join(", "), &hex(&hash.finalize())[..16]))
}
