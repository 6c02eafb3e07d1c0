//! The optimizer's exponential means of the weights (Keras' `use_ema`).
//!
//! Input: a model whose optimizer keeps them. Output: weights and means exchanged, or the means as weights. Invariant:
//! twice exchanged is as before; a model whose optimizer keeps none is left alone.

use crate::model::Model;
use crate::step::{ITERATION, SKIPPED, slot_name};
use crate::{Result, Tensor};
use thalweg_nn::optimizers::AVERAGE;

impl Model {
    /// Whether the optimizer keeps means.
    pub(crate) fn has_averages(&self) -> bool {
        self.compiled.as_ref().is_some_and(|c| c.compile.optimizer.ema.is_some())
    }

    /// Steps that changed the weights: before the first, there are no means.
    fn steps_applied(&mut self) -> Result<f64> {
        let session = self.session()?;
        let skipped = if session.has(SKIPPED) { session.read_scalar(SKIPPED)? } else { 0.0 };
        Ok(session.read_scalar(ITERATION)? - skipped)
    }

    /// Every weight that is learned, once there are means: its name, that of its mean, and both.
    fn averages(&mut self) -> Result<Vec<(String, String, Tensor, Tensor)>> {
        if !self.has_averages() || self.steps_applied()? == 0.0 {
            return Ok(Vec::new());
        }
        let learned = self.network.weights().iter().filter(|w| w.trainable);
        let names: Vec<String> = learned.map(|w| w.path.clone()).collect();
        let session = self.session()?;
        let both = names.into_iter().map(|weight| {
            let mean = slot_name(&weight, AVERAGE);
            let (value, average) = (session.read_state(&weight)?, session.read_state(&mean)?);
            Ok((weight, mean, value, average))
        });
        both.collect()
    }

    /// Exchanges weights and means.
    pub(crate) fn swap_averages(&mut self) -> Result<()> {
        for (weight, mean, value, average) in self.averages()? {
            let session = self.session()?;
            session.write_state(&weight, &average)?;
            session.write_state(&mean, &value)?;
        }
        Ok(())
    }

    /// Makes the means the weights, once there are any.
    pub(crate) fn take_averages(&mut self) -> Result<()> {
        for (weight, _, _, average) in self.averages()? {
            self.session()?.write_state(&weight, &average)?;
        }
        Ok(())
    }
}
