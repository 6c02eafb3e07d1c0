//! TerminateOnNaN: a loss that is not finite ends training quietly.

use super::callback::Callback;
use serde::{Deserialize, Serialize};

/// Ends training when the loss is not finite, as in Keras. Without it the same is an error. Either way the
/// weights are those from before the bad step, and the log says where the first bad value arose.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TerminateOnNaN {}

impl Callback for TerminateOnNaN {
    fn name(&self) -> String {
        "TerminateOnNaN".into()
    }

    fn ends_on_nan(&self) -> bool {
        true
    }
}
