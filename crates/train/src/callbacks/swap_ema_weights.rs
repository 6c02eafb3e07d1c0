//! `SwapEMAWeights`: epochs are judged by the means of the weights.
//!
//! Input: an optimizer with `use_ema`. Output: at the end of every epoch, the means stand in the weights' place while
//! validation and all callbacks run (so `ModelCheckpoint` saves what was judged), then training goes on with the
//! weights. Source: Keras' callback of that name with `swap_on_epoch`.

use super::callback::Callback;
use serde::{Deserialize, Serialize};

/// Judges epochs by the means of the weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwapEMAWeights {}

impl Callback for SwapEMAWeights {
    fn name(&self) -> String {
        "SwapEMAWeights".into()
    }

    fn judges_averages(&self) -> bool {
        true
    }
}
