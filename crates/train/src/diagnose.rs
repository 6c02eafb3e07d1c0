//! Where a value that is not finite began.
//!
//! Input: the weights from before the bad step and the very batch. Output: a phrase that names the weight, the
//! example, the layer or the loss. Invariant: the weights and counters are as they were, so the forward pass is
//! the one that went wrong, dropout included.

use crate::Result;
use crate::feed::Feed;
use crate::model::{Model, ProgramSpec};
use crate::session::Kind;
use thalweg_data::{Batch, Dataset};

/// Where it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a weight: nothing that follows can be finite.
    Weight(String),
    /// Elsewhere, in words.
    Elsewhere(String),
}

impl Origin {
    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Origin::Weight(path) => format!("weight '{path}' is not finite"),
            Origin::Elsewhere(words) => words.clone(),
        }
    }
}

/// Runs the batch again and looks. `record` gives the example of a place in the batch.
pub fn origin(
    model: &mut Model,
    feed: &mut Feed,
    spec: &ProgramSpec,
    batch: &Batch,
    data: &dyn Dataset,
    record: impl Fn(usize) -> usize,
) -> Result<Origin> {
    if let Some((path, _)) = model.weights()?.iter().find(|(_, t)| t.first_not_finite().is_some()) {
        return Ok(Origin::Weight(path.clone()));
    }
    if let Some((place, field)) = feed.not_finite(batch) {
        return Ok(Origin::Elsewhere(format!(
            "field '{}' of example {} of {} is not finite",
            data.fields()[field].name,
            record(place),
            data.describe()
        )));
    }
    let spec = ProgramSpec { batch: batch.size, ..spec.clone() };
    let program = model.program(Kind::Diagnose, &spec)?;
    feed.write(model.session()?, &program, batch)?;
    let session = model.session()?;
    session.run(&program)?;
    let outputs: Vec<String> = program
        .plan
        .bindings
        .iter()
        .filter(|b| b.role == thalweg_device::plan::Role::Output)
        .map(|b| b.name.clone())
        .collect();
    for name in outputs {
        let bad = session.read_output(&program, &name)?.to_f32().first().copied().unwrap_or(0.0);
        if bad > 0.0 {
            let words = match name.strip_prefix("layer/") {
                Some(layer) => format!(
                    "layer '{layer}' is the first whose output is not finite ({bad} values), while weights and \
                     inputs are"
                ),
                None => "every layer's output is finite, but the loss of them is not".to_owned(),
            };
            return Ok(Origin::Elsewhere(words));
        }
    }
    if model.network().dtype_policy().scales_loss() {
        return Ok(Origin::Elsewhere(
            "every layer's output and the loss are finite, but a gradient is not, even with a loss scale of 1; try the \
             dtype policy mixed_bfloat16"
                .to_owned(),
        ));
    }
    Ok(Origin::Elsewhere("it did not come again when the batch was run a second time".to_owned()))
}
